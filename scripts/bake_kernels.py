"""Compile what a service runs, into the folder where it will look: python scripts/bake_kernels.py

Some days of the synthetic market are fitted and go through the six stages, so every kernel is asked
for with the types of its arguments. Done when an image is made, under the processor that
NUMBA_CPU_NAME names; a container then compiles nothing at its start.
"""

import tempfile
from pathlib import Path

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


def bake(folder: Path) -> int:
    """Run the line over a market kept in `folder`; the number of orders it gave."""
    tape = synthetic.write(SEED, folder / "tape", synthetic.SyntheticMarket(days=DAYS))
    file, split_ns = fitted(tape, PAIR)
    config = config_of(Settings(), [file], None)
    record = replay(tape, config, sets_of((file,), split_ns), split_ns)
    return len(record.capital_orders) + record.shadow_orders


def main() -> None:
    """Bake, and say how much there is."""
    with tempfile.TemporaryDirectory() as folder:
        orders = bake(Path(folder))
    found = sum(1 for _ in CACHE_DIR.rglob("*.nbc"))
    if not orders or not found:
        raise SystemExit(f"bake: {orders} orders and {found} kernels, must be some of both")
    print(f"bake: {found} kernels, by a line that gave {orders} orders")


if __name__ == "__main__":
    main()
