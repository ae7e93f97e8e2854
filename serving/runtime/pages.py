"""What a service says of itself over HTTP: alive, ready and if not why, its figures, its state.

`/state`, and what is mounted, need a token where there are any (`runtime.access`).

The pages run on a thread of their own and read the worker's plain numbers; they never touch the
stage's state while it steps, but for `/state`, which copies a few counters.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from hft_lib.events import SCHEMA_VERSION
from serving.runtime.access import Access, Guard
from serving.runtime.chain import LOGIC_VERSION

STOP_S_MAX = 5
# What a start waits for while nothing of a broker is heard.
BROKER_ANSWERS = "the broker answers"


class PortTaken(Exception):
    """The pages have no port to be served on; the text is one sentence."""


class Watched(Protocol):
    """What the pages show of a worker."""

    name: str
    ready: bool
    diverged: str
    away: str
    epoch: int
    snapshot_bytes: int
    bus: Any
    host: Any
    meter: Any


class Part(Protocol):
    """What a service has beside its worker: a latch, a lease."""

    def why(self) -> str:
        """What is missing; empty where nothing is."""

    def document(self) -> dict[str, Any]:
        """What `/state` shows of it."""

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""


class Measured(Protocol):
    """What has figures by label."""

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment."""


class Mounted(Protocol):
    """A page of one service alone, with answers that last."""

    @property
    def routes(self) -> list[BaseRoute]:
        """What it answers."""

    def close(self) -> None:
        """Let what lasts end."""


class Pages:
    """The pages of one service on `port`, served until `close`."""

    def __init__(
        self,
        name: str,
        port: int,
        now_s: Callable[[], float] = time.monotonic,
        access: Access | None = None,
    ) -> None:
        self.name = name
        self._now_s = now_s
        self._began_s = now_s()
        self._ready_s: float | None = None  # when it was found ready for the first time
        self.waits_for = "the broker"
        self.refusal = ""
        self.port = port
        self._worker: Watched | None = None
        self._parts: list[Part] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # memory, processor, open files, start
        if access is not None:
            self._registry.register(access)
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/state", self._state),
        ]
        self._app = Starlette(routes=routes)
        self._closing: list[Callable[[], None]] = []
        config = uvicorn.Config(
            Guard(self._app, access),
            host="0.0.0.0",  # nosec B104: probes and scrapes come from other pods
            port=port,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who asks is who connects: anybody can write a header
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=STOP_S_MAX,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer; raises PortTaken where another process answers on the port."""
        try:
            listener = socket.create_server(("0.0.0.0", self.port))  # nosec B104: as above
        except OSError as error:
            raise PortTaken(f"port {self.port} of {self.name}: {error.strerror}") from error
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="pages", daemon=True
        )
        self._thread.start()

    def wait_for(self, what: str) -> None:
        """Say that the start waits until `what`; empty where it goes on."""
        self.waits_for = what

    def refuse(self, why: str) -> None:
        """Say that the service ends because a rule refuses it."""
        self.refusal = why

    def watch(self, worker: Watched) -> None:
        """Show `worker` from now on."""
        self._worker = worker
        self.waits_for = ""

    def add(self, part: Part) -> None:
        """Show `part` from now on."""
        self._parts.append(part)

    def measure(self, source: Measured) -> None:
        """Show the labelled figures of `source` too, from now on."""
        self._registry.register(source)

    def mount(self, page: Mounted) -> None:
        """Answer what `page` answers too, from now on."""
        self._app.router.routes.extend(page.routes)
        self._closing.append(page.close)

    def close(self) -> None:
        """End; returns when nobody is answered any more."""
        self.end()
        if self._thread is not None:
            self._thread.join(STOP_S_MAX)

    def end(self) -> None:
        """Begin to end."""
        for close in self._closing:
            close()
        self._server.should_exit = True

    @property
    def epoch(self) -> int:
        """The epoch that the service runs under; 0 where it has none."""
        return self._worker.epoch if self._worker is not None else 0

    def why_not_ready(self) -> str:
        """Empty when ready, else what is missing."""
        why = self._missing()
        if not why and self._ready_s is None:
            self._ready_s = self._now_s()
        return why

    def _missing(self) -> str:
        if self.refusal:
            return f"refused: {self.refusal}"
        worker = self._worker
        if worker is None:
            return f"waits until {self.waits_for}" if self.waits_for else "starts"
        if worker.diverged:
            return f"the log diverged: {worker.diverged}"
        if worker.away:
            return f"waits for the broker: {worker.away}"
        if not worker.ready:
            return f"catches up, {worker.bus.behind} facts behind"
        return "; ".join(why for part in self._parts if (why := part.why()))

    def _waits_for_broker(self) -> bool:
        return self.waits_for.startswith(BROKER_ANSWERS)

    # --- the pages ---

    async def _healthz(self, _request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def _readyz(self, _request: Request) -> Response:
        why = self.why_not_ready()
        return PlainTextResponse(f"{why or 'ready'}\n", status_code=503 if why else 200)

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    async def _state(self, _request: Request) -> Response:
        return JSONResponse(self.document())

    def document(self) -> dict[str, Any]:
        """What `/state` shows."""
        known: dict[str, Any] = {"service": self.name, "why_not_ready": self.why_not_ready()}
        worker = self._worker
        if worker is not None:
            known |= {
                "read": worker.host.read,
                "written": worker.host.written,
                "epoch": worker.epoch,
                "lag": dict(worker.bus.lag),
                "dead_letters": worker.bus.dead,
            }
        for part in self._parts:
            known |= part.document()
        return known

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment, as Prometheus asks for them."""
        yield GaugeMetricFamily("hft_ready", "1 while ready", 0.0 if self.why_not_ready() else 1.0)
        until_s = self._now_s() if self._ready_s is None else self._ready_s
        text = "from the start until it was found ready first, or until now"
        yield GaugeMetricFamily("hft_startup_seconds", text, until_s - self._began_s)
        versions = {"logic": str(LOGIC_VERSION), "schema": str(SCHEMA_VERSION)}
        yield InfoMetricFamily("hft_build", "what runs here", versions)
        for part in self._parts:
            for name, (text, value) in part.figures().items():
                yield GaugeMetricFamily(name, text, value)
        worker = self._worker
        away = bool(worker.away) if worker is not None else self._waits_for_broker()
        text = "1 while the broker does not answer, refuses us or lacks a topic that is read"
        yield GaugeMetricFamily("hft_broker_away", text, float(away))
        if worker is None:
            return
        bus, host = worker.bus, worker.host
        counters = {
            "hft_facts_read": ("facts of the inbox stepped on", host.read),
            "hft_facts_written": ("facts made", host.written),
            "hft_messages_seen": ("messages dropped because they were heard before", bus.seen),
            "hft_messages_fenced": ("messages dropped of an older epoch", bus.fenced),
            "hft_dead_letters": ("messages that were none of ours", bus.dead),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value)
        yield GaugeMetricFamily(
            "hft_diverged", "1 once the log diverged: nothing goes on", float(bool(worker.diverged))
        )
        yield GaugeMetricFamily("hft_grid_seconds", "between two grid points", host.grid_s)
        yield GaugeMetricFamily("hft_epoch", "the epoch it runs under", worker.epoch)
        yield GaugeMetricFamily("hft_snapshot_bytes", "size of the last", worker.snapshot_bytes)
        lag = GaugeMetricFamily("hft_lag", "messages of a log not read yet", labels=["log"])
        for log, count in dict(bus.lag).items():
            lag.add_metric([log], count)
        yield lag
        yield from worker.meter.collect()
