"""A line on Kafka with a real MLflow: opened from it, told what is new, moving its aliases."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from hft_lib import lineage
from hft_lib.events import MoveAsked, Promoted, Registered, RolledBack
from hft_lib.lineage import CHAMPION, PREDECESSOR, Candidate
from hft_lib.parameters import ParameterFile, Parameters, read_parameter_file
from serving.adapters import mlflow_store
from serving.adapters.registered_sets import registered_sets
from serving.runtime.identity import git_commit
from serving.runtime.settings import Settings
from tests.integration.conftest import Outside, free_ports
from tests.integration.registry_server import START_S_MAX, RegistryServer
from tests.integration.six import MARKS, NAMES, Played, SixProcesses, facts, recorded
from tests.integration.test_six_services import is_through, traced_commit
from tests.monitoring.panels import brokers_metrics_are_there
from tests.monitoring.watched import Watch

pytestmark = MARKS
PAGE_S_MAX = 60.0


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], None]
) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("mlflow")
    empty_registry(folder / "mlflow.db")
    made = RegistryServer(folder, free_ports(1)[0])
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def client(server: RegistryServer) -> Any:
    """A client, once the server answers in time: on a busy machine its first answers are slow."""
    patient = retry(
        retry=retry_if_exception_type(mlflow_store.Unreachable),
        stop=stop_after_delay(START_S_MAX),
        wait=wait_fixed(0.5),
        reraise=True,
    )
    return patient(mlflow_store.open_client)(Settings(mlflow_tracking_uri=server.uri))


def add(client: Any, file: ParameterFile, name: str, parameters: Parameters, alias: str) -> str:
    """Register a set under an alias; its version."""
    found = Candidate(pair=file.pair, name=name, parameters=parameters, provenance=file.provenance)
    made = lineage.register(client, lineage.experiment_id(client, None), found)
    lineage.set_alias(client, file.pair, alias, made.version)
    return made.version


@pytest.fixture(scope="module")
def file(client: Any, played: Played) -> ParameterFile:
    """What was played, registered; its challengers in the registry's order."""
    known = read_parameter_file(played.params.read_bytes())
    add(client, known, "fitted", known.params, CHAMPION)
    for item in known.challengers:
        add(client, known, item.name, item.params, lineage.challenger_alias(item.name))
    return registered_sets(client, known.pair)[0]


@pytest.fixture
def line(six: SixProcesses, server: RegistryServer, file: ParameterFile) -> SixProcesses:
    """A line that names its registry and no file."""
    six.environment = {"MLFLOW_TRACKING_URI": server.uri}
    six.options["orchestrator"] = ()
    return six


def wider(file: ParameterFile, by: float) -> Parameters:
    """The champion's parameters, entering later."""
    known = file.params.strategy
    strategy = msgspec.structs.replace(known, entry_z=known.entry_z + by)
    return msgspec.structs.replace(file.params, strategy=strategy)


def shown(six: SixProcesses) -> dict[str, Any]:
    """What the orchestrator says of its registry."""
    known: dict[str, Any] = six.state("orchestrator").get("registry", {})
    return known


def told(six: SixProcesses) -> list[str]:
    """The versions that the registry edge wrote into the orchestrator's inbox."""
    said = facts(six.servers, "orchestrator")
    return [fact.model_version for fact in said if isinstance(fact, Registered)]


def aliases_of(client: Any, file: ParameterFile) -> dict[str, str]:
    return lineage.read_aliases(client, file.pair)


@contextmanager
def watched(line: SixProcesses, folder: Path) -> Iterator[Watch]:
    """Prometheus over the six while the block runs."""
    folder.mkdir()
    ports = {name: int(line.url(name).rpartition(":")[2]) for name in NAMES}
    made = Watch(folder, free_ports(2), ports)
    try:
        made.start("staging")
        yield made
    finally:
        made.end()


