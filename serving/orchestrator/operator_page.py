"""The operator's read-only page over HTTP: the page, and what changes of it as server-sent events.

What is shown is gathered once a second at most, however many look, on a thread that neither steps
the stage nor answers the probes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving.orchestrator.document import HEADERS, document
from serving.orchestrator.gathering import Gathered
from serving.orchestrator.sections import sections

GATHER_EVERY_S = 1.0
LISTENERS_MAX = 16  # a desk's screens; each holds a connection and a few hundred KiB
BEAT_S = 10.0
CLOSE_S = 0.2  # how soon a stream sees that it must end
SEND_S_MAX = 15.0  # who does not read for so long is gone
RETRY_MS = 2_000
_log = structlog.get_logger(__name__)


class Rendered(NamedTuple):
    """One gathering and the sections made of it."""

    now: Gathered
    bodies: dict[str, str]


class OperatorPage:
    """The page at `/` and its stream at `/events`, over what `gather` gives, until `close`."""

    def __init__(
        self, gather: Callable[[], Gathered], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.listeners = 0
        self._gather = gather
        self._now_s = now_s
        self._closed = False
        self._rendered: Rendered | None = None
        self._rendered_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        return [Route("/", self._page), Route("/events", self._events)]

    def close(self) -> None:
        """Let every stream end, within a moment."""
        self._closed = True

    async def _latest(self) -> Rendered:
        async with self._turn:
            old = self._now_s() - self._rendered_s >= GATHER_EVERY_S
            if self._rendered is None or old:
                self._rendered = await run_in_threadpool(self._render)
                self._rendered_s = self._now_s()
            return self._rendered

    def _render(self) -> Rendered:
        now = self._gather()
        return Rendered(now, sections(now))

    async def _page(self, _request: Request) -> Response:
        latest = await self._latest()
        return HTMLResponse(document(*latest), headers=HEADERS)

    async def _events(self, _request: Request) -> Response:
        if self._closed or self.listeners >= LISTENERS_MAX:
            why = "it ends" if self._closed else f"{LISTENERS_MAX} already listen"
            again = {"Retry-After": "5", "Cache-Control": "no-store"}
            return PlainTextResponse(f"not now: {why}\n", status_code=503, headers=again)
        return _Stream(self)

    async def changes(self) -> AsyncIterator[str]:
        """The stream of one listener: every section, then those that change, and heartbeats."""
        shown: dict[str, str] = {}
        said_s = looked_s = self._now_s()
        yield f"retry: {RETRY_MS}\n\n"
        while not self._closed:
            if not shown or self._now_s() - looked_s >= GATHER_EVERY_S:
                looked_s = self._now_s()
                bodies = (await self._latest()).bodies
                changed = {name: body for name, body in bodies.items() if shown.get(name) != body}
                if changed:
                    shown, said_s = bodies, looked_s
                    yield _event("sections", changed)
            if self._now_s() - said_s >= BEAT_S:
                said_s = self._now_s()
                yield f": {self.listeners} listen\n\n" + _event("beat", {})
            await asyncio.sleep(CLOSE_S)


class _Stream(StreamingResponse):
    """The events to one listener, who counts while it lasts."""

    def __init__(self, page: OperatorPage) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(page.changes(), media_type="text/event-stream", headers=headers)
        self._page = page

    async def stream_response(self, send: Send) -> None:
        """As its base does, but a listener who stopped reading is let go."""

        async def bounded(message: Any) -> None:
            await asyncio.wait_for(send(message), SEND_S_MAX)

        await super().stream_response(bounded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a listener that goes, or reads nothing any more, is nothing to be told of."""
        self._page.listeners += 1
        try:
            await super().__call__(scope, receive, send)
        except (ClientDisconnect, TimeoutError):
            _log.debug("a listener was let go")
        finally:
            self._page.listeners -= 1


def _event(name: str, content: dict[str, str]) -> str:
    return f"event: {name}\ndata: {msgspec.json.encode(content).decode()}\n\n"
