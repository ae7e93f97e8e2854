"""The registry edge: what may trade comes from MLflow, what took the capital goes back as an alias.

The orchestrator's log is the truth and the aliases are its projection: `champion` is what the
capital account follows, `predecessor` what it followed before. MLflow has no compare-and-set, so
this is their only writer. It works beside the line, on a thread of its own: a registry that is down
costs trading nothing, is written down as a fact, and is put right by `reconcile` at the next start.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import msgspec
import structlog
from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential

from hft_lib import lineage
from hft_lib.events import Event, Promoted, Registered, Rejected, RolledBack, SlotAssigned
from hft_lib.lineage import (
    CHAMPION,
    PREDECESSOR,
    Candidate,
    Registration,
    RegistryError,
    Version,
)
from hft_lib.parameters import Parameters, Provenance, parameter_sha256

STAGE = "registry"
ATTEMPTS_MAX = 3  # with 5 s a call and these waits a move is given up within half a minute
WAIT_S_MAX = 2.0

Report = Callable[[Registered | Rejected], None]
Register = Callable[[Candidate], Registration]
_log = structlog.get_logger(__name__)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot ran when the pointer moved; `version` is empty for a set that EVOP designed."""

    pair: str
    time_ns: int
    slot: int
    generation: int
    version: str
    parameters: Parameters | None
    decision_id: str


class Standing(msgspec.Struct):
    """A pair as the log tells it: who runs in each slot, where each alias ought to point."""

    slots_version: int = -1
    seats: dict[int, SlotAssigned] = {}
    aliases: dict[str, Held | None] = {}


