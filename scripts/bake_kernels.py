"""Compile what a service runs, into the folder where it will look: python scripts/bake_kernels.py

Some days of the synthetic market are fitted and go through the six stages, so every kernel is asked
for with the types of its arguments. Done when an image is made, under the processor that
NUMBA_CPU_NAME names; a container then compiles nothing at its start.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from numba.core.compiler import CompileResult

from hft_lib.backtest.replay import replay
from hft_lib.kernel import CACHE_DIR
from hft_lib.market import synthetic
from serving.first_fit import fitted
from serving.lines import config_of, sets_of
from serving.runtime.settings import Settings

SEED = 7
# The shortest of which the fitted part, 30 %, is long enough for all three models; orders follow.
DAYS = 12.0
PAIR = "SYN/USDT:USDT~SYN/USDT"


def forget_addresses() -> None:
    """Keep no address of this process in what is compiled: two builds give the same bytes.

    numba writes a listing beside each kernel, for people, in which a called function is named by
    where it lay in memory.
    """
    reduce: Any = CompileResult._reduce

    def reduced(self: Any) -> tuple[Any, ...]:
        parts = reduce(self)
        return tuple(
            re.sub(r"\b0x[0-9a-f]+", "0x0", part) if isinstance(part, str) else part
            for part in parts
        )

    CompileResult._reduce = reduced  # type: ignore[method-assign]


def bake(folder: Path) -> int:
    """Run the line over a market kept in `folder`; the number of orders it gave."""
    tape = synthetic.write(SEED, folder / "tape", synthetic.SyntheticMarket(days=DAYS))
    file, split_ns = fitted(tape, PAIR)
    config = config_of(Settings(), [file], None)
    record = replay(tape, config, sets_of((file,), split_ns), split_ns)
    return len(record.capital_orders) + record.shadow_orders


def main() -> None:
    """Bake, and say how much there is."""
    forget_addresses()
    with tempfile.TemporaryDirectory() as folder:
        orders = bake(Path(folder))
    found = sum(1 for _ in CACHE_DIR.rglob("*.nbc"))
    if not orders or not found:
        raise SystemExit(f"bake: {orders} orders and {found} kernels, must be some of both")
    print(f"bake: {found} kernels, by a line that gave {orders} orders")


if __name__ == "__main__":
    main()
