"""A line's registry on a thread of its own: what it holds is asked, the aliases are moved.

The aliases are where the line's log says, again and again: after a start, after each move, and
whenever the registry is asked, every `POLL_S`. One that somebody moved by hand is said and put
right. A registry that does not answer harms nothing: the line goes on, the pages say so and whose
aliases wait, and it is tried again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import structlog

from hft_lib.events import Event, Registered, Rejected
from hft_lib.lineage import RegistryError
from serving.adapters import mlflow_store
from serving.adapters.mlflow_apart import register_apart
from serving.adapters.mlflow_registry import MlflowRegistry
from serving.adapters.mlflow_rest import RestError
from serving.runtime.settings import Settings

NOT_ASKED = "it was not asked yet"
# A set is registered a few times a day at most; it waits for a day's end anyway.
POLL_S = 10.0
WAIT_S_MIN, WAIT_S_MAX = 1.0, 60.0
PUMP_S = 0.2
# Of a document of 64 KiB some 15 KiB: 150 bytes a pair.
PAIRS_SHOWN_MAX, EDITS_SHOWN_MAX = 100, 5
# A call under way is not waited for longer: what it does is repeated at the next start.
STOP_S_MAX = 3.0
AWAY = (OSError, RestError, mlflow_store.Unreachable)
_log = structlog.get_logger(__name__)


class Moves(Protocol):
    """Where the line's log of moves is read; `away` is what says that it does not answer."""

    away: tuple[type[Exception], ...]

    def open(self, stop: threading.Event) -> None:
        """Read what it holds now."""

    def more(self, wait_s: float) -> list[Event]:
        """What came since the last call, waited for up to `wait_s` where nothing did."""

    def close(self) -> None:
        """Read nothing more."""


class MovesInProcess:
    """The log of a line of one process: `before` is what its journal held, the rest is taken as it
    comes, on the thread that steps.
    """

    logs: tuple[str, ...] = ("hft.registry",)
    away: tuple[type[Exception], ...] = ()

    def __init__(self, before: list[Event]) -> None:
        self._facts = list(before)
        self._read = 0
        self._came = threading.Event()

    def take(self, log: str, fact: Event) -> None:
        """Keep one fact."""
        self._facts.append(fact)
        self._came.set()

    def open(self, stop: threading.Event) -> None:
        """Begin again with all of it."""
        self._read = 0

    def more(self, wait_s: float) -> list[Event]:
        """What came since the last call."""
        if self._read == len(self._facts):
            self._came.wait(wait_s)
        self._came.clear()
        came = self._facts[self._read :]
        self._read += len(came)
        return came

    def close(self) -> None:
        """Nothing is held."""


