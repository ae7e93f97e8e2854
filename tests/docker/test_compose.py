"""`docker compose up` starts what the cluster's staging runs: the same names, ports, files and
settings, as contained, with no secret in the file."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from serving.adapters.kafka_rights import USERS
from serving.runtime.settings import load_settings
from serving.services import SERVICES
from tests.docker.test_images import ROOT, SCRIPTS, run
from tests.k8s import rendered

TEXT = (ROOT / "compose.yaml").read_text()
STAGES = {f"{s.name.replace('_', '-')}-service": s for s in SERVICES}
ONCE = {"market", "calibration", "rights"}
JOBS = {"calibration", "rights"}
# What is beside another in the cluster, or prepares it, and runs by itself here.
ELSEWHERE = {"market": "ingestion-service", "disks": "prometheus"}
PASSWORDS = {
    name: f"made-up-0123456789-{name.lower()}"
    for name in dotenv_values(ROOT / ".env.example")
    if name.endswith("_PASSWORD")  # the rest may stay empty
}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
# Beside their own names: who they are on the host, as Docker has no fsGroup.
IMAGES = {s: STAGES[s].name for s in STAGES} | {"market": "ingestion", "calibration": "pipelines"}
IMAGES |= {"rights": "orchestrator"}
# On one machine `scripts/backup.sh` and `restore.sh` do what these jobs do, and nobody deploys.
CLUSTER_ALONE = {"backup", "backup-artifacts", "backup-tapes", "restore", "pipeline-metrics"}
CLUSTER_ALONE |= {"pushgateway"}
IMAGES |= {name: name for name in ("mlflow", "prometheus", "alertmanager", "grafana")}


def filled(text: str, given: dict[str, str]) -> str:
    """The file as Compose reads it: variables put in place of; KeyError where one must be set."""

    def value(found: re.Match[str]) -> str:
        dollar, name, rule, default = found.groups()
        if dollar:
            return "$"
        if given.get(name):
            return given[name]
        if rule != "-":
            raise KeyError(f"{name}: {default}")
        return str(default)

    return VARIABLE.sub(value, text)


STACK: dict[str, Any] = yaml.safe_load(filled(TEXT, PASSWORDS))
RAW: dict[str, Any] = yaml.safe_load(TEXT)
RUN: dict[str, Any] = STACK["services"]


def in_cluster(name: str) -> rendered.Object:
    """The workload of staging with a service's name."""
    if name in ELSEWHERE:
        return in_cluster(ELSEWHERE[name])
    kind = "Deployment" if name in STAGES else "StatefulSet"
    return rendered.named("staging", "CronJob" if name in JOBS else kind, name)


def container(name: str) -> rendered.Object:
    """Its container there."""
    if name == "disks":
        return rendered.containers(in_cluster(name))[-1]
    return rendered.servers(in_cluster(name))[0 if name == "market" else -1]


def mebibytes(size: str) -> int:
    """A size, in Compose's words or the cluster's."""
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]*)", size).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "Mi": 1, "g": 1024, "Gi": 1024}[unit]


