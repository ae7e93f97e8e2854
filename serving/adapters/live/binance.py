"""Binance's public market data: ccxt knows the addresses and asks, our own parsers read.

Trades are asked for at `trades`, which is cheap and needs no key; what has gone from there at
`historicalTrades` by id, without a key, which not every market of Binance allows; what is still
missing at `aggTrades` by time, whose rows are mostly single trades.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from ccxt.pro.binance import binance as ccxt_binance

from hft_lib.events import Depth, Trade
from hft_lib.market.live import binance as frames
from hft_lib.market.live.items import Listing, Unreadable
from hft_lib.market.live.trades import Missing
from serving.adapters.live.asking import TIMEOUT_MS, header, place, told
from serving.adapters.live.gate import Gate
from serving.adapters.live.venue import CallRefused, Channel, Reader
from serving.runtime.settings import Settings

SPOT, LINEAR = "spot", "linear"

REST = {SPOT: "public", LINEAR: "fapiPublic"}  # as ccxt names them
# Request weights, the dearer where Binance has changed one.
WEIGHT = {
    SPOT: {
        "time": 1,
        "exchangeInfo": 20,
        "depth": 50,
        "trades": 25,
        "old": 25,
        "aggTrades": 4,
        "klines": 2,
    },
    LINEAR: {
        "time": 1,
        "exchangeInfo": 1,
        "depth": 20,
        "trades": 5,
        "old": 200,
        "aggTrades": 20,
        "klines": 5,
    },
}
BOOK_LEVELS = 1000  # the most that both markets give
TRADES_MAX = 1000  # of one answer
BARS_MAX = 1000  # of one answer
UNKNOWN_SYMBOL = "-1121"  # as Binance refuses a symbol that it does not list
PAGES_MAX = 50  # of a backfill: a longer outage costs more weight than old trades are worth


class BinanceVenue:
    """Spot and USD-margined perpetuals of Binance, or of a server that answers like it."""

    name = "binance"
    numbers_trades = True

    def __init__(self, settings: Settings, symbols: Sequence[str], gate: Gate) -> None:
        self._gate = gate
        self._client: Any = ccxt_binance(
            {
                "timeout": TIMEOUT_MS,
                "enableRateLimit": False,  # the gate's budget is shared by all processes
                "options": {"maxRetriesOnFailure": 0},
            }
        )
        if settings.exchange == "binance" and settings.binance_testnet:
            self._client.set_sandbox_mode(True)
        _rewrite(self._client.urls, settings.binance_rest_url, settings.binance_ws_url)
        self._ids: dict[str, dict[str, str]] = {SPOT: {}, LINEAR: {}}
        for symbol in symbols:
            self._ids[scope_of(symbol)][id_of(symbol)] = symbol

    @property
    def host(self) -> str:
        """Where it is, for people."""
        used = [scope for scope, ids in self._ids.items() if ids]
        return " and ".join(sorted({place(self._rest(scope)) for scope in used}))

    # --- sockets ---

    def channels(self) -> Sequence[Channel]:
        """Spot on one connection; perpetuals on two, as ccxt's addresses have them."""
        made: list[Channel] = []
        book = ("trade", "bookTicker", "depth@100ms")
        for scope, category, streams in (
            (SPOT, "public", book),
            (LINEAR, "public", book),
            (LINEAR, "market", ("markPrice@1s",)),
        ):
            if self._ids[scope]:
                made.append(self._channel(scope, category, streams, len(made) + 1))
        return made

    def _channel(self, scope: str, category: str, streams: Sequence[str], number: int) -> Channel:
        names = [f"{name.lower()}@{stream}" for name in self._ids[scope] for stream in streams]
        request = {"method": "SUBSCRIBE", "params": names, "id": number}
        return Channel(
            name=scope if scope == SPOT else f"{scope}-{category}",
            scope=scope,
            url=f"{self._client.get_ws_url(scope, category)}/{number - 1}",
            symbols=self._ids[scope],
            requests={number: msgspec.json.encode(request).decode()},
            carries_trades="trade" in streams,
            carries_depth="depth@100ms" in streams,
        )

    def reader(self, channel: Channel) -> Reader:
        """What reads the frames of a connection; they say all by themselves."""
        return lambda frame, time_ns: (frames.parse(frame, time_ns, channel.symbols),)

    # --- REST ---

    async def listings(self) -> Sequence[Listing]:
        """The terms of the symbols, a listing for each market that is used."""
        found: list[Listing] = []
        for scope, ids in self._ids.items():
            if not ids:
                continue
            try:
                found.append(await self._listing(scope, ids))
            except CallRefused as error:
                if UNKNOWN_SYMBOL not in str(error):
                    raise
                found += await self._listing_each(scope, ids)
        return found

    async def _listing_each(self, scope: str, ids: dict[str, str]) -> list[Listing]:
        """One by one: Binance refuses all where it does not know one of them."""
        found = []
        for name, symbol in ids.items():
            try:
                found.append(await self._listing(scope, {name: symbol}))
            except CallRefused as error:
                if UNKNOWN_SYMBOL not in str(error):
                    raise
        return found

    async def _listing(self, scope: str, ids: dict[str, str]) -> Listing:
        # Of spot's three thousand symbols those wanted; futures has no such parameter.
        names = msgspec.json.encode(sorted(ids)).decode()
        wanted = {"symbols": names} if scope == SPOT else {}
        answer, time_ns = await self._ask(scope, "exchangeInfo", wanted)
        listing = frames.listing(answer, time_ns, ids)
        await self._gate.note(scope, limit=listing.weight_a_minute)
        return listing

    async def snapshot(self, symbol: str) -> Depth:
        """The whole book, as far as the venue gives it."""
        asked = {"symbol": id_of(symbol), "limit": BOOK_LEVELS}
        answer, time_ns = await self._ask(scope_of(symbol), "depth", asked)
        return frames.snapshot(answer, time_ns, symbol)

    async def clock_offset_ns(self) -> int:
        """By how much the venue's clock is ahead of ours, to half the time that the answer took."""
        scope = next(scope for scope, ids in self._ids.items() if ids)
        began_ns = 0

        async def ask() -> Any:
            nonlocal began_ns
            began_ns = time.time_ns()  # a wait for weight is not part of the journey
            return await self._get(scope, "time", {})

        answer, ended_ns = await self._gate.call(scope, WEIGHT[scope]["time"], ask)
        return frames.server_time_ms(answer) * 1_000_000 - (began_ns + ended_ns) // 2

    async def trades(
        self, symbol: str, missing: Callable[[], Missing | None], since_ns: int
    ) -> AsyncIterator[list[Trade]]:
        """Trades in batches, from one source after another while `missing` says that some are."""
        scope, name = scope_of(symbol), id_of(symbol)
        asked: dict[str, Any] = {"symbol": name, "limit": TRADES_MAX}
        answer, time_ns = await self._ask(scope, "trades", asked)
        yield frames.trades(answer, time_ns, symbol)
        last = None
        for _ in range(PAGES_MAX):
            still = missing()
            if still is None or still == last:
                break
            last = still
            try:
                answer, time_ns = await self._old_trades(scope, asked | {"fromId": still.first_id})
            except CallRefused:
                break
            yield frames.trades(answer, time_ns, symbol)
        if missing() is not None and since_ns:
            around = asked | {"startTime": since_ns // 1_000_000}
            answer, time_ns = await self._ask(scope, "aggTrades", around)
            yield frames.single_trades(answer, time_ns, symbol)

    async def minutes(self, symbol: str, since_ms: int) -> list[list[float]]:
        """Up to BARS_MAX bars of a minute from `since_ms` on: open time in ms, open, high, low,
        close, volume; raises Unreadable for anything else.
        """
        asked = {"symbol": id_of(symbol), "interval": "1m", "startTime": since_ms}
        answer, _ = await self._ask(scope_of(symbol), "klines", asked | {"limit": BARS_MAX})
        return frames.bars(answer, symbol)

    async def close(self) -> None:
        """End what is open."""
        await self._client.close()

    async def _ask(self, scope: str, path: str, asked: dict[str, Any]) -> tuple[Any, int]:
        return await self._through_gate(scope, path, lambda: self._get(scope, path, asked))

    async def _old_trades(self, scope: str, asked: dict[str, Any]) -> tuple[Any, int]:
        # ccxt refuses to ask without a key; a market that wants one says so itself.
        url = f"{self._rest(scope)}/historicalTrades?{urlencode(asked)}"
        return await self._through_gate(
            scope, "old", lambda: self._told(lambda: self._client.fetch(url))
        )

    async def _through_gate(
        self, scope: str, path: str, ask: Callable[[], Awaitable[Any]]
    ) -> tuple[Any, int]:
        found = await self._gate.call(scope, WEIGHT[scope][path], ask)
        used = header(self._client, "x-mbx-used-weight-1m")
        if used is not None and used.isdecimal():
            await self._gate.note(scope, used=int(used))
        return found

    async def _get(self, scope: str, path: str, asked: dict[str, Any]) -> Any:
        ask = getattr(self._client, f"{REST[scope].lower()}_get_{path.lower()}")
        return await self._told(lambda: ask(asked))

    async def _told(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        return await told(self._client, ask)

    def _rest(self, scope: str) -> str:
        return str(self._client.urls["api"][REST[scope]])


def scope_of(symbol: str) -> str:
    """Which of Binance's markets a unified symbol is traded on."""
    return LINEAR if ":" in symbol else SPOT


def id_of(symbol: str) -> str:
    """Binance's name of a unified symbol; raises Unreadable for a contract that is not fed."""
    base, _, rest = symbol.partition("/")
    quote, colon, settle = rest.partition(":")
    if not (base and quote) or (colon and settle != quote):
        raise Unreadable("UNKNOWN_SYMBOL", f"{symbol} is no spot or USD-margined symbol", symbol)
    return f"{base}{quote}"


def _rewrite(urls: dict[str, Any], rest: str | None, socket: str | None) -> None:
    """Put the given hosts in the place of ccxt's own, paths kept."""
    api = urls["api"]
    for name, url in list(api.items()):
        if isinstance(url, str) and rest:
            api[name] = rest.rstrip("/") + urlsplit(url).path
    if socket:
        sockets = api["ws"]
        for name, url in list(sockets.items()):
            if isinstance(url, str):
                sockets[name] = socket.rstrip("/") + urlsplit(url).path
        # ccxt, and servers made for it, tell spot from futures by this.
        sockets["spot"] = socket.rstrip("/") + "/stream/ws"
