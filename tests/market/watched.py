"""A live feed before a market of a test: its facts as they are taken, in their order."""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hft_lib.events import Rejected
from serving.adapters.live.feed import LiveFeed
from serving.runtime.settings import Settings

WAIT_S = 40.0  # nothing takes so long but on a machine that does much else


class WatchedFeed(ABC):
    """A feed whose facts are kept as they are taken."""

    def __init__(self, feed: LiveFeed) -> None:
        self.feed = feed
        self.facts: list[Any] = []

    @abstractmethod
    def tick(self) -> None:
        """Let the market go on."""

    def take(self, timeout_s: float = 0.02) -> None:
        """Take what has come."""
        self.facts += self.feed.take(timeout_s)

    def until(self, holds: Callable[[], Any], ticks: bool = True) -> None:
        """Take, the market going on, until `holds`."""
        end_s = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end_s, (self.feed.status(), Counter(self.reasons()))
            if ticks:
                self.tick()
            self.take()

    def for_s(self, seconds: float) -> None:
        """Take for so long, the market going on."""
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end_s)

    def of(self, kind: Any, symbol: str) -> list[Any]:
        """The facts of a kind about a symbol."""
        return [fact for fact in self.facts if isinstance(fact, kind) and fact.symbol == symbol]

    def reasons(self) -> list[str]:
        """Why things were refused, in order."""
        return [fact.reason for fact in self.facts if isinstance(fact, Rejected)]

    def assert_time_goes_forward(self) -> None:
        """Each fact has a time of its own, after the one before it."""
        times = [fact.time_ns for fact in self.facts]
        assert times == sorted(set(times))


def settings_at(venue: str, host: str, folder: Path) -> Settings:
    """A paper run on the server at `host` in place of `venue`, its home below `folder`."""
    urls: dict[str, Any] = {
        f"{venue}_rest_url": f"http://{host}",
        f"{venue}_ws_url": f"ws://{host}",
    }
    return Settings(exchange="paper", hft_home=folder / "home", **urls)


@contextmanager
def going_on(tick: Callable[[], None]) -> Iterator[None]:
    """A market that goes on by itself."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(0.02):
            tick()

    market = threading.Thread(target=go_on)
    market.start()
    try:
        yield
    finally:
        ended.set()
        market.join()
