"""A namespace may take what runs in it and not much more, and what runs in it is never refused."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, Object
from tests.k8s.test_access import access

UNITS = {"": 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
SIZES = [f"{kind}.{what}" for kind in ("requests", "limits") for what in ("cpu", "memory")]


def number(quantity: str) -> float:
    """A quantity as Kubernetes writes it."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    assert found, quantity
    return float(found[1]) * UNITS[found[2]]


def held(environment: str, kind: str) -> Any:
    """What the administrator applies of a kind."""
    (item,) = [item for item in access(environment) if item["kind"] == kind]
    assert item["metadata"]["namespace"] == f"hft-{environment}"
    return item["spec"]


def hard(environment: str) -> dict[str, float]:
    """The quota's numbers."""
    spec = held(environment, "ResourceQuota")
    return {key: number(value) for key, value in spec["hard"].items()}


def size_of(pod: Object, name: str) -> float:
    """What a pod takes: its containers together, or the largest of those that prepare it."""
    kind, what = name.split(".")

    def sizes(key: str) -> list[float]:
        return [number(one["resources"][kind][what]) for one in pod.get(key, ())]

    return max([sum(sizes("containers")), *sizes("initContainers")])


def claims(environment: str) -> Iterator[float]:
    """The size of every volume that is asked for."""
    items = list(rendered.of_kind(environment, "PersistentVolumeClaim"))
    for item in rendered.workloads(environment):
        items += item["spec"].get("volumeClaimTemplates", [])
    for item in items:
        yield number(item["spec"]["resources"]["requests"]["storage"])


def needed(environment: str) -> dict[str, float]:
    """What all takes while everything is rolled out and every job runs."""
    total: defaultdict[str, float] = defaultdict(float)
    for item in rendered.workloads(environment):
        rolled = item["spec"].get("strategy", {}).get("rollingUpdate", {})
        pods = item["spec"].get("replicas", 1) + rolled.get("maxSurge", 0)
        total["pods"] += pods
        for name in SIZES:
            total[name] += pods * size_of(rendered.template(item)["spec"], name)
    total["requests.storage"] = sum(claims(environment))
    total["persistentvolumeclaims"] = len(list(claims(environment)))
    return total


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_all_that_runs_fits_and_a_mistake_does_not_take_the_cluster(environment: str) -> None:
    limit, need = hard(environment), needed(environment)
    assert set(need) | {"services.loadbalancers", "services.nodeports"} == set(limit)
    for name, amount in need.items():
        assert amount * 1.2 <= limit[name] <= amount * 2, (name, amount, limit[name])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_is_seen_from_outside_but_through_the_ingress(environment: str) -> None:
    limit = hard(environment)
    assert (limit["services.loadbalancers"], limit["services.nodeports"]) == (0, 0)
    kinds = {
        one["spec"].get("type", "ClusterIP") for one in rendered.of_kind(environment, "Service")
    }
    assert kinds == {"ClusterIP"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_container_and_no_volume_is_larger_than_one_may_be(environment: str) -> None:
    of_kind = {one["type"]: one for one in held(environment, "LimitRange")["limits"]}
    most = of_kind["Container"]["max"]
    for item in rendered.workloads(environment):
        pod = rendered.template(item)["spec"]
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            for what in ("cpu", "memory"):
                size = container["resources"]["limits"][what]
                assert number(size) <= number(most[what]), container["name"]
    assert max(claims(environment)) <= number(of_kind["PersistentVolumeClaim"]["max"]["storage"])
    for default in ("default", "defaultRequest"):
        assert set(of_kind["Container"][default]) == {"cpu", "memory"}
