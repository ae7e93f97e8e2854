"""What the pipeline did, as Prometheus reads it."""

import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pipeline_metrics.py"
MIDNIGHT = "2026-01-01T00:00:00Z"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    known = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(known, capture_output=True, text=True, check=False)


def figures(folder: Path) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    done = run("render", "--folder", folder)
    assert done.returncode == 0, done.stderr
    families = text_string_to_metric_families(done.stdout)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def deployment(result: str, hour: int, **changes: Any) -> str:
    known = {"target": "staging", "version": f"v{hour}", "result": result}
    known |= {"began": f"2026-01-01T{hour:02}:00:00Z", "ended": f"2026-01-01T{hour:02}:10:00Z"}
    return json.dumps(known | {"committed": MIDNIGHT} | changes)


def test_deployments_are_told_by_target_with_lead_and_recovery_times(tmp_path: Path):
    rows = [("success", 1), ("failure", 2), ("failure", 3), ("success", 5), ("failure", 6)]
    lines = [deployment(*row) for row in rows]
    lines.append(deployment("success", 7, target="production", version="v5"))
    (tmp_path / "deployments.jsonl").write_text("\n".join(lines) + "\n")
    shown = figures(tmp_path)
    assert shown["hft_deployment_failed", "staging", "v6"] == 1.0
    assert shown["hft_deployment_failed", "production", "v5"] == 0.0
    assert shown["hft_deployments_total", "success", "staging"] == 2.0
    assert shown["hft_deployments_total", "failure", "staging"] == 3.0
    assert shown["hft_deployment_seconds", "staging"] == 600.0
    assert shown["hft_deployment_lead_seconds", "staging"] == 5 * 3600.0 + 600.0
    assert shown["hft_deployment_recovery_seconds", "staging"] == 3 * 3600.0


def report(name: str, day: int, *severities: str) -> str:
    flaws = [{"VulnerabilityID": f"CVE-{n}", "Severity": s} for n, s in enumerate(severities)]
    results = [{"Target": "python-pkg", "Vulnerabilities": flaws}, {"Target": "debian"}]
    known = {"ArtifactName": name, "CreatedAt": f"2026-01-0{day}T00:00:00Z", "Results": results}
    return json.dumps(known)


def test_the_latest_scan_of_an_image_counts(tmp_path: Path):
    name = "docker.io/ada/hft-crypto-bot-execution"
    (tmp_path / "a.trivy.json").write_text(report(f"{name}:v2", 2, "CRITICAL", "LOW"))
    (tmp_path / "b.trivy.json").write_text(report(f"{name}@sha256:00", 1, "HIGH", "HIGH"))
    shown = figures(tmp_path)
    image = "hft-crypto-bot-execution"
    found = [
        shown["hft_image_vulnerabilities", image, severity]
        for severity in ("critical", "high", "medium", "low", "unknown")
    ]
    assert found == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert shown["hft_image_scanned_timestamp_seconds", image] == 1767312000.0


def stage(name: str, minute: int, minutes: int, result: str = "success") -> dict[str, str]:
    """A job that ran so long from so late on."""
    began, ended = (f"2026-01-01T00:{m:02}:00Z" for m in (minute, minute + minutes))
    return {"stage": name, "result": result, "began": began, "ended": ended}


def run_record(number: int, jobs: list[dict[str, str]], **changes: Any) -> str:
    """A run of the workflow on main."""
    known: dict[str, Any] = {"run": number, "attempt": 1, "branch": "main", "commit": "a1b2c3d4e5"}
    known |= {"committed": "2025-12-31T00:00:00Z", "jobs": jobs, "coverage": None}
    return json.dumps(known | {"images": [], "boms": [], "locks_updated": []} | changes)


def keep(folder: Path, *records: str) -> None:
    """Put records where `fetch` puts them."""
    for record in records:
        place = folder / "runs" / str(json.loads(record)["run"])
        place.mkdir(parents=True)
        (place / "run.json").write_text(record)


def test_a_stage_lasts_from_its_first_job_to_its_last(tmp_path: Path):
    scans = [stage("Security Scanning", 10, 4), stage("Security Scanning", 12, 5)]
    keep(tmp_path, run_record(1, [stage("Notebooks", 0, 3), *scans]))
    shown = figures(tmp_path)
    assert shown["hft_pipeline_stage_seconds", "Notebooks"] == 180.0
    assert shown["hft_pipeline_stage_seconds", "Security Scanning"] == 420.0
    assert shown["hft_security_scan_seconds",] == 420.0


def test_a_run_succeeds_where_every_job_did_and_recovers_with_the_next_that_does(tmp_path: Path):
    good, bad = stage("Notebooks", 0, 1), stage("Code", 0, 2, "failure")
    keep(
        tmp_path,
        run_record(1, [good, bad]),
        run_record(2, [stage("Code", 5, 1, "timed_out")]),
        run_record(3, [stage("Code", 20, 12)]),
        run_record(4, [stage("Code", 33, 1, "failure")], branch="develop"),
    )
    shown = figures(tmp_path)
    assert shown["hft_pipeline_runs_total", "success"] == 1.0
    assert shown["hft_pipeline_runs_total", "failure"] == 2.0
    assert shown["hft_pipeline_recovery_seconds",] == 30 * 60.0


