"""A recorded tape as the feed of a line on Kafka."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from hft_lib.events import Event
from hft_lib.line import LineConfig
from hft_lib.market.tape import Tape
from serving.adapters.tape_feed import Pace, tape_feed
from serving.runtime.feeding import Feeding, limit_ns
from serving.runtime.opening import FEED, FeedOpened
from serving.runtime.service import Worker

_log = structlog.get_logger(__name__)


def feed_of(path: Path) -> FeedOpened:
    """What a line that is fed by the tape at `path` says of it; raises TapeError."""
    tape = Tape.open(path)
    return FeedOpened(
        tape=str(tape.path),
        tape_sha256=tape.sha256,
        start_ns=tape.start_ns,
        symbols=tuple(tape.symbols),
    )


class TapeEdge:
    """The tape at `path` into the line, as far as the line has answered."""

    def __init__(
        self,
        worker: Worker,
        config: LineConfig,
        path: Path,
        speed: float | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._pairs = [item.pair for item in config.pairs]
        self._legs = [leg for item in config.pairs for leg in (item.y, item.x)]
        self._lead_ns = round(config.lead_s * 1e9)
        self._path = path
        self._paced = () if speed is None else (Pace(speed, now_s).wait_s,)
        self._feeding: Feeding | None = None

    def turn(self) -> int:
        """Write what may go now; how many facts."""
        feeding = self._feeding or self._begin()
        if feeding.ended:
            return 0
        decided = self._worker.host.state.decided_ns
        until_ns = limit_ns(decided, self._pairs, self._lead_ns)
        return feeding.push(until_ns, self._worker.bus.heard("ingestion", FEED))

    def why(self) -> str:
        """Nothing: a tape that came to its end is no fault of a service."""
        return ""

    def document(self) -> dict[str, Any]:
        """Nothing of it is in `/state`."""
        return {}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Whether there is more to come: what is silent at its end is not broken."""
        ended = self._feeding is not None and self._feeding.ended
        return {"hft_tape_ended": ("1 once the tape that feeds the line is through", float(ended))}

    def _begin(self) -> Feeding:
        inlet = self._worker.bus.edge(FEED, "ingestion")
        tape = Tape.open(self._path)
        events: Iterator[Event] = tape_feed(tape, self._legs, skip=inlet.number)
        _log.info("the feed goes on", after=inlet.number, tape=str(tape.path))
        self._feeding = Feeding(events, inlet, *self._paced)
        return self._feeding
