"""The cluster's monitoring runs what `monitoring/` holds: no copy of a rule, route or target."""

import re

import pytest

from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, NAME, ROOT, Object
from tests.monitoring.written import ALERTMANAGER, PROMETHEUS, read

# Where each image has its files, and what of the tree they are.
INSIDE = {
    "prometheus": {"/etc/prometheus/": "monitoring/prometheus/"},
    "alertmanager": {"/etc/alertmanager/": "monitoring/alertmanager/"},
    "grafana": {"/etc/grafana/": "monitoring/grafana/"},
}

pytestmark = pytest.mark.parametrize("environment", ENVIRONMENTS)


def container(environment: str, name: str) -> Object:
    """The one container of a workload of the monitoring."""
    (found,) = rendered.servers(rendered.named(environment, "StatefulSet", name))
    return found


def copied(name: str) -> dict[str, str]:
    """What an image has of the tree, by where it has it."""
    text = (ROOT / "docker" / name / "Dockerfile").read_text()
    return {there: ours for ours, there in re.findall(r"^COPY (\S+) (\S+)$", text, re.MULTILINE)}


def test_whatever_is_scraped_is_a_service_of_the_cluster(environment: str) -> None:
    served = {
        f"{item['metadata']['name']}:{port['port']}"
        for item in rendered.of_kind(environment, "Service")
        for port in item["spec"]["ports"]
    }
    for job in read(PROMETHEUS / "prometheus.yml")["scrape_configs"]:
        targets = {target for item in job.get("static_configs", ()) for target in item["targets"]}
        for item in job.get("dns_sd_configs", ()):
            targets |= {f"{name}:{item['port']}" for name in item["names"]}
        if job["job_name"] == "prometheus":
            assert targets == {"localhost:9090"}  # itself, in its own pod
        else:
            assert targets <= served, job["job_name"]


def test_configuration_is_inside_the_images_and_no_volume_lies_over_it(environment: str) -> None:
    maps = {item["metadata"]["name"] for item in rendered.of_kind(environment, "ConfigMap")}
    for name, places in INSIDE.items():
        item = rendered.named(environment, "StatefulSet", name)
        (place, folder), *_ = places.items()
        ours = copied(name)
        assert ours and all(at.startswith(place) for at in ours)
        assert all(path.startswith(folder) and (ROOT / path).exists() for path in ours.values())
        volumes = rendered.template(item)["spec"]["volumes"]
        assert not any("configMap" in volume for volume in volumes)
        for mount in container(environment, name)["volumeMounts"]:
            assert not any(at.startswith(mount["mountPath"] + "/") for at in ours), name
    assert not any(known.startswith(tuple(INSIDE)) for known in maps)


def test_each_is_started_on_the_file_that_its_image_has(environment: str) -> None:
    for name in ("prometheus", "alertmanager"):
        (option,) = [
            word for word in container(environment, name)["args"] if word.startswith("--config")
        ]
        assert option.removeprefix("--config.file=") in copied(name)


def test_prometheus_says_of_every_alert_of_which_environment_it_is(environment: str) -> None:
    labels = read(PROMETHEUS / "prometheus.yml")["global"]["external_labels"]
    assert labels == {"environment": "${ENVIRONMENT}"}
    known = container(environment, "prometheus")
    # Version 3 puts the variable in place of itself, and knows no feature of that name.
    assert known["image"].rpartition("/")[2].startswith("hft-crypto-bot-prometheus")
    assert (
        "ARG BASE_IMAGE=prom/prometheus:v3." in (ROOT / "docker/prometheus/Dockerfile").read_text()
    )
    assert not [word for word in known["args"] if word.startswith("--enable-feature")]
    (variable,) = [item for item in known["env"] if item["name"] == "ENVIRONMENT"]
    reference = variable["valueFrom"]["configMapKeyRef"]
    data = rendered.named(environment, "ConfigMap", reference["name"])["data"]
    assert data[reference["key"]] == environment


def test_alertmanager_finds_every_secret_that_its_routes_name(environment: str) -> None:
    item = rendered.named(environment, "StatefulSet", "alertmanager")
    named = set(re.findall(r"/etc/alertmanager/secrets/([a-z-]+)", ALERTMANAGER.read_text()))
    assert named == {"slack-webhook", "pagerduty-key", "heartbeat-token"}
    (volume,) = [v for v in rendered.template(item)["spec"]["volumes"] if "secret" in v]
    (mount,) = [
        mount
        for mount in container(environment, "alertmanager")["volumeMounts"]
        if mount["name"] == volume["name"]
    ]
    assert mount["mountPath"] == "/etc/alertmanager/secrets" and mount["readOnly"] is True
    # What the operator makes of it, by the document.
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (row,) = re.findall(rf"^\| `{volume['secret']['secretName']}` \| (.*?) \|", text, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", row)) == named


def test_grafana_has_a_password_and_a_key_of_its_own_by_reference(environment: str) -> None:
    item = rendered.named(environment, "StatefulSet", "grafana")
    (volume,) = [v for v in rendered.template(item)["spec"]["volumes"] if "secret" in v]
    known = container(environment, "grafana")
    (mount,) = [m for m in known["volumeMounts"] if m["name"] == volume["name"]]
    told = {one["name"]: one["value"] for one in known["env"] if "SECURITY" in one["name"]}
    assert set(told) == {"GF_SECURITY_ADMIN_PASSWORD__FILE", "GF_SECURITY_SECRET_KEY__FILE"}
    assert mount["readOnly"] is True
    # What the operator makes of it, by the document.
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (row,) = re.findall(rf"^\| `{volume['secret']['secretName']}` \| (.*?) \|", text, re.MULTILINE)
    keys = set(re.findall(r"`([a-z-]+)`", row))
    assert set(told.values()) == {f"{mount['mountPath']}/{key}" for key in keys}


def test_the_pipelines_figures_are_served_by_the_script_that_makes_them(environment: str) -> None:
    item = rendered.named(environment, "StatefulSet", "pipeline-metrics")
    assert rendered.template(item)["metadata"]["labels"][NAME] == "pipeline-metrics"
    known = container(environment, "pipeline-metrics")
    (script,) = [word for word in known["command"] if word.endswith(".py")]
    assert (ROOT / script.removeprefix("/app/")).is_file()
    # In the image, and let into its build.
    text = (ROOT / "docker" / "pipelines" / "Dockerfile").read_text()
    assert f"COPY {script.removeprefix('/app/')} scripts/" in text
    assert f"!{script.removeprefix('/app/')}" in (ROOT / ".dockerignore").read_text().splitlines()
    folder = known["args"][known["args"].index("--folder") + 1]
    assert folder in {mount["mountPath"] for mount in known["volumeMounts"]}