def test_it_is_what_the_specification_of_compose_takes() -> None:
    program = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    assert program, "check-jsonschema is missing: scripts/setup.sh dev"
    done = run(program, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_itself_takes_it() -> None:
    known = (
        subprocess.run(("docker", "compose", "version"), capture_output=True, check=False)
        if (shutil.which("docker"))
        else None
    )
    if known is None or known.returncode != 0:
        pytest.skip("docker compose is not installed; the schema is held in any case")
    done = run("docker", "compose", "config", "--quiet", **PASSWORDS)
    assert done.returncode == 0, done.stderr


def test_whatever_runs_in_the_cluster_runs_here_and_nothing_else() -> None:
    there = {item["metadata"]["name"] for item in rendered.workloads("staging")}
    assert CLUSTER_ALONE < there
    assert set(RUN) == (there - CLUSTER_ALONE) | {"market", "disks"}
    assert set(STAGES) | ONCE < set(RUN)


def test_a_service_listens_where_it_does_there_and_on_this_machine_alone() -> None:
    open_here = set()
    for name, service in RUN.items():
        for port in service.get("ports", ()):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1" and outside == inside
            assert int(inside) in [one["containerPort"] for one in container(name)["ports"]]
            open_here.add(name)
    assert open_here == {*STAGES, "mlflow", "prometheus", "alertmanager", "grafana"}


def test_the_images_are_those_that_are_built_and_deployed() -> None:
    for name, service in RUN.items():
        there = container(name)["image"]
        if name not in IMAGES:
            assert service["image"] == there and "build" not in service
            continue
        image = IMAGES[name]
        named = {"TAG": "local", "DOCKER_USERNAME": ""}
        (line,) = run(SCRIPTS / "docker-build.sh", "--dry-run", image, **named).stdout.splitlines()
        assert f" --tag {service['image']} " in line
        assert f" --file {service['build']['dockerfile']} " in line
        assert there.rpartition("/")[2].partition(":")[0] == f"hft-crypto-bot-{image}"


@pytest.mark.parametrize("name", RUN)
def test_a_container_is_as_contained_as_there(name: str) -> None:
    service, pod = RUN[name], rendered.template(in_cluster(name))["spec"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "userns_mode", "devices"} & set(service)
    assert service["user"].partition(":")[0] == str(pod["securityContext"]["runAsUser"])
    assert 0 < service["pids_limit"] <= 512
    limit = container(name)["resources"]["limits"]["memory"]
    assert mebibytes(service["mem_limit"]) == mebibytes(limit)
    if name not in ONCE:
        patience = pod["terminationGracePeriodSeconds"]
        assert service["stop_grace_period"] == f"{patience}s"


def mounts(name: str) -> Iterator[tuple[str, str]]:
    """What of this folder a service sees, and where."""
    for volume in RUN[name].get("volumes", ()):
        source, target, *how = volume.split(":")
        if source.startswith("."):
            assert how == ["ro"], volume
            yield source, target


def test_only_files_of_the_project_are_seen_and_none_can_be_written() -> None:
    seen = {source for name in RUN for source, _ in mounts(name)}
    assert seen == {
        "./k8s/base/config/server.properties",
        "./k8s/base/config/redis.conf",
        "./k8s/base/config/databases.sh",
        "./k8s/components/synthetic-market/make_market.py",
    }
    assert all((ROOT / source).is_file() for source in seen)
    # A script that is not executable would be read into the image's own entry.
    assert os.access(ROOT / "k8s/base/config/databases.sh", os.X_OK)


def test_somebody_says_of_every_servers_volume_how_full_it_is() -> None:
    kept = {one for one in STACK["volumes"] if one != "tapes"}
    assert set(RUN["disks"]["volumes"]) == {f"{name}:/disks/{name}:ro" for name in kept}
    assert kept <= set(RUN)


def test_files_are_where_the_cluster_has_them() -> None:
    for name in RUN.keys() - {"disks"}:
        there = {one["mountPath"] for one in container(name)["volumeMounts"]}
        places = {volume.split(":")[1] for volume in RUN[name].get("volumes", ())}
        places |= {place.partition(":")[0] for place in RUN[name].get("tmpfs", ())}
        folders = {Path(place).parent.as_posix() for _, place in mounts(name)}
        files = {place for _, place in mounts(name)}
        # Grafana's secrets are variables here: Compose has no file for it on a read-only root.
        kept = there - {"/etc/hft-grafana"}
        assert kept - {"/docker-entrypoint-initdb.d"} <= places | folders, name
        assert places - files <= there | {"/var/lib/hft"}, name


@pytest.mark.parametrize("name", STAGES)
def test_a_service_starts_with_the_settings_of_staging(name: str, tmp_path: Path) -> None:
    told = {key: str(value) for key, value in RUN[name]["environment"].items()}
    settings = load_settings(told | {"HFT_HOME": str(tmp_path)})
    there = rendered.named("staging", "ConfigMap", "settings")["data"]
    differing = {key for key in there if told.get(key) != there[key]}
    assert differing == {"ENVIRONMENT", "LOG_LEVEL"}
    guards = {"HFT_VIEWER_TOKEN", "HFT_OPERATOR_TOKEN"}
    assert set(told) - set(there) == {"KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"} | guards | (
        {"MLFLOW_TRACKING_URI", "DATABASE_URL"} if name == "orchestrator-service" else set()
    )
    password = PASSWORDS["STACK_REDIS_PASSWORD"]
    assert settings.redis_url == f"redis://:{password}@redis:6379/0"
    # Its pages are guarded as there: each of these is a Secret's there.
    referred = {one["name"] for one in container(name)["env"] if "valueFrom" in one}
    assert guards <= referred and {told[key] for key in guards} == {
        PASSWORDS["STACK_VIEWER_PASSWORD"],
        PASSWORDS["STACK_OPERATOR_PASSWORD"],
    }


@pytest.mark.parametrize("name", STAGES)
def test_a_service_is_told_the_same_on_its_command_line(name: str) -> None:
    pod = container(name)
    there = [*pod["command"], *pod.get("args", ())]
    own = ["python", "-m", "serving", STAGES[name].name]
    assert own + RUN[name]["command"] == there
    assert "entrypoint" not in RUN[name]


def test_each_is_its_own_user_of_the_log_once_rights_are_given() -> None:
    for name in STAGES:
        login = RUN[name]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
        assert login == f"{STAGES[name].name}:{PASSWORDS['STACK_KAFKA_PASSWORD']}@kafka:9092"
        given = RUN[name]["depends_on"]["rights"]["condition"]
        assert given == "service_completed_successfully"
    assert RUN["rights"]["entrypoint"] == container("rights")["command"]
    told = {one["name"]: one.get("value") for one in container("rights")["env"]}
    password = PASSWORDS["STACK_KAFKA_PASSWORD"]
    assert RUN["rights"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == told[
        "KAFKA_BOOTSTRAP_SERVERS"
    ].replace("$(KAFKA_PASSWORD)", password)


def test_the_market_and_the_calibration_are_made_as_there() -> None:
    assert RUN["market"]["entrypoint"] == container("market")["command"]
    pod = container("calibration")
    assert RUN["calibration"]["command"] == [*pod["command"], *pod["args"]]
    for name in ONCE:
        assert RUN[name]["restart"] == "no"
    feed = RUN["ingestion-service"]["depends_on"]["market"]["condition"]
    assert feed == "service_completed_successfully"


def test_kafka_is_started_as_there() -> None:
    (script,) = RUN["kafka"]["command"]
    told, written, rest = re.split(r"(?s)(for user in .*?\nunset PASSWORD\n)", script)
    assert told + rest == container("kafka")["args"][0]
    config = (ROOT / "k8s/base/config/server.properties").read_text()
    (folder,) = set(re.findall(r"\$\{file:([^:]+):", config))
    listed = re.search(r"in \$\((.*)\); do", written)
    assert listed and folder in written
    place = ROOT / "k8s/base/config/server.properties"
    found = run("bash", "-ec", listed[1].replace('"$config"', f"'{place}'")).stdout.split()
    assert found == sorted(USERS) == sorted(set(re.findall(r"\$\{file:[^:]+:(\w+)\}", config)))


def options(words: list[str]) -> dict[str, str]:
    """Value by option, written with a blank or with a sign of equality."""
    found = re.findall(r"--([a-z-]+)[ =](\S+)", " ".join(words))
    return dict(found)


def test_the_registry_is_started_as_there() -> None:
    pod = container("mlflow")
    here, there = options(RUN["mlflow"]["command"]), options([*pod["command"], *pod["args"]])
    hosts = set(here.pop("allowed-hosts").split(","))
    assert hosts - set(there.pop("allowed-hosts").split(",")) == {"127.0.0.1:5000"}
    assert here == there
    variables = {one["name"]: one.get("value") for one in pod["env"]}
    told = RUN["mlflow"]["environment"]
    assert told.keys() == variables.keys()
    assert {key: told[key] for key in told if variables[key]} == {
        key: value for key, value in variables.items() if value
    }


def test_the_monitoring_is_started_as_there() -> None:
    assert RUN["prometheus"]["command"] == container("prometheus")["args"]
    (script,) = RUN["alertmanager"]["command"]
    assert all(word in script for word in container("alertmanager")["args"])
    variables = {one["name"]: one["value"] for one in container("grafana")["env"]}
    told = dict(RUN["grafana"]["environment"])
    given = (("ADMIN_PASSWORD", "GRAFANA"), ("SECRET_KEY", "GRAFANA_CIPHER"))
    for name, kept in given:
        assert variables.pop(f"GF_SECURITY_{name}__FILE")
        assert told.pop(f"GF_SECURITY_{name}") == PASSWORDS[f"STACK_{kept}_PASSWORD"]
    assert told == variables


def test_what_runs_on_asks_itself_how_it_is() -> None:
    for name, service in RUN.items():
        if name in ONCE:
            continue
        built = service.get("build")
        text = (ROOT / built["dockerfile"]).read_text() if built else ""
        assert "healthcheck" in service or "HEALTHCHECK" in text, name


def test_what_is_waited_for_is_there_and_says_when_it_is_ready() -> None:
    for service in RUN.values():
        for name, how in service.get("depends_on", {}).items():
            wanted = "completed_successfully" if name in ONCE else "healthy"
            assert how["condition"] == f"service_{wanted}" and name in RUN


WAITED_FOR = {name for service in RUN.values() for name in service.get("depends_on", ())}


@pytest.mark.parametrize("name", sorted(WAITED_FOR - ONCE))
def test_what_others_wait_for_may_take_five_minutes_on_a_slow_machine(name: str) -> None:
    service = RUN[name]
    text = (ROOT / service["build"]["dockerfile"]).read_text() if "build" in service else ""
    image = re.findall(r"--start-period=(\S+)", text)
    asked = service.get("healthcheck", {}).get("start_period")
    assert asked == "300s" or image == ["300s"]


@pytest.mark.parametrize("name", PASSWORDS)
def test_without_a_password_nothing_starts(name: str) -> None:
    without = {key: value for key, value in PASSWORDS.items() if key != name}
    with pytest.raises(KeyError, match=f"{name}: must be set"):
        filled(TEXT, without)


def test_the_file_holds_no_secret_and_the_example_no_value() -> None:
    example = dotenv_values(ROOT / ".env.example")
    assert set(example.values()) == {""}
    asked = {found[1] for found in VARIABLE.findall(TEXT) if found[1].startswith("STACK_")}
    assert asked == set(example)
    for service in RAW["services"].values():
        for key, value in service.get("environment", {}).items():
            if (
                re.search("PASSWORD$|KEY$|SECRET|TOKEN", key)
                or "://" in str(value).partition("@")[0]
            ):
                assert "://mlflow:5000" in str(value) or "${STACK_" in str(value), key
    # No password on a command line, where every process of the machine could read it.
    assert not any("made-up" in str(service.get("command")) for service in RUN.values())


def test_the_same_env_file_does_for_the_command(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text().replace("_PASSWORD=", "_PASSWORD=abc")
    (tmp_path / ".env").write_text(f"{text}\nLOG_LEVEL=ERROR\n")
    assert load_settings({}, tmp_path / ".env").log_level == "ERROR"


def test_the_readmes_command_makes_every_password_that_is_needed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^while read .*?>\.env$", text, re.MULTILINE | re.DOTALL)
    shutil.copy(ROOT / ".env.example", tmp_path)
    words = ("bash", "-euc", command)
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60)
    made = {key: value or "" for key, value in dotenv_values(tmp_path / ".env").items()}
    stack = yaml.safe_load(filled(TEXT, made))["services"]
    for service in STAGES:
        told = {key: str(value) for key, value in stack[service]["environment"].items()}
        load_settings(told | {"HFT_HOME": str(tmp_path)})
    assert len({made[name] for name in PASSWORDS}) == len(PASSWORDS)


def test_passwords_reach_redis_and_postgresql_as_files() -> None:
    (script,) = RUN["redis"]["command"]
    config = (ROOT / "k8s/base/config/redis.conf").read_text()
    (place,) = re.findall(r"^aclfile (\S+)$", config, re.MULTILINE)
    assert f">{place}" in script and "unset PASSWORD" in script
    (script,) = RUN["postgres"]["command"]
    wanted = set(re.findall(r"/etc/hft-postgres/[a-z$-]+", script))
    assert RUN["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] in wanted
    databases = (ROOT / "k8s/base/config/databases.sh").read_text()
    for name in re.findall(r"^for name in (.*); do$", databases, re.MULTILINE)[0].split():
        assert f"/etc/hft-postgres/{name}-password" in wanted
