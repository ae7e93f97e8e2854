"""The market that runs when nobody names a tape: a synthetic one, written once a seed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from hft_lib.market import synthetic
from hft_lib.market.tape import Tape, is_tape

VERSION = 1  # of the market's making: another one must not find the tapes of this
SEED = 7
MARKET = synthetic.SyntheticMarket()


def rows_about() -> int:
    """About how many events the market has."""
    return round(MARKET.days * 2 * 86_400.0 / MARKET.step_s)


def synthetic_tape(
    home: Path, seed: int = SEED, advance: Callable[[int], None] = lambda rows: None
) -> Tape:
    """The tape of the synthetic market of `seed`, kept under `home`; `advance` is told the rows."""
    path = home / "tapes" / f"synth-{VERSION}-{seed}"
    if is_tape(path):
        return Tape.open(path)
    if path.exists():  # not whole: nothing but a tape is ever written there
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return synthetic.write(seed, path, MARKET, advance)
