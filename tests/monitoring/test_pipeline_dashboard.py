"""Every panel of *HFT: pipeline* over a real Prometheus that reads the exporter's process."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.dashboards import PIPELINE
from tests.integration.conftest import free_ports, needs
from tests.monitoring.written import ROOT
from tests.scripts.test_pipeline_metrics import keep, report, run_record, stage

WAIT_S_MAX = 60.0


def records(folder: Path) -> None:
    """Two runs, of which the first deployed nothing and broke; each with all that is known."""
    known: dict[str, Any] = {"coverage": 0.9, "images": ["execution"], "boms": ["execution"]}
    known["locks_updated"] = ["2026-01-01T00:00:00Z"]
    for at, result in enumerate(("failure", "success")):
        jobs = [
            stage("Security Scanning", 4 * at, 1),
            stage("Deploy to Staging", 4 * at, 2, result),
        ]
        keep(folder, run_record(at, jobs, **known))
    place = folder / "runs" / "1" / "execution.trivy.json"
    place.write_text(report("docker.io/ada/hft-crypto-bot-execution:v1", 1, "HIGH"))


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that reads the exporter each second."""
    needs("prometheus")
    records(tmp_path / "records")
    port, exporter = free_ports(2)
    address = f"127.0.0.1:{port}"
    target = {"job_name": "pipeline", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML too
    script = (str(ROOT / "scripts" / "pipeline_metrics.py"), "serve", "--port", str(exporter))
    commands = (
        (sys.executable, *script, "--folder", str(tmp_path / "records")),
        (
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={address}",
        ),
    )
    with (tmp_path / "log").open("wb") as log:
        started = [subprocess.Popen(words, stdout=log, stderr=log) for words in commands]
        yield f"http://{address}"
        for process in started:
            process.terminate()
            process.wait(timeout=30)


def answer(address: str, query: str) -> list[Any]:
    """The series of a query; none while Prometheus does not answer yet."""
    asked = f"{address}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(asked, timeout=10.0) as page:
            return list(json.loads(page.read())["data"]["result"])
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is starting
            return []
        raise
    except urllib.error.URLError:
        return []


def test_every_panel_of_the_pipeline_has_data(prometheus: str) -> None:
    until = time.monotonic() + WAIT_S_MAX
    while not answer(prometheus, "hft_deployment_failed") and time.monotonic() < until:
        time.sleep(0.2)
    empty = [
        panel.title
        for panel in PIPELINE.panels
        for query, _ in panel.queries
        if not answer(prometheus, query)
    ]
    assert empty == []
    (rate,) = answer(prometheus, PIPELINE.panels[1].queries[1][0])
    assert rate["value"][1] == "0.5"
