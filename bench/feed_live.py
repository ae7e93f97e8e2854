"""The live feed over loopback: from a frame's receipt to its `PairTick`, and an hour's memory.

    python bench/feed_live.py [--part receive|hour] [--seconds 60] [--data DIR] [--json]

The market is `tests/market` in a process of its own, the feed and the ingestion stage are those of
paper mode in this one.

`receive`  the recorded spot and perpetual of BTC at their own pace: from the time that the feed
           notes when a frame is there until the stage has made its `PairTick`.
`hour`     the frames of an hour of that pair, of a generated market as fast as they come: the
           resident memory after the first fifth and at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# Run as a file, its own folder is on the path; the project's is not where it is not installed.
sys.path.append(str(ROOT))

from bench.feed import DATA, FOLDER  # noqa: E402
from hft_lib.events import PairTick, Rejected, TimePassed  # noqa: E402
from hft_lib.line import LineConfig, PairConfig  # noqa: E402
from hft_lib.stages import ingestion  # noqa: E402
from serving.adapters.live.feed import LiveFeed  # noqa: E402
from serving.runtime.settings import Settings  # noqa: E402

PAIR = "BTC/USDT:USDT~BTC/USDT"
WARM_S = 5.0  # connections, the books' first snapshots
SECONDS = 60.0
HOUR_FRAMES = 3600 * 319  # as many as the recorded pair has a second
TAKE_S, LOOK_S = 0.05, 5.0
MARKET = [sys.executable, "-m", "tests.market"]


class Tally:
    """What came out of the stage: latencies, memory at each look, refusals."""

    def __init__(self) -> None:
        self.us: list[float] = []
        self.frames, self.seconds = 0, 0.0
        self.pair_ticks = 0
        self.resident_mib: list[float] = []
        self.rejected: dict[str, int] = {}


def receive(data: Path, seconds: float) -> list[dict[str, Any]]:
    """One row: microseconds from the receipt of a frame to its `PairTick`."""
    words = ["--data", str(data), "--names", "spot_btcusdt", "usdm_btcusdt"]
    with _market(*words) as urls:
        found = _listen(urls, lambda so_far: so_far.seconds >= seconds, keeps=True)
    p50, p99 = np.percentile(found.us, (50, 99))
    return [
        {
            "name": "receipt of a frame to its PairTick",
            "frames_per_s": round(found.frames / found.seconds),
            "pair_ticks": len(found.us),
            "p50_us": round(float(p50), 1),
            "p99_us": round(float(p99), 1),
            "rejected": found.rejected,
        }
    ]


def hour(data: Path, seconds: float) -> list[dict[str, Any]]:
    """One row: resident MiB after a fifth of an hour's frames, and at the end."""
    del data, seconds  # it is generated, and as long as it takes
    with _market("--synthetic", "7", "--pace", "0") as urls:
        found = _listen(urls, lambda so_far: so_far.frames >= HOUR_FRAMES, keeps=False)
    looks = found.resident_mib
    return [
        {
            "name": "an hour of a busy pair's frames",
            "frames": found.frames,
            "frames_per_s": round(found.frames / found.seconds),
            "pair_ticks": found.pair_ticks,
            "resident_mib_after_a_fifth": round(looks[len(looks) // 5], 1),
            "resident_mib_at_the_end": round(looks[-1], 1),
            "rejected": found.rejected,
        }
    ]


@contextmanager
def _market(*words: str) -> Iterator[dict[str, str]]:
    """A market in a process of its own; yields its addresses."""
    with subprocess.Popen([*MARKET, *words], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield msgspec.json.decode(process.stdout.readline(), type=dict[str, str])
        finally:
            process.terminate()


def _listen(urls: dict[str, str], is_over: Callable[["Tally"], bool], keeps: bool) -> Tally:
    """Step the stage on what the feed brings, once it is warm, until it is over."""
    config = LineConfig(pairs=(PairConfig(pair=PAIR, capital_quote=10_000.0),), grid_ms=1000)
    state = ingestion.start(config)
    found = Tally()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            binance_rest_url=urls["rest_url"], binance_ws_url=urls["ws_url"], hft_home=Path(home)
        )
        with LiveFeed(settings, PAIR.split("~")) as feed:
            _take(feed, state, Tally(), WARM_S, keeps=False)
            before, began = sum(feed.figures.frames.values()), time.monotonic()
            while not is_over(found):
                _take(feed, state, found, LOOK_S, keeps)
                found.resident_mib.append(_resident_mib())
                found.frames = sum(feed.figures.frames.values()) - before
                found.seconds = time.monotonic() - began
                print(f"{found.seconds:.0f} s, {found.frames:,} frames", file=sys.stderr)
    return found


def _take(
    feed: LiveFeed, state: ingestion.IngestionState, found: Tally, seconds: float, keeps: bool
) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for fact in feed.take(TAKE_S):
            if isinstance(fact, Rejected):
                found.rejected[fact.reason] = found.rejected.get(fact.reason, 0) + fact.count
                continue
            for made in ingestion.step(state, fact):
                if isinstance(made, PairTick):
                    found.pair_ticks += 1
                    if keeps and not isinstance(fact, TimePassed):
                        found.us.append((time.time_ns() - fact.time_ns) / 1e3)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


PARTS = {"receive": receive, "hour": hour}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that were asked for and print their rows; 2 without the recordings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="may be repeated")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of `receive`")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args(arguments)
    parts = options.part or list(PARTS)
    if "receive" in parts and not (options.data / FOLDER).is_dir():
        print(f"the recorded ticks are not at {options.data / FOLDER}", file=sys.stderr)
        return 2
    rows = [row for part in parts for row in PARTS[part](options.data, options.seconds)]
    if options.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print("; ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
