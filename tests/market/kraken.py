"""A small Kraken for market data: WebSocket version 1 and REST on one address, faults on demand.

It keeps its books by itself, as texts, and makes their checksums from them: what a client shows is
compared with what is here. It moves by chance, a tick when it is told to; recorded frames can be
played instead.
"""

import asyncio
import contextlib
import json
import time
import zlib
from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Any

from aiohttp import WSMsgType, web

from tests.market.threaded import ThreadedServer

DEPTH = 100
Row = list[str]  # price, volume, time


def now_text() -> str:
    """The exchange's time as it writes it."""
    return f"{time.time():.6f}"


class Pair:
    """One pair: its book by price as text, its trades in order."""

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.sides: tuple[dict[float, Row], dict[float, Row]] = ({}, {})  # asks, bids
        self.trades: list[tuple[str, str, str, str]] = []
        self.status = "online"

    def put(self, side: int, row: Row) -> None:
        """Set, change or remove a level."""
        if float(row[1]):
            self.sides[side][float(row[0])] = row[:3]
        else:
            self.sides[side].pop(float(row[0]), None)
        if len(self.sides[side]) > self.depth:
            del self.sides[side][float(self.rows(side)[-1][0])]

    def rows(self, side: int) -> list[Row]:
        """The levels of a side, best first."""
        return [row for _, row in sorted(self.sides[side].items(), reverse=side == 1)]

    def checksum(self) -> str:
        """As Kraken's guide says it: asks, then bids, points and leading zeros away."""
        text = ""
        for row in self.rows(0)[:10] + self.rows(1)[:10]:
            text += str(int(row[0].replace(".", ""))) + str(int(row[1].replace(".", "")))
        return str(zlib.crc32(text.encode()))

    def top(self) -> tuple[float, float, float, float]:
        """Bid, its size, ask, its size."""
        bid, ask = self.rows(1)[0], self.rows(0)[0]
        return float(bid[0]), float(bid[1]), float(ask[0]), float(ask[1])


