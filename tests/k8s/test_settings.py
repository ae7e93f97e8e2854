"""The services start with what the manifests tell them: the real settings read it."""

import re
from pathlib import Path

import pytest

from serving.runtime.access import access_of
from serving.runtime.settings import load_settings
from serving.services import SERVICES
from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, NAME
from tests.serving.runtime.test_settings import OPERATOR, VIEWER

STAGES = [service.name.replace("_", "-") for service in SERVICES]
GUIDE = {
    "staging": {
        "ENVIRONMENT": "staging",
        "LOG_LEVEL": "DEBUG",
        "BINANCE_TESTNET": "true",
        "EVOP_MAX_CHALLENGERS": "2",
        "CHAMPION_INITIAL_CAPITAL": "10000.0",
    },
    "production": {
        "ENVIRONMENT": "production",
        "LOG_LEVEL": "INFO",
        "BINANCE_TESTNET": "false",
        "EVOP_MAX_CHALLENGERS": "5",
        "CHAMPION_INITIAL_CAPITAL": "500000.0",
    },
}
SECRETS = {
    ("pages", "viewer-token"): VIEWER,
    ("pages", "operator-token"): OPERATOR,
    ("redis", "url"): "redis://services:made-up@redis:6379/0",
    ("ledger", "url"): "postgresql://ledger:made-up@postgres:5432/ledger",
    **{("kafka", f"{name}-password"): f"made-up-for-{name}" for name in STAGES},
}


def environ(environment: str, item: rendered.Object) -> dict[str, str]:
    """The variables of a service's container, its secrets made up.

    A value that names a variable must come after it: else a cluster leaves the name as it is.
    """
    (container,) = rendered.template(item)["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        name = source["configMapRef"]["name"]
        found |= rendered.named(environment, "ConfigMap", name)["data"]
    for variable in container["env"]:
        if "value" in variable:
            value = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], variable["value"])
            found[variable["name"]] = value
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = SECRETS[reference["name"], reference["key"]]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_services_accept_what_they_are_told(environment: str, tmp_path: Path) -> None:
    for item in rendered.stages(environment):
        told = environ(environment, item)
        assert GUIDE[environment].items() <= told.items()
        settings = load_settings(told | {"HFT_HOME": str(tmp_path)})
        assert settings.exchange == "simulated"
        name = item["metadata"]["labels"][NAME]
        login = f"{name.replace('-', '_')}:made-up-for-{name}"
        assert settings.kafka_bootstrap_servers == f"{login}@kafka:9092"
        assert settings.redis_url is not None
        assert access_of(settings) is not None, "the pages have their tokens"
        is_orchestrator = item["metadata"]["name"] == "orchestrator-service"
        assert (settings.database_url is not None) == is_orchestrator
        assert ("mlflow_tracking_uri" in settings.model_fields_set) == is_orchestrator


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_the_services_dial_is_a_service_with_that_port(environment: str) -> None:
    served = {
        f"{item['metadata']['name']}:{port['port']}"
        for item in rendered.of_kind(environment, "Service")
        for port in item["spec"]["ports"]
    }
    for item in rendered.stages(environment):
        told = " ".join(environ(environment, item).values())
        dialled = set(re.findall(r"(?:@|//|\s|^)([a-z]+:\d+)", told))
        assert {"kafka:9092", "redis:6379"} <= dialled <= served
