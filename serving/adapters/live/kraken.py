"""Kraken's public spot market data: ccxt asks at REST, our own parsers read.

Books, trades and spreads come over one connection of WebSocket version 1, whole books by
themselves, so that no snapshot is ever asked for. Trades have no ids there: after a lost connection
all since the last one are asked for by time.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from ccxt.async_support.kraken import kraken as ccxt_kraken

from hft_lib.events import Depth, Trade
from hft_lib.market.kraken_ws import KrakenParser, pair_of
from hft_lib.market.live import kraken as frames
from hft_lib.market.live.items import Listing, Unreadable
from hft_lib.market.live.trades import Missing
from serving.adapters.live.asking import TIMEOUT_MS, place, told
from serving.adapters.live.gate import Gate
from serving.adapters.live.venue import CallFailed, CallRefused, Channel, Reader
from serving.runtime.settings import Settings

SPOT = "spot"
WS_URL = "wss://ws.kraken.com"
TRADES_MAX = 1000  # of one answer
PAGES_MAX = 5  # of a backfill: a longer outage costs more requests than old trades are worth
ASKED_MAX = 3  # times, before the next attempt waits as after a failure
SINCE_BEFORE_NS = 1_000_000  # what was told already is known, what is missed is not
UNKNOWN_PAIR = "Unknown asset pair"


class KrakenVenue:
    """Kraken's spot market, or a server that answers like it."""

    name = "kraken"
    numbers_trades = False

    def __init__(self, settings: Settings, symbols: Sequence[str], gate: Gate) -> None:
        self._gate = gate
        self._symbols = {pair_of(_spot(symbol)): symbol for symbol in symbols}
        self._ws_url = settings.kraken_ws_url or WS_URL
        self._client: Any = ccxt_kraken({"timeout": TIMEOUT_MS, "enableRateLimit": False})
        if settings.kraken_rest_url is not None:
            self._client.urls["api"]["public"] = settings.kraken_rest_url.rstrip("/")
        self._parser = KrakenParser(self._symbols.values())
        self._heard: set[str] = set()

    @property
    def host(self) -> str:
        """Where it is, for people."""
        return place(self._client.urls["api"]["public"])

    def channels(self) -> Sequence[Channel]:
        """Everything on one connection."""
        return (
            Channel(
                name=SPOT,
                scope=SPOT,
                url=self._ws_url,
                symbols=self._symbols,
                requests=frames.requests(self._symbols.values()),
                carries_trades=True,
                carries_depth=True,
                overlaps=False,
            ),
        )

    def reader(self, channel: Channel) -> Reader:
        """What reads the frames of a connection; its books begin anew, their numbers go on."""
        return frames.Reader(self._parser, channel.symbols.values(), self._heard)

    # --- REST ---

    async def listings(self) -> Sequence[Listing]:
        """The terms of the symbols."""
        try:
            found = [await self._listing(self._symbols)]
        except CallRefused as error:
            if UNKNOWN_PAIR not in str(error):
                raise
            found = await self._listing_each()
        await self._gate.note(SPOT, limit=frames.REQUESTS_A_MINUTE)
        return found

    async def _listing_each(self) -> list[Listing]:
        """One by one: Kraken refuses all where it does not know one of them."""
        found = []
        for pair, symbol in self._symbols.items():
            try:
                found.append(await self._listing({pair: symbol}))
            except CallRefused as error:
                if UNKNOWN_PAIR not in str(error):
                    raise
        return found

    async def _listing(self, symbols: dict[str, str]) -> Listing:
        names = ",".join(pair.replace("/", "") for pair in symbols)
        answer, time_ns = await self._ask("assetpairs", {"pair": names})
        return frames.listing(answer, time_ns, symbols)

    async def snapshot(self, symbol: str) -> Depth:
        """Never asked for: books come whole over the stream."""
        raise CallRefused(f"the book of {symbol} comes over the stream alone")

    async def clock_offset_ns(self) -> int:
        """By how much the venue's clock is ahead of ours, to half a second: it tells seconds."""
        began_ns = 0

        async def ask() -> Any:
            nonlocal began_ns
            began_ns = time.time_ns()  # a wait for the budget is not part of the journey
            return await self._get("time", {})

        answer, ended_ns = await self._gate.call(SPOT, 1, ask)
        return frames.server_time_ns(answer) - (began_ns + ended_ns) // 2

    async def trades(
        self, symbol: str, missing: Callable[[], Missing | None], since_ns: int
    ) -> AsyncIterator[list[Trade]]:
        """All trades since the last one that was told, in one batch.

        An answer that was asked for before a connection was lost or a frame missed is too old.
        """
        for _ in range(ASKED_MAX):
            wanted = missing()
            if wanted is None:
                return
            found = await self._since(symbol, since_ns)
            if missing() == wanted:
                yield found
                return
        raise CallFailed("trades were missed again while they were asked for")

    async def _since(self, symbol: str, since_ns: int) -> list[Trade]:
        found: list[Trade] = []
        asked: dict[str, Any] = {"pair": pair_of(symbol).replace("/", ""), "count": TRADES_MAX}
        since = str(max(since_ns - SINCE_BEFORE_NS, 0))
        for _ in range(PAGES_MAX):
            answer, time_ns = await self._ask("trades", asked | {"since": since})
            page, last = frames.trades(answer, time_ns, symbol)
            found += page
            if len(page) < TRADES_MAX or last == since:
                return found
            since = last
        raise CallRefused(f"more than {len(found)} trades were missed")

    async def close(self) -> None:
        """End what is open."""
        await self._client.close()

    async def _ask(self, path: str, asked: dict[str, Any]) -> tuple[Any, int]:
        return await self._gate.call(SPOT, 1, lambda: self._get(path, asked))

    async def _get(self, path: str, asked: dict[str, Any]) -> Any:
        ask = getattr(self._client, f"public_get_{path}")
        return await told(self._client, lambda: ask(asked))


def _spot(symbol: str) -> str:
    """A spot symbol as it is; raises Unreadable for another."""
    base, _, quote = symbol.partition("/")
    if not (base and quote) or ":" in quote:
        raise Unreadable("UNKNOWN_SYMBOL", f"{symbol} is no spot symbol", symbol)
    return symbol
