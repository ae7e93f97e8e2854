"""The latch: one word outside every process that says whether new risk may be taken.

`hft kill` writes `halt`, opening a line writes `run` where nothing was written yet, and only
`hft reset-kill` writes `run` over `halt`. Absent or unreadable means halted. Execution's host looks
at it on a thread of its own and tells its stage what changed, as a fact of its inbox: what was
told is in the stage's state, so that a restart tells nothing twice and forgets nothing.

While the latch cannot be read nothing is stepped on at first: a line that rests takes no risk, and
goes on as if nothing had been when the latch is back within `HOLD_S_MAX`. Then the halt is told, so
that what is open may be cancelled and reduced; and let go when the latch is there and says run.

A server may come back with an older word. The word that was told last is kept elsewhere (`Memory`):
a `run` that is not newer than a kill that was told lets nothing go.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import msgspec
import structlog

from hft_lib.events import Halted, Resumed
from serving.runtime.kept_words import (
    Time,
    Unreadable,
    WordsFile,
    content_of,
    decoded,
    read_words,
    replace,
)

LATCH_FILE, PAIRS_FILE = "latch", "latch-pairs"
# Five looks within the second in which a kill must have arrived.
POLL_S = 0.2
# A look that is older says nothing: its thread hangs.
STALE_S = 1.0
# A restart of Redis takes a second or two; an unhedged leg can wait this long and no longer.
HOLD_S_MAX = 5.0
HOST, UNREADABLE, ABSENT = "host", "the latch cannot be read", "the latch is absent"
WENT_BACK = "the latch went back in time"
_log = structlog.get_logger(__name__)


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the latch says, who wrote it and why; `time_ns` is the writer's clock."""

    run: bool
    flatten: bool = False
    operator: str
    reason: str
    time_ns: Time


# The words of single pairs beside the latch's own: `runtime.pair_words`.
PairWords: TypeAlias = Mapping[str, Word]


class Look(NamedTuple):
    """All that is said at one moment: the latch's word (None: absent) and those of pairs."""

    word: Word | None
    pairs: PairWords


class Latch(Protocol):
    """Where the words are kept; each raises Unreadable where it cannot."""

    @property
    def where(self) -> str:
        """The place, for people, without secrets."""

    @property
    def pairs_where(self) -> str:
        """The place of the words of pairs."""

    def read(self) -> Word | None:
        """The word; None where none was ever written."""

    def write(self, word: Word) -> None:
        """Replace the word, for good when this returns."""

    def open(self, word: Word) -> None:
        """Write `word` where there is none."""

    def look(self) -> Look:
        """The word, and those of pairs."""

    def change_pairs(self, change: Callable[[PairWords], PairWords]) -> None:
        """Replace the words of pairs by what `change` makes of them, nobody else's in between; for
        good when this returns.
        """


def read_word(content: bytes, where: str) -> Word:
    """The word as it is kept; raises Unreadable where it is none."""
    word: Word = decoded(content, where, Word)
    return word


def read_pairs(content: bytes | None, where: str) -> dict[str, Word]:
    """The words of pairs as they are kept; raises Unreadable where they are none."""
    return read_words(content, where, Word)


class FileLatch:
    """The latch of one machine: a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pairs = WordsFile(path.with_name(PAIRS_FILE), Word)

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def pairs_where(self) -> str:
        """The file of the words of pairs."""
        return self._pairs.where

    def read(self) -> Word | None:
        """The word; None where none was ever written."""
        content = content_of(self.path)
        return None if content is None else read_word(content, self.where)

    def write(self, word: Word) -> None:
        """Replace the word, for good when this returns."""
        replace(self.path, word)

    def look(self) -> Look:
        """The word, and those of pairs."""
        return Look(self.read(), self._pairs.read())

    def change_pairs(self, change: Callable[[PairWords], PairWords]) -> None:
        """Replace the words of pairs by what `change` makes of them."""
        self._pairs.change(change)

    def open(self, word: Word) -> None:
        """Write `word` where there is none; a kill at the same moment wins."""
        if self.path.exists():
            return
        fresh = FileLatch(self.path.with_name(f".{self.path.name}.{os.getpid()}.new"))
        fresh.write(word)
        try:
            os.link(fresh.path, self.path)
        except FileExistsError:
            _log.info("the latch was written meanwhile", where=self.where)
        except OSError as error:
            raise Unreadable(f"{self.path}: {error.strerror}") from error
        finally:
            fresh.path.unlink(missing_ok=True)


def kill(latch: Latch, flatten: bool, operator: str, reason: str, time_ns: int) -> Word:
    """Pull the latch, whatever it says now; a second kill never takes the first one's flatten."""
    before = _before(latch)
    flatten = flatten or (before is not None and not before.run and before.flatten)
    time_ns = _after(before, time_ns)
    word = Word(run=False, flatten=flatten, operator=operator, reason=reason, time_ns=time_ns)
    latch.write(word)
    return word


