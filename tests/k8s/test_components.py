"""The components: each does what it says where an environment names it."""

import importlib.util
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hft_lib.market import synthetic
from hft_lib.market.tape import Tape
from tests.k8s import rendered
from tests.k8s.rendered import MANIFESTS, Object

MAKER = MANIFESTS / "components" / "synthetic-market" / "make_market.py"


@pytest.fixture(scope="module")
def with_zookeeper(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """An environment that names the coordinator."""
    # kustomize wants a path that is relative, from a folder without symbolic links.
    folder = tmp_path_factory.mktemp("environment").resolve()
    up = Path(*[".."] * (len(folder.parts) - 1))
    place = up / MANIFESTS.relative_to("/")
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(place / "staging")],
        "components": [str(place / "components" / "zookeeper")],
        "namespace": "hft-staging",
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return list(yaml.safe_load_all(rendered.text(folder)))


def test_the_coordinator_answers_at_the_seeds_name_and_port(with_zookeeper: list[Object]) -> None:
    here = [i for i in with_zookeeper if i["metadata"]["name"].startswith("zookeeper")]
    kinds = sorted(item["kind"] for item in here)
    wanted = ["ConfigMap", "NetworkPolicy", "Service", "ServiceAccount", "StatefulSet"]
    assert kinds == wanted
    (service,) = [item for item in here if item["kind"] == "Service"]
    assert [port["port"] for port in service["spec"]["ports"]] == [2181]
    for item in with_zookeeper:
        assert item["metadata"]["namespace"] == "hft-staging"
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_the_coordinator_is_as_restricted_as_the_rest(with_zookeeper: list[Object]) -> None:
    made: dict[str, Any] = {}
    for item in with_zookeeper:
        if item["kind"] == "StatefulSet":
            pod = rendered.template(item)["spec"]
            made[item["metadata"]["name"]] = (
                pod["securityContext"].keys(),
                pod["securityContext"]["seccompProfile"],
                pod["automountServiceAccountToken"],
                pod["enableServiceLinks"],
                [container["securityContext"] for container in rendered.servers(item)],
                item["spec"]["persistentVolumeClaimRetentionPolicy"],
            )
    assert made["zookeeper"] == made["kafka"]


def test_kafka_alone_may_ask_the_coordinator(with_zookeeper: list[Object]) -> None:
    policies = {
        item["metadata"]["name"]: item["spec"]
        for item in with_zookeeper
        if item["kind"] == "NetworkPolicy" and "zookeeper" in item["metadata"]["name"]
    }
    name = rendered.NAME
    ports = [{"protocol": "TCP", "port": 2181}]
    kafka = {"podSelector": {"matchLabels": {name: "kafka"}}}
    coordinator = {"podSelector": {"matchLabels": {name: "zookeeper"}}}
    assert policies["zookeeper"]["ingress"] == [{"from": [kafka], "ports": ports}]
    assert policies["zookeeper"]["podSelector"] == coordinator["podSelector"]
    assert policies["kafka-to-zookeeper"]["egress"] == [{"to": [coordinator], "ports": ports}]
    assert policies["kafka-to-zookeeper"]["podSelector"] == kafka["podSelector"]


@pytest.fixture(scope="module")
def maker() -> Any:
    """The program that staging's ingestion starts with."""
    spec = importlib.util.spec_from_file_location("make_market", MAKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_market_is_made_once_and_whole(tmp_path: Path, maker: Any) -> None:
    market = synthetic.SyntheticMarket(days=0.1)
    path = tmp_path / "line"
    (tmp_path / ".line").mkdir()  # of a start that was ended
    assert maker.make(path, market)
    first = Tape.open(path).sha256
    assert sorted(item.name for item in tmp_path.iterdir()) == ["line"]
    assert not maker.make(path, market)
    assert Tape.open(path).sha256 == first


def test_what_is_no_tape_is_not_overwritten(tmp_path: Path, maker: Any) -> None:
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="must be a tape or nothing"):
        maker.make(tmp_path / "line", synthetic.SyntheticMarket(days=0.1))
    assert (tmp_path / "line" / "notes.txt").read_text() == "mine"


def test_only_staging_makes_its_market_up() -> None:
    for environment, makes in (("staging", True), ("production", False)):
        item = rendered.named(environment, "Deployment", "ingestion-service")
        pod = rendered.template(item)["spec"]
        assert ("initContainers" in pod) is makes
        fed = pod["containers"][0]["command"]
        assert fed[fed.index("--tape") + 1] == "/var/lib/hft/tapes/line"
        if makes:
            (first,) = pod["initContainers"]
            assert first["command"][-1] == fed[fed.index("--tape") + 1]
            mounts = {
                mount["name"]: mount.get("readOnly", False) for mount in first["volumeMounts"]
            }
            assert mounts["tapes"] is False
