"""Who may see which page: roles by token, a bound on guessing, headers that tie a browser down.

A program sends `Authorization: Bearer TOKEN`; a browser asks a person, and sends the token as the
password of HTTP Basic, whatever the name. What is not in `OPEN` needs a token, a page that is not
there too. The pages only read, whatever the role: `docs/decisions/0015-*`.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.runtime.settings import Settings, SettingsError

# What probes and Prometheus ask; they have no token, and network policies say who they are.
OPEN = frozenset(("/healthz", "/readyz", "/metrics"))
# Who moved capital and why is for those who may.
OPERATORS_ONLY = frozenset(("/audit",))
# Nobody mistypes a token this often within the window; a guesser gets nowhere at this pace.
FAILURES_MAX, WINDOW_S = 10, 60.0
# Addresses that are remembered at a time; whoever comes beyond them shares one count.
ADDRESSES_MAX = 1024
_EVERYBODY_ELSE = ""
_PATH_SHOWN_MAX = 100

ALLOWED, ABSENT, WRONG, LIMITED, FORBIDDEN = "allowed", "absent", "wrong", "limited", "forbidden"
_STATUS = {ABSENT: 401, WRONG: 401, LIMITED: 429, FORBIDDEN: 403}
_SAID = {
    ABSENT: "a token is needed, as the password or as a Bearer",
    WRONG: "the token is none of ours",
    LIMITED: f"{FAILURES_MAX} wrong tokens came from this address, none is looked at for a while",
    FORBIDDEN: "the token's role may not see this",
}
# A page that needs less says so itself: these are what is set where it says nothing.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = structlog.get_logger(__name__)


class Role(IntEnum):
    """What a token lets see: an operator's also what a viewer's does."""

    VIEWER = 1
    OPERATOR = 2


class _Failures(NamedTuple):
    tries: int
    until_s: float


class Access:
    """Judges who asks, by the tokens of the roles, and counts what it decided."""

    def __init__(
        self, tokens: Mapping[Role, str], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._digests = [(role, _digest(token.encode())) for role, token in tokens.items()]
        self._now_s = now_s
        self._failures: dict[str, _Failures] = {}
        self.counts = dict.fromkeys((ALLOWED, ABSENT, WRONG, LIMITED, FORBIDDEN), 0)

    def judge(self, address: str, authorization: str | None, needed: Role, path: str = "") -> str:
        """What becomes of a request: `ALLOWED`, or why not."""
        who = _neighbourhood(address)
        decision = self._decided(who, authorization, needed)
        self.counts[decision] += 1
        if decision in (WRONG, FORBIDDEN):
            # The path is the asker's: its own line breaks would be lines of the log.
            shown = repr(path[:_PATH_SHOWN_MAX])
            _log.warning("access is refused", why=decision, address=address, path=shown)
        return decision

    def wait_s(self, address: str) -> int:
        """The seconds until this address is listened to again."""
        held = self._held(_neighbourhood(address))
        return math.ceil(held.until_s - self._now_s()) if held is not None else 0

    def collect(self) -> Iterator[Metric]:
        """What was decided, by decision."""
        text = "requests for a page that needs a token, by what was decided"
        family = CounterMetricFamily("hft_page_access", text, labels=["decision"])
        for decision, count in self.counts.items():
            family.add_metric([decision], count)
        yield family

    def _decided(self, who: str, authorization: str | None, needed: Role) -> str:
        held = self._held(who)
        if held is not None and held.tries >= FAILURES_MAX:
            return LIMITED
        if authorization is None:
            return ABSENT
        role = self._role_of(_secret_in(authorization))
        if role is None:
            self._fail(who)
            return WRONG
        return ALLOWED if role >= needed else FORBIDDEN

    def _role_of(self, secret: bytes) -> Role | None:
        """The role of a token. Every one is compared whole: how long it takes tells nothing."""
        given, found = _digest(secret), None
        for role, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = role
        return found

    def _held(self, who: str) -> _Failures | None:
        """The failures that are held against an address now."""
        held = self._failures.get(self._counted_as(who))
        return held if held is not None and held.until_s > self._now_s() else None

    def _fail(self, who: str) -> None:
        held, name = self._held(who), self._counted_as(who)
        if held is None:
            held = _Failures(0, self._now_s() + WINDOW_S)
        self._failures[name] = _Failures(held.tries + 1, held.until_s)
        if held.tries + 1 == FAILURES_MAX:
            _log.error("an address is not listened to for a while", address=name or "many")

    def _counted_as(self, who: str) -> str:
        """The name under which an address is counted: its own while there is room."""
        if who in self._failures or len(self._failures) < ADDRESSES_MAX:
            return who
        now_s = self._now_s()
        for name in [name for name, held in self._failures.items() if held.until_s <= now_s]:
            del self._failures[name]
        return who if len(self._failures) < ADDRESSES_MAX else _EVERYBODY_ELSE


def access_of(settings: Settings) -> Access | None:
    """Who may see the pages; None in development where no token is set: everybody.

    Raises SettingsError outside development where a token is missing.
    """
    secrets = {
        Role.VIEWER: settings.hft_viewer_token,
        Role.OPERATOR: settings.hft_operator_token,
    }
    missing = [f"HFT_{role.name}_TOKEN" for role, secret in secrets.items() if secret is None]
    if missing and settings.environment != "development":
        raise SettingsError(
            f"ENVIRONMENT={settings.environment} needs a token for each role of the pages, "
            f"{' and '.join(missing)} was unset"
        )
    tokens = {role: one.get_secret_value() for role, one in secrets.items() if one is not None}
    return Access(tokens) if tokens else None


class Guard:
    """The application behind its `access` (None: open), each answer with the headers."""

    def __init__(self, app: ASGIApp, access: Access | None) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse to."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if self._access is None or path in OPEN:
            return None
        address = scope["client"][0] if scope.get("client") else ""
        needed = Role.OPERATOR if path in OPERATORS_ONLY else Role.VIEWER
        given = Headers(scope=scope).get("authorization")
        decision = self._access.judge(address, given, needed, path)
        return None if decision == ALLOWED else self._answer(decision, address)

    def _answer(self, decision: str, address: str) -> Response:
        answer = PlainTextResponse(f"{_SAID[decision]}\n", status_code=_STATUS[decision])
        if decision in (ABSENT, WRONG):
            answer.headers.append("WWW-Authenticate", 'Basic realm="hft", charset="UTF-8"')
            answer.headers.append("WWW-Authenticate", 'Bearer realm="hft"')
        if decision == LIMITED and self._access is not None:
            answer.headers["Retry-After"] = str(self._access.wait_s(address))
        return answer


def _digest(secret: bytes) -> bytes:
    """What is compared: of one length, whatever was sent."""
    return hashlib.sha256(secret).digest()


def _secret_in(authorization: str) -> bytes:
    """The token of a header; empty, which is none of ours, where there is no such thing in it."""
    scheme, _, rest = authorization.strip().partition(" ")
    given = rest.strip()
    match scheme.lower():
        case "bearer":
            return given.encode("utf-8", "surrogateescape")
        case "basic":
            try:
                return base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return b""
        case _:
            return b""


def _neighbourhood(address: str) -> str:
    """Whom an address is counted with: of IPv6 one customer has a whole /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
