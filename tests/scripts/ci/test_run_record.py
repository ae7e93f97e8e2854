"""The record of a run says what GitHub, the reports and git say, and the exporter takes it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from scripts.pipeline_metrics import Run

ROOT = Path(__file__).resolve().parents[3]
CI = ROOT / "scripts" / "ci"
RUN = {"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_REF_NAME": "main"}


def job(name: str, conclusion: str | None, **changes: Any) -> dict[str, Any]:
    """A job as GitHub tells of it."""
    times = {"started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:00Z"}
    return {"name": name, "conclusion": conclusion, "steps": []} | times | changes


def record(folder: Path, *jobs: dict[str, Any]) -> dict[str, Any]:
    """What the script writes, run in this repository."""
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)) + "\n")
    file = folder / "record" / "run.json"
    done = subprocess.run(
        [sys.executable, str(CI / "run_record.py"), str(folder), str(file)],
        env={"PATH": os.environ["PATH"], **RUN},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(file.read_bytes()))


def test_the_exporter_takes_what_the_workflow_writes(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "coverage.xml").write_text('<coverage line-rate="0.853"></coverage>')
    for name in ("digests/execution", "digests/mlflow", "boms/sbom-execution.spdx.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    made = record(tmp_path, job("Notebooks", "success"))
    known = msgspec.convert(made, Run)
    assert (known.run, known.attempt, known.branch, known.coverage) == (7, 2, "main", 0.853)
    assert (known.images, known.boms) == (["execution", "mlflow"], ["execution"])
    assert known.commit == git("rev-parse", "HEAD")
    assert made["committed"] == git("log", "-1", "--format=%cI")
    updated = git("log", "--since=90 days ago", "--format=%cI", "--", "requirements/*.lock")
    assert made["locks_updated"] == updated.split()


def git(*words: str) -> str:
    """What git says here."""
    return subprocess.run(
        ("git", *words), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_only_what_ran_and_ended_is_recorded_by_its_stage(tmp_path: Path) -> None:
    made = record(
        tmp_path,
        job("Build Docker Images (ingestion, serving) / Build", "success"),
        job("Security Scanning (mlflow)", "failure"),
        job("Unit & Integration Tests", "cancelled"),
        job("Performance", "skipped"),
        job("Record", None, completed_at=None),
    )
    assert [(one["stage"], one["result"]) for one in made["jobs"]] == [
        ("Build Docker Images", "success"),
        ("Security Scanning", "failure"),
        ("Unit & Integration Tests", "cancelled"),
    ]
    assert (made["coverage"], made["images"], made["boms"]) == (None, [], [])


@pytest.mark.parametrize("cut_off", ["cancelled", "timed_out"])
def test_a_deployment_that_was_cut_off_half_way_failed(tmp_path: Path, cut_off: str) -> None:
    ci = yaml.safe_load((ROOT / ".github/workflows/ci-cd.yml").read_text(encoding="utf-8"))
    named = [
        step["name"]
        for name in ("deploy-staging", "deploy-production")
        for step in ci["jobs"][name]["steps"]
        if step.get("run", "").endswith(" deploy")
    ]
    assert len(named) == 2
    before = {"name": "The way to the cluster", "conclusion": "cancelled"}
    jobs = [
        job(name, cut_off, steps=[before, {"name": step, "conclusion": conclusion}])
        for name, step in zip(("Deploy to Staging", "Deploy to Production"), named, strict=True)
        for conclusion in (cut_off, "skipped", None)
    ]
    made = record(tmp_path, *jobs)
    assert [one["result"] for one in made["jobs"]] == 2 * ["failure", cut_off, cut_off]


@pytest.mark.parametrize(("said", "code"), [('{"name":"Notebooks"}', 0), ("", 1)])
def test_jobs_are_asked_of_this_attempt_and_there_must_be_some(
    tmp_path: Path, said: str, code: int
) -> None:
    program = tmp_path / "gh"
    program.write_text(f"#!/bin/sh\necho \"$3\" >{tmp_path}/asked\nprintf '%s' '{said}'\n")
    program.chmod(0o755)
    known = {"GITHUB_REPOSITORY": "acme/bot", "GH": str(program), "PATH": os.environ["PATH"]}
    file = tmp_path / "jobs" / "jobs.jsonl"
    done = subprocess.run([CI / "jobs.sh", str(file)], env=RUN | known, timeout=60, check=False)
    assert (done.returncode, file.read_text()) == (code, said)
    path = "repos/acme/bot/actions/runs/7/attempts/2/jobs?per_page=100"
    assert (tmp_path / "asked").read_text() == f"{path}\n"
