"""What the tests of steps share: walk-forwards made of numbers, a tape that was tampered with."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.backtest.candidates import ordinary
from hft_lib.parameters import Parameters
from hft_lib.workflow.walk_forward import FITTED, Trials
from tests.builders import parameters
from tests.hft_lib.health.made import REFERENCE

PAIR = "BTC/USDT:USDT~BTC/USDT"
OTHER_PAIR = "ETH/USDT:USDT~ETH/USDT"


def sets() -> dict[str, Parameters]:
    """A fit and what stands beside it."""
    fitted = parameters()
    return {FITTED: fitted, **{item.name: item.params for item in ordinary(fitted)}}


def trials(
    means: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    days: int = 250,
    pair: str = PAIR,
    seed: int = 1,
) -> Trials:
    """A walk-forward whose candidates earn `means` standard deviations a day."""
    random = np.random.Generator(np.random.PCG64(seed))
    daily = random.normal(0.0, 1.0, (days, len(means))) + np.array(means)
    known = sets()
    return Trials(
        pair=pair,
        tape_sha256="a" * 64,
        config_sha256="b" * 64,
        capital_quote=10_000.0,
        names=list(known),
        daily_quote=daily.tolist(),
        parameters=known,
        fit_start="2024-01-01T00:00:00.000Z",
        fit_end="2024-02-01T00:00:00.000Z",
        calibration={"observations": 100},
        folds=[],
        reference=REFERENCE,
    )


def broken_copy(tape: Path, out: Path) -> Path:
    """A copy of a tape in which one bid is another than was hashed."""
    shutil.copytree(tape, out)
    path = next(one for one in sorted(out.rglob("*.parquet")) if one.name != "truth.parquet")
    table = pq.read_table(path)
    bids = table.column("bid").to_pylist()
    first = next(number for number, bid in enumerate(bids) if bid is not None)
    bids[first] *= 0.999
    column = pa.array(bids, table.schema.field("bid").type)
    index = table.schema.get_field_index("bid")
    pq.write_table(table.set_column(index, table.schema.field("bid"), column), path)
    return out
