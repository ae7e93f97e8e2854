"""EVOP as it stands, for verbs that move capital: its state copied from where the line's log ends,
and what the line made of a word that was left for it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cli import interrupt
from cli.errors import BadInput, Failed
from cli.runs import latest_journal, recomputed
from hft_lib.events import DecisionRecorded, Event
from hft_lib.evop.turn import State
from hft_lib.stages.orchestrator import STAGE
from serving.runtime.addresses import masked
from serving.runtime.journal import RECORDS
from serving.runtime.journal import first_place as place_of_header
from serving.runtime.journal import follow
from serving.runtime.line_latch import line_time_ns
from serving.runtime.settings import Settings
from serving.runtime.shown import holdings

POLL_S = 0.1
# Reading the line's inbox again takes seconds at most; a broker that is away is not waited for.
CATCH_UP_S_MAX = 30.0
ORCHESTRATOR, EXECUTION = "orchestrator", "execution"


class Standing(Protocol):
    """A line's EVOP: where it was read, its state, its time, what execution holds."""

    where: str
    line_ns: int
    holdings: list[dict[str, Any]]

    @property
    def state(self) -> State:
        """EVOP as of the last fact that was read."""

    def answer(self, word_ns: int, wait_s: float) -> dict[str, Any] | None:
        """The record of what the word of this number came to; None where nobody says it."""


def standing(settings: Settings, journal: Path | None) -> AbstractContextManager[Standing]:
    """The run of `journal`; where none is named, the line on Kafka or else the latest run.

    Raises BadInput where there is none, Failed where it cannot be read.
    """
    if journal is None and settings.kafka_bootstrap_servers is not None:
        return _of_line(settings, settings.kafka_bootstrap_servers)
    path = journal or latest_journal(settings)
    if not path.is_file():
        raise BadInput(f"no journal at {path}")
    return _of_run(path)


def _is_answer(fact: Event, word_ns: int) -> dict[str, Any] | None:
    if not isinstance(fact, DecisionRecorded):
        return None
    record: dict[str, Any] = msgspec.json.decode(fact.record)
    asked = record["case"].get("asked")
    return record if asked is not None and asked["word_ns"] == word_ns else None


def _until(found: Callable[[], dict[str, Any] | None], wait_s: float) -> dict[str, Any] | None:
    """What is found, asked for again and again for `wait_s`."""
    until_s = time.monotonic() + wait_s
    while (known := found()) is None and time.monotonic() < until_s:
        interrupt.sleep(POLL_S)
    return known


# --- a run of one process ---


class OfRun:
    """A run's journal, which its process may be writing."""

    def __init__(self, journal: Path) -> None:
        states = recomputed(journal)
        self.where = str(journal)
        self._state: State = states[ORCHESTRATOR]
        self.line_ns = line_time_ns(states[EXECUTION], 0)
        self.holdings = holdings(states[EXECUTION])
        self._path = journal
        self._place = place_of_header(journal)
        for self._place, _ in follow(journal, self._place, ""):
            pass

    @property
    def state(self) -> State:
        """EVOP as of the last fact that was read."""
        return self._state

    def answer(self, word_ns: int, wait_s: float) -> dict[str, Any] | None:
        """The record of what the word of this number came to, once it is in the journal."""
        return _until(lambda: self._found(word_ns), wait_s)

    def _found(self, word_ns: int) -> dict[str, Any] | None:
        for self._place, fact in follow(self._path, self._place, RECORDS):
            if fact is not None and (record := _is_answer(fact, word_ns)) is not None:
                return record
        return None


@contextmanager
def _of_run(journal: Path) -> Iterator[OfRun]:
    yield OfRun(journal)


# --- a line on Kafka ---


class OfLine:
    """The orchestrator's inbox, stepped on here as there: the same facts, the same answers."""

    def __init__(self, settings: Settings, servers: str, bus: Any) -> None:
        from serving.adapters.kafka_snapshots import Snapshots
        from serving.runtime.host import serve
        from serving.runtime.opening import LINE, LineOpened

        snapshots = Snapshots(servers, ORCHESTRATOR)
        opened = snapshots.read(LINE, LineOpened)
        if opened is None:
            raise BadInput("no line is open on KAFKA_BOOTSTRAP_SERVERS: start the services")
        self.where = f"Kafka {masked(servers)}"
        self._bus = bus
        self._made: list[Event] = []
        self._host = serve(STAGE, opened.config, _Listening(bus))
        self._host.on_made = self._made.append
        saved = snapshots.load()
        if saved is not None:
            self._host.restore(saved.stage)
        bus.open(saved.bus if saved is not None else None)
        bus.buried[ORCHESTRATOR] = sys.maxsize  # what is none of ours, the orchestrator has buried
        self._catch_up()
        self.line_ns, self.holdings = _of_execution(settings)

    @property
    def state(self) -> State:
        """The orchestrator's state as of the last fact that was read."""
        state: State = self._host.state
        return state

    def answer(self, word_ns: int, wait_s: float) -> dict[str, Any] | None:
        """The record of what the word of this number comes to, once it is in the inbox."""
        return _until(lambda: self._found(word_ns), wait_s)

    def _found(self, word_ns: int) -> dict[str, Any] | None:
        self._made.clear()
        self._bus.pump(POLL_S)
        return next((one for fact in self._made if (one := _is_answer(fact, word_ns))), None)

    def _catch_up(self) -> None:
        until_s = time.monotonic() + CATCH_UP_S_MAX
        while self._bus.behind:
            self._bus.pump(POLL_S)
            interrupt.check()
            if time.monotonic() > until_s:
                raise Failed(f"the orchestrator's inbox could not be read in {CATCH_UP_S_MAX} s")
        self._made.clear()


class _Listening:
    """A bus that is only read: what the copy makes is the line's own to write."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    def write(self, log: str, fact: Event) -> None:
        """Nothing."""

    def read(self, log: str, reader: Callable[[Event], None]) -> None:
        """Hand every fact of `log` to `reader`."""
        self._bus.read(log, reader)


def _of_execution(settings: Settings) -> tuple[int, list[dict[str, Any]]]:
    """The line's time and what its accounts hold, as execution tells Redis; nothing where not."""
    from serving.adapters.redis_client import connect
    from serving.adapters.redis_directory import Directory, DirectoryError

    if settings.redis_url is None:
        return 0, []
    try:
        documents = Directory(connect(settings.redis_url), settings.redis_url).documents()
    except DirectoryError:
        return 0, []
    shown = documents.get(EXECUTION, {})
    return int(shown.get("line_ns", 0)), list(shown.get("holdings", []))


@contextmanager
def _of_line(settings: Settings, servers: str) -> Iterator[OfLine]:
    from serving.adapters.kafka_bus import KafkaBus

    bus = KafkaBus(servers, "models")
    try:
        yield OfLine(settings, servers, bus)
    finally:
        bus.close()