class Registry:
    """The registry that the settings name, of the line of `pairs` whose moves `log` opens.

    `tells` says that somebody takes what is found (`found`).
    """

    def __init__(
        self,
        settings: Settings,
        pairs: tuple[str, ...],
        log: Callable[[], Moves],
        tells: bool = True,
    ) -> None:
        self._settings = settings
        self._pairs = pairs
        self._open_log = log
        self._tells = tells
        self._away: tuple[type[Exception], ...] = AWAY
        self._found: deque[Registered] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._error = NOT_ASKED
        self._refused = ""  # the last that the registry answered and that cannot be used
        self._unmoved: set[str] = set()  # pairs whose aliases could not be moved
        self._edited: deque[dict[str, str]] = deque(maxlen=EDITS_SHOWN_MAX)
        self._edits = 0
        self._asked_s = 0.0
        # The decision of each pair that moved its capital last, and that its aliases have come to.
        self.decided: dict[str, str] = {}
        self._settled: dict[str, str] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S_MAX)

    def found(self) -> list[Registered]:
        """What the registry held when it was asked since the last call; on any thread."""
        return [self._found.popleft() for _ in range(len(self._found))]

    # --- on the registry's thread ---

    def _run(self) -> None:
        wait_s = WAIT_S_MIN
        while not self._stop.is_set():
            self._asked_s = 0.0
            try:
                self._follow()
            # Whatever it was, the line goes on: what mends is found mended at a later try.
            except Exception as error:
                self._say(error)
                wait_s = WAIT_S_MIN if self._asked_s else min(2.0 * wait_s, WAIT_S_MAX)
                self._stop.wait(wait_s)

    def _follow(self) -> None:
        """Ask and move until an end is asked for."""
        server = mlflow_store.is_server(self._settings)
        edge = MlflowRegistry(
            mlflow_store.open_registry(self._settings),
            mlflow_store.artifact_location(self._settings),
            self._report,
            register_apart if server else None,
        )
        try:
            log = self._open_log()
            self._away = (*AWAY, *log.away)
            try:
                self._follow_with(edge, log)
            finally:
                log.close()
        finally:
            edge.close()

    def _follow_with(self, edge: MlflowRegistry, log: Moves) -> None:
        log.open(self._stop)
        moves = log.more(0.0)
        # Before any alias is moved: what people pointed one to meanwhile is not lost.
        self._ask(edge)
        while not self._stop.is_set():
            # Also where nothing was decided: somebody may have moved an alias by hand.
            self._unmoved.clear()
            edge.reconcile(moves)
            moves = []
            self._settled, self._aliases = dict(edge.settled), edge.pointing()
            due_s = self._asked_s + POLL_S
            while not (moves or self._stop.is_set()) and time.monotonic() < due_s:
                moves = log.more(PUMP_S)
            if time.monotonic() >= due_s:
                self._ask(edge)

    def _ask(self, edge: MlflowRegistry) -> None:
        """Take what the registry holds of every pair now."""
        self._refused = ""
        for pair in self._pairs:
            try:
                found = edge.registered(pair, 0)
                self._found.extend(found if self._tells else ())
            except RegistryError as error:  # it answered; another version may be whole
                self._refused = f"{pair}: {error}"
        if self._error:
            _log.info("the registry answers", pairs=self._pairs)
        self._error, self._asked_s = "", time.monotonic()

    def _report(self, fact: Registered | Rejected) -> None:
        if isinstance(fact, Registered):
            self._found.extend((fact,) if self._tells else ())
        elif fact.reason == "ALIAS_EDITED":
            self._edits += 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._edited.append({"pair": fact.subject, "what": fact.detail, "found": now})
        elif fact.reason == "ALIAS_NOT_MOVED":
            self._unmoved.add(fact.subject)
            self._refused = f"{fact.subject}: {fact.detail}"
        else:
            self._refused = f"{fact.subject}: {fact.detail}"

    def _say(self, error: Exception) -> None:
        why = " ".join(str(error).split()) or type(error).__name__
        if why == self._error:
            return  # it was said
        self._error = why
        unknown = None if isinstance(error, self._away) else error
        _log.warning("the registry is away, the line goes on", why=why, exc_info=unknown)

    # --- what the pages show ---

    def why(self) -> str:
        """Nothing: the line does not wait for its registry."""
        return ""

    def waiting(self) -> list[str]:
        """Pairs whose aliases are not where the line says: the move waits, or failed."""
        behind = {
            pair
            for pair, decision_id in self.decided.items()
            if decision_id and self._settled.get(pair) != decision_id
        }
        return sorted(behind | self._unmoved)

    def document(self) -> dict[str, Any]:
        """Why the registry is away, what of it cannot be used, whose aliases wait to be moved,
        where each points (an empty version: nowhere), and which were moved by hand of late.
        """
        return {
            "registry": {
                "why": self._error,
                "refused": self._refused,
                "aliases_waiting": self.waiting(),
                "aliases": dict(list(self._aliases.items())[:PAIRS_SHOWN_MAX]),
                "edited": list(self._edited),
            }
        }

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        return {
            "hft_registry_away": ("1 while the registry does not answer", float(bool(self._error))),
            "hft_registry_aliases_waiting": (
                "pairs whose aliases are not where the line says",
                float(len(self.waiting())),
            ),
            "hft_registry_aliases_edited": (
                "aliases that were found moved by hand since the start, and put right",
                float(self._edits),
            ),
        }
