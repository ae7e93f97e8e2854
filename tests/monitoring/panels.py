"""What dashboards and rules ask Prometheus for, and who has it: each is asked in one test at least.

A line in one process has all but what the edges of a broker tell; those are asked of a line on
Kafka with its registry (`test_registry_kafka.py`).
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.dashboards import DASHBOARDS
from tests.monitoring.watched import Watch
from tests.monitoring.written import ROOT, metrics_in, rules
from tests.scripts.test_pipeline_metrics import deployment, report

# What a line on memory, of files, has none of, and what is there while a test is open alone.
BROKERS: tuple[str, ...] = ("hft_lag", "hft_lease_", "hft_ledger_", "hft_registry_", "hft_moves_")
BROKERS += ("hft_evop_evidence",)


def is_brokers(query: str) -> bool:
    """Whether a query reads what a line on a broker alone has."""
    return any(name.startswith(BROKERS) for name in metrics_in(query))


def queries() -> Iterator[tuple[str, str]]:
    """Every query of every panel, with where it stands."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query, _ in panel.queries:
                yield f"{dashboard.title}, {panel.title}", query.replace("$pair", ".*")


@contextmanager
def pipeline(folder: Path, port: int) -> Iterator[None]:
    """The exporter of the pipeline, over records of each kind, while the block runs."""
    folder.mkdir()
    rows = [deployment("success", 1), deployment("failure", 2), deployment("success", 3)]
    (folder / "deployments.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "one.trivy.json").write_text(report("docker.io/ada/hft-execution:1", 1, "CRITICAL"))
    script = ROOT / "scripts" / "pipeline_metrics.py"
    words = [sys.executable, str(script), "serve", "--folder", str(folder), "--port", str(port)]
    process = subprocess.Popen(words)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def brokers_metrics_are_there(watch: Watch) -> None:
    """Each query of a panel that a broker's line alone answers has had a series, and so has each
    metric of a rule.
    """
    asked = [(where, query) for where, query in queries() if is_brokers(query)]
    assert len(asked) >= 3
    for where, query in asked:
        assert watch.ever(query), f"{where}: {query}"
    names = {name for rule in rules() for name in metrics_in(rule["expr"])}
    missing = {name for name in names if is_brokers(name) and not watch.ever(name)}
    assert missing == set()