def reset(latch: Latch, operator: str, reason: str, time_ns: int) -> Word:
    """Let the latch go; raises Unreadable where it cannot be written."""
    time_ns = _after(_before(latch), time_ns)
    word = Word(run=True, operator=operator, reason=reason, time_ns=time_ns)
    latch.write(word)
    return word


def _before(latch: Latch) -> Word | None:
    try:
        return latch.read()
    except Unreadable:
        return None  # whatever it is, it is written over


def _after(before: Word | None, time_ns: int) -> int:
    """The time of a word that follows `before`: clocks differ, words have an order."""
    return max(time_ns, before.time_ns + 1) if before is not None else time_ns


def opening(who: str, time_ns: int) -> Word:
    """What opening a line writes where nothing was written before."""
    return Word(run=True, operator=who, reason="the line was opened", time_ns=time_ns)


class Reading(NamedTuple):
    """One look: the word (None: absent), or why it could not be read; when, on a monotonic
    clock; the words of pairs.
    """

    word: Word | None
    error: str
    at_s: float
    pairs: PairWords = {}


class Watch:
    """Looks at a latch on a thread of its own: a server that does not answer holds up nobody."""

    def __init__(self, latch: Latch) -> None:
        self.latch = latch
        self._stop = threading.Event()
        self._reading = Reading(None, "it was not looked at yet", 0.0)
        self._thread = threading.Thread(target=self._run, name="latch", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STALE_S)

    def reading(self) -> Reading:
        """The last look; an error where it is too old."""
        found = self._reading
        if not found.error and time.monotonic() - found.at_s > STALE_S:
            return Reading(None, f"no look ended within {STALE_S} s", found.at_s)
        return found

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        began_s = time.monotonic()
        try:
            look = self.latch.look()
            self._reading = Reading(look.word, "", began_s, look.pairs)
        except Unreadable as error:
            self._reading = Reading(None, str(error), began_s)


class Telling(Protocol):
    """The stage that is told, and the way into its inbox."""

    @property
    def held(self) -> tuple[bool, bool]:
        """Whether the stage is latched, and whether it closes: what it was told last."""

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""

    def tell(self, halted: bool, flatten: bool, operator: str, reason: str) -> None:
        """Append to the stage's inbox."""


class Memory(Protocol):
    """Where the word that a stage was told last is kept: it outlives the latch's own loss."""

    @property
    def last(self) -> Word | None:
        """The word; None before the first."""

    def keep(self, word: Word) -> None:
        """Keep `word`, for good when this returns."""


class InMemory:
    """A memory as long as its process, where the latch is a file beside the journal."""

    def __init__(self) -> None:
        self.last: Word | None = None

    def keep(self, word: Word) -> None:
        """Keep `word`."""
        self.last = word


def went_back(word: Word, last: Word | None) -> bool:
    """Whether `word` lets go what a later kill, told as `last`, put on."""
    return word.run and last is not None and not last.run and word.time_ns <= last.time_ns


