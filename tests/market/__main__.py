"""The market as a process: `python -m tests.market --port 8099 --synthetic 7`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

import msgspec

from tests.market.generated import Generated
from tests.market.recorded import LISTED, Recorded
from tests.market.server import Market
from tests.market.ticks import Source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.market", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace", type=float, default=1.0, help="times its own; 0: all it can")
    parser.add_argument("--stepwise", action="store_true", help="only what /control/step asks for")
    parser.add_argument("--synthetic", type=int, metavar="SEED", help="instead of a recording")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of recorded data")
    parser.add_argument("--names", nargs="+", default=list(LISTED), choices=list(LISTED))
    parser.add_argument("--plan", type=Path, help="a JSON list of faults, each with its at_s")
    return parser.parse_args()


def main() -> int:
    """Serve until a signal comes; the addresses are the one line on stdout."""
    asked = arguments()
    source: Source = Recorded(asked.data, tuple(asked.names))
    if asked.synthetic is not None:
        source = Generated(asked.synthetic)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    market = Market(
        source,
        pace=asked.pace or None,
        stepwise=asked.stepwise,
        host=asked.host,
        port=asked.port,
        control_port=asked.control_port,
    )
    with market:
        urls = {name: getattr(market, name) for name in ("rest_url", "ws_url", "control_url")}
        sys.stdout.write(msgspec.json.encode(urls).decode() + "\n")
        sys.stdout.flush()
        if asked.plan:
            market.plan(msgspec.json.decode(asked.plan.read_bytes()))
        while market.thread.is_alive() and not stop.wait(0.2):
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
