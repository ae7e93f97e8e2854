"""The page and its stream on a real server, read by real connections."""

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from serving.orchestrator import operator_page
from serving.orchestrator.document import HEADERS, document
from serving.orchestrator.operator_page import LISTENERS_MAX, OperatorPage
from serving.orchestrator.sections import sections
from serving.runtime.pages import Pages
from tests.hft_lib.backtest.report.test_report import browser
from tests.serving.orchestrator.board import HALT, Board

WAIT_S = 20.0  # far more than anything here takes


class Served:
    """A board's page on a port, and how many times it was gathered for."""

    def __init__(self) -> None:
        self.board = Board()
        self.gathered = 0
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", 0))
            port = tried.getsockname()[1]
        self.pages = Pages("orchestrator", port)
        self.page = OperatorPage(self._gather)
        self.pages.mount(self.page)
        # Its thread begins to listen in its own time: the first question is asked again.
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=WAIT_S,
            transport=httpx.HTTPTransport(retries=10),
        )

    def _gather(self) -> Any:
        self.gathered += 1
        return self.board.gathered()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.pages.open()
    yield made
    made.client.close()
    made.pages.close()


class Listener:
    """One connection to the stream."""

    def __init__(self, served: Served, world: ExitStack) -> None:
        self.answer = world.enter_context(served.client.stream("GET", "/events"))
        self._lines = self.answer.iter_lines()

    def line(self, begins: str) -> str:
        """The next line that begins so, without its begin."""
        return next(line for line in self._lines if line.startswith(begins)).removeprefix(begins)

    def event(self) -> tuple[str, dict[str, str]]:
        """The next event: its name, and what it carries."""
        return self.line("event: "), json.loads(self.line("data: "))

    def rest(self) -> list[str]:
        """All that still comes, to the stream's end."""
        return list(self._lines)


def await_that(holds: Callable[[], bool]) -> None:
    """Wait until `holds`."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def world() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_page_is_whole_without_its_stream(served: Served):
    answer = served.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "set-cookie" not in answer.headers
    for body in sections(served.board.gathered()).values():
        assert body in answer.text


def test_nothing_is_taken_but_questions(served: Served):
    for path in ("/", "/events"):
        assert served.client.post(path, json={"kill": True}).status_code == 405
        assert served.client.delete(path).status_code == 405


def test_a_listener_hears_every_section_and_then_those_that_change(
    served: Served, world: ExitStack
):
    listener = Listener(served, world)
    assert listener.answer.headers["content-type"].startswith("text/event-stream")
    assert listener.line("retry: ") == "2000"
    name, first = listener.event()
    assert (name, first) == ("sections", sections(served.board.gathered()))
    served.board.word = HALT
    name, changed = listener.event()
    assert (name, list(changed)) == ("sections", ["now"])
    assert changed == {"now": sections(served.board.gathered())["now"]}
    assert "HALTED" in changed["now"]


def test_a_quiet_line_is_heard_to_be_there(
    served: Served, world: ExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(operator_page, "BEAT_S", 0.3)
    listener = Listener(served, world)
    listener.event()
    assert listener.line(": ") == "1 listen"
    assert listener.event() == ("beat", {})


def test_many_listeners_are_gathered_for_as_one(served: Served, world: ExitStack):
    listeners = [Listener(served, world) for _ in range(LISTENERS_MAX)]
    for listener in listeners:
        listener.event()
    served.board.word = HALT
    for listener in listeners:
        listener.event()
    assert served.gathered < LISTENERS_MAX


def test_listeners_are_bounded_and_a_place_that_was_left_is_taken(served: Served, world: ExitStack):
    with ExitStack() as first:
        listeners = [Listener(served, first) for _ in range(LISTENERS_MAX)]
        assert [listener.event()[0] for listener in listeners] == ["sections"] * LISTENERS_MAX
        refused = served.client.get("/events")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
        assert refused.text == f"not now: {LISTENERS_MAX} already listen\n"
        assert served.client.get("/").status_code == 200, "the page is for everybody"
    await_that(lambda: served.page.listeners == 0)
    assert Listener(served, world).event()[0] == "sections"


class Held:
    """The page, with one more script that comes late: a browser prints what it shows once that is
    there.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self.routes: list[BaseRoute] = [Route("/held", self._held), Route("/late.js", self._late)]

    def close(self) -> None:
        """Nothing lasts."""

    async def _held(self, _request: Request) -> Response:
        now = self._served.board.gathered()
        made = document(now, sections(now))
        late = made.replace("</body>", '<script src="/late.js" async></script></body>')
        policy = HEADERS["Content-Security-Policy"].replace("script-src", "script-src 'self'")
        return HTMLResponse(late, headers={**HEADERS, "Content-Security-Policy": policy})

    async def _late(self, _request: Request) -> Response:
        while self._served.page.listeners == 0:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        self._served.board.word = HALT
        await asyncio.sleep(3.0)
        return Response("", media_type="text/javascript")


def test_a_browser_shows_a_kill_without_being_asked(served: Served, tmp_path: Path):
    served.pages.mount(Held(served))
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    options += " --disable-background-networking --disable-component-update"
    words = [browser(), *options.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    url = str(served.client.base_url.join("/held"))
    dom = subprocess.run(
        [*words, url], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert '<p class="word">HALTED</p>' in dom
    assert re.search(r'<span id="state" class="state live"[^>]*>live</span>', dom)


def test_the_end_of_the_service_ends_the_streams(served: Served, world: ExitStack):
    listeners = [Listener(served, world) for _ in range(3)]
    for listener in listeners:
        listener.event()
    served.pages.close()
    for listener in listeners:
        assert "sections" not in "".join(listener.rest()), "the stream ended whole"
    assert served.page.listeners == 0
    with pytest.raises(httpx.ConnectError):  # it ended within its bound, not at a later time
        httpx.get(str(served.client.base_url))


def test_a_listener_that_reads_nothing_is_let_go(
    served: Served, world: ExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(operator_page, "SEND_S_MAX", 0.3)
    monkeypatch.setattr(operator_page, "GATHER_EVERY_S", 0.0)
    assert served.client.get("/readyz").status_code == 503, "it answers"
    deaf = world.enter_context(socket.socket())
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((served.client.base_url.host, served.client.base_url.port))
    deaf.sendall(b"GET /events HTTP/1.1\r\nHost: here\r\n\r\n")
    await_that(lambda: served.page.listeners == 1)
    much = iter(range(10_000))

    def is_let_go() -> bool:
        served.board.where = f"{next(much)}" + "x" * 400_000  # more than the buffers on the way
        return served.page.listeners == 0

    await_that(is_let_go)
