"""What a live feed brings, as a line takes it that may have gone on for days before.

The feed begins anew with each process; the line's time does not.
"""

from typing import Any, Protocol

from msgspec import to_builtins

from hft_lib.events import MarketEvent, Rejected, TimePassed
from hft_lib.market.live.items import Unreadable
from hft_lib.market.merge import DAY_NS
from hft_lib.stages.ingestion import IngestionState
from serving.adapters.live.feed import LiveFeed, NotListed
from serving.adapters.live.intake import LastTrade, Told
from serving.runtime.opening import FEED, NotThisLine

WAIT_S = 0.05  # for events, before what operators say is looked at


class Taking(Protocol):
    """A live feed."""

    def take(self, timeout_s: float) -> list[Told]:
        """What came since it was last asked, in order; waits where that is nothing."""


def last_trades(ingestion: IngestionState) -> dict[str, LastTrade]:
    """The last trade of each symbol that a line was told: behind these its feed goes on."""
    return {
        symbol: (state.trade_id, state.trade_exchange_ns)
        for symbol, state in ingestion.symbols.items()
        if state.trade_id
    }


class LineOrder:
    """The facts of `feed` for a line whose last one was at `last_ns`, 0 where it is new.

    The line is first told of the midnights that passed while nobody listened; what came before its
    own time, by a clock that was set back, is refused.
    """

    def __init__(self, feed: Taking, last_ns: int) -> None:
        self._feed = feed
        self._last_ns = last_ns

    def take(self, timeout_s: float) -> list[Told]:
        """What came since it was last asked; waits where that is nothing.

        Raises NotThisLine where the venue has none of the line's symbols.
        """
        try:
            facts = self._feed.take(timeout_s)
        except (NotListed, Unreadable) as error:
            raise NotThisLine(str(error)) from error
        return [told for fact in facts for told in self._in_order(fact)] if self._last_ns else facts

    def _in_order(self, fact: Told) -> list[Told]:
        last_ns = self._last_ns
        if not last_ns or isinstance(fact, Rejected):
            return [fact]
        if fact.time_ns <= last_ns:
            return [_behind(fact, last_ns)]
        self._last_ns = 0  # from here on the feed's own order holds
        first_ns = (last_ns // DAY_NS + 1) * DAY_NS
        return [*(TimePassed(at_ns) for at_ns in range(first_ns, fact.time_ns, DAY_NS)), fact]


def _behind(fact: MarketEvent | TimePassed, last_ns: int) -> Rejected:
    symbol = "" if isinstance(fact, TimePassed) else fact.symbol
    detail = f"{(last_ns - fact.time_ns) / 1e9:.3f} s behind what the line has seen"
    return Rejected(last_ns, FEED, "CLOCK_BACK", symbol, detail)


class LivePart:
    """What a service's pages show of its live feed."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed = feed

    def why(self) -> str:
        """Why nothing comes; empty where the market does."""
        return self._feed.status().problem

    def document(self) -> dict[str, Any]:
        """The feed's own word of itself."""
        return {"feed": to_builtins(self._feed.status())}

    def figures(self) -> dict[str, tuple[str, float]]:
        """None without a label: those of the feed are measured by label."""
        return {}
