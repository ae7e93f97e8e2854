"""Each row of a strict reviewer's list, over what kustomize renders for each environment."""

import re
from typing import Any

import pytest

from serving.adapters.kafka_rights import USERS
from serving.services import SERVICES, SINGLETONS
from tests.k8s import rendered
from tests.k8s.rendered import COMPONENT, ENVIRONMENTS, NAME

STOP_S_MAX = 10  # serving/six.py ends a service that takes longer
UID = 10001
OURS = "hft-crypto-bot-"
STAGES = [service.name.replace("_", "-") for service in SERVICES]
SINGLE = {name.replace("_", "-") for name in SINGLETONS}
RESOURCES = {  # the guide's
    "staging": ({"memory": "256Mi", "cpu": "250m"}, {"memory": "512Mi", "cpu": "500m"}),
    "production": ({"memory": "512Mi", "cpu": "500m"}, {"memory": "2Gi", "cpu": "2000m"}),
}
INFRASTRUCTURE = {  # the guide's names and ports, and what this layout adds
    "kafka": 9092,
    "redis": 6379,
    "postgres": 5432,
    "mlflow": 5000,
    "prometheus": 9090,
    "grafana": 3000,
    "alertmanager": 9093,
    "pipeline-metrics": 9108,
    "pushgateway": 9091,
}

pytestmark = pytest.mark.parametrize("environment", ENVIRONMENTS)


def test_the_six_services_have_the_guides_names_and_the_codes_ports(environment: str) -> None:
    wanted = {f"{s.name.replace('_', '-')}-service": s.port for s in SERVICES}
    deployed = {
        item["metadata"]["name"]: rendered.containers(item)[-1]["ports"][0]["containerPort"]
        for item in rendered.stages(environment)
    }
    assert deployed == wanted
    served = {
        item["metadata"]["name"]: item["spec"]["ports"][0]["port"]
        for item in rendered.of_kind(environment, "Service")
    }
    assert served == wanted | INFRASTRUCTURE | {"disks": 9100}


def test_every_service_selects_the_pods_of_one_workload_by_a_port_that_they_have(
    environment: str,
) -> None:
    for service in rendered.of_kind(environment, "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [
            item
            for item in rendered.workloads(environment)
            if selector <= rendered.template(item)["metadata"]["labels"].items()
        ]
        if service["metadata"]["name"] == "disks":
            assert [one["kind"] for one in chosen] == ["StatefulSet"] * len(INFRASTRUCTURE)
        else:
            assert len(chosen) == 1, service["metadata"]["name"]
        ports = [port for one in rendered.containers(chosen[0]) for port in one.get("ports", ())]
        numbers = {port["name"]: port["containerPort"] for port in ports}
        for port in service["spec"]["ports"]:
            assert numbers[port["targetPort"]] == port["port"]


def test_everything_is_in_the_environments_namespace(environment: str) -> None:
    places = {item["metadata"].get("namespace") for item in rendered.objects(environment)}
    assert places == {f"hft-{environment}"}


def test_each_service_runs_its_own_stage_and_image_on_kafka(environment: str) -> None:
    for item in rendered.stages(environment):
        stage = item["metadata"]["name"].removesuffix("-service").replace("-", "_")
        (container,) = rendered.template(item)["spec"]["containers"]
        assert container["command"][:6] == ["python", "-m", "serving", stage, "--bus", "kafka"]
        assert container["image"] == OURS + stage


def test_singletons_end_before_they_begin_again_and_the_rest_serves_on(environment: str) -> None:
    strategies = {
        item["metadata"]["labels"][NAME]: item["spec"]["strategy"]
        for item in rendered.stages(environment)
    }
    assert {name for name, how in strategies.items() if how == {"type": "Recreate"}} == SINGLE
    rolling = [how for name, how in strategies.items() if name not in SINGLE]
    wanted = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert len(rolling) == 3 and all(how == wanted for how in rolling)


def test_everything_runs_once_and_nothing_multiplies_it(environment: str) -> None:
    counted = rendered.of_kind(environment, "Deployment", "StatefulSet")
    assert len(counted) == 15
    assert {item["spec"]["replicas"] for item in counted} == {1}
    assert rendered.of_kind(environment, "HorizontalPodAutoscaler") == []


