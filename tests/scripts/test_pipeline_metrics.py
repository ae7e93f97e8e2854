"""What the pipeline did, as Prometheus reads it."""

import json
import subprocess
import sys
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
