"""A registry of one's own, and what it holds of a pair as the facts that a run starts from."""

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hft_lib import lineage
from hft_lib.workflow.registered import registered_facts
from tests.hft_lib.registry_world import candidate, entering_at

PAIR = "OWN/USDT:USDT~OWN/USDT"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A local registry with a champion and two challengers, the later one earlier by name."""
    client, artifacts = lineage.open_local(tmp_path_factory.mktemp("own") / "new")
    experiment = lineage.experiment_id(client, artifacts)
    for name, entry_z in (("first", 2.0), ("zealous", 1.5), ("bold", 1.0)):
        found = msgspec.structs.replace(
            candidate(PAIR, entering_at(entry_z)), name=name, notebook="07_promote_a_model"
        )
        made = lineage.register(client, experiment, found)
        lineage.seat(client, PAIR, name, made.version)
    return client, experiment


def test_the_champion_comes_first_then_the_challengers_by_version(registry: Any) -> None:
    found = registered_facts(registry[0], PAIR, 5)
    assert [one.alias for one in found] == ["champion", "zealous", "bold"]
    assert [one.model_version for one in found] == ["1", "2", "3"]
    assert [one.parameters.strategy.entry_z for one in found] == [2.0, 1.5, 1.0]
    assert {one.time_ns for one in found} == {5} and {one.tape_sha256 for one in found} == {
        "7a" * 32
    }


def test_a_version_names_the_notebook_that_it_came_from(registry: Any) -> None:
    version, *_ = lineage.read_versions(registry[0])
    tags = registry[0].get_model_version(version.name, version.version).tags
    assert tags["notebook"] == "07_promote_a_model"


def test_a_pair_without_a_champion_is_said_to_have_none(registry: Any) -> None:
    with pytest.raises(lineage.NotRegistered, match="has no version or alias champion"):
        registered_facts(registry[0], "NEW/USDT:USDT~NEW/USDT", 0)


def test_a_registry_of_ones_own_keeps_everything_in_its_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        client, artifacts = lineage.open_local(tmp_path / "own")
        experiment = lineage.experiment_id(client, artifacts)
        lineage.register(client, experiment, candidate(PAIR))
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"mlflow.db", "artifacts"}
    assert capfd.readouterr().err == "" and caplog.text == ""
