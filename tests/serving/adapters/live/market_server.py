"""A small Binance of one symbol in two markets, with faults on demand: what the edge talks to."""

import asyncio
import contextlib
import functools
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

from tests.market.threaded import ThreadedServer

NAME = "BTCUSDT"
FILTERS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "stepSize": "0.001"},
    {"filterType": "NOTIONAL", "minNotional": "5"},
]


class Market:
    """What one market has published: its trades by id, and the ids of its book."""

    def __init__(self) -> None:
        self.trades: dict[int, dict[str, Any]] = {}
        self.update_id = 1000
        self.next_trade = 1
        self.mark_ms = 0
        self.sockets: dict[web.WebSocketResponse, list[str]] = {}


class MarketServer(ThreadedServer):
    """The server; faults are fields, read at each request and frame."""

    def __init__(self) -> None:
        super().__init__()
        self.spot, self.perp = Market(), Market()
        self.is_silent = self.refuses_sockets = self.refuses_subscribe = False
        self.refuses_old_trades = False
        self.status, self.status_of = 200, ""  # of paths that hold this
        self.retry_after: str | None = None
        self.message = "no"
        # Answers of trades: no JSON, an error, and broken off with the connection.
        self.broken_answers = self.failed_answers = self.cut_answers = 0
        self.behind = 0  # trades that are not to be had yet
        self.hangs_sockets = self.is_listed_no_more = self.hides_filters = False
        self.banned_until_s, self.wall_s, self.answers_after_s = 0.0, 1.0, 0.0
        self.violations: list[str] = []
        self.requests: list[str] = []
        self.muted: set[str] = set()
        self.stale_snapshots = 0
        self.clock_ahead_ms = 0
        self.step_size = "0.001"
        self.due_ms = 1_800_000_000_000
        self.connects = 0

    # --- the market ---

    def tick(self, market: Market, count: int = 1, skip_trade: int = 0) -> None:
        """Publish a quote, a change of the book, a mark price and a trade, `count` times.

        The last `skip_trade` trades happen but are not published.
        """
        for number in range(count):
            hides = number >= count - skip_trade
            self.do(functools.partial(self._tick, market, hides))

    async def _tick(self, market: Market, hides_trade: bool) -> None:
        market.update_id += 2
        now_ms, last = int(time.time() * 1000), market.update_id
        trade_id, market.next_trade = market.next_trade, market.next_trade + 1
        price = f"{100 + trade_id % 7}.00"
        market.trades[trade_id] = {
            "id": trade_id,
            "price": price,
            "qty": "0.5",
            "time": now_ms,
            "isBuyerMaker": False,
        }
        trade = {"e": "trade", "E": now_ms, "T": now_ms, "s": NAME, "t": trade_id, "p": price}
        trade |= {"q": "0.5", "m": False}
        quote = {"u": last, "s": NAME, "b": "99", "B": "1", "a": "101", "A": "1"}
        depth = {"e": "depthUpdate", "E": now_ms, "s": NAME, "U": last - 1, "u": last}
        depth |= {"b": [["99", str(last)]], "a": []}
        if market is self.perp:
            quote |= {"e": "bookTicker", "T": now_ms, "E": now_ms}
            depth |= {"T": now_ms, "pu": last - 2}
        market.mark_ms = max(now_ms, market.mark_ms + 1)
        mark = {"e": "markPriceUpdate", "E": market.mark_ms, "s": NAME, "p": "100", "r": "0.0001"}
        mark |= {"T": self.due_ms}
        frames = {"bookTicker": quote, "depth@100ms": depth, "markPrice@1s": mark}
        if not hides_trade:
            frames["trade"] = trade
        for stream, frame in frames.items():
            await self._publish(market, stream, json.dumps(frame))

    async def _publish(self, market: Market, stream: str, frame: str) -> None:
        if self.is_silent or stream in self.muted:
            return
        for socket, streams in list(market.sockets.items()):
            if f"{NAME.lower()}@{stream}" in streams and not socket.closed:
                with contextlib.suppress(ConnectionResetError):  # the client is leaving
                    await socket.send_str(frame)

    def send(self, market: Market, stream: str, frame: str) -> None:
        """Publish `frame` as it is."""
        self.do(lambda: self._publish(market, stream, frame))

    def drop(self) -> None:
        """End every connection."""

        async def close() -> None:
            for market in (self.spot, self.perp):
                for socket in list(market.sockets):
                    await socket.close()
                market.sockets.clear()

        self.do(close)

    # --- requests ---

    def application(self) -> web.Application:
        """Both markets' sockets and what REST tells."""
        app = web.Application(middlewares=[self._faults])
        for prefix, market in (("/api/v3", self.spot), ("/fapi/v1", self.perp)):
            for path, handler in (
                ("time", self._time),
                ("exchangeInfo", self._info),
                ("depth", self._depth),
                ("trades", self._recent),
                ("historicalTrades", self._old),
                ("aggTrades", self._sums),
            ):
                app.router.add_get(f"{prefix}/{path}", _of(handler, market))
        app.router.add_get("/stream/ws/{n}", _of(self._socket, self.spot))
        app.router.add_get("/public/ws/{n}", _of(self._socket, self.perp))
        app.router.add_get("/market/ws/{n}", _of(self._socket, self.perp))
        return app

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if time.time() < self.banned_until_s:
            self.violations.append(request.path)
        self.requests.append(request.path)
        if self.status != 200 and self.status_of in request.path:
            headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            if self.status == 403:  # of the wall before the venue
                self.status, self.banned_until_s = 200, time.time() + self.wall_s
                return web.Response(status=403, text="<html>Forbidden</html>")
            if self.status in (418, 429):
                self.banned_until_s = time.time() + float(self.retry_after or 0.0)
                self.status, status = 200, self.status  # told once, then it is a ban
                await asyncio.sleep(self.answers_after_s)
            else:
                status = self.status
            body = {"code": -1000 if status == 503 else -1003, "msg": self.message}
            return web.json_response(body, status=status, headers=headers)
        if self.failed_answers and "rades" in request.path:
            self.failed_answers -= 1
            return web.json_response({"code": -1001, "msg": "Internal error."}, status=500)
        response: web.StreamResponse = await handler(request)
        if self.broken_answers and "rades" in request.path:
            assert isinstance(response, web.Response) and response.text is not None
            self.broken_answers -= 1
            return web.Response(text=response.text[:-1], content_type="application/json")
        if self.cut_answers and "rades" in request.path:
            self.cut_answers -= 1
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n[")
            request.transport.close()
        return response

    async def _time(self, market: Market, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": int(time.time() * 1000) + self.clock_ahead_ms})

    async def _info(self, market: Market, request: web.Request) -> web.Response:
        filters = [
            item | ({"stepSize": self.step_size} if "stepSize" in item else {}) for item in FILTERS
        ]
        asked = json.loads(request.query.get("symbols", f'["{NAME}"]'))
        if self.is_listed_no_more or asked != [NAME]:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        symbols: list[Any] = [{"symbol": "ODDUSDT", "filters": None}, {"pair": "NONE"}]
        known = [] if self.hides_filters else filters
        symbols.append({"symbol": NAME, "status": "TRADING", "filters": known})
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        limits = [limit | {"limit": 6000}, {"rateLimitType": "CONNECTIONS", "limit": None}]
        return web.json_response({"symbols": symbols, "rateLimits": limits})

    async def _depth(self, market: Market, request: web.Request) -> web.Response:
        last = market.update_id
        if self.stale_snapshots:
            self.stale_snapshots -= 1
            last = 1
        return web.json_response({"lastUpdateId": last, "bids": [["99", "7"]], "asks": []})

    def _known(self, market: Market) -> list[tuple[int, dict[str, Any]]]:
        rows = sorted(market.trades.items())
        return rows[: len(rows) - self.behind]

    async def _recent(self, market: Market, request: web.Request) -> web.Response:
        rows = self._known(market)[-3:]
        return web.json_response([row for _, row in rows])

    async def _old(self, market: Market, request: web.Request) -> web.Response:
        if self.refuses_old_trades:
            return web.json_response({"code": -2014, "msg": "API-key format invalid."}, status=401)
        first = int(request.query["fromId"])
        rows = [row for number, row in self._known(market) if number >= first]
        return web.json_response(rows[: int(request.query["limit"])])

    async def _sums(self, market: Market, request: web.Request) -> web.Response:
        start_ms = int(request.query["startTime"])
        rows = [
            {"a": n, "p": row["price"], "q": row["qty"], "f": n, "l": n, "T": row["time"]}
            | {"m": row["isBuyerMaker"]}
            for n, row in self._known(market)
            if row["time"] >= start_ms
        ]
        return web.json_response(rows)

    async def _socket(self, market: Market, request: web.Request) -> web.StreamResponse:
        if self.refuses_sockets:
            return web.Response(status=503)
        self.connects += 1
        if self.hangs_sockets:
            await asyncio.sleep(3600.0)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            if self.refuses_subscribe:
                error = {"code": 2, "msg": "Invalid request"}
                await socket.send_json({"error": error, "id": asked["id"]})
                continue
            market.sockets[socket] = asked["params"]
            await socket.send_json({"result": None, "id": asked["id"]})
        market.sockets.pop(socket, None)
        return socket


def _of(handler: Any, market: Market) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        found: web.StreamResponse = await handler(market, request)
        return found

    return handle
