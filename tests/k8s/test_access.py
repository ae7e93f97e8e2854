"""Who may do what: no wildcard, no secret, and a right in one environment is none in the other."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.docs.read import commands, documents, name_of, spans, text
from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, Object

ENFORCED = "pod-security.kubernetes.io/enforce"
ROLES = {"deployer", "keeper", "operator", "viewer"}
# What would let somebody take more than they were given.
FORBIDDEN = {"secrets", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}
FORBIDDEN |= {
    "namespaces",
    "nodes",
    "serviceaccounts/token",
    "pods/attach",
    "networkpolicies/status",
}


@cache
def access(environment: str) -> list[Object]:
    """What the cluster's administrator applies."""
    return list(yaml.safe_load_all(rendered.text(rendered.MANIFESTS / "access" / environment)))


def rules(environment: str) -> list[tuple[str, Object]]:
    """Every rule, with the role that it is in."""
    found = [item for item in access(environment) if item["kind"] == "Role"]
    return [(item["metadata"]["name"], rule) for item in found for rule in item["rules"]]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_namespace_refuses_pods_that_are_not_restricted(environment: str) -> None:
    (space,) = [item for item in access(environment) if item["kind"] == "Namespace"]
    assert space["metadata"]["name"] == f"hft-{environment}"
    assert space["metadata"]["labels"][ENFORCED] == "restricted"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pod_that_names_no_account_holds_no_token_either(environment: str) -> None:
    (account,) = [item for item in access(environment) if item["kind"] == "ServiceAccount"]
    assert account["metadata"] | {"labels": None} == {
        "name": "default",
        "namespace": f"hft-{environment}",
        "labels": None,
    }
    assert account["automountServiceAccountToken"] is False
    # And no role is given to any: those who may are people's and workflows' groups.
    bound = [item for item in access(environment) if item["kind"] == "RoleBinding"]
    assert {who["kind"] for item in bound for who in item["subjects"]} == {"Group"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_rule_is_a_wildcard_or_reaches_for_more(environment: str) -> None:
    kinds = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ResourceQuota", "LimitRange"}
    assert {item["kind"] for item in access(environment)} == kinds
    for role, rule in rules(environment):
        words = {word for key in ("apiGroups", "resources", "verbs") for word in rule[key]}
        assert "*" not in words
        assert not FORBIDDEN & set(rule["resources"]), role
        assert not {"delete", "deletecollection", "escalate", "bind", "impersonate"} & words


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_keeps_gets_inside_two_pods_alone_and_who_watches_inside_none(environment: str) -> None:
    inside = {
        role: rule.get("resourceNames")
        for role, rule in rules(environment)
        if "pods/exec" in rule["resources"]
    }
    assert inside == {"deployer": None, "keeper": ["postgres-0", "mlflow-0"]}
    sets = rendered.of_kind(environment, "StatefulSet")
    assert {"postgres", "mlflow"} <= {item["metadata"]["name"] for item in sets}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_keeps_sees_how_a_back_up_ended_and_begins_none(environment: str) -> None:
    mine = [rule for name, rule in rules(environment) if name == "keeper"]
    of_jobs = [rule for rule in mine if "jobs" in rule["resources"]]
    assert [(rule["apiGroups"], set(rule["verbs"])) for rule in of_jobs] == [
        (["batch"], {"get", "list", "watch"})
    ]
    assert may(environment, "keeper", "get", "pods/log")


def test_a_job_that_a_document_tells_to_begin_can_be_begun_again() -> None:
    begun = re.compile(r"create job --from=\S+ (\S+)")
    names = {
        name
        for path in documents()
        for name in begun.findall(" ".join(spans(text(path)) + commands(text(path))))
    }
    # No role may delete a job, and two have not one name.
    assert names and [name for name in names if "$" not in name] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_watches_or_says_a_word_changes_nothing_of_what_runs(
    environment: str, role: str
) -> None:
    mine = [rule for name, rule in rules(environment) if name == role]
    changing = [rule for rule in mine if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert [rule["resources"] for rule in changing] == [["pods/portforward"]]


# --- who is let through to a pod ---

# Where `kubectl port-forward` may lead whom. A stateful set's pod has a name that is known.
LET_THROUGH = {
    "operator": {"redis", "kafka", "alertmanager", "grafana"},
    "viewer": {"grafana"},
}
FORWARD = re.compile(r"port-forward service/([a-z-]+)")


def may(environment: str, role: str, verb: str, resource: str, name: str = "") -> bool:
    """What RBAC says to a role that asks for one thing of the core group; no `name`: for all."""
    return any(
        verb in rule["verbs"]
        and resource in rule["resources"]
        and "" in rule["apiGroups"]
        and ("resourceNames" not in rule or name in rule["resourceNames"])
        for owner, rule in rules(environment)
        if owner == role
    )


def may_forward(environment: str, role: str, service: str) -> bool:
    """Whether a role is given all that `kubectl port-forward service/NAME` asks the cluster for."""
    asked = [("get", "services", service), ("list", "pods", ""), ("get", "pods", f"{service}-0")]
    asked.append(("create", "pods/portforward", f"{service}-0"))
    return all(may(environment, role, *one) for one in asked)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_is_let_through_to_named_pods_alone(environment: str, role: str) -> None:
    sets = {item["metadata"]["name"] for item in rendered.of_kind(environment, "StatefulSet")}
    open_to = {name for name in sets if may_forward(environment, role, name)}
    assert open_to == LET_THROUGH.get(role, set())
    # None is let through to a pod that it does not name: the six have names that nobody knows.
    assert not may(environment, role, "create", "pods/portforward")


def forwarded() -> list[tuple[str, str]]:
    """Each document that tells to forward, with the service that it leads to."""
    told: list[tuple[Path, str]] = []
    for path in documents():
        said = " ".join(spans(text(path)) + commands(text(path)))
        told += [(path, service) for service in FORWARD.findall(said)]
    return [(name_of(path), service) for path, service in told]


def test_an_operator_may_do_what_the_documents_tell_to_forward() -> None:
    told = forwarded()
    assert {service for _, service in told} == LET_THROUGH["operator"]
    refused = [one for one in told if not may_forward("production", "operator", one[1])]
    assert refused == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_operator_sees_no_log_of_a_pod_and_gets_inside_none(environment: str) -> None:
    inside = ("pods/exec", "pods/attach", "pods/log", "pods/ephemeralcontainers")
    assert not [one for one in inside if may(environment, "operator", "create", one)]
    assert not [one for one in inside if may(environment, "operator", "get", one)]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_deploys_may_make_each_kind_that_there_is(environment: str) -> None:
    may = {
        resource
        for role, rule in rules(environment)
        if role == "deployer" and {"create", "patch"} <= set(rule["verbs"])
        for resource in rule["resources"]
    }
    kinds = {item["kind"] for item in rendered.objects(environment)}
    plural = {kind: f"{kind.lower()}s" for kind in kinds}
    plural |= {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
    assert {plural[kind] for kind in kinds} <= may


def test_each_environment_has_groups_of_its_own() -> None:
    groups = {}
    for environment in ENVIRONMENTS:
        bound = [item for item in access(environment) if item["kind"] == "RoleBinding"]
        assert {item["roleRef"]["name"] for item in bound} == ROLES
        groups[environment] = {who["name"] for item in bound for who in item["subjects"]}
        wanted = {f"hft-{environment}-{role}s" for role in ROLES}
        assert groups[environment] == wanted
    assert not groups["staging"] & groups["production"]
