"""The live market as the feed of a line on Kafka."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

import structlog

from serving.adapters.live.feed import LiveFeed
from serving.adapters.live.intake import Told
from serving.live_order import LineOrder, last_trades
from serving.runtime.feeding import BURST_MAX, UNREAD_MAX
from serving.runtime.journal import LIVE
from serving.runtime.opening import FEED, FeedOpened
from serving.runtime.service import Worker

_log = structlog.get_logger(__name__)


def live_opened(symbols: Sequence[str]) -> FeedOpened:
    """What a line that is fed by the live market of `symbols` says of it, from now on."""
    return FeedOpened(tape="", tape_sha256=LIVE, start_ns=time.time_ns(), symbols=tuple(symbols))


class LiveEdge:
    """The live market into the line, as fast as its own stage takes it.

    The feed is entered, until `world` ends, once the stage has read what its inbox held: it goes on
    behind that. What the broker cannot take now waits here, and behind it in the feed, which is
    bounded.
    """

    def __init__(self, worker: Worker, feed: LiveFeed, world: ExitStack) -> None:
        self._worker = worker
        self._feed = feed
        self._world = world
        self._order: LineOrder | None = None
        self._waiting: deque[Told] = deque()

    def turn(self) -> int:
        """Write what may go now; how many facts."""
        bus, order = self._worker.bus, self._order or self._begin()
        if not self._waiting:
            self._waiting.extend(order.take(0.0))
        count, heard = 0, bus.heard("ingestion", FEED)
        while self._waiting and count < BURST_MAX and self._inlet.number - heard < UNREAD_MAX:
            self._inlet.write(self._waiting[0])
            self._waiting.popleft()
            count += 1
        return count

    def _begin(self) -> LineOrder:
        state = self._worker.host.state
        self._feed.go_on(last_trades(state))
        self._world.enter_context(self._feed)
        self._order = LineOrder(self._feed, state.time_ns)
        self._inlet = self._worker.bus.edge(FEED, "ingestion")
        _log.info("the feed goes on", after=self._inlet.number, live=self._feed.status().venue)
        return self._order