def test_deployments_of_runs_count_beside_those_that_a_hand_recorded(tmp_path: Path):
    (tmp_path / "deployments.jsonl").write_text(deployment("success", 5) + "\n")
    jobs = [stage("Deploy to Staging", 0, 10, "failure"), stage("Deploy to Production", 20, 1)]
    keep(
        tmp_path,
        run_record(1, jobs),
        run_record(2, [stage("Deploy to Staging", 1, 1, "cancelled")]),
    )
    shown = figures(tmp_path)
    assert shown["hft_deployments_total", "failure", "staging"] == 1.0
    assert shown["hft_deployments_total", "success", "staging"] == 1.0
    # The last by time, whichever record says it.
    assert shown["hft_deployment_failed", "staging", "v5"] == 0.0
    assert shown["hft_deployment_failed", "production", "main-a1b2c3d"] == 0.0
    assert shown["hft_deployment_lead_seconds", "production"] == 86_400.0 + 21 * 60.0


def test_coverage_bills_of_material_and_updates_are_the_last_runs(tmp_path: Path):
    now = datetime.now(UTC)
    updates = [(now - timedelta(days=days)).isoformat() for days in (40, 29, 2)]
    old = {"coverage": 0.8, "images": ["execution", "mlflow"], "boms": ["execution"]}
    keep(
        tmp_path,
        run_record(1, [stage("Code", 0, 1)], **old),
        run_record(2, [stage("Code", 2, 1)], coverage=0.9, locks_updated=updates),
    )
    shown = figures(tmp_path)
    assert shown["hft_test_coverage_ratio",] == 0.9
    assert shown["hft_sbom_coverage_ratio",] == 0.5  # the second built nothing
    assert shown["hft_dependency_updates_a_month",] == 2.0
    updated = shown["hft_dependencies_updated_timestamp_seconds",]
    assert updated == pytest.approx((now - timedelta(days=2)).timestamp(), abs=1.0)


def test_deployments_a_day_are_those_of_the_last_thirty(tmp_path: Path):
    now = datetime.now(UTC)
    ends = [(now - timedelta(days=days)).isoformat() for days in (31, 20, 10, 1)]
    lines = [deployment("success", 1, ended=end) for end in ends]
    (tmp_path / "deployments.jsonl").write_text("\n".join(lines))
    assert figures(tmp_path)["hft_deployments_a_day", "staging"] == pytest.approx(0.1)


def test_records_are_fetched_once_each_and_a_download_that_fails_leaves_none(tmp_path: Path):
    program, folder = tmp_path / "gh", tmp_path / "records"
    for number, attempt in ((70, 1), (71, 2)):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            result = "failure" if attempt == 1 else "success"
            jobs = [stage("Code", 0, 1), stage("Deploy to Staging", 5 * attempt, 1, result)]
            archive.writestr("run.json", run_record(7, jobs, attempt=attempt))
    program.write_text(f"""#!/bin/sh
echo "$*" >>{tmp_path}/calls
case $2 in
  *artifacts\\?*) printf '7-71\\n7-70\\n7-71\\n8-80\\n' ;;
  *) number=${{2%/zip}}; cat {tmp_path}/"${{number##*/}}".zip ;;
esac
""")
    program.chmod(0o755)
    environ = {**os.environ, "GH": str(program)}
    command = [sys.executable, str(SCRIPT), "fetch", "--folder", str(folder), "--repo", "a/b"]
    for _ in range(2):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode != 0
    assert {path.name for path in (folder / "runs").iterdir()} == {"7-70", "7-71"}
    calls = (tmp_path / "calls").read_text()
    assert calls.count("artifacts/71/zip") == 1 and calls.count("artifacts/80/zip") == 2
    # What failed and then, begun again, did not is over.
    shown = figures(folder)
    assert shown["hft_deployment_failed", "staging", "main-a1b2c3d"] == 0.0
    assert shown["hft_pipeline_runs_total", "success"] == 1.0
    assert shown["hft_pipeline_runs_total", "failure"] == 1.0


def test_what_two_attempts_tell_of_one_deployment_is_one(tmp_path: Path):
    staged = stage("Deploy to Staging", 0, 5)
    keep(tmp_path, run_record(1, [staged, stage("Deploy to Production", 10, 5, "failure")]))
    again = run_record(1, [staged, stage("Deploy to Production", 20, 5)], attempt=2)
    (tmp_path / "runs" / "1-2").mkdir()
    (tmp_path / "runs" / "1-2" / "run.json").write_text(again)
    shown = figures(tmp_path)
    assert shown["hft_deployments_total", "success", "staging"] == 1.0
    assert shown["hft_deployment_failed", "production", "main-a1b2c3d"] == 0.0


def test_a_recorded_deployment_is_read_again(tmp_path: Path):
    words = ("--target", "staging", "--version", "v1", "--result", "failure")
    times = ("--began", "2026-01-01T00:00:00+0000", "--committed", "2025-12-31T00:00:00+0000")
    done = run("record", "--folder", tmp_path, *words, *times)
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path)["hft_deployment_failed", "staging", "v1"] == 1.0


@pytest.mark.parametrize("broken", ["{", '{"target":"staging"}', "[]"])
def test_a_record_that_cannot_be_read_fails_the_scrape(tmp_path: Path, broken: str):
    (tmp_path / "deployments.jsonl").write_text(deployment("success", 1) + f"\n{broken}\n")
    assert run("render", "--folder", tmp_path).returncode != 0


def test_a_folder_without_records_shows_no_figure(tmp_path: Path):
    assert figures(tmp_path) == {}
