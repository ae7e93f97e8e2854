"""Who moved capital or halted it, from where and why: a record before a verb acts, one after.

A verb that acts leaves two entries with one `id`: `asked` before it does anything, then what became
of it. So a verb that was killed in between is seen, as one whose end nobody told. Entries are
appended and never changed; in Redis the operators' own user cannot take one away.

What an entry says of its writer is what the writer's program says. Whoever holds an operator's
password can write words without this program: execution's log and journal hold each word all the
same, with its operator and reason.
"""

import os
import pwd
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import uuid4

import msgspec

AUDIT_FILE = "audit.jsonl"
# Some ten a day for years. Beyond it verbs are refused until somebody has put the trail away: what
# would make room by itself could be made to forget.
ENTRIES_MAX = 20_000
FILE_BYTES_MAX = 64 * 1024 * 1024
TEXT_MAX = 500  # of what a person writes; an entry is two kilobytes at most, a trail some 40 MB
ASKED: Literal["asked"] = "asked"
UNTOLD = "untold"  # asked, and nobody told what became of it

Outcome = Literal["asked", "done", "failed", "refused"]


class Unwritable(Exception):
    """The trail takes no entry, or cannot be read; the message says why."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trail; `who` as the system knows the writer, `operator` as they call
    themselves.
    """

    id: str
    time_ns: int
    outcome: Outcome
    verb: str
    what: dict[str, Any]
    operator: str
    reason: str
    who: str
    host: str
    detail: str = ""


class Trail(Protocol):
    """Where entries are appended; each raises Unwritable where it cannot."""

    @property
    def where(self) -> str:
        """The place, for people, without secrets."""

    def who(self) -> str:
        """Who writes here, as the place knows them."""

    def append(self, entry: Entry) -> None:
        """Add an entry, for good when this returns."""

    def entries(self, last: int) -> list[Entry]:
        """The last of them, in order."""


class FileTrail:
    """The trail of one machine: a file that is only appended to, its owner's alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    def who(self) -> str:
        """The user of the system: by number, which no variable of a shell changes."""
        return f"{os_user()} (uid {os.geteuid()})"

    def append(self, entry: Entry) -> None:
        """Add a line; two who write at a time leave two whole lines."""
        line = msgspec.json.encode(entry) + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, flags, 0o600)
            try:
                if entry.outcome == ASKED and os.fstat(file).st_size > FILE_BYTES_MAX:
                    raise Unwritable(f"{self._path} is full: move it to where it is kept")
                if os.write(file, line) != len(line):
                    raise Unwritable(f"{self._path}: an entry was cut, the disk is full")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise Unwritable(f"{self._path}: {error.strerror}") from error

    def entries(self, last: int) -> list[Entry]:
        """The last of them, in order."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unwritable(f"{self._path}: {error.strerror}") from error
        return decoded(content.splitlines()[-last:], self.where)


def os_user() -> str:
    """The name of this process's user; its number where the system has no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def decoded(lines: Iterable[bytes], where: str) -> list[Entry]:
    """Entries as they are kept; raises Unwritable where one is none of ours."""
    try:
        return [msgspec.json.decode(line, type=Entry) for line in lines]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unwritable(f"{where} holds what is no entry of ours: {error}") from error


def asked(trail: Trail, verb: str, what: dict[str, Any], operator: str, reason: str) -> Entry:
    """The entry of a verb that is about to act, not written; raises Unwritable as `who` does."""
    return Entry(
        id=uuid4().hex,
        time_ns=time.time_ns(),
        outcome=ASKED,
        verb=verb,
        what={name: _cut(value) for name, value in what.items()},
        operator=_cut(operator),
        reason=_cut(reason),
        who=trail.who(),
        host=socket.gethostname(),
    )


def ended(entry: Entry, outcome: Outcome, detail: str = "") -> Entry:
    """What became of it."""
    return msgspec.structs.replace(
        entry, time_ns=time.time_ns(), outcome=outcome, detail=_cut(detail)
    )


def last_rows(trail: Trail, last: int) -> list[dict[str, Any]]:
    """The last verbs of a trail, one row each, for a program; raises Unwritable."""
    return rows(trail.entries(2 * last))[-last:]


def folded(entries: Iterable[Entry]) -> list[Entry]:
    """One entry a verb, the last of each, in the order in which they were asked."""
    found: dict[str, Entry] = {}
    for entry in entries:
        began = found.get(entry.id, entry)
        found[entry.id] = msgspec.structs.replace(entry, time_ns=began.time_ns)
    return list(found.values())


def rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """One row a verb, for a program: when it was asked, and what became of it."""
    found: list[dict[str, Any]] = [msgspec.to_builtins(entry) for entry in folded(entries)]
    for row in found:
        row["outcome"] = UNTOLD if row["outcome"] == ASKED else row["outcome"]
    return found


def _cut(value: Any) -> Any:
    return value[:TEXT_MAX] if isinstance(value, str) else value
