"""What a venue has to say for its market data to be fed, and how its REST calls can end."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from hft_lib.events import Depth, Trade
from hft_lib.market.live.items import Listing, Message
from hft_lib.market.live.trades import Missing

# What reads the frames of one connection, in the order in which they come, each with the time at
# which it came; raises Unreadable.
Reader: TypeAlias = Callable[[bytes | str, int], Sequence[Message]]


class CallFailed(Exception):
    """A REST call gave nothing; it may be asked again later."""


class Throttled(CallFailed):
    """The venue answers 429, 418 or 403: nothing more before `retry_after_s`.

    None: it did not say how long.
    """

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"the venue answers {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class CallRefused(CallFailed):
    """The venue says no to this request: asking again as it is does not help."""


class Channel(msgspec.Struct, frozen=True):
    """One connection: where it goes, what is sent, of which symbols it brings what.

    `symbols` are the unified ones by the venue's ids. `requests` are the texts that subscribe, by
    the numbers that their answers have. A channel that `overlaps` may be open twice: what comes
    twice is known by its ids.
    """

    name: str
    scope: str
    url: str
    symbols: dict[str, str]
    requests: dict[int, str]
    carries_trades: bool
    carries_depth: bool
    overlaps: bool = True


class Venue(Protocol):
    """One venue's market data. The REST calls raise CallFailed, or Unreadable for their answer."""

    name: str
    numbers_trades: bool  # whether its trades have consecutive ids

    @property
    def host(self) -> str:
        """Where it is, for people."""

    def channels(self) -> Sequence[Channel]:
        """The connections that bring all of the symbols."""

    def reader(self, channel: Channel) -> Reader:
        """What reads the frames of a connection that is about to be opened."""

    async def listings(self) -> Sequence[Listing]:
        """The terms of the symbols, a listing for each scope."""

    async def snapshot(self, symbol: str) -> Depth:
        """The whole book; never asked of a venue whose stream brings it."""

    def trades(
        self, symbol: str, missing: Callable[[], Missing | None], since_ns: int
    ) -> AsyncIterator[list[Trade]]:
        """Trades in batches, from one source after another while `missing` says that some are.

        `since_ns` is the exchange's time of the last trade before them.
        """

    async def clock_offset_ns(self) -> int:
        """By how much the venue's clock is ahead of ours."""

    async def close(self) -> None:
        """End what is open."""
