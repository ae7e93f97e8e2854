"""`hft models`: what the registry holds, for people and programs, and one that is not there."""

import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cli.errors import Failed
from cli.models import app
from hft_lib import lineage
from hft_lib.events import Event
from hft_lib.line import LineConfig
from serving.runtime.journal import Journal
from serving.runtime.run_folder import new_header
from serving.runtime.settings import Settings
from tests.hft_lib.registry_world import candidate, client, entering_at, settings
from tests.serving.adapters.test_mlflow_registry import moved

RUNNER = CliRunner()
PAIR = "1000SHIB/USDT:USDT~1000SHIB/USDT"


def listed(chosen: Settings, *options: str) -> str:
    result = RUNNER.invoke(app, ["list", *options], obj=chosen, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    registry = client(folder)
    experiment = lineage.experiment_id(registry, str(folder / "mlartifacts"))
    for entry_z in (2.0, 1.6):
        made = lineage.register(registry, experiment, candidate(PAIR, entering_at(entry_z)))
        alias = lineage.CHAMPION if entry_z == 2.0 else lineage.challenger_alias("patient")
        lineage.set_alias(registry, PAIR, alias, made.version)
    return folder


def test_every_version_is_listed_for_a_program(home):
    models = json.loads(listed(settings(home), "--json"))["models"]
    assert [(model["name"], model["version"], model["aliases"]) for model in models] == [
        ("1000SHIB-USDT-PERP~1000SHIB-USDT", "1", ["champion"]),
        ("1000SHIB-USDT-PERP~1000SHIB-USDT", "2", ["challenger-patient"]),
    ]
    assert models[0]["pair"] == PAIR
    assert models[0]["created"].endswith("Z")
    assert len({model["parameters_sha256"] for model in models}) == 2


def test_every_version_is_listed_for_people_within_the_width(home):
    shown = listed(settings(home))
    assert max(map(len, shown.splitlines()[:-1])) <= 100
    for word in (PAIR, "champion", "challenger-patient", "Registry: sqlite:///"):
        assert word in shown


def test_a_registry_that_was_not_made_yet_is_an_empty_list_and_a_hint(tmp_path):
    chosen = settings(tmp_path / "home")
    assert json.loads(listed(chosen, "--json"))["models"] == []
    assert "hft demo" in listed(chosen)
    assert not (tmp_path / "home").exists()


def test_a_registry_that_does_not_answer_fails_in_one_sentence_within_three_seconds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        chosen = Settings(hft_home=tmp_path, mlflow_tracking_uri=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        result = RUNNER.invoke(app, ["list", "--json"], obj=chosen)
        assert time.monotonic() - began < 3.0
    assert isinstance(result.exception, Failed)
    assert result.exception.exit_code == 1
    assert "\n" not in str(result.exception)
    assert f"127.0.0.1:{port} does not answer: timed out" in str(result.exception)
    assert result.stdout == ""


def test_an_alias_that_strayed_from_a_runs_log_is_said_and_put_right(home, tmp_path):
    registry, chosen = client(home), settings(home)
    facts: list[Event] = [moved(PAIR, 0, "1", 1), moved(PAIR, 1, "2", 2)]
    folder = home / "demo-1"
    folder.mkdir()
    config = LineConfig(pairs=(), grid_ms=1000)
    tape = SimpleNamespace(path=tmp_path, sha256="")
    header = new_header(tape, (), config, "demo-1", "hft demo", (None, None))
    with Journal(folder / "journal", header) as journal:
        for fact in facts:
            journal.append("hft.registry", fact)
    known = json.loads(listed(chosen, "--json"))
    assert known["log"] == str(folder / "journal")
    assert [(row["alias"], row["found"], row["wanted"]) for row in known["strayed"]] == [
        ("champion", "1", "2"),
        ("predecessor", None, "1"),
    ]
    assert f"STRAYED: champion of {PAIR} points to 1, the log says 2" in listed(chosen)
    right = json.loads(listed(chosen, "--put-right", "--json"))
    assert right["strayed"] == [] and len(right["put_right"]) == 2
    assert lineage.read_aliases(registry, PAIR)["champion"] == "2"
    assert "STRAYED" not in listed(chosen)
