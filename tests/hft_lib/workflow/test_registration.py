"""Versions from a verdict: all that they came from, and nothing twice. The registry is MLflow's."""

from pathlib import Path
from typing import Any

import pytest

from hft_lib import lineage
from hft_lib.workflow.evop_design import Designed, Evidence, design_file, enrol_file
from hft_lib.workflow.gate import judge
from hft_lib.workflow.refusal import Refused, read_json, write_json
from hft_lib.workflow.registration import Origin, Registered, register_file
from tests.hft_lib import registry_world
from tests.hft_lib.health.made import REFERENCE
from tests.hft_lib.workflow.made import OTHER_PAIR, PAIR, trials

ORIGIN = Origin(git_commit="c0ffee", lock_sha256="d" * 64, pipeline_run="calibration-1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's registry is."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def client(home: Path) -> Any:
    """A client of the module's registry."""
    return registry_world.client(home)


@pytest.fixture(scope="module")
def made(home: Path, client: Any) -> list[list[Registered]]:
    """What registering a skilled pair and a luckless one came to, once and again."""
    walks = [trials((1.2, 1.1, 0.3, 0.2)), trials(pair=OTHER_PAIR, seed=9)]
    paths = [home / f"trials-{number}" for number in range(2)]
    for path, walk in zip(paths, walks, strict=True):
        write_json(path, walk)
    write_json(home / "verdict", judge(walks, trials_before=2))
    origin = Origin(
        git_commit=ORIGIN.git_commit,
        lock_sha256=ORIGIN.lock_sha256,
        pipeline_run=ORIGIN.pipeline_run,
        artifact_location=str(home / "artifacts"),
    )
    assert register_file(client, home / "verdict", paths, origin, home / "first") == 2
    assert register_file(client, home / "verdict", paths, origin, home / "second") == 0
    return [read_json(home / name, list[Registered]) for name in ("first", "second")]


def test_the_best_is_champion_and_the_next_a_challenger(client: Any, made: Any) -> None:
    first, second = made
    assert [(one.candidate, one.alias) for one in first] == [
        ("calibrated", "champion"),
        ("bold", "challenger-bold"),
    ]
    assert [one.reused for one in second] == [True, True]
    for name in ("version", "alias", "run_id"):
        assert [getattr(one, name) for one in first] == [getattr(one, name) for one in second]
    assert lineage.read_aliases(client, PAIR) == {"challenger-bold": "2", "champion": "1"}
    assert lineage.read_aliases(client, OTHER_PAIR) == {}


def test_a_version_says_all_that_it_came_from(client: Any, made: Any) -> None:
    version = lineage.read_version(client, PAIR, "champion")
    assert version.trials == 10 and version.pipeline_run == "calibration-1"
    assert version.tape_sha256 == "a" * 64 and version.git_commit == "c0ffee"
    tags = client.get_model_version(version.name, version.version).tags
    assert tags["lock_sha256"] == "d" * 64 and len(tags["environment_sha256"]) == 64
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["trials"] == 10.0 and metrics["deflated_sharpe"] >= 0.95
    assert version.reference == REFERENCE


def test_designed_challengers_are_enrolled_once(home: Path, client: Any, made: Any) -> None:
    assert design_file(client, PAIR, "", 2, home / "designed") == 2
    designed = read_json(home / "designed", Designed)
    assert [item.name for item in designed.challengers] == ["explorer-1", "explorer-2"]
    assert enrol_file(client, home / "designed", ORIGIN, home / "enrolled") == 2
    assert enrol_file(client, home / "designed", ORIGIN, home / "again") == 0
    aliases = lineage.read_aliases(client, PAIR)
    assert aliases["champion"] == "1" and {"challenger-explorer-1"} <= set(aliases)
    version = lineage.read_version(client, PAIR, "challenger-explorer-1")
    assert version.trials == 0 and version.tape_sha256 == "a" * 64
    assert version.reference == REFERENCE  # the parent's


def test_evidence_about_another_champion_designs_nothing(
    home: Path, client: Any, made: Any
) -> None:
    content = {
        "pair": PAIR,
        "champion_sha256": "f" * 64,
        "decision_id": "d",
        "design": {"names": [], "units": [], "radius": 0.5, "gradient": [], "covariance": []},
    }
    write_json(home / "evidence", content)
    assert read_json(home / "evidence", Evidence).pair == PAIR
    with pytest.raises(Refused, match="must be about the champion .* was about ffffffffffff"):
        design_file(client, PAIR, str(home / "evidence"), 2, home / "not-designed")
    assert not (home / "not-designed").exists()


def test_the_recommended_step_follows_the_gradient_of_the_evidence(
    home: Path, client: Any, made: Any
) -> None:
    parameters, version = lineage.load_parameters(client, PAIR, "champion")
    belief = {
        "names": ["strategy.entry_z", "strategy.exit_z"],
        "units": [0.3, 0.1],
        "radius": 0.5,
        "gradient": [-2.0, 0.0],
        "covariance": [[1.0, 0.0], [0.0, 4.0]],
    }
    content = {"pair": PAIR, "decision_id": "d", "design": belief}
    write_json(home / "known", content | {"champion_sha256": version.parameters_sha256})
    assert design_file(client, PAIR, str(home / "known"), 1, home / "led") == 2
    recommended, explorer = read_json(home / "led", Designed).challengers
    assert recommended.name == "recommended" and recommended.step == [-0.5, 0.0]
    entry_z = parameters.strategy.entry_z
    assert recommended.parameters.strategy.entry_z == pytest.approx(entry_z - 0.15)
    assert explorer.step == [0.0, 0.5]  # where the belief is least sure


def test_a_pair_without_a_champion_has_nothing_to_design_from(home: Path, client: Any) -> None:
    with pytest.raises(Refused, match="register one with the calibration pipeline"):
        design_file(client, "XRP/USDT:USDT~XRP/USDT", "", 2, home / "none")


def test_a_design_is_void_once_the_champion_moved(home: Path, client: Any, made: Any) -> None:
    design_file(client, PAIR, "", 1, home / "stale")
    lineage.set_alias(client, PAIR, "champion", "2")
    try:
        with pytest.raises(Refused, match="must still be version 1, was 2"):
            enrol_file(client, home / "stale", ORIGIN, home / "void")
    finally:
        lineage.set_alias(client, PAIR, "champion", "1")
