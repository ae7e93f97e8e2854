"""Who of the six services is there, and what each says of itself: a heartbeat that ends by itself.

A service writes two keys a second, both with a time to live: its entry, and the document that its
`/state` shows. Nothing is searched for: the names are the six services'.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from serving.adapters.redis_client import PREFIX, Client, told_as
from serving.services import SERVICES

BEAT_S = 1.0
TTL_S = 5.0  # some beats may be late on a busy machine
DOCUMENT_BYTES_MAX = (
    512 * 1024
)  # a page of figures of 500 pairs; more is a mistake, and is left out
SILENT = "no heartbeat"
_log = structlog.get_logger(__name__)


class DirectoryError(Exception):
    """Redis does not say who is there; the message says why."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it was at its last beat; `since_ns` and `beat_ns` on its own clock."""

    service: str
    host: str
    pid: int
    port: int
    epoch: int
    since_ns: int
    beat_ns: int
    why_not_ready: str

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.why_not_ready


class Directory:
    """The entries and documents of a line's services."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def announce(self, entry: Entry, document: dict[str, Any]) -> None:
        """Write a service's entry and document; they end with `TTL_S`.

        Raises DirectoryError where they cannot be written.
        """
        content = msgspec.json.encode(document)
        if len(content) > DOCUMENT_BYTES_MAX:
            kept = {"left_out": f"{len(content)} bytes, at most {DOCUMENT_BYTES_MAX} are kept"}
            content = msgspec.json.encode(kept)
        milliseconds = round(TTL_S * 1000)
        with told_as(DirectoryError, self._url):
            both = self._client.pipeline(transaction=True)
            both.set(_entry(entry.service), msgspec.json.encode(entry), px=milliseconds)
            both.set(_document(entry.service), content, px=milliseconds)
            both.execute()

    def withdraw(self, service: str) -> None:
        """Say that a service has ended."""
        with told_as(DirectoryError, self._url):
            self._client.delete(_entry(service), _document(service))

    def entries(self) -> dict[str, Entry]:
        """Who is there, by name."""
        return {name: _decoded(content, Entry) for name, content in self._read(_entry) if content}

    def documents(self) -> dict[str, dict[str, Any]]:
        """The latest document of each service that is there, by name."""
        found = self._read(_document)
        return {name: _decoded(content, dict[str, Any]) for name, content in found if content}

    def _read(self, key: Callable[[str], str]) -> list[tuple[str, bytes | None]]:
        names = [service.name for service in SERVICES]
        with told_as(DirectoryError, self._url):
            contents: Any = self._client.mget([key(name) for name in names])
        return list(zip(names, contents, strict=True))


def roll_call(
    entries: Mapping[str, Entry], documents: Mapping[str, dict[str, Any]], at_ns: int
) -> list[dict[str, Any]]:
    """The six services as a row each, who is not there too; `beat_s` is the heartbeat's age at
    `at_ns`.
    """
    names = [service.name for service in SERVICES]
    return [_row(name, entries.get(name), documents.get(name, {}), at_ns) for name in names]


def _row(name: str, entry: Entry | None, shown: dict[str, Any], at_ns: int) -> dict[str, Any]:
    if entry is None:
        return {"service": name, "ready": False, "why_not_ready": SILENT}
    return {
        "service": name,
        "ready": entry.ready,
        "why_not_ready": entry.why_not_ready,
        "lag": sum(shown.get("lag", {}).values()),
        "epoch": entry.epoch,
        "read": shown.get("read", 0),
        "dead_letters": shown.get("dead_letters", 0),
        "host": entry.host,
        "port": entry.port,
        "pid": entry.pid,
        "since_ns": entry.since_ns,
        "beat_s": round((at_ns - entry.beat_ns) / 1e9, 3),
    }


class Heartbeat:
    """Announces a service once a beat on a thread of its own; a beat that fails is said once."""

    def __init__(
        self, directory: Directory, look: Callable[[], tuple[Entry, dict[str, Any]]]
    ) -> None:
        self._directory = directory
        self._look = look
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def open(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, and say so."""
        self._stop.set()
        self._thread.join(BEAT_S)
        try:
            self._directory.withdraw(self._look()[0].service)
        except DirectoryError as error:
            _log.warning("the directory was not told of the end", why=str(error))

    def _run(self) -> None:
        while True:
            self._beat()
            if self._stop.wait(BEAT_S):
                return

    def _beat(self) -> None:
        try:
            self._directory.announce(*self._look())
        except DirectoryError as error:
            if not self._failing:
                _log.warning("no heartbeat", why=str(error))
            self._failing = True
        else:
            self._failing = False


def now_ns() -> int:
    """The clock of the heartbeats."""
    return time.time_ns()


def _entry(service: str) -> str:
    return f"{PREFIX}service:{service}"


def _document(service: str) -> str:
    return f"{PREFIX}state:{service}"


def _decoded(content: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DirectoryError(f"the directory holds no entry of ours: {error}") from error
