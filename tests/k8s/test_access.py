"""Who may do what: no wildcard, no secret, and a right in one environment is none in the other."""

import pytest
import yaml

from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, Object

ENFORCED = "pod-security.kubernetes.io/enforce"
ROLES = {"deployer", "keeper", "viewer"}
# What would let somebody take more than they were given.
FORBIDDEN = {"secrets", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}
FORBIDDEN |= {
    "namespaces",
    "nodes",
    "serviceaccounts/token",
    "pods/attach",
    "networkpolicies/status",
}


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
def test_no_rule_is_a_wildcard_or_reaches_for_more(environment: str) -> None:
    assert {item["kind"] for item in access(environment)} == {"Namespace", "Role", "RoleBinding"}
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
def test_who_watches_changes_nothing(environment: str) -> None:
    verbs = {
        verb for role, rule in rules(environment) if role == "viewer" for verb in rule["verbs"]
    }
    assert verbs == {"get", "list", "watch"}


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
