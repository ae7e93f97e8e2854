"""Who may see a service's pages, asked over HTTP as programs and browsers do."""

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from structlog.testing import capture_logs

from serving.runtime import access as accesses
from serving.runtime.access import (
    ADDRESSES_MAX,
    ALLOWED,
    FAILURES_MAX,
    FORBIDDEN,
    LIMITED,
    WINDOW_S,
    WRONG,
    Access,
    Role,
    access_of,
)
from serving.runtime.pages import Pages
from serving.runtime.settings import SettingsError, load_settings
from tests.serving.runtime.test_settings import OPERATOR, VIEWER

ROOT = Path(__file__).resolve().parents[3]
TOKENS = {Role.VIEWER: VIEWER, Role.OPERATOR: OPERATOR}
OTHER = hashlib.sha256(b"somebody else").hexdigest()


def bearer(token: str) -> dict[str, str]:
    """What a program sends."""
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, name: str = "ada") -> dict[str, str]:
    """What a browser sends."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}"}


class Mounted:
    """A page that is an operator's, and one that is anybody's who has a token."""

    @property
    def routes(self) -> list[BaseRoute]:
        """Both."""

        async def page(_request: Any) -> PlainTextResponse:
            return PlainTextResponse("seen\n")

        return [Route("/", page), Route("/audit", page)]

    def close(self) -> None:
        """Nothing lasts."""


class Served:
    """Pages behind an access whose clock stands, and a client."""

    def __init__(self, access: Access | None) -> None:
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", 0))
            port = tried.getsockname()[1]
        self.pages = Pages("orchestrator", port, access=access)
        self.pages.mount(Mounted())
        # Its thread begins to listen in its own time: the first question is asked again.
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=10)
        )

    def status(self, path: str, headers: dict[str, str] | None = None) -> int:
        """How a question is answered."""
        return self.client.get(path, headers=headers).status_code


def opened(access: Access | None) -> Iterator[Served]:
    """Pages while a test runs."""
    made = Served(access)
    made.pages.open()
    yield made
    made.client.close()
    made.pages.close()


@pytest.fixture
def served() -> Iterator[Served]:
    yield from opened(Access(TOKENS, lambda: 50.0))


@pytest.fixture
def in_the_open() -> Iterator[Served]:
    yield from opened(None)


# --- who sees what ---


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_prometheus_need_no_token(served: Served, path: str):
    assert served.status(path) in (200, 503)


@pytest.mark.parametrize("path", ["/state", "/", "/audit", "/events", "/nothing", "//healthz"])
def test_whatever_else_there_is_or_is_not_needs_one(served: Served, path: str):
    answer = served.client.get(path)
    assert answer.status_code == 401
    asked = answer.headers.get_list("www-authenticate")
    assert asked == ['Basic realm="hft", charset="UTF-8"', 'Bearer realm="hft"']


@pytest.mark.parametrize("form", [bearer, basic])
@pytest.mark.parametrize("token", [VIEWER, OPERATOR])
def test_both_roles_see_the_page_and_the_state(served: Served, form: Any, token: str):
    assert served.status("/", form(token)) == served.status("/state", form(token)) == 200


def test_an_operators_page_is_none_of_a_viewers(served: Served):
    assert served.status("/audit", bearer(VIEWER)) == 403
    assert served.status("/audit", bearer(OPERATOR)) == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {OTHER}",
        f"Bearer {VIEWER[:-1]}",
        f"Bearer {VIEWER}0",
        f"Bearer {VIEWER.upper()}",
        f"Token {VIEWER}",
        VIEWER,
        "Basic ",
        "Basic ####",
        f"Basic {VIEWER}",
        f"Basic {base64.b64encode(VIEWER.encode()).decode()}",
        f"Basic {base64.b64encode(f'{VIEWER}:'.encode()).decode()}",
        f"Basic {base64.b64encode(f'ada:{OTHER}'.encode()).decode()}",
        "Bearer caf\xe9",
    ],
)
def test_what_is_no_token_of_ours_opens_nothing(served: Served, header: str):
    request = served.client.build_request("GET", "/state")
    request.headers.raw.append((b"Authorization", header.encode("latin-1")))
    assert served.client.send(request).status_code == 401


def test_without_tokens_the_pages_are_open(in_the_open: Served):
    assert in_the_open.status("/state") == in_the_open.status("/") == 200
    assert "hft_page_access" not in in_the_open.client.get("/metrics").text


def test_every_answer_lets_a_browser_do_little(served: Served):
    for path in ("/healthz", "/state", "/metrics"):
        headers = served.client.get(path, headers=bearer(VIEWER)).headers
        assert {name: headers[name] for name in accesses.HEADERS} == accesses.HEADERS
        assert "server" not in headers


# --- guessing ---


def test_an_address_that_guesses_is_not_listened_to_for_a_while(served: Served):
    for _ in range(FAILURES_MAX):
        assert served.status("/state", bearer(OTHER)) == 401
    for headers in (bearer(OTHER), bearer(OPERATOR), basic(VIEWER)):
        answer = served.client.get("/state", headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, str(int(WINDOW_S)))
    assert served.status("/healthz") == 200, "a probe guesses nothing"


def test_a_header_that_anybody_can_write_makes_no_other_address(served: Served):
    for number in range(FAILURES_MAX):
        headers = {**bearer(OTHER), "X-Forwarded-For": f"192.0.2.{number}"}
        assert served.status("/state", headers) == 401
    assert served.status("/state", {**bearer(OTHER), "X-Forwarded-For": "192.0.2.99"}) == 429


def test_a_question_without_a_token_is_no_guess(served: Served):
    for _ in range(FAILURES_MAX + 1):
        assert served.status("/state") == 401
    assert served.status("/state", bearer(VIEWER)) == 200


def test_the_window_ends_and_others_are_heard_meanwhile():
    now_s = [0.0]
    access = Access(TOKENS, lambda: now_s[0])
    for _ in range(FAILURES_MAX):
        assert access.judge("192.0.2.1", f"Bearer {OTHER}", Role.VIEWER) == WRONG
    assert access.judge("192.0.2.1", f"Bearer {VIEWER}", Role.VIEWER) == LIMITED
    assert access.judge("192.0.2.2", f"Bearer {VIEWER}", Role.VIEWER) == ALLOWED
    now_s[0] = WINDOW_S - 0.5
    assert access.judge("192.0.2.1", f"Bearer {VIEWER}", Role.VIEWER) == LIMITED
    assert access.wait_s("192.0.2.1") == 1
    now_s[0] = WINDOW_S + 0.5
    assert access.judge("192.0.2.1", f"Bearer {VIEWER}", Role.VIEWER) == ALLOWED


def test_one_customers_addresses_of_ipv6_are_one():
    access = Access(TOKENS, lambda: 0.0)
    for number in range(FAILURES_MAX):
        access.judge(f"2001:db8::{number:x}", f"Bearer {OTHER}", Role.VIEWER)
    assert access.judge("2001:db8::ffff", None, Role.VIEWER) == LIMITED
    assert access.judge("2001:db8:0:1::1", f"Bearer {VIEWER}", Role.VIEWER) == ALLOWED


def test_memory_is_bound_and_the_many_share_one_count():
    now_s = [0.0]
    access = Access(TOKENS, lambda: now_s[0])
    for number in range(ADDRESSES_MAX + FAILURES_MAX):
        address = f"10.0.{number // 256}.{number % 256}"
        assert access.judge(address, f"Bearer {OTHER}", Role.VIEWER) == WRONG
    assert len(access._failures) <= ADDRESSES_MAX + 1
    assert access.judge("10.9.9.9", f"Bearer {VIEWER}", Role.VIEWER) == LIMITED
    now_s[0] = WINDOW_S + 1.0
    assert access.judge("10.9.9.9", f"Bearer {VIEWER}", Role.VIEWER) == ALLOWED
    access.judge("10.9.9.9", f"Bearer {OTHER}", Role.VIEWER)
    assert len(access._failures) <= 2, "what is over is forgotten"


def test_every_token_is_compared_whole(monkeypatch: pytest.MonkeyPatch):
    compared: list[tuple[int, int]] = []
    whole = hmac.compare_digest

    def comparing(given: bytes, kept: bytes) -> bool:
        compared.append((len(given), len(kept)))
        return whole(given, kept)

    monkeypatch.setattr(hmac, "compare_digest", comparing)
    access = Access(TOKENS)
    for token in (VIEWER, OPERATOR, OTHER, ""):
        access.judge("192.0.2.1", f"Bearer {token}", Role.VIEWER)
    assert compared == [(32, 32)] * 8, "as many and as long, whatever was sent"


# --- what is told of it ---


def test_decisions_are_counted_and_logged_without_the_token():
    access = Access(TOKENS, lambda: 0.0)
    with capture_logs() as logged:
        access.judge("192.0.2.1", f"Bearer {VIEWER}", Role.VIEWER, "/state")
        access.judge("192.0.2.1", None, Role.VIEWER, "/state")
        access.judge("192.0.2.1", f"Bearer {VIEWER}", Role.OPERATOR, "/audit")
        for _ in range(FAILURES_MAX + 3):
            access.judge("192.0.2.1", f"Bearer {OTHER}", Role.VIEWER, "/state\nforged")
    assert list(access.counts.values()) == [1, 1, FAILURES_MAX, 3, 1]
    (family,) = access.collect()
    assert {s.labels["decision"]: s.value for s in family.samples} == access.counts
    told = str(logged)
    assert not [token for token in (VIEWER, OPERATOR, OTHER) if token in told]
    assert [line["why"] for line in logged if "why" in line] == [FORBIDDEN] + [WRONG] * FAILURES_MAX
    assert {line["address"] for line in logged} == {"192.0.2.1"}
    assert not [line for line in logged if "\n" in line.get("path", "")]


def test_the_pages_show_the_count(served: Served):
    served.status("/state", bearer(OTHER))
    served.status("/state", bearer(VIEWER))
    text = served.client.get("/metrics").text
    assert 'hft_page_access_total{decision="wrong"} 1.0' in text
    assert 'hft_page_access_total{decision="allowed"} 1.0' in text


# --- the start ---


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("told", [{}, {"HFT_VIEWER_TOKEN": VIEWER}])
def test_outside_development_a_missing_token_ends_the_start(
    environment: str, told: dict[str, str], tmp_path: Path
):
    given = {"ENVIRONMENT": environment, "HFT_HOME": str(tmp_path), **told}
    with pytest.raises(SettingsError, match=r"HFT_OPERATOR_TOKEN was unset"):
        access_of(load_settings(given))


def test_a_service_without_its_tokens_does_not_start(tmp_path: Path):
    given = {"ENVIRONMENT": "staging", "HFT_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "serving", "ingestion", "--bus", "memory"]
    env = {**os.environ, **given, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "needs a token for each role of the pages" in done.stderr


def test_in_development_one_token_closes_the_pages_and_none_leaves_them_open():
    assert access_of(load_settings({})) is None
    access = access_of(load_settings({"HFT_VIEWER_TOKEN": VIEWER}))
    assert access is not None
    assert access.judge("here", f"Bearer {VIEWER}", Role.VIEWER) == ALLOWED
    assert access.judge("here", f"Bearer {VIEWER}", Role.OPERATOR) == FORBIDDEN
