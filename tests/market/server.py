"""The market as an object: a server in a thread, driven by a source, controlled from outside."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from aiohttp import web

from tests.market.connections import Connection
from tests.market.control import Control
from tests.market.exchange import Exchange
from tests.market.faults import Fault
from tests.market.listing import Payload
from tests.market.rest import Rest
from tests.market.scenarios import begin, catalogue, end
from tests.market.streams import Streams
from tests.market.ticks import Source, Tick

T = TypeVar("T")

# Between two ticks the market looks this often at what else is due.
LOOK_S = 0.02
# So many ticks at a time without letting others run.
BURST = 100
ANSWER_S = 30.0
FAULT_FIELDS = ("name", "venue", "symbol", "kinds", "rate", "count", "for_s", "seed")


class Market:
    """A Binance-compatible exchange for market data on one address.

    `pace` is how much faster than its own time the source is played, None as fast as it goes;
    `stepwise` publishes nothing but what `step` asks for. Use it as a context manager, or call
    `start` and `stop`; every other method may be called from any thread meanwhile.
    """

    def __init__(
        self,
        source: Source,
        *,
        pace: float | None = 1.0,
        stepwise: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        control_port: int = 0,
        keyless_history: bool = False,
    ) -> None:
        self.exchange = Exchange(source)
        self.source, self.pace, self.stepwise = source, pace, stepwise
        self.host, self.port, self.control_port = host, port, control_port
        self.streams = Streams(self.exchange)
        self.rest = Rest(self.exchange, keyless_history)
        self.history: list[Fault] = []
        self.ended = False
        self.held: socket.socket | None = None
        self.failure: BaseException | None = None
        self.closing: set[asyncio.Task[None]] = set()
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, name="market", daemon=True)

    # What other threads call.

    def start(self) -> "Market":
        """Serve, once every instrument has its book."""
        self.thread.start()
        self.up.wait(ANSWER_S)
        if self.failure is not None:
            raise self.failure
        assert self.up.is_set(), "the market did not come up"
        return self

    def stop(self) -> None:
        """End it."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopping.set)
            self.thread.join(ANSWER_S)
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> "Market":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def rest_url(self) -> str:
        """The base address of REST: `BINANCE_REST_URL`."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """The base address of streams: `BINANCE_WS_URL`."""
        return f"ws://{self.host}:{self.port}"

    @property
    def control_url(self) -> str:
        """The control page's address, open also while connections are refused."""
        return f"http://{self.host}:{self.control_port}/control"

    def ask(self, question: Callable[[Exchange], T]) -> T:
        """Answer a question about the exchange, between two of its events."""

        async def answer() -> T:
            return question(self.exchange)

        return self.wait(answer())

    def inject(self, name: str, **asked: Any) -> int:
        """Begin a fault and give its number; see `scenarios.catalogue`.

        `venue`, `symbol`, `kinds`, `rate`, `count`, `for_s`, `seed` aim it; the rest is its own.
        """
        return self.ask(lambda _: self.inject_now({"name": name, **asked}))

    def clear(self, number: int | None = None) -> None:
        """End the fault of this number, or all."""
        self.ask(lambda _: self.clear_now(number))

    def plan(self, entries: list[Payload]) -> None:
        """Begin faults later: each entry is what `inject` takes, and `at_s` from now."""
        self.ask(lambda _: self.plan_now(entries))

    def step(self, ticks: int = 1) -> int:
        """Publish so many ticks and wait until they are written; how many there were."""
        return self.wait(self.step_now(ticks))

    def hits(self, number: int) -> int:
        """How often a fault has struck."""
        return self.ask(lambda _: self.history[number].hits)

    def time_of_source(self) -> int:
        """How far the source has come, in nanoseconds since it began."""
        return self.ask(lambda _: self.time_ns)

    def violations(self) -> list[Payload]:
        """What clients did against the rules."""
        return self.ask(lambda exchange: list(exchange.budget.violations))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_S)

    # What runs on the server's loop.

    def run(self) -> None:
        """The thread: serve until told to stop."""
        try:
            asyncio.run(self.serve())
        except BaseException as error:  # noqa: B036 - told to whoever waits for the thread
            self.failure = error
            self.up.set()

    async def serve(self) -> None:
        """Listen, play the source, end."""
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        self.ticks = self.source.ticks()
        self.time_ns = self.open(self.ticks)
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        self.handler: Any = runner.server
        await self.listen()
        control = await self.loop.create_server(self.handler, self.host, self.control_port)
        self.control_port = control.sockets[0].getsockname()[1]
        self.up.set()
        player = asyncio.create_task(self.play())
        stopped = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait({player, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for connection in list(self.exchange.connections):
            connection.abort()
        control.close()
        self.server.close()
        if self.held is not None:
            self.held.close()
        await runner.cleanup()
        player.cancel()
        if player in done:
            player.result()

    def app(self) -> web.Application:
        """Everything on one address."""
        app = web.Application()
        app.add_routes(Control(self).routes())
        app.router.add_get("/api/v3/{path:.+}", self.rest.spot)
        app.router.add_get("/fapi/v1/{path:.+}", self.rest.perpetual)
        app.router.add_get("/{path:.+}", self.streams.accept)
        return app

    async def listen(self) -> None:
        """Listen, at the port that is held where one is."""
        held = self.held or bound(self.host, self.port)
        self.server, self.held = await self.loop.create_server(self.handler, sock=held), None
        self.port = self.server.sockets[0].getsockname()[1]

    def open(self, ticks: Iterator[Tick]) -> int:
        """Publish what comes until every instrument has its book; the time it is then."""
        waiting = set(self.exchange.instruments)
        for tick in ticks:
            self.exchange.take(tick)
            waiting -= {tick.key} if tick.kind == "snapshot" else set()
            if not waiting:
                self.exchange.open()
                return tick.time_ns
        raise ValueError(f"the source brings no snapshot of {sorted(waiting)}")

    async def play(self) -> None:
        """Publish the source at its pace, then let time go on without it."""
        if self.stepwise:
            await self.stopping.wait()
            return
        start_s, start_ns, pace = self.loop.time(), self.time_ns, self.pace
        for count, tick in enumerate(self.ticks):
            while pace is not None:
                now_ns = start_ns + round((self.loop.time() - start_s) * pace * 1e9)
                if now_ns >= tick.time_ns:
                    break
                self.exchange.advance(now_ns)
                await asyncio.sleep(min(LOOK_S, (tick.time_ns - now_ns) / pace / 1e9))
            self.exchange.take(tick)
            self.time_ns = tick.time_ns
            if count % BURST == 0:
                await asyncio.sleep(0)
        self.ended = True
        while True:
            await asyncio.sleep(LOOK_S)
            self.time_ns += round(LOOK_S * (pace or 1.0) * 1e9)
            self.exchange.advance(self.time_ns)

    async def step_now(self, ticks: int) -> int:
        """Publish so many ticks and wait until they are written."""
        count = 0
        for count, tick in enumerate(self.ticks, 1):
            self.exchange.take(tick)
            self.time_ns = tick.time_ns
            if count >= ticks:
                break
            if count % BURST == 0:
                await asyncio.sleep(0)
        for connection in tuple(self.exchange.connections):
            while not connection.idle() and connection in self.exchange.connections:
                await asyncio.sleep(0.001)
        return count

    def inject_now(self, asked: Payload) -> int:
        """Begin a fault and give its number."""
        known = {name: asked[name] for name in FAULT_FIELDS if name in asked}
        if "kinds" in known:
            known["kinds"] = tuple(known["kinds"])
        others = {name: value for name, value in asked.items() if name not in FAULT_FIELDS}
        fault = Fault(**known, options=others, number=len(self.history))
        begin(self, fault)
        self.history.append(fault)
        if not fault.over:
            self.exchange.faults.append(fault)
            if fault.for_s is not None:
                self.loop.call_later(fault.for_s, self.clear_now, fault.number)
        return fault.number

    def clear_now(self, number: int | None) -> None:
        """End a fault, or all."""
        for fault in list(self.exchange.faults):
            if number is None or fault.number == number:
                end(self, fault)
                self.exchange.faults.remove(fault)

    def plan_now(self, entries: list[Payload]) -> None:
        """Begin faults later, each at its `at_s` from now."""
        if unknown := [entry["name"] for entry in entries if entry["name"] not in catalogue()]:
            raise ValueError(f"no fault is named {', '.join(unknown)}")
        for entry in entries:
            asked = {name: value for name, value in entry.items() if name != "at_s"}
            self.loop.call_later(float(entry["at_s"]), self.inject_now, asked)

    def refuse(self) -> None:
        """Stop listening; the port is held, so that nobody else takes it meanwhile."""
        if self.held is None:
            self.server.close()
            self.held = bound(self.host, self.port)

    def listen_again(self) -> None:
        """Listen at the same address again."""
        self.keep(asyncio.create_task(self.listen()))

    def close_soon(self, connection: Connection, code: int, reason: str) -> None:
        """Close a connection as the protocol has it."""

        async def close() -> None:
            with suppress(ConnectionError):
                # What was offered before is still to be read.
                await asyncio.sleep(0)
                while not connection.idle() and connection in self.exchange.connections:
                    await asyncio.sleep(0.001)
                await connection.close(code, reason)

        self.keep(asyncio.create_task(close()))

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done; the loop itself holds tasks weakly."""
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)


def bound(host: str, port: int) -> socket.socket:
    """A socket that has an address and does not listen yet: who connects is refused."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held
