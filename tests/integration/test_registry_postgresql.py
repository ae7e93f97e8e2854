"""The registry on `mlflow server` over PostgreSQL, which asks for a name and a password."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hft_lib import lineage
from hft_lib.events import Registered, Rejected
from hft_lib.lineage import CHAMPION, PREDECESSOR
from serving.adapters import mlflow_store
from serving.adapters.mlflow_apart import register_apart
from serving.adapters.mlflow_registry import MlflowRegistry
from serving.adapters.mlflow_rest import RestClient, RestError
from serving.adapters.registered_sets import registered_sets
from serving.runtime.settings import Settings
from tests.hft_lib.registry_world import PARAMETERS, candidate, pair_of
from tests.integration.conftest import free_ports
from tests.integration.postgresql import Postgresql, running
from tests.integration.registry_server import ADMIN, RegistryServer
from tests.serving.adapters.test_mlflow_registry import DESIGNED, assigned, moved

pytestmark = pytest.mark.slow
PAIR = pair_of("BTC")
NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    if importlib.util.find_spec("flask_wtf") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Flask-WTF, with which mlflow server knows users")
        pytest.skip("not installed here: Flask-WTF, with which mlflow server knows users")
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def uri(postgresql: Postgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    databases = [
        postgresql.new_database().replace("postgresql:", "postgresql+psycopg:") for _ in range(2)
    ]
    server = RegistryServer(tmp_path_factory.mktemp("mlflow"), free_ports(1)[0], *databases)
    server.start()
    yield server.uri
    server.kill()


@pytest.fixture
def settings(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """What a process is told that may ask."""
    for name, value in zip(NAMES, (uri, *ADMIN), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "home"))
    return Settings(mlflow_tracking_uri=uri, hft_home=tmp_path / "home")


def test_a_designed_champion_is_registered_and_aliases_follow_the_log_through_a_crash(
    settings: Settings, postgresql: Postgresql
) -> None:
    client: Any = mlflow_store.open_client(settings)
    experiment = lineage.experiment_id(client, None)
    first = lineage.register(client, experiment, candidate(PAIR)).version
    lineage.set_alias(client, PAIR, CHAMPION, first)
    reports: list[Registered | Rejected] = []
    edge = MlflowRegistry(
        mlflow_store.open_registry(settings), None, reports.append, register_apart
    )
    facts = (
        assigned(PAIR, 0, first, PARAMETERS),
        assigned(PAIR, 3, "", DESIGNED),
        moved(PAIR, 0, first, 4),
        moved(PAIR, 3, "", 5),
    )
    postgresql.kill()
    assert [failed.reason for failed in edge.reconcile(facts)] == ["ALIAS_NOT_MOVED"]
    postgresql.start()
    assert edge.reconcile([]) == []
    made = next(report for report in reports if isinstance(report, Registered))
    wanted = {CHAMPION: made.model_version, PREDECESSOR: first}
    assert lineage.read_aliases(client, PAIR) == wanted
    file, sets = registered_sets(mlflow_store.open_registry(settings), PAIR)
    assert file.params == DESIGNED and sets[0].model_version == made.model_version
    both = [
        lineage.load_parameters(one, PAIR, CHAMPION)
        for one in (client, mlflow_store.open_registry(settings))
    ]
    assert both[0] == both[1]
    reports.clear()
    client.delete_registered_model_alias(lineage.model_name(PAIR), CHAMPION)
    assert edge.reconcile([]) == [] and lineage.read_aliases(client, PAIR) == wanted
    assert [report.reason for report in reports if isinstance(report, Rejected)] == ["ALIAS_EDITED"]
    edge.close()


def test_who_has_no_password_reads_and_moves_nothing(uri: str) -> None:
    for environ in ({}, {"MLFLOW_TRACKING_USERNAME": ADMIN[0], "MLFLOW_TRACKING_PASSWORD": "?"}):
        client = RestClient(uri, environ)
        with pytest.raises(RestError, match="401"):
            client.get_registered_model(lineage.model_name(PAIR))
        with pytest.raises(RestError, match="401"):
            client.set_registered_model_alias(lineage.model_name(PAIR), CHAMPION, "1")
    named = RestClient(uri.replace("://", "://" + ":".join(ADMIN) + "@"), {})
    assert named.get_registered_model(lineage.model_name(PAIR)).aliases[CHAMPION]
