"""The WebSocket side: paths, subscriptions and their answers, pings, the limits of a connection."""

import asyncio
import time
from collections import deque
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tests.market.connections import Connection
from tests.market.exchange import Exchange
from tests.market.listing import Venue

MESSAGES_PER_S: dict[Venue, int] = {"spot": 5, "usdm": 10}
STREAMS_MAX: dict[Venue, int] = {"spot": 1024, "usdm": 200}
CONNECTIONS_MAX, CONNECTIONS_WINDOW_S = 300, 300.0
PING_S: dict[Venue, float] = {"spot": 20.0, "usdm": 180.0}
PONG_S: dict[Venue, float] = {"spot": 60.0, "usdm": 600.0}
POLICY_VIOLATION = 1008
CATEGORIES = ("public", "market", "private", "fapi")


def placed(path: str) -> tuple[Venue, bool, list[str]]:
    """Market, whether messages are wrapped, and the streams that a path names.

    On one address `/stream…` is spot, as ccxt tells the two apart by it, and `/ws…` and whatever
    begins with a category is USDⓈ-M.
    """
    parts = [part for part in path.split("/") if part]
    venue: Venue = "spot" if parts and parts[0] == "stream" else "usdm"
    if parts and parts[0] in CATEGORIES:
        parts = parts[1:]
    combined = parts == ["stream"]
    named = [part for part in parts if "@" in part or part.startswith("!")]
    return venue, combined, named


class Streams:
    """The WebSocket endpoint of both markets."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.ping_s = dict(PING_S)
        self.pong_s = dict(PONG_S)
        self.opened: deque[float] = deque()

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection to its end."""
        venue, combined, streams = placed(request.path)
        if refused := self.refused(venue, request):
            return refused
        if query := request.query.get("streams"):
            combined, streams = True, streams + query.split("/")
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 16)
        await socket.prepare(request)
        assert request.transport is not None
        transport: Any = request.transport
        connection = Connection(socket, transport, venue, str(request.remote), combined)
        self.exchange.connections.add(connection)
        self.exchange.subscribe(connection, [stream for stream in streams if stream])
        tasks = [
            asyncio.create_task(connection.write_all()),
            asyncio.create_task(self.ping(connection)),
        ]
        try:
            await self.read_all(connection)
        finally:
            self.exchange.leave(connection)
            for task in tasks:
                task.cancel()
        return socket

    def refused(self, venue: Venue, request: web.Request) -> web.Response | None:
        """The answer to a handshake that is not let through."""
        if self.exchange.named("maintenance", venue):
            return web.Response(status=503, text="Service Unavailable")
        for fault in self.exchange.named("refuse_stream", venue):
            if fault.strikes():
                status = int(fault.options.get("status", 403))
                return web.Response(status=status, text="refused")
        now_s = time.monotonic()
        while self.opened and self.opened[0] < now_s - CONNECTIONS_WINDOW_S:
            self.opened.popleft()
        self.opened.append(now_s)
        if len(self.opened) > CONNECTIONS_MAX:
            address = str(request.remote)
            self.exchange.budget.violated("too many connections", venue, address, request.path)
            return web.Response(status=429, text="too many connections")
        return None

    async def ping(self, connection: Connection) -> None:
        """Ping now and then, and end a connection that does not answer."""
        venue = connection.venue
        while True:
            await asyncio.sleep(self.ping_s[venue])
            if self.exchange.named("silence", venue):
                continue
            silent_s = connection.pinged_s - connection.ponged_s
            if silent_s > 0 and time.monotonic() - connection.ponged_s > self.pong_s[venue]:
                await connection.close(POLICY_VIOLATION, "Pong timeout")
                return
            connection.offer(None)

    async def read_all(self, connection: Connection) -> None:
        """Answer what the client says until it, or the connection, ends."""
        times: deque[float] = deque()
        async for message in connection.socket:
            now_s = time.monotonic()
            times.append(now_s)
            while times[0] < now_s - 1:
                times.popleft()
            if len(times) > MESSAGES_PER_S[connection.venue]:
                self.exchange.budget.violated(
                    "too many messages", connection.venue, connection.address, str(message.data)
                )
                await connection.close(POLICY_VIOLATION, "Too many requests")
                return
            if message.type == WSMsgType.PONG:
                connection.ponged_s = now_s
            elif message.type == WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                self.answer(connection, message.data)

    def answer(self, connection: Connection, text: str) -> None:
        """Answer one message."""
        try:
            asked = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            self.reply(connection, None, error={"code": 3, "msg": f"Invalid JSON: {error}"})
            return
        number = asked.get("id") if isinstance(asked, dict) else None
        if problem := malformed(asked):
            self.reply(connection, number, error={"code": 2, "msg": f"Invalid request: {problem}"})
            return
        method, params = asked["method"], asked.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            self.reply(connection, number, sorted(connection.streams))
        elif method == "GET_PROPERTY":
            self.reply(connection, number, connection.combined)
        elif method == "SET_PROPERTY":
            connection.combined = bool(params[1])
            self.reply(connection, number)
        elif method == "UNSUBSCRIBE":
            self.exchange.unsubscribe(connection, params)
            self.reply(connection, number)
        else:
            self.subscribe(connection, number, params)

    def subscribe(self, connection: Connection, number: Any, streams: list[str]) -> None:
        """Subscribe, or refuse it."""
        for fault in self.exchange.named("refuse_subscribe", connection.venue):
            if fault.strikes():
                if fault.options.get("answer", True):
                    error = {"code": 2, "msg": "Invalid request: subscription refused"}
                    self.reply(connection, number, error=error)
                return
        if len(connection.streams | set(streams)) > STREAMS_MAX[connection.venue]:
            self.exchange.budget.violated(
                "too many streams", connection.venue, connection.address, str(len(streams))
            )
            self.reply(connection, number, error={"code": 2, "msg": "Invalid request: too many"})
            return
        self.exchange.subscribe(connection, streams)
        self.reply(connection, number)

    def reply(
        self, connection: Connection, number: Any, result: Any = None, error: Any = None
    ) -> None:
        """Queue the answer to a message of this id."""
        told = {"error": error, "id": number} if error else {"result": result, "id": number}
        connection.offer(msgspec.json.encode(told))


METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


def malformed(asked: Any) -> str | None:
    """What is wrong with a message of the client."""
    if not isinstance(asked, dict):
        return "an object is wanted"
    if asked.get("method") not in METHODS:
        return f"unknown variant {asked.get('method')}"
    params = asked.get("params", [])
    if not isinstance(params, list):
        return "params must be a list"
    if asked["method"] in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not params or not all(isinstance(stream, str) for stream in params):
            return "params must name streams"
    if asked["method"] == "SET_PROPERTY" and len(params) != 2:
        return "a property and its value are wanted"
    return None