def test_no_disruption_budget_blocks_the_drain_of_a_node(environment: str) -> None:
    # With one replica any budget that keeps one up does.
    assert rendered.of_kind(environment, "PodDisruptionBudget") == []


def test_the_services_get_the_guides_resources(environment: str) -> None:
    requests, limits = RESOURCES[environment]
    for item in rendered.stages(environment):
        (container,) = rendered.template(item)["spec"]["containers"]
        assert container["resources"] == {"requests": requests, "limits": limits}


def test_every_container_asks_for_resources_and_is_bounded(environment: str) -> None:
    for item in rendered.workloads(environment):
        for container in rendered.containers(item):
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory"}, container["name"]


def test_pods_are_restricted(environment: str) -> None:
    for item in rendered.workloads(environment):
        pod = rendered.template(item)["spec"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0 and context["runAsGroup"] > 0 and context["fsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in rendered.containers(item):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, container["name"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_our_own_images_run_as_the_user_that_they_are_built_for(environment: str) -> None:
    theirs = ("prometheus", "alertmanager", "grafana")
    for item in rendered.workloads(environment):
        images = {container["image"].removeprefix(OURS) for container in rendered.containers(item)}
        if any(container["image"].startswith(OURS) for container in rendered.containers(item)):
            if not images & set(theirs):
                assert rendered.template(item)["spec"]["securityContext"]["runAsUser"] == UID


def test_no_pod_holds_a_token_or_is_told_of_its_neighbours(environment: str) -> None:
    for item in rendered.workloads(environment):
        pod = rendered.template(item)["spec"]
        assert pod["automountServiceAccountToken"] is False
        # Their names would come as variables, and one that began HFT_ would end every start.
        assert pod["enableServiceLinks"] is False


def test_each_workload_has_a_service_account_of_its_own_without_a_token(environment: str) -> None:
    used = [
        rendered.template(item)["spec"]["serviceAccountName"]
        for item in rendered.workloads(environment)
    ]
    accounts = rendered.of_kind(environment, "ServiceAccount")
    assert sorted(used) == sorted({item["metadata"]["name"] for item in accounts})
    assert all(item["automountServiceAccountToken"] is False for item in accounts)


def test_private_images_are_pulled_by_a_secret_that_no_container_sees(environment: str) -> None:
    accounts = rendered.of_kind(environment, "ServiceAccount")
    assert accounts and all(one["imagePullSecrets"] == [{"name": "registry"}] for one in accounts)
    for item in rendered.workloads(environment):
        assert "registry" not in secret_names(rendered.template(item))


def test_what_is_written_to_is_bounded_or_a_persistent_volume(environment: str) -> None:
    for item in rendered.workloads(environment):
        for volume in rendered.template(item)["spec"].get("volumes", []):
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]


def test_every_mount_has_its_volume_and_every_volume_its_source(environment: str) -> None:
    maps = {item["metadata"]["name"] for item in rendered.of_kind(environment, "ConfigMap")}
    claims = {
        item["metadata"]["name"] for item in rendered.of_kind(environment, "PersistentVolumeClaim")
    }
    for item in rendered.of_kind(environment, "StatefulSet"):
        name = item["metadata"]["name"]
        claims |= {
            f"{c['metadata']['name']}-{name}-0" for c in item["spec"]["volumeClaimTemplates"]
        }
    for item in rendered.workloads(environment):
        volumes = rendered.template(item)["spec"].get("volumes", [])
        known = {volume["name"] for volume in volumes}
        known |= {c["metadata"]["name"] for c in item["spec"].get("volumeClaimTemplates", [])}
        mounted = {m["name"] for c in rendered.containers(item) for m in c["volumeMounts"]}
        assert mounted == known, item["metadata"]["name"]
        for volume in volumes:
            assert volume.get("configMap", {"name": next(iter(maps))})["name"] in maps
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_a_service_is_probed_and_lives_whatever_its_dependencies_do(environment: str) -> None:
    for item in rendered.stages(environment):
        (container,) = rendered.template(item)["spec"]["containers"]
        paths = {p: container[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "liveness")}
        assert paths == {"startup": "/healthz", "liveness": "/healthz"}
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        start = container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] == 300  # the guide's 5 minutes