def test_a_line_opened_from_the_registry_trades_its_sets_and_moves_its_aliases(
    line: SixProcesses,
    client: Any,
    file: ParameterFile,
    played: Played,
    outside: Outside,
    tmp_path: Path,
) -> None:
    line.environment["DATABASE_URL"] = f"sqlite:///{tmp_path / 'ledger.db'}"
    params = played.params.with_name("registered.json")
    params.write_bytes(msgspec.json.encode(file))
    replay = outside("replay", "--tape", played.tape, "--params", params, "--json").json
    with watched(line, tmp_path / "watch") as watch:
        line.start()
        line.await_ready()
        line.wait_for("through", lambda: is_through(line, played), 300.0)
        brokers_metrics_are_there(watch)
    assert recorded(line.servers).orders_sha256() == replay["orders_sha256"]
    assert traced_commit(line) == git_commit()
    said = facts(line.servers, "hft.registry")
    moves = [fact for fact in said if isinstance(fact, Promoted)]
    assert len(moves) > 1
    wanted = {CHAMPION: moves[-1].model_version, PREDECESSOR: moves[-2].model_version}
    line.wait_for(
        "the aliases moved",
        lambda: wanted.items() <= aliases_of(client, file).items(),
        PAGE_S_MAX,
    )
    known = shown(line)
    assert (known["why"], known["refused"], known["aliases_waiting"]) == ("", "", [])
    assert known["edited"] == [], "a move that is made is no edit"
    lineage.set_alias(client, file.pair, CHAMPION, moves[0].model_version)
    line.kill("orchestrator")  # a start reads the log again, and puts right what another moved
    line.start("orchestrator")
    line.wait_for(
        "the aliases moved again",
        lambda: wanted.items() <= aliases_of(client, file).items(),
        PAGE_S_MAX,
    )
    assert len(told(line)) == len(set(told(line))) == 1 + len(file.challengers)
    peak_kib = int(
        Path(f"/proc/{line.process('orchestrator').pid}/status")
        .read_text()
        .split("VmHWM:")[1]
        .split()[0]
    )
    assert peak_kib < 256 * 1024


def test_a_version_that_is_new_is_told_once_though_the_orchestrator_and_the_registry_are_killed(
    line: SixProcesses, server: RegistryServer, client: Any, file: ParameterFile
) -> None:
    line.speed = 50_000.0
    line.start()
    line.await_ready()
    line.wait_for("asked", lambda: shown(line).get("why") == "")
    server.kill()
    line.wait_for("missed", lambda: "refused" in shown(line)["why"].lower(), PAGE_S_MAX)
    assert line.page("orchestrator", "/readyz")[0] == 200
    assert "hft_registry_away 1.0" in line.page("orchestrator", "/metrics")[1]
    server.start()
    late = add(client, file, "late", wider(file, 0.25), "challenger-late")
    line.wait_for("told", lambda: late in told(line), PAGE_S_MAX)
    line.kill("orchestrator")
    line.start("orchestrator")
    line.await_ready("orchestrator")
    # What the start found again would be told before it.
    last = add(client, file, "late", wider(file, 0.5), "challenger-late")
    line.wait_for("told the last", lambda: last in told(line), PAGE_S_MAX)
    said = told(line)
    assert said[-2:] == [late, last]
    assert len(said) == len(set(said)), said
    assert set(line.stop().values()) == {0}


