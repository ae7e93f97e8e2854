"""Plain clients of the market for its own tests: HTTP answers, stream listeners, a local book."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp

from tests.market.book import Book, levels
from tests.market.listing import Payload, Venue
from tests.market.server import Market

ANSWER_S = 10.0
REST: dict[Venue, str] = {"spot": "/api/v3/", "usdm": "/fapi/v1/"}
RAW: dict[Venue, str] = {"spot": "/stream/ws", "usdm": "/ws"}


@dataclass(frozen=True)
class Answer:
    """What HTTP gave."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(market: Market, path: str, body: Any = None, **query: Any) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection(market.host, market.port, timeout=ANSWER_S)
    try:
        text = None if body is None else json.dumps(body)
        address = f"{path}?{urlencode(query)}" if query else path
        connection.request("GET" if body is None else "POST", address, text)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def rest(market: Market, venue: Venue, path: str, **query: Any) -> Answer:
    """One REST request."""
    return ask(market, REST[venue] + path, **query)


@dataclass
class Listener:
    """What a stream connection has brought so far."""

    socket: aiohttp.ClientWebSocketResponse
    received: list[aiohttp.WSMessage] = field(default_factory=list)
    closed: bool = False
    error: BaseException | None = None

    async def listen(self) -> None:
        """Keep everything until the end."""
        while True:
            message = await self.socket.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self.received.append(message)
                continue
            self.error = message.data if message.type == aiohttp.WSMsgType.ERROR else None
            self.closed = True
            return

    @property
    def messages(self) -> list[Any]:
        """Every message, as JSON."""
        return [json.loads(message.data) for message in self.received]

    def events(self, name: str) -> list[Payload]:
        """The raw events of one name; `quote` is one without a name too."""
        found = [message for message in self.messages if isinstance(message, dict)]
        if name == "bookTicker":
            return [message for message in found if "B" in message]
        return [message for message in found if message.get("e") == name]

    async def until(self, seen: Callable[[], bool], what: str) -> None:
        """Wait for something to be seen."""
        deadline = asyncio.get_running_loop().time() + ANSWER_S
        while not seen():
            assert asyncio.get_running_loop().time() < deadline, f"never seen: {what}"
            await asyncio.sleep(0.005)

    async def say(self, method: str, params: list[Any], number: int = 1) -> Any:
        """Send a request and give its answer."""
        before = len(self.received)
        await self.socket.send_str(json.dumps({"method": method, "params": params, "id": number}))

        def answers() -> list[Any]:
            found = [json.loads(message.data) for message in self.received[before:]]
            return [row for row in found if isinstance(row, dict) and row.get("id") == number]

        await self.until(lambda: bool(answers()), f"the answer to {method}")
        return answers()[0]

    async def settled(self, market: Market) -> None:
        """Wait until all that the market has written is here."""
        marker = 10_000_000 + len(self.received)
        await self.say("LIST_SUBSCRIPTIONS", [], marker)


@asynccontextmanager
async def listening(market: Market, path: str, *streams: str) -> AsyncIterator[Listener]:
    """A connection, with a task that keeps what comes; subscribed to `streams`."""
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(market.ws_url + path) as socket:
            listener = Listener(socket)
            task = asyncio.create_task(listener.listen())
            try:
                if streams:
                    assert (await listener.say("SUBSCRIBE", list(streams)))["result"] is None
                yield listener
            finally:
                task.cancel()


async def step(market: Market, ticks: int) -> int:
    """Step the market without keeping this loop from reading."""
    return await asyncio.to_thread(market.step, ticks)


class Gap(Exception):
    """Depth ids do not follow on."""


@dataclass
class LocalBook:
    """A book kept by the rule that Binance documents for its market, and by nothing else."""

    venue: Venue
    book: Book = field(default_factory=Book)
    update_id: int | None = None
    first: bool = True

    def begin(self, snapshot: Payload) -> None:
        """Start with a REST snapshot."""
        self.book = Book()
        self.book.apply(levels(snapshot["bids"]), levels(snapshot["asks"]))
        self.update_id, self.first = snapshot["lastUpdateId"], True

    def take(self, event: Payload) -> bool:
        """Apply an event, or drop an old one; `Gap` where ids do not follow on."""
        assert self.update_id is not None
        old = event["u"] <= self.update_id if self.venue == "spot" else event["u"] < self.update_id
        if self.first and old:
            return False
        if not self.follows(event):
            raise Gap(f"{event['U']}..{event['u']} after {self.update_id}")
        self.book.apply(levels(event["b"]), levels(event["a"]))
        self.update_id, self.first = event["u"], False
        return True

    def follows(self, event: Payload) -> bool:
        """Whether an event is the next one."""
        assert self.update_id is not None
        if self.venue == "spot":
            wanted = self.update_id + 1
            return event["U"] <= wanted <= event["u"] if self.first else event["U"] == wanted
        spans = event["U"] <= self.update_id <= event["u"]
        return event["pu"] == self.update_id or (self.first and spans)
