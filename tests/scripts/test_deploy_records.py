"""`deploy-k8s.sh records`: what the pipeline recorded comes to where Prometheus asks for it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.k8s import rendered
from tests.scripts.test_deploy_k8s import REFUSED, USAGE, Cluster, verb
from tests.scripts.test_pipeline_metrics import deployment, figures, keep, report, run_record, stage

HOME = "/var/lib/pipeline-metrics"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster that holds nothing."""
    return Cluster(tmp_path, tmp_path)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two runs, a deployment by hand and a scan, as `pipeline_metrics.py` keeps them."""
    made = tmp_path / "records"
    made.mkdir()
    keep(made, *(run_record(number, [stage("Deploy to Staging", 0, 5)]) for number in (1, 2)))
    (made / "deployments.jsonl").write_text(deployment("success", 1))
    (made / "a.trivy.json").write_text(report("docker.io/ada/execution:v1", 1, "CRITICAL"))
    (made / "notes.txt").write_text("no record")
    return made


def sent(cluster: Cluster) -> tuple[list[str], str]:
    """What the pod was asked to run, and what it was given."""
    lines = (cluster.home / "calls.jsonl").read_text().splitlines()
    (call,) = [known for known in map(json.loads, lines) if "exec" in known["argv"]]
    words = verb(call["argv"])
    name = "pipeline-metrics"
    assert words[:6] == ["exec", "--stdin", f"{name}-0", "--container", name, "--"]
    return words[6:], call["stdin"]


def in_the_pod(cluster: Cluster, pod: Path) -> None:
    """Run there what was asked, by the real shell and the real tar."""
    words, given = sent(cluster)
    assert HOME in words[-1]
    words[-1] = words[-1].replace(HOME, str(pod))
    environ = {"PATH": os.environ["PATH"]}
    subprocess.run(words, input=given.encode(), env=environ, check=True, timeout=30)


def test_the_pod_tells_what_the_folder_tells(cluster: Cluster, records: Path, tmp_path: Path):
    pod = tmp_path / "pod"
    pod.mkdir()
    done = cluster.run("records", str(records))
    assert done.code == 0 and "4 records" in done.said
    in_the_pod(cluster, pod)
    assert figures(pod) == figures(records) != {}
    assert {path.name for path in pod.iterdir()} == {"runs", "deployments.jsonl", "a.trivy.json"}


def test_what_is_there_stays_and_what_is_new_comes(cluster: Cluster, records: Path, tmp_path: Path):
    pod = tmp_path / "pod"
    keep(pod, run_record(1, [stage("Deploy to Staging", 0, 9)]), run_record(7, []))
    kept = {path: path.read_bytes() for path in pod.glob("runs/*/run.json")}
    cluster.run("records", str(records))
    in_the_pod(cluster, pod)
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(pod.glob("runs/*/run.json"))) == 3
    assert not (pod / "incoming").exists()


def test_a_pod_that_does_not_take_them_is_a_failure(cluster: Cluster, records: Path):
    cluster.plan(verbs=["exec"])
    done = cluster.run("records", str(records))
    assert done.code == 1 and "were not taken" in done.said


@pytest.mark.parametrize("words", [("records",), ("records", "none"), ("records", "scripts")])
def test_a_folder_without_records_is_refused(cluster: Cluster, words: tuple[str, ...]):
    assert cluster.run(*words).code == USAGE
    assert cluster.calls() == []


def test_a_dry_run_and_the_other_environments_cluster_send_nothing(cluster: Cluster, records: Path):
    done = cluster.run("--dry-run", "records", str(records))
    assert done.code == 0 and "pipeline-metrics-0" in done.out and cluster.calls() == []
    assert cluster.run("--context", "hft-prod", "records", str(records)).code == REFUSED


@pytest.mark.parametrize("environment", rendered.ENVIRONMENTS)
def test_they_come_to_the_volume_that_the_pod_reads(environment: str):
    item = rendered.named(environment, "StatefulSet", "pipeline-metrics")
    (container,) = rendered.servers(item)
    assert container["args"][container["args"].index("--folder") + 1] == HOME
    assert HOME in [mount["mountPath"] for mount in container["volumeMounts"]]
    (claim,) = item["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