def test_everything_that_stays_has_the_three_probes(environment: str) -> None:
    for item in rendered.of_kind(environment, "Deployment", "StatefulSet"):
        for container in rendered.template(item)["spec"]["containers"]:
            if container["name"] == rendered.DISK:
                # A server does not wait for it, nor is it less ready without.
                assert not {"startupProbe", "readinessProbe"} & container.keys()
                assert "livenessProbe" in container
                continue
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_somebody_says_of_every_servers_volume_how_full_it_is(environment: str) -> None:
    for item in rendered.of_kind(environment, "StatefulSet"):
        name = item["metadata"]["name"]
        # The last: a command inside the pod is for the first, where none is named.
        last = rendered.template(item)["spec"]["containers"][-1]
        (claim,) = item["spec"]["volumeClaimTemplates"]
        assert last["name"] == rendered.DISK and last["volumeMounts"] == [
            {"name": claim["metadata"]["name"], "mountPath": f"/disks/{name}", "readOnly": True}
        ]


def test_an_end_has_more_time_than_a_service_takes(environment: str) -> None:
    for item in rendered.stages(environment):
        assert rendered.template(item)["spec"]["terminationGracePeriodSeconds"] > 2 * STOP_S_MAX


def test_what_must_not_be_lost_is_on_a_volume_that_outlives_its_set(environment: str) -> None:
    sets = rendered.of_kind(environment, "StatefulSet")
    assert {item["metadata"]["name"] for item in sets} == set(INFRASTRUCTURE)
    for item in sets:
        assert item["spec"]["volumeClaimTemplates"], item["metadata"]["name"]
        kept = item["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def secret_names(value: Any) -> set[str]:
    """The secrets that something refers to."""
    found = set()
    for item in rendered.walk(value):
        for key in ("secretKeyRef", "secretRef"):
            if key in item:
                found.add(item[key]["name"])
        if "secret" in item and isinstance(item["secret"], dict):
            found.add(item["secret"]["secretName"])
    return found


def test_secrets_are_references_and_go_to_those_alone_who_need_them(environment: str) -> None:
    assert rendered.of_kind(environment, "Secret") == []
    given = {
        item["metadata"]["labels"][NAME]: secret_names(rendered.template(item))
        for item in rendered.workloads(environment)
    }
    stage = {"kafka", "redis", "pages"}
    assert given == {
        "ingestion": stage,
        "kalman-filter": stage,
        "garch-model": stage,
        "risk-manager": stage,
        "execution": stage,
        "orchestrator": {*stage, "ledger"},
        "calibration": set(),
        "kafka": {"kafka"},
        "redis": {"redis"},
        "postgres": {"postgres"},
        "mlflow": {"mlflow"},
        "prometheus": set(),
        "alertmanager": {"alertmanager"},
        "grafana": {"grafana"},
        "pipeline-metrics": set(),
        "pushgateway": set(),
        "backup": {"kafka", "redis", "postgres"},
        "restore": {"kafka", "redis", "postgres"},
        "backup-artifacts": set(),
        "backup-tapes": set(),
        "rights": {"kafka"},
    }


def test_each_is_told_the_password_of_its_own_user_of_the_log(environment: str) -> None:
    told = {}
    for item in rendered.workloads(environment):
        refers = [one.get("secretKeyRef", {}) for one in rendered.walk(rendered.template(item))]
        keys = {one["key"] for one in refers if one.get("name") == "kafka"}
        if keys:
            told[item["metadata"]["labels"][NAME]] = keys
    assert told == {
        **{name: {f"{name}-password"} for name in STAGES},
        "backup": {"backup-password"},
        "restore": {"admin-password"},
        "rights": {"admin-password"},
    }
    pod = rendered.template(rendered.named(environment, "StatefulSet", "kafka"))["spec"]
    (users,) = (one["secret"] for one in pod["volumes"] if one["name"] == "users")
    files = {one["path"]: one["key"] for one in users["items"]}
    assert files == {user: f"{user.replace('_', '-')}-password" for user in USERS}


def test_the_logs_rights_are_given_again_and_again(environment: str) -> None:
    item = rendered.named_exactly(environment, "CronJob", "rights")
    assert item["spec"]["suspend"] is False and item["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = rendered.containers(item)
    assert container["command"] == ["python", "-m", "serving.rights"]


LOGIN = r"\w+:\$\(KAFKA_PASSWORD\)@kafka:9092"


def secret_places(template: rendered.Object, container: rendered.Object) -> set[str]:
    """The folders of a container that secrets are mounted at."""
    secrets = {volume["name"] for volume in template["spec"]["volumes"] if "secret" in volume}
    return {m["mountPath"] for m in container["volumeMounts"] if m["name"] in secrets}


def test_no_variable_that_ought_to_be_secret_has_a_value(environment: str) -> None:
    told = re.compile(
        r"PASSWORD$|SECRET|TOKEN|API_KEY|REDIS_URL|BOOTSTRAP_SERVERS|DATABASE_URL|STORE_URI"
    )
    for item in rendered.workloads(environment):
        for container in rendered.containers(item):
            for variable in container.get("env", []):
                # What ends so is the place of a file, which a Secret gives.
                if told.search(variable["name"].removesuffix("__FILE")):
                    if variable["name"].endswith("__FILE"):
                        places = secret_places(rendered.template(item), container)
                        assert variable["value"].rpartition("/")[0] in places, variable["name"]
                        continue
                    if variable["name"] == "KAFKA_BOOTSTRAP_SERVERS":  # of a variable that is one's
                        assert re.fullmatch(LOGIN, variable["value"]), variable["value"]
                        continue
                    assert "value" not in variable, variable["name"]
    assert not re.search(
        r"://[^/\s\"]*:[^/\s\"]*@", rendered.text(rendered.MANIFESTS / environment)
    )


def test_a_change_of_settings_changes_the_name_and_so_rolls_out(environment: str) -> None:
    for item in rendered.of_kind(environment, "ConfigMap"):
        assert re.search(r"-[a-z0-9]{10}$", item["metadata"]["name"])


def test_the_guides_address_leads_to_the_operators_page_under_tls_and_password(
    environment: str,
) -> None:
    (item,) = rendered.of_kind(environment, "Ingress")
    short = {"staging": "staging", "production": "prod"}[environment]
    host = f"hft-{short}.yourdomain.com"
    (rule,), (tls,) = item["spec"]["rules"], item["spec"]["tls"]
    assert rule["host"] == host and tls["hosts"] == [host] and tls["secretName"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "orchestrator-service", "port": {"name": "pages"}}
    notes = item["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/ssl-redirect"] == "true"
    assert notes["nginx.ingress.kubernetes.io/auth-type"] == "basic"
    assert notes["nginx.ingress.kubernetes.io/auth-secret"] == "operators"
    # Its streams are sixteen at most (serving/orchestrator), a guesser's tries a few a second.
    assert 0 < int(notes["nginx.ingress.kubernetes.io/limit-rps"]) <= 10
    assert 16 <= int(notes["nginx.ingress.kubernetes.io/limit-connections"]) <= 50


def test_others_images_are_pinned_to_a_version(environment: str) -> None:
    images = {
        container["image"]
        for item in rendered.workloads(environment)
        for container in rendered.containers(item)
    }
    theirs = {image for image in images if not image.startswith(OURS)}
    assert len(theirs) == 5
    assert all(re.search(r":v?\d+[\d.]*(-[a-z]+)?$", image) for image in theirs)


def test_every_workload_says_what_it_is(environment: str) -> None:
    for item in rendered.of_kind(environment, "Deployment", "StatefulSet"):
        labels = rendered.template(item)["metadata"]["labels"]
        assert {NAME, COMPONENT, "app.kubernetes.io/part-of", "hft/environment"} <= labels.keys()
        # What selects must never change, so nothing that may change is in it.
        assert item["spec"]["selector"]["matchLabels"] == {NAME: labels[NAME]}