class MlflowRegistry:
    """The registry of a line.

    `report` is told, on this edge's thread, what was registered and what failed. `register` is how
    a set is registered: by the client itself, unless it is another's work.
    """

    logs = ("hft.registry",)

    def __init__(
        self,
        client: Any,
        artifact_location: str | None,
        report: Report = lambda fact: None,
        register: Register | None = None,
    ) -> None:
        self._client = client
        self._artifact_location = artifact_location
        self._register_set = register or self._register_by_client
        self._report = report
        self._standings: dict[str, Standing] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._moves: dict[str, Future[None]] = {}

    # --- what comes in ---

    def registered(self, pair: str, time_ns: int) -> list[Registered]:
        """The facts that a run of `pair` starts from: the champion, then the challengers by alias.

        Raises lineage.ContentLost where the champion's set is lost; a lost challenger is reported
        and left out.
        """
        aliases = _retrying(lineage.read_aliases, self._client, pair)
        facts = [self._fact(pair, CHAMPION, time_ns)] if CHAMPION in aliases else []
        for alias, version in aliases.items():
            is_challenger = alias.startswith(lineage.CHALLENGER_PREFIX)
            if not is_challenger or version == aliases.get(CHAMPION):
                continue
            try:
                facts.append(self._fact(pair, alias, time_ns))
            except RegistryError as error:
                self._fail(pair, time_ns, "SET_LOST", error)
        return facts

    def _fact(self, pair: str, alias: str, time_ns: int) -> Registered:
        parameters, version = _retrying(lineage.load_parameters, self._client, pair, alias)
        name = alias.removeprefix(lineage.CHALLENGER_PREFIX)
        return _registered(time_ns, name, parameters, version)

    # --- what goes out ---

    def take(self, log: str, fact: Event) -> None:
        """Note one fact of the log; what it moves is moved beside the line."""
        if self._note(fact):
            assert isinstance(fact, Promoted | RolledBack)
            self._begin_move(fact.pair)

    def reconcile(self, facts: Iterable[Event], goes_on: bool = True) -> list[Rejected]:
        """Bring the aliases to where the log `facts` left them; returns what failed, once more.

        `goes_on` says that the run of that log goes on from here; another run numbers its slots
        anew.
        """
        for fact in facts:
            self._note(fact)
        failed = [self._move(pair) for pair in list(self._standings)]
        if not goes_on:
            self._standings.clear()
        return [failure for failure in failed if failure is not None]

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was begun is done; False where that takes longer."""
        return not wait(list(self._moves.values()), timeout_s).not_done

    def close(self) -> None:
        """Finish what was begun, within its bounds, and end the thread."""
        self._pool.shutdown()

    # --- the log, folded ---

    def _note(self, fact: Event) -> bool:
        """Take a fact into its pair's standing; True where an alias may have to move.

        A repeat changes nothing.
        """
        match fact:
            case SlotAssigned():
                with self._lock:
                    _seat(self._standing(fact.pair), fact)
                return False
            case Promoted() | RolledBack():
                with self._lock:
                    return _point(self._standing(fact.pair), fact)
            case _:
                return False

    def _standing(self, pair: str) -> Standing:
        return self._standings.setdefault(pair, Standing())

    # --- the aliases, moved ---

    def _begin_move(self, pair: str) -> None:
        """One move a pair waits at most: it goes to wherever the log stands when its turn comes."""
        waiting = self._moves.get(pair)
        if waiting is None or waiting.running() or waiting.done():
            self._moves[pair] = self._pool.submit(self._move_and_forget, pair)

    def _move_and_forget(self, pair: str) -> None:
        self._move(pair)

    def _move(self, pair: str) -> Rejected | None:
        with self._lock:
            aliases = dict(self._standings[pair].aliases)
        try:
            _retrying(self._project, pair, aliases)
        # Whatever the registry does, trading goes on: the failure is a fact, and the next start
        # puts it right.
        except Exception as error:
            held = aliases.get(CHAMPION)
            return self._fail(pair, held.time_ns if held else 0, "ALIAS_NOT_MOVED", error)
        return None

    def _project(self, pair: str, aliases: dict[str, Held | None]) -> None:
        """Let each alias point to where it ought to; repeating it does no harm."""
        versions = {alias: self._version(held) for alias, held in aliases.items() if held}
        for alias in aliases:
            if alias in versions:
                lineage.set_alias(self._client, pair, alias, versions[alias])
            else:
                lineage.delete_alias(self._client, pair, alias)
        # Who has the capital is no longer its own challenger.
        for alias, version in lineage.read_aliases(self._client, pair).items():
            is_challenger = alias.startswith(lineage.CHALLENGER_PREFIX)
            if is_challenger and version == versions.get(CHAMPION):
                lineage.delete_alias(self._client, pair, alias)

    def _version(self, held: Held) -> str:
        """The version of a set, registered first where EVOP designed it."""
        if held.version:
            return held.version
        if held.parameters is None:
            raise RegistryError(
                f"the set of slot {held.slot}, generation {held.generation}, is not in the log"
            )
        known = lineage.find(self._client, held.pair, parameter_sha256(held.parameters))
        return known.version if known else self._register(held, held.parameters)

    def _register(self, held: Held, parameters: Parameters) -> str:
        parent = self._parent(held.pair)
        candidate = Candidate(
            pair=held.pair,
            name=f"evop-{parameter_sha256(parameters)[:8]}",
            parameters=parameters,
            origin=held.decision_id,
            # It was not fitted but stands near its parent: no trial was made on the parent's data.
            provenance=Provenance(
                tape_sha256=parent.tape_sha256 if parent else "",
                start=parent.window_start if parent else "",
                end=parent.window_end if parent else "",
                trials=0,
                git_commit=parent.git_commit if parent else "",
                reference=parent.reference if parent else None,
            ),
            config_sha256=parent.config_sha256 if parent else "",
            diagnostics={
                "decision_id": held.decision_id,
                "parent_version": parent.version if parent else None,
            },
        )
        made = self._register_set(candidate)
        version = lineage.read_version(self._client, held.pair, made.version)
        self._report(_registered(held.time_ns, candidate.name, parameters, version))
        return made.version

    def _register_by_client(self, candidate: Candidate) -> Registration:
        experiment = lineage.experiment_id(self._client, self._artifact_location)
        return lineage.register(self._client, experiment, candidate)

    def _parent(self, pair: str) -> Version | None:
        if CHAMPION not in lineage.read_aliases(self._client, pair):
            return None
        return lineage.read_version(self._client, pair, CHAMPION)

    def _fail(self, pair: str, time_ns: int, reason: str, error: Exception) -> Rejected:
        detail = " ".join((str(error) or type(error).__name__).split())
        failure = Rejected(time_ns, STAGE, reason, pair, detail)
        _log.warning("registry_failed", pair=pair, reason=reason, detail=detail)
        self._report(failure)
        return failure


def _seat(standing: Standing, fact: SlotAssigned) -> None:
    known = standing.seats.get(fact.slot)
    if known is None or known.generation < fact.generation:
        standing.seats[fact.slot] = fact


def _point(standing: Standing, fact: Promoted | RolledBack) -> bool:
    if fact.slots_version <= standing.slots_version:
        return False
    standing.slots_version = fact.slots_version
    before, after = standing.aliases.get(CHAMPION), _held(standing, fact)
    standing.aliases[CHAMPION] = after
    if isinstance(fact, RolledBack):
        standing.aliases[PREDECESSOR] = None
    elif before is not None:
        # The first champion of a run has none here, and the alias of an earlier run stays.
        standing.aliases[PREDECESSOR] = before
    return True


def _held(standing: Standing, fact: Promoted | RolledBack) -> Held:
    seat = standing.seats.get(fact.slot)
    is_there = seat is not None and seat.generation == fact.generation
    return Held(
        pair=fact.pair,
        time_ns=fact.time_ns,
        slot=fact.slot,
        generation=fact.generation,
        version=fact.model_version,
        parameters=seat.parameters if seat and is_there else None,
        decision_id=fact.decision_id,
    )


def _registered(time_ns: int, name: str, parameters: Parameters, version: Version) -> Registered:
    return Registered(
        time_ns=time_ns,
        pair=version.pair,
        alias=name,
        parameters=parameters,
        parameters_sha256=version.parameters_sha256,
        model_version=version.version,
        run_id=version.run_id,
        git_commit=version.git_commit,
        tape_sha256=version.tape_sha256,
        reference=version.reference,
    )


def _retrying(call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's answer, tried again where the world failed; what the registry says is final."""
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_exponential(multiplier=0.25, max=WAIT_S_MAX),
        retry=retry_if_not_exception_type((RegistryError, ValueError)),
        reraise=True,
    )
    return attempts(call, *arguments)
