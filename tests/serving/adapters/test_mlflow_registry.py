"""The registry edge on real MLflow: what a run starts from, and how aliases follow the log."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hft_lib import lineage
from hft_lib.events import Event, Promoted, Registered, Rejected, RolledBack, SlotAssigned
from hft_lib.lineage import CHAMPION, PREDECESSOR
from hft_lib.parameters import Parameters, parameter_sha256
from serving.adapters.mlflow_registry import MlflowRegistry
from tests.hft_lib.registry_world import (
    PARAMETERS,
    PROVENANCE,
    artifact,
    candidate,
    client,
    entering_at,
    pair_of,
)

DESIGNED = entering_at(2.25)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def store(home) -> Any:
    return client(home)


@pytest.fixture
def reports() -> list[Registered | Rejected]:
    return []


@pytest.fixture
def registry(store, home, reports):
    edge = MlflowRegistry(store, str(home / "mlartifacts"), reports.append)
    yield edge
    edge.close()


@pytest.fixture
def add(store, home) -> Callable[..., str]:
    """Register a set under an alias; its version."""
    experiment = lineage.experiment_id(store, str(home / "mlartifacts"))

    def add(pair: str, alias: str, parameters: Parameters = PARAMETERS) -> str:
        made = lineage.register(store, experiment, candidate(pair, parameters))
        lineage.set_alias(store, pair, alias, made.version)
        return made.version

    return add


def told(registry: MlflowRegistry, *facts: Event) -> None:
    """Hand the facts to the edge as its log would, and wait for what they move."""
    for fact in facts:
        registry.take("hft.registry", fact)
    assert registry.settle(60.0)


def assigned(pair: str, slot: int, version: str, parameters: Parameters) -> SlotAssigned:
    return SlotAssigned(
        time_ns=1,
        effective_ns=1,
        pair=pair,
        slot=slot,
        generation=1,
        role="test",
        parameters=parameters,
        parameters_sha256=parameter_sha256(parameters),
        model_version=version,
        run_id="",
        copy_from=-1,
        warmup_s=0.0,
        slots_version=1,
    )


def moved(
    pair: str, slot: int, version: str, number: int, kind: type = Promoted
) -> Promoted | RolledBack:
    fact: Promoted | RolledBack = kind(
        time_ns=number,
        effective_ns=number,
        pair=pair,
        slot=slot,
        generation=1,
        model_version=version,
        decision_id=f"evop-{number}",
        slots_version=number,
    )
    return fact


# --- what a run starts from ---


def test_a_run_starts_from_the_champion_and_then_the_challengers_by_alias(registry, add):
    pair = pair_of("START")
    add(pair, "challenger-wide", entering_at(2.5))
    add(pair, CHAMPION)
    add(pair, "challenger-patient", entering_at(1.6))
    facts = registry.registered(pair, 42)
    assert [fact.alias for fact in facts] == [CHAMPION, "patient", "wide"]
    champion = facts[0]
    assert (champion.time_ns, champion.pair) == (42, pair)
    assert champion.parameters == PARAMETERS
    assert champion.parameters_sha256 == parameter_sha256(PARAMETERS)
    assert champion.model_version == "2" and len(champion.run_id) == 32
    assert champion.git_commit == PROVENANCE.git_commit
    assert champion.tape_sha256 == PROVENANCE.tape_sha256
    assert facts[1].parameters == entering_at(1.6)


def test_nothing_registered_is_an_empty_start(registry):
    assert registry.registered(pair_of("EMPTY"), 0) == []


def test_the_champion_does_not_challenge_itself(registry, add):
    pair = pair_of("SELF")
    add(pair, CHAMPION)
    add(pair, "challenger-same")
    assert [fact.alias for fact in registry.registered(pair, 0)] == [CHAMPION]


def test_a_lost_champion_ends_the_start(registry, add, home):
    pair = pair_of("GONE")
    add(pair, CHAMPION)
    artifact(home, "parameters.json").unlink()
    with pytest.raises(lineage.ContentLost):
        registry.registered(pair, 0)


def test_a_lost_challenger_is_reported_and_left_out(registry, add, home, reports):
    pair = pair_of("LESS")
    add(pair, CHAMPION)
    add(pair, "challenger-patient", entering_at(1.6))
    artifact(home, "parameters.json").unlink()
    assert [fact.alias for fact in registry.registered(pair, 7)] == [CHAMPION]
    assert [(fact.reason, fact.subject) for fact in reports] == [("SET_LOST", pair)]


# --- how aliases follow the log ---


def test_a_promotion_moves_champion_and_predecessor(registry, store, add, reports):
    pair = pair_of("MOVE")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    told(registry, moved(pair, 0, first, 1))
    assert lineage.read_aliases(store, pair) == {CHAMPION: first, "challenger-patient": other}
    told(registry, moved(pair, 1, other, 2))
    assert lineage.read_aliases(store, pair) == {CHAMPION: other, PREDECESSOR: first}
    assert reports == []


def test_a_repeated_or_an_older_fact_moves_nothing(registry, store, add):
    pair = pair_of("TWICE")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    facts = moved(pair, 0, first, 1), moved(pair, 1, other, 2)
    told(registry, *facts, *facts, facts[0])
    assert lineage.read_aliases(store, pair) == {CHAMPION: other, PREDECESSOR: first}


def test_a_rollback_moves_the_champion_back(registry, store, add):
    pair = pair_of("BACK")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    told(registry, moved(pair, 0, first, 1), moved(pair, 1, other, 2))
    told(registry, moved(pair, 0, first, 3, RolledBack))
    assert lineage.read_aliases(store, pair) == {CHAMPION: first}


def test_a_set_that_evop_designed_is_registered_when_it_is_promoted(registry, store, add, reports):
    pair = pair_of("DESIGN")
    first = add(pair, CHAMPION)
    told(
        registry,
        assigned(pair, 0, first, PARAMETERS),
        assigned(pair, 3, "", DESIGNED),
        moved(pair, 0, first, 4),
        moved(pair, 3, "", 5),
    )
    parameters, version = lineage.load_parameters(store, pair, CHAMPION)
    assert parameters == DESIGNED
    assert lineage.read_aliases(store, pair)[PREDECESSOR] == first
    run = store.get_run(version.run_id)
    assert run.data.tags["origin"] == "evop-5"
    assert version.tape_sha256 == PROVENANCE.tape_sha256
    assert version.candidate == f"evop-{parameter_sha256(DESIGNED)[:8]}"
    (report,) = reports
    assert isinstance(report, Registered)
    assert (report.model_version, report.run_id) == (version.version, version.run_id)


def test_a_set_that_the_log_does_not_hold_leaves_the_alias(registry, store, add, reports):
    pair = pair_of("UNKNOWN")
    first = add(pair, CHAMPION)
    told(registry, moved(pair, 3, "", 5))
    assert lineage.read_aliases(store, pair) == {CHAMPION: first}
    (failure,) = reports
    assert isinstance(failure, Rejected)
    assert (failure.time_ns, failure.stage, failure.reason) == (5, "registry", "ALIAS_NOT_MOVED")
    assert "slot 3, generation 1" in failure.detail


def test_a_registry_that_is_down_costs_the_line_nothing_and_is_put_right(store, home, add):
    from mlflow import MlflowClient

    pair = pair_of("DOWN")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    facts = moved(pair, 0, first, 1), moved(pair, 1, other, 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reports: list[Registered | Rejected] = []
    cut_off = MlflowRegistry(MlflowClient(f"http://127.0.0.1:{port}"), None, reports.append)
    began = time.monotonic()
    for fact in facts:
        cut_off.take("hft.registry", fact)
    assert time.monotonic() - began < 0.1
    assert cut_off.settle(30.0)
    cut_off.close()
    assert {report.reason for report in reports if isinstance(report, Rejected)} == {
        "ALIAS_NOT_MOVED"
    }
    assert lineage.read_aliases(store, pair)[CHAMPION] == first

    started_again = MlflowRegistry(store, str(home / "mlartifacts"))
    assert started_again.reconcile(facts) == []
    assert lineage.read_aliases(store, pair) == {CHAMPION: other, PREDECESSOR: first}
    told(started_again, facts[0])
    assert lineage.read_aliases(store, pair)[CHAMPION] == other
    started_again.close()


def test_a_set_whose_promotion_was_overtaken_is_no_challenger_either(store, home, add):
    pair = pair_of("OVERTAKEN")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-lucky", entering_at(1.6))
    stays = add(pair, "challenger-patient", entering_at(1.7))
    gate = threading.Event()

    class Slow:
        """The registry, which answers once the gate is open."""

        def __getattr__(self, name: str) -> Any:
            gate.wait(60.0)
            return getattr(store, name)

    edge = MlflowRegistry(Slow(), str(home / "mlartifacts"))
    for fact in (
        moved(pair, 0, first, 1),
        moved(pair, 1, other, 2),
        moved(pair, 0, first, 3, RolledBack),
    ):
        edge.take("hft.registry", fact)
    gate.set()
    assert edge.settle(60.0)
    edge.close()
    assert lineage.read_aliases(store, pair) == {CHAMPION: first, "challenger-patient": stays}


def test_the_next_run_numbers_its_slots_anew(registry, store, add):
    pair = pair_of("ANEW")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    finished = moved(pair, 0, first, 8), moved(pair, 1, other, 9)
    assert registry.reconcile(finished, goes_on=False) == []
    assert lineage.read_aliases(store, pair)[CHAMPION] == other
    told(registry, moved(pair, 0, first, 1))
    assert lineage.read_aliases(store, pair)[CHAMPION] == first


def test_an_alias_that_was_moved_by_hand_is_reported_and_put_right(registry, store, add, reports):
    pair = pair_of("HAND")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    told(registry, moved(pair, 0, first, 1), moved(pair, 1, other, 2))
    assert registry.settled == {pair: "evop-2"}
    lineage.set_alias(store, pair, CHAMPION, first)
    lineage.delete_alias(store, pair, PREDECESSOR)
    assert registry.reconcile([]) == []
    assert lineage.read_aliases(store, pair) == {CHAMPION: other, PREDECESSOR: first}
    assert [(report.reason, report.detail) for report in reports] == [
        ("ALIAS_EDITED", f"champion pointed to {first}, the log says {other}: put right"),
        ("ALIAS_EDITED", f"predecessor pointed to nothing, the log says {first}: put right"),
    ]
    assert registry.reconcile([]) == [] and len(reports) == 2, "said once"


def test_a_start_tells_a_hand_from_a_move_that_a_crash_cut_off(store, home, add):
    pair = pair_of("CRASH")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    stranger = add(pair, "challenger-eager", entering_at(1.7))
    facts = moved(pair, 0, first, 1), moved(pair, 1, other, 2)
    for found, reasons in ((first, []), (stranger, ["ALIAS_EDITED"])):
        lineage.set_alias(store, pair, CHAMPION, found)
        reports: list[Any] = []
        edge = MlflowRegistry(store, str(home / "mlartifacts"), reports.append)
        assert edge.reconcile(facts) == []
        edge.close()
        assert lineage.read_aliases(store, pair)[CHAMPION] == other
        assert [report.reason for report in reports] == reasons


def test_an_alias_is_not_moved_to_a_version_that_is_not_what_was_registered(
    registry, store, add, home, reports
):
    pair = pair_of("CHANGED")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    changed = artifact(home, "parameters.json")
    content = changed.read_bytes()
    changed.write_bytes(content.replace(b"1.6", b"1.7"))
    told(registry, moved(pair, 0, first, 1), moved(pair, 1, other, 2))
    (failure,) = reports
    assert failure.reason == "ALIAS_NOT_MOVED" and "must have SHA-256" in failure.detail
    assert lineage.read_aliases(store, pair)[CHAMPION] == first
    assert registry.settled == {pair: "evop-1"}
    changed.write_bytes(content)
    assert registry.reconcile([]) == []
    assert lineage.read_aliases(store, pair)[CHAMPION] == other


def test_an_alias_is_not_moved_to_a_version_of_another_set_than_the_logs(
    registry, store, add, reports
):
    pair = pair_of("OTHER")
    first = add(pair, CHAMPION)
    other = add(pair, "challenger-patient", entering_at(1.6))
    told(registry, assigned(pair, 1, other, entering_at(1.5)), moved(pair, 1, other, 2))
    (failure,) = reports
    assert "its parameter set must be the log's" in failure.detail
    assert lineage.read_aliases(store, pair)[CHAMPION] == first


def test_what_reconciling_could_not_do_is_returned(registry, add):
    pair = pair_of("STILL")
    add(pair, CHAMPION)
    failed = registry.reconcile([moved(pair, 2, "", 1), moved(pair_of("NOBODY"), 0, "3", 1)])
    assert {failure.subject for failure in failed} == {pair, pair_of("NOBODY")}
