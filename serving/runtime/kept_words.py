"""Where operators' words are kept: one value outside every process, replaced whole and by turns.

In a file here, in Redis in `adapters.redis_latch`; what the words are is others' business.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from serving.runtime.journal import replace_file

# A change takes a millisecond: who waits longer for another's is told.
TURN_S_MAX = 2.0
# When a word was written, in nanoseconds: what no clock says is no word, and stops nobody.
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
WordType = TypeVar("WordType")
Change = Callable[[Mapping[str, WordType]], Mapping[str, WordType]]


class Unreadable(Exception):
    """A word cannot be read or written; the message says why."""


class Kept(Protocol[WordType]):
    """Words by pair; both methods raise Unreadable where they cannot."""

    @property
    def where(self) -> str:
        """The place, for people, without secrets."""

    def read(self) -> dict[str, WordType]:
        """All of them; none where nothing was ever said."""

    def change(self, change: Change[WordType]) -> None:
        """Replace them by what `change` makes of them, nobody else's in between; for good when this
        returns.
        """


class WordsFile(Generic[WordType]):
    """Words of `kind` in a file of one machine."""

    def __init__(self, path: Path, kind: type[WordType]) -> None:
        self.path = path
        self._kind = kind

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def read(self) -> dict[str, WordType]:
        """All of them; none where there is no file."""
        return read_words(content_of(self.path), self.where, self._kind)

    def change(self, change: Change[WordType]) -> None:
        """Replace them by what `change` makes of them."""
        with _turn(self.path.with_name(f".{self.path.name}.lock")):
            replace(self.path, change(self.read()))


def read_words(content: bytes | None, where: str, kind: type[WordType]) -> dict[str, WordType]:
    """Words by pair as they are kept; raises Unreadable where they are none."""
    found: dict[str, WordType] = {}
    return found if content is None else decoded(content, where, dict[str, kind])  # type: ignore


def decoded(content: bytes, where: str, kind: Any) -> Any:
    """What is kept; raises Unreadable where it is none of `kind`."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"{where} holds no word of ours: {error}") from error


def content_of(path: Path) -> bytes | None:
    """What a file holds; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def replace(path: Path, said: Any) -> None:
    """Write `said` to a file, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.encode(said))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """While the block runs nobody else is in one of the same lock."""
    until_s = time.monotonic() + TURN_S_MAX
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("ab") as file:
            while not _locked(file):
                if time.monotonic() > until_s:
                    raise Unreadable(f"{lock}: another process has held it for {TURN_S_MAX} s")
                time.sleep(0.01)
            yield
    except OSError as error:
        raise Unreadable(f"{lock}: {error.strerror}") from error


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
