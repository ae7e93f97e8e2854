"""Who may speak to whom: the policies let exactly the table pass, judged as a cluster would."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from serving.services import SERVICES
from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, NAME, Object

STAGES = {service.name.replace("_", "-"): service.port for service in SERVICES}
# Those beside whom somebody says how full the disk is; Prometheus reaches its own in its own pod.
SERVERS = ["kafka", "redis", "postgres", "mlflow", "alertmanager", "grafana"]
SERVERS += ["pipeline-metrics", "pushgateway"]
DNS, PROXY, WORLD, INSIDE = "dns", "ingress-nginx", "1.1.1.1", "10.0.0.7"
# From whom, to whom, at which port: whatever is not here must not pass.
FLOWS = {
    *((stage, "kafka", 9092) for stage in STAGES),
    *((stage, "redis", 6379) for stage in STAGES),
    *(("prometheus", stage, port) for stage, port in STAGES.items()),
    ("orchestrator", "postgres", 5432),
    ("orchestrator", "mlflow", 5000),
    ("calibration", "mlflow", 5000),
    ("mlflow", "postgres", 5432),
    ("prometheus", "alertmanager", 9093),
    ("prometheus", "pipeline-metrics", 9108),
    ("prometheus", "pushgateway", 9091),
    *((job, "pushgateway", 9091) for job in ("backup", "backup-artifacts", "backup-tapes")),
    *(("prometheus", server, 9100) for server in SERVERS),
    *((job, "kafka", 9092) for job in ("backup", "restore", "rights")),
    *((job, "redis", 6379) for job in ("backup", "restore")),
    *((job, "postgres", 5432) for job in ("backup", "restore")),
    ("grafana", "prometheus", 9090),
    ("alertmanager", WORLD, 443),
    (PROXY, "orchestrator", 8005),
}
PORTS = sorted({port for *_, port in FLOWS} | {22, 53, 80, 443, 2181, 8080, 9094})


class Pod(NamedTuple):
    """One end: its labels, those of its namespace, the ports that it names; no labels: no pod."""

    name: str
    labels: dict[str, str]
    namespace: str
    ports: dict[str, int]


def pods(environment: str) -> list[Pod]:
    """The pods of an environment."""
    return [
        Pod(
            item["metadata"]["labels"][NAME],
            rendered.template(item)["metadata"]["labels"],
            item["metadata"]["namespace"],
            {
                port["name"]: port["containerPort"]
                for container in rendered.containers(item)
                for port in container.get("ports", [])
            },
        )
        for item in rendered.workloads(environment)
    ]


OUTSIDE = [
    Pod(PROXY, {NAME: "ingress-nginx"}, "ingress-nginx", {}),
    Pod(DNS, {"k8s-app": "kube-dns"}, "kube-system", {}),
    Pod("other", {NAME: "prometheus"}, "somewhere-else", {}),
    Pod("kubelets-neighbour", {}, "kube-system", {}),
    Pod(WORLD, {}, "", {}),
    Pod(INSIDE, {}, "", {}),
]


def chosen(selector: Object, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the judge knows no other selector"
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_peer(peer: Object, pod: Pod, home: str) -> bool:
    """Whether a pod, or an address, is one that a policy in `home` names."""
    if "ipBlock" in peer:
        assert peer["ipBlock"]["cidr"] == "0.0.0.0/0"
        assert "10.0.0.0/8" in peer["ipBlock"]["except"]
        return pod.name == WORLD
    if not pod.namespace:
        return False
    if "namespaceSelector" in peer:
        is_there = chosen(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace})
    else:
        is_there = pod.namespace == home
    return is_there and chosen(peer.get("podSelector", {}), pod.labels)


def is_port(ports: list[Object], number: int, to: Pod) -> bool:
    for port in ports:
        if port["protocol"] != "TCP":
            continue
        first = port["port"] if isinstance(port["port"], int) else to.ports.get(port["port"])
        if first is not None and first <= number <= port.get("endPort", first):
            return True
    return False


def passes(environment: str, side: str, own: Pod, other: Pod, to: Pod, number: int) -> bool:
    """Whether one side lets pass: a pod that no policy names would let everything."""
    key, word = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[side]
    policies = [
        item["spec"]
        for item in rendered.of_kind(environment, "NetworkPolicy")
        if item["metadata"]["namespace"] == own.namespace
        and chosen(item["spec"]["podSelector"], own.labels)
        and side in item["spec"]["policyTypes"]
    ]
    if not policies:
        return True
    return any(
        is_port(rule["ports"], number, to)
        and any(is_peer(peer, other, own.namespace) for peer in rule[word])
        for policy in policies
        for rule in policy.get(key, [])
    )


def flows(environment: str) -> Iterator[tuple[str, str, int]]:
    """Whatever can be spoken between any two ends of which one is ours."""
    ours = pods(environment)
    for source in [*ours, *OUTSIDE]:
        for target in [*ours, *OUTSIDE]:
            if source is target or (source in OUTSIDE and target in OUTSIDE):
                continue
            for port in PORTS:
                leaves = passes(environment, "Egress", source, target, target, port)
                if leaves and passes(environment, "Ingress", target, source, target, port):
                    yield source.name, target.name, port


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_exactly_what_the_services_use_can_pass(environment: str) -> None:
    found = set(flows(environment))
    names = {(source, target, port) for source, target, port in found if target == DNS}
    assert names == {(pod.name, DNS, 53) for pod in pods(environment)}
    assert found - names == FLOWS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_passes_by_default_either_way(environment: str) -> None:
    spec = rendered.named(environment, "NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_port_that_listens_is_somebodys_to_ask_or_nobodys(environment: str) -> None:
    asked = {(target, port) for _, target, port in FLOWS}
    listens = {(pod.name, port) for pod in pods(environment) for port in pod.ports.values()}
    # People come to Grafana by a forwarded port, and Prometheus to its own neighbour in its pod.
    assert listens - asked == {("grafana", 3000), ("prometheus", 9100)}