class KrakenServer(ThreadedServer):
    """The server; faults are fields, read at each frame and request."""

    def __init__(
        self, names: Iterable[str] = ("XBT/USD", "ETH/USD"), seed: int = 1, depth: int = DEPTH
    ) -> None:
        super().__init__()
        self.pairs = {name: Pair(name, depth) for name in names}
        self.random = Random(seed)
        self.is_silent = self.refuses_sockets = self.refuses_subscribe = False
        self.hides_wholes = False
        self.ends_early = 0  # connections that end before all is agreed to
        self.wrong_checksums = self.corrupt = self.repeated = self.swallowed = 0
        self.error = ""
        self.clock_ahead_s = 0.0
        self.last_trades = 0  # that a subscription begins with
        self.connects = 0
        self.asked: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self._sockets: dict[web.WebSocketResponse, set[tuple[str, str]]] = {}
        for pair in self.pairs.values():
            self._begin(pair)

    # --- the market ---

    def _begin(self, pair: Pair) -> None:
        for level in range(12):
            for side, sign in ((0, 1), (1, -1)):
                pair.put(side, [f"{1000.5 + sign * (0.5 + level):.1f}", "1.00000000", now_text()])

    def tick(self, name: str, trades: int = 1) -> None:
        """Change the book of a pair by chance and trade on it."""
        self.do(lambda: self._tick(self.pairs[name], trades))

    async def _tick(self, pair: Pair, trades: int) -> None:
        side = self.random.randrange(2)
        best = Decimal(pair.rows(side)[0][0])
        away = Decimal(self.random.randrange(-4, 12)) / 2
        price = best + away if side == 0 else best - away
        bid, ask = (Decimal(text) for text in (pair.rows(1)[0][0], pair.rows(0)[0][0]))
        removes = self.random.random() < 0.4 and len(pair.sides[side]) > 11
        size = "0.00000000" if removes else f"{self.random.uniform(0.1, 9.0):.8f}"
        price = best if removes else price
        if removes or (price > bid if side == 0 else price < ask):
            await self._change(pair, side, [f"{price:.1f}", size, now_text()])
        for _ in range(trades):
            await self._trade(pair)

    def play(self, frame: list[Any]) -> None:
        """Take a recorded book frame; a change is told as it was recorded."""
        pair, parts = self.pairs[frame[-1]], frame[1:-2]
        if "as" in parts[0]:
            for side, rows in enumerate((parts[0]["as"], parts[0]["bs"])):
                pair.sides[side].clear()
                for row in rows:
                    pair.put(side, row)
            return
        for part in parts:
            for row in part.get("a", []):
                pair.put(0, row)
            for row in part.get("b", []):
                pair.put(1, row)
        assert parts[-1]["c"] == pair.checksum(), "what was recorded has another checksum"
        self.do(lambda: self._publish(pair.name, "book", parts))

    async def _change(self, pair: Pair, side: int, row: Row) -> None:
        """Change a level, tell it with the checksum of the book, and the spread after it."""
        pair.put(side, row)
        told = pair.checksum()
        if self.wrong_checksums:
            self.wrong_checksums -= 1
            told = str(int(told) ^ 1)
        await self._publish(pair.name, "book", [{"ab"[side]: [row], "c": told}])
        bid, bid_size, ask, ask_size = pair.top()
        spread = [f"{bid:.5f}", f"{ask:.5f}", row[2], f"{bid_size:.8f}", f"{ask_size:.8f}"]
        await self._publish(pair.name, "spread", [spread])

    async def _trade(self, pair: Pair) -> None:
        bid, _, ask, _ = pair.top()
        side = self.random.choice("bs")
        row = (f"{ask if side == 'b' else bid:.5f}", f"{self.random.uniform(0.1, 2.0):.8f}")
        pair.trades.append((*row, now_text(), side))
        await self._publish(pair.name, "trade", [[[*pair.trades[-1], "m", ""]]])

    async def _publish(self, name: str, channel: str, parts: list[Any]) -> None:
        if self.is_silent:
            return
        written = f"book-{self.pairs[name].depth}" if channel == "book" else channel
        frame = json.dumps([42, *parts, written, name])
        if self.swallowed and channel == "book":
            self.swallowed -= 1
            return
        if self.corrupt:
            self.corrupt -= 1
            frame = frame[: len(frame) // 2]
        times = 1
        if self.repeated and channel == "trade":
            self.repeated -= 1
            times = 2
        for socket, channels in list(self._sockets.items()):
            if (name, channel) in channels and not socket.closed:
                for _ in range(times):
                    with contextlib.suppress(ConnectionResetError):  # the client is leaving
                        await socket.send_str(frame)

    def say(self, message: dict[str, Any]) -> None:
        """Send `message` to everybody."""

        async def send() -> None:
            for socket in list(self._sockets):
                await socket.send_json(message)

        self.do(send)

    def drop(self) -> None:
        """End every connection."""

        async def close() -> None:
            ending = list(self._sockets)
            self._sockets.clear()  # who connects meanwhile stays
            for socket in ending:
                await socket.close()

        self.do(close)

    # --- requests ---

    def application(self) -> web.Application:
        """Its socket and what REST tells."""
        app = web.Application()
        app.router.add_get("/", self._socket)
        for name in ("Time", "AssetPairs", "Trades"):
            app.router.add_get(f"/0/public/{name}", self._rest)
        return app

    async def _rest(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        self.requests.append(name)
        if self.error:
            return web.json_response({"error": [self.error]})
        pairs = {pair.name.replace("/", ""): pair for pair in self.pairs.values()}
        asked = [one for one in request.query.get("pair", "").split(",") if one]
        if any(one not in pairs for one in asked):
            return web.json_response({"error": ["EQuery:Unknown asset pair"]})
        answers = {"Time": self._time, "AssetPairs": self._listed, "Trades": self._past}
        result = answers[name]([pairs[one] for one in asked], request)
        return web.json_response({"error": [], "result": result})

    def _time(self, pairs: list[Pair], request: web.Request) -> dict[str, Any]:
        return {"unixtime": int(time.time() + self.clock_ahead_s), "rfc1123": ""}

    def _listed(self, pairs: list[Pair], request: web.Request) -> dict[str, Any]:
        return {
            f"X{pair.name.replace('/', 'Z')}": {
                "altname": pair.name.replace("/", ""),
                "wsname": pair.name,
                "pair_decimals": 1,
                "lot_decimals": 8,
                "tick_size": "0.1",
                "ordermin": "0.0001",
                "costmin": "0.5",
                "status": pair.status,
                "fees": [[0, 0.4], [10000, 0.35]],
                "fees_maker": [[0, 0.25], [10000, 0.2]],
            }
            for pair in pairs
        }

    def _past(self, pairs: list[Pair], request: web.Request) -> dict[str, Any]:
        since_ns = int(request.query["since"])
        rows = [
            (price, size, float(at), side, "m", "", number)
            for number, (price, size, at, side) in enumerate(pairs[0].trades, 1)
            if int(at.replace(".", "")) * 1000 > since_ns
        ][: int(request.query["count"])]
        last_ns = round(float(rows[-1][2]) * 1e6) * 1000 if rows else since_ns
        return {pairs[0].name: rows, "last": str(last_ns)}

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.refuses_sockets:
            return web.Response(status=503)
        self.connects += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {"connectionID": 1, "event": "systemStatus", "status": "online", "version": "1.9.6"}
        )
        self._sockets[socket] = set()
        beat = asyncio.create_task(self._beat(socket))
        with contextlib.suppress(ConnectionResetError):  # the client is leaving
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                await self._answer(socket, json.loads(message.data))
        beat.cancel()
        self._sockets.pop(socket, None)
        return socket

    async def _beat(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await asyncio.sleep(0.2)
            if not self.is_silent:
                with contextlib.suppress(ConnectionResetError):  # the client is leaving
                    await socket.send_json({"event": "heartbeat"})

    async def _answer(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        self.asked.append(asked)
        if socket not in self._sockets:
            return  # what was asked of a connection that is being ended
        if self.ends_early and len(self._sockets[socket]) == 3 * len(self.pairs) - 1:
            self.ends_early -= 1
            await self._trade(next(iter(self.pairs.values())))
            await socket.close()
            return
        channel, name = asked["subscription"]["name"], asked["pair"][0]
        said = {"event": "subscriptionStatus", "pair": name, "reqid": asked["reqid"]}
        said["subscription"] = asked["subscription"]
        if self.refuses_subscribe or name not in self.pairs:
            said |= {"status": "error", "errorMessage": "Currency pair not supported"}
            await socket.send_json(said)
            return
        if asked["event"] == "unsubscribe":
            self._sockets[socket].discard((name, channel))
            await socket.send_json(said | {"status": "unsubscribed"})
            return
        await socket.send_json(said | {"status": "subscribed", "channelID": 42})
        self._sockets[socket].add((name, channel))
        await self._first(socket, self.pairs[name], channel)

    async def _first(self, socket: web.WebSocketResponse, pair: Pair, channel: str) -> None:
        if channel == "book" and not self.hides_wholes:
            whole = {"as": pair.rows(0), "bs": pair.rows(1)}
            await socket.send_json([42, whole, f"book-{pair.depth}", pair.name])
        elif channel == "trade" and self.last_trades and pair.trades:
            rows = [[*row, "m", ""] for row in pair.trades[-self.last_trades :]]
            await socket.send_json([42, rows, "trade", pair.name])
