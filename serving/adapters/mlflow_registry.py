"""The registry edge: what may trade comes from MLflow, what took the capital goes back as an alias.

The orchestrator's log is the truth and the aliases are its projection: `champion` is what the
capital account follows, `predecessor` what it followed before. MLflow has no compare-and-set, so
this is their only writer. It works beside the line, on a thread of its own: a registry that is down
costs trading nothing, is written down as a fact, and is put right by `reconcile` at the next start.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import structlog
from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential

from hft_lib import lineage
from hft_lib.events import Event, Promoted, Registered, Rejected, RolledBack
from hft_lib.kernel import sources_sha256
from hft_lib.lineage import (
    CHAMPION,
    Candidate,
    Registration,
    RegistryError,
    Version,
)
from hft_lib.parameters import Parameters, Provenance, parameter_sha256
from serving.adapters.alias_log import Held, Standing, fold

STAGE = "registry"
ATTEMPTS_MAX = 3  # with 5 s a call and these waits a move is given up within half a minute
WAIT_S_MAX = 2.0

Report = Callable[[Registered | Rejected], None]
Register = Callable[[Candidate], Registration]
_log = structlog.get_logger(__name__)


class Change(NamedTuple):
    """Where an alias was found and where it ought to point; empty is nowhere."""

    alias: str
    found: str
    wanted: str


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
        # The decision of each pair up to which its aliases are where the log says.
        self.settled: dict[str, str] = {}
        self._standings: dict[str, Standing] = {}
        self._pointing: dict[str, dict[str, str]] = {}
        self._made: dict[tuple[str, str], str] = {}
        # Versions that took the capital since the aliases were last moved: one move may stand for
        # several promotions.
        self._graduates: dict[str, set[str]] = {}
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
        return version.as_fact(time_ns, name, parameters)

    # --- what goes out ---

    def take(self, log: str, fact: Event) -> None:
        """Note one fact of the log; what it moves is moved beside the line."""
        with self._lock:
            is_move = fold(self._standings, fact)
            if not is_move:
                return
            assert isinstance(fact, Promoted | RolledBack)
            self._graduates.setdefault(fact.pair, set()).add(fact.model_version)
        self._begin_move(fact.pair)

    def reconcile(self, facts: Iterable[Event], goes_on: bool = True) -> list[Rejected]:
        """Bring the aliases to where the log `facts` left them; returns what failed, once more.

        `goes_on` says that the run of that log goes on from here; another run numbers its slots
        anew.
        """
        with self._lock:
            for fact in facts:
                fold(self._standings, fact)
        failed = [self._move(pair) for pair in list(self._standings)]
        if not goes_on:
            self._standings.clear()
            self._pointing.clear()
        return [failure for failure in failed if failure is not None]

    def pointing(self) -> dict[str, dict[str, str]]:
        """Where each pair's aliases were left, by version; an empty one is nowhere."""
        return {pair: dict(aliases) for pair, aliases in self._pointing.items()}

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was begun is done; False where that takes longer."""
        return not wait(list(self._moves.values()), timeout_s).not_done

    def close(self) -> None:
        """Finish what was begun, within its bounds, and end the thread."""
        self._pool.shutdown()

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
            standing = self._standings[pair]
            aliases, past = dict(standing.aliases), set(standing.past)
            graduates = set(self._graduates.get(pair, ()))
        held = aliases.get(CHAMPION)
        time_ns = held.time_ns if held else 0
        try:
            changes = _retrying(self._project, pair, aliases, graduates)
        # Whatever the registry does, trading goes on: the failure is a fact, and the next start
        # puts it right.
        except Exception as error:
            return self._fail(pair, time_ns, "ALIAS_NOT_MOVED", error)
        with self._lock:
            self._graduates.get(pair, set()).difference_update(graduates)
        before = self._pointing.get(pair, {})
        for change in changes:
            if _by_hand(change, before, past):
                self._tell_edit(pair, time_ns, change)
        self._pointing[pair] = {change.alias: change.wanted for change in changes}
        if held is not None:
            self.settled[pair] = held.decision_id
        return None

    def _project(
        self, pair: str, aliases: dict[str, Held | None], graduates: set[str]
    ) -> list[Change]:
        """Let each alias point to where it ought to, repeating it does no harm; where each did and
        does.
        """
        wanted = {alias: self._version(held) if held else "" for alias, held in aliases.items()}
        found = lineage.read_aliases(self._client, pair)
        changes = [Change(alias, found.get(alias, ""), to) for alias, to in wanted.items()]
        for alias, was, to in changes:
            if was == to:
                continue
            if to:
                self._must_be_whole(aliases[alias], to)
                lineage.set_alias(self._client, pair, alias, to)
            else:
                lineage.delete_alias(self._client, pair, alias)
        # Who has the capital, or had it by a move that another overtook, is no longer a challenger.
        leaving = graduates | {wanted.get(CHAMPION, "")}
        for alias, version in found.items():
            is_challenger = alias.startswith(lineage.CHALLENGER_PREFIX)
            if is_challenger and version in leaving:
                lineage.delete_alias(self._client, pair, alias)
        return changes

    def _must_be_whole(self, held: Held | None, version: str) -> None:
        """Raise ContentLost where the version is not the set that the log has."""
        assert held is not None, "an alias that points somewhere has what it points to"
        found, known = lineage.load_parameters(self._client, held.pair, version)
        if held.parameters is not None and found != held.parameters:
            wanted = parameter_sha256(held.parameters)
            raise lineage.ContentLost(
                f"{known.name} version {version}: its parameter set must be the log's, "
                f"{wanted[:12]}, was {known.parameters_sha256[:12]}"
            )

    def _tell_edit(self, pair: str, time_ns: int, change: Change) -> None:
        """Say that somebody else moved an alias: it is where the log says again."""
        was, to = change.found or "nothing", change.wanted or "nothing"
        detail = f"{change.alias} pointed to {was}, the log says {to}: put right"
        _log.warning(
            "an alias was moved by hand", pair=pair, alias=change.alias, was=was, is_now=to
        )
        self._report(Rejected(time_ns, STAGE, "ALIAS_EDITED", pair, detail))

    def _version(self, held: Held) -> str:
        """The version of a set, registered first where EVOP designed it."""
        if held.version:
            return held.version
        if held.parameters is None:
            raise RegistryError(
                f"the set of slot {held.slot}, generation {held.generation}, is not in the log"
            )
        content = held.pair, parameter_sha256(held.parameters)
        if content not in self._made:  # looked for once: it is asked for again and again
            known = lineage.find(self._client, *content)
            self._made[content] = known.version if known else self._register(held, held.parameters)
        return self._made[content]

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
            code_sha256=sources_sha256(),
            diagnostics={
                "decision_id": held.decision_id,
                "parent_version": parent.version if parent else None,
            },
        )
        made = self._register_set(candidate)
        version = lineage.read_version(self._client, held.pair, made.version)
        self._report(version.as_fact(held.time_ns, candidate.name, parameters))
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


def _by_hand(change: Change, before: Mapping[str, str], past: set[str]) -> bool:
    """Whether somebody else moved an alias since the log's last word about it.

    At a start it is not known where this edge had left it: a version to which the log never pointed
    was somebody else's choice, an older one may be a move that a crash cut off.
    """
    if change.found == change.wanted:
        return False
    if change.alias in before:
        return before[change.alias] == change.wanted
    return change.alias == CHAMPION and bool(change.found) and change.found not in past


def _retrying(call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's answer, tried again where the world failed; what the registry says is final."""
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_exponential(multiplier=0.25, max=WAIT_S_MAX),
        retry=retry_if_not_exception_type((RegistryError, ValueError)),
        reraise=True,
    )
    return attempts(call, *arguments)
