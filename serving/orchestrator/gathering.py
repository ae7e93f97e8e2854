"""What the page is made of, put together: EVOP as it was seen, the other services as they tell
Redis, the latch.

What cannot be reached is not left out: the last that was known is kept, with its time.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from hft_lib.events import Event
from serving.adapters.redis_directory import DirectoryError, Entry, roll_call
from serving.orchestrator.decisions import Latest
from serving.orchestrator.seen import Seen, look
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import Look, Word

SEEN_EVERY_S = 1.0
EXECUTION, VOLATILITY, ORCHESTRATOR = "execution", "garch_model", "orchestrator"

# The services whose documents are shown, and what a whole one holds.
MARKS = {EXECUTION: "holdings", VOLATILITY: "health"}


class Services(Protocol):
    """Who is there (`redis_directory.Directory`); both raise DirectoryError."""

    def entries(self) -> dict[str, Entry]:
        """Who is there, by name."""

    def documents(self) -> dict[str, dict[str, Any]]:
        """What each says of itself."""


class Words(Protocol):
    """The latch and the words of pairs."""

    @property
    def where(self) -> str:
        """The place, for people."""

    def look(self) -> Look:
        """All that is said; raises Unreadable."""


class Stage(Protocol):
    """The orchestrator's stage at work (`runtime.host.Host`)."""

    read: int
    state: Any
    on_made: Callable[[Event], None] | None


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """All that one rendering shows; `at_ns` is the wall clock, empty texts are nothing missing.

    `registry` is what the registry's edge tells, empty where the line has none.
    `execution` is execution's own document as of `execution_ns` (0: never heard), `line_ns` the
    time of the line. `health` are the rows that garch_model told of its slots at `health_ns`.
    """

    at_ns: int
    where: str = ""
    word: Word | None = None
    word_why: str = ""
    pair_words: dict[str, Word] = {}
    services: list[dict[str, Any]] = []
    services_why: str = ""
    execution: dict[str, Any] = {}
    execution_ns: int = 0
    execution_silent: bool = True
    health: list[dict[str, Any]] = []
    health_left_out: int = 0
    health_ns: int = 0
    health_silent: bool = True
    seen: Seen | None = None
    decisions: list[dict[str, Any]] = []
    decisions_why: str = ""
    why_not_ready: str = ""
    registry: dict[str, Any] = {}

    @property
    def line_ns(self) -> int:
        """The latest time that the line is known to have come to; 0 before the first."""
        ends = [pair.block_end_ns for pair in self.seen.pairs] if self.seen is not None else []
        return max([int(self.execution.get("line_ns", 0)), *ends])


class _Heard(NamedTuple):
    services: list[dict[str, Any]]
    why: str
    silent: frozenset[str]


class Gatherer:
    """Gathers. `turn` is called by the thread that steps the stage, `gathered` by one other."""

    def __init__(
        self,
        services: Services,
        words: Words,
        latest: Latest,
        why_not_ready: Callable[[], str] = lambda: "",
        now_ns: Callable[[], int] = time.time_ns,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._words = words
        self._latest = latest
        self._why_not_ready = why_not_ready
        self._now_ns = now_ns
        self._now_s = now_s
        self._stage: Stage | None = None
        self._seen: Seen | None = None
        self._seen_read = -1
        self._seen_s = 0.0
        # By service whose document is shown: the last that was heard, and when.
        self._told: dict[str, tuple[dict[str, Any], int]] = dict.fromkeys(MARKS, ({}, 0))
        self._rows: list[dict[str, Any]] = []
        self._registry: dict[str, Any] = {}

    def follow(self, stage: Stage) -> None:
        """Look at the state of `stage` from now on, and hear what it makes after whom it told."""
        self._stage = stage
        before, then = stage.on_made, self._latest.made

        def made(fact: Event) -> None:
            if before is not None:
                before(fact)
            then(fact)

        stage.on_made = made

    def turn(self) -> int:
        """Copy what is shown of the state where it was stepped on, once a second at most; writes 0
        facts, as an edge.
        """
        stage, now_s = self._stage, self._now_s()
        if stage is None or stage.read == self._seen_read:
            return 0
        if self._seen is None or now_s - self._seen_s >= SEEN_EVERY_S:
            self._seen, self._seen_read, self._seen_s = look(stage.state), stage.read, now_s
        return 0

    @property
    def seen(self) -> Seen | None:
        """The last copy of the state; None before the first."""
        return self._seen

    @property
    def counts(self) -> Mapping[str, int]:
        """How many decisions of each kind were made since the process began."""
        return self._latest.counts

    def gathered(self) -> Gathered:
        """All that is known now; asks Redis, which answers or fails within a bound."""
        at_ns, seen, heard = self._now_ns(), self._seen, self._hear()
        word, pair_words, word_why = self._read()
        (execution, execution_ns), (judged, judged_ns) = (
            self._told[name] for name in (EXECUTION, VOLATILITY)
        )
        return Gathered(
            at_ns=at_ns,
            where=self._words.where,
            word=word,
            word_why=word_why,
            pair_words=pair_words,
            services=heard.services,
            services_why=heard.why,
            execution=execution,
            execution_ns=execution_ns,
            execution_silent=EXECUTION in heard.silent,
            health=judged.get("health", []),
            health_left_out=judged.get("health_left_out", 0),
            health_ns=judged_ns,
            health_silent=VOLATILITY in heard.silent,
            seen=seen,
            decisions=self._latest.lines(seen.decisions) if seen is not None else [],
            decisions_why=self._latest.why,
            why_not_ready=self._why_not_ready(),
            registry=self._registry,
        )

    def _read(self) -> tuple[Word | None, dict[str, Word], str]:
        try:
            word, pairs = self._words.look()
        except Unreadable as error:
            return None, {}, str(error)
        return word, dict(pairs), ""

    def _hear(self) -> _Heard:
        try:
            entries, documents = self._services.entries(), self._services.documents()
        except DirectoryError as error:
            return _Heard(self._rows, str(error), frozenset(MARKS))
        self._registry = documents.get(ORCHESTRATOR, {}).get("registry", {})
        silent = set(MARKS)
        for name, mark in MARKS.items():
            told, entry = documents.get(name, {}), entries.get(name)
            if entry is not None and mark in told:
                self._told[name] = told, entry.beat_ns
                silent.discard(name)
        self._rows = roll_call(entries, documents, self._now_ns())
        return _Heard(self._rows, "", frozenset(silent))