def test_a_promotion_by_hand_is_made_in_mlflow_whoever_is_killed_meanwhile(
    line: SixProcesses, server: RegistryServer, client: Any, file: ParameterFile
) -> None:
    # As good as the champion: EVOP neither drops it meanwhile nor takes the capital back.
    champion = registered_sets(client, file.pair)[0].params
    strategy = msgspec.structs.replace(champion.strategy, stop_z=champion.strategy.stop_z + 0.01)
    equal = msgspec.structs.replace(champion, strategy=strategy)
    candidate = add(client, file, "an-equal", equal, "challenger-an-equal")
    by = ("--operator", "ada", "--reason", "drill", "--json")
    line.speed = 20_000.0
    line.start()
    line.await_ready()
    promote = ("models", "promote", candidate, *by)
    line.wait_for("warm", lambda: line.verb(*promote, "--dry-run").code == 0)
    # The registry away, then the orchestrator too: the move waits, and is made when both are back.
    server.kill()
    line.wait_for("missed", lambda: "refused" in shown(line)["why"].lower(), PAGE_S_MAX)
    answer = line.verb(*promote)
    assert answer.code == 0, answer.err
    assert (answer.json["record"]["kind"], answer.json["record"]["operator"]) == ("promote", "ada")
    line.wait_for("the move waits", lambda: shown(line).get("aliases_waiting") == [file.pair])
    assert "hft_registry_aliases_waiting 1.0" in line.page("orchestrator", "/metrics")[1]
    line.wait_for("shown", lambda: "wait to be moved" in line.page("orchestrator", "/")[1])
    line.kill("orchestrator")
    server.start()
    line.start("orchestrator")
    line.wait_for("the aliases moved", lambda: agrees(line, client, file), PAGE_S_MAX)
    assert aliases_of(client, file)[CHAMPION] == answer.json["becomes_capital"]["model_version"]
    # The orchestrator alone, killed with the word unheard: it is told once, and made.
    line.process("orchestrator").send_signal(signal.SIGSTOP)
    assert line.verb("models", "rollback", *by, "--wait", "0").code == 1, "said, not waited for"
    line.kill("orchestrator")
    line.start("orchestrator")
    line.wait_for("rolled back", lambda: isinstance(moves_of(line)[-1], RolledBack), PAGE_S_MAX)
    line.wait_for("the aliases moved back", lambda: agrees(line, client, file), PAGE_S_MAX)
    asked = [f for f in facts(line.servers, "orchestrator") if isinstance(f, MoveAsked)]
    assert [fact.move for fact in asked] == ["promote", "rollback"]
    # A hand moves an alias: found, said everywhere, put right.
    line.wait_for("asked", lambda: shown(line).get("why") == "", PAGE_S_MAX)
    stranger = answer.json["becomes_capital"]["model_version"]
    lineage.set_alias(client, file.pair, CHAMPION, stranger)
    line.wait_for("found", lambda: bool(shown(line).get("edited")), PAGE_S_MAX)
    assert agrees(line, client, file)
    assert f"champion pointed to {stranger}" in shown(line)["edited"][0]["what"]
    assert "an alias was moved by hand" in line.log("orchestrator")
    assert "hft_registry_aliases_edited 1.0" in line.page("orchestrator", "/metrics")[1]
    # The page and the verb hear of it by the next heartbeat.
    line.wait_for("shown", lambda: "was moved by hand" in line.page("orchestrator", "/")[1])
    listed = line.verb("models", "list", "--json").json
    assert listed["strayed"] == [] and listed["edited"] == shown(line)["edited"]


def moves_of(six: SixProcesses) -> list[Promoted | RolledBack]:
    """Where the line's log says that capital went."""
    said = facts(six.servers, "hft.registry")
    return [fact for fact in said if isinstance(fact, Promoted | RolledBack)]


def agrees(six: SixProcesses, client: Any, file: ParameterFile) -> bool:
    """Whether the registry's champion is the log's."""
    return aliases_of(client, file)[CHAMPION] == moves_of(six)[-1].model_version


def test_a_line_waits_for_a_champion_and_says_so(six: SixProcesses, server: RegistryServer) -> None:
    six.environment = {"MLFLOW_TRACKING_URI": server.uri, "PAIRS": "SYN/USDT~SYN/USDT:USDT"}
    six.options["orchestrator"] = ()
    six.start("ingestion", "orchestrator")
    six.wait_for(
        "waiting",
        lambda: "the registry has a champion of" in six.page("orchestrator", "/readyz")[1],
    )
    assert six.page("orchestrator", "/readyz")[0] == 503
    six.process("orchestrator").send_signal(signal.SIGTERM)
    assert six.forget("orchestrator") == 0


def test_without_files_and_registry_a_line_is_refused(six: SixProcesses) -> None:
    six.options["orchestrator"] = ()
    six.start("ingestion", "orchestrator")
    assert six.forget("orchestrator") == 3
    assert "MLFLOW_TRACKING_URI" in six.log("orchestrator").splitlines()[-1]