class LatchEdge:
    """Tells a stage what the latch says; `rest` waits, and says whether an end was asked for."""

    def __init__(
        self,
        watch: Watch,
        stage: Telling,
        rest: Callable[[float], bool],
        memory: Memory | None = None,
    ) -> None:
        self._watch = watch
        self._stage = stage
        self._rest = rest
        self._memory: Memory = memory if memory is not None else InMemory()
        self._by_host = False  # the last halt was told because there was no word

    def may_send(self) -> bool:
        """Whether new risk may be sent to a venue now: a venue's edge asks before each order that
        is not a cancel and does not only reduce.

        It asks the latch itself and not what the stage was told: a kill stops orders that the
        stage makes of a backlog, before the halt can stand in its inbox.
        """
        word = self._watch.reading().word
        if word is None or not word.run or went_back(word, self._memory.last):
            return False
        return not self._stage.held[0]

    def turn(self) -> int:
        """Tell what is due; waits while the latch cannot be read, `HOLD_S_MAX` at most."""
        if not self._stage.settled:
            return 0
        reading = self._watch.reading()
        if not reading.error or self._stage.held[0]:
            return self._tell(reading)
        later = self._hold(reading)
        return self._tell(later) if later is not None else 0

    def _hold(self, reading: Reading) -> Reading | None:
        """The latch after a while; None where an end was asked for, and nothing is to be told."""
        _log.warning("nothing goes on, the latch cannot be read", why=reading.error)
        until_s = time.monotonic() + HOLD_S_MAX
        while reading.error and time.monotonic() < until_s:
            if self._rest(POLL_S / 4):
                return None
            reading = self._watch.reading()
        return reading

    def _tell(self, reading: Reading) -> int:
        halted, flatten = self._stage.held
        word = reading.word
        if word is None or went_back(word, self._memory.last):
            return 0 if halted else self._halt(reading, flatten)
        # A kill that came while there was no word is told by its own name.
        renamed = halted and not word.run and self._by_host
        if (halted, flatten) == (not word.run, word.flatten) and not renamed:
            return 0
        if word.run and self._by_host:
            operator, reason = HOST, f"the latch is there again and says run: {word.reason}"
        else:
            operator, reason = word.operator, word.reason
        self._by_host = False
        _log.critical("resumed" if word.run else "halted", operator=operator, why=reason)
        self._memory.keep(word)  # first: what is told is remembered, whatever happens between
        self._stage.tell(not word.run, word.flatten, operator, reason)
        return 1

    def _halt(self, reading: Reading, flatten: bool) -> int:
        """Tell a halt that nobody wrote."""
        why = WENT_BACK
        if reading.word is None:
            self._by_host = True
            why = UNREADABLE if reading.error else ABSENT
        _log.critical("halted", why=why, detail=reading.error)
        self._stage.tell(True, flatten, HOST, why)
        return 1

    # --- what the pages show ---

    def why(self) -> str:
        """Why the latch cannot be relied on; empty where it can."""
        reading, last = self._watch.reading(), self._memory.last
        if reading.error:
            return f"{UNREADABLE}: {reading.error}"
        if reading.word is None or last is None or not went_back(reading.word, last):
            return ""
        return (
            f"{WENT_BACK}: it says run, which is older than the kill of {last.operator} "
            f"({last.reason}); `hft reset-kill` lets go"
        )

    def document(self) -> dict[str, Any]:
        """What the latch says, and what execution was told."""
        halted, flatten = self._stage.held
        known = {"halted": halted, "flatten": flatten, "may_send": self.may_send()}
        return {"latch": {**known, **said(self._watch.reading())}}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        halted, flatten = self._stage.held
        readable = not self._watch.reading().error
        return {
            "hft_latch_halted": ("1 while execution is halted by the latch", float(halted)),
            "hft_latch_flatten": ("1 while the latch closes what is held", float(flatten)),
            "hft_latch_readable": ("1 while the latch can be read", float(readable)),
        }


def said(reading: Reading) -> dict[str, Any]:
    """A look as a document: the word and who wrote it, or why there is none."""
    word = reading.word
    if word is None:
        return {"word": None, "why": reading.error or ABSENT}
    return {"word": "run" if word.run else "halt", "operator": word.operator, "why": word.reason}


def fact_of(
    halted: bool, flatten: bool, operator: str, reason: str, time_ns: int
) -> Halted | Resumed:
    """The fact that the stage is told; `time_ns` is the line's own time."""
    if halted:
        return Halted(time_ns, "", flatten, operator, reason)
    return Resumed(time_ns, "", operator, reason)
