"""What dashboards and rules ask Prometheus for, and who has it: each is asked in one test at least.

A line in one process has all but what the edges of a broker tell, which is asked of a line on Kafka
with its registry (`test_registry_kafka.py`), and what the pipeline's exporter tells, which is asked
of that (`test_pipeline_dashboard.py`); volumes and back-ups are in `test_disks.py`.
"""

from collections.abc import Iterator

from scripts.dashboards import DASHBOARDS, PIPELINE
from tests.monitoring.watched import Watch
from tests.monitoring.written import metrics_in, rules

# What a line on memory, of files, has none of, and what is there while a test is open alone.
BROKERS: tuple[str, ...] = ("hft_lag", "hft_lease_", "hft_ledger_", "hft_registry_", "hft_moves_")
BROKERS += ("hft_evop_evidence", "hft_tape_")


def is_brokers(query: str) -> bool:
    """Whether a query reads what a line on a broker alone has."""
    return any(name.startswith(BROKERS) for name in metrics_in(query))


def is_pipelines(query: str) -> bool:
    """Whether a query reads what the pipeline's exporter tells."""
    told = {
        name for panel in PIPELINE.panels for text, _ in panel.queries for name in metrics_in(text)
    }
    return bool(told & metrics_in(query))


def is_disks(query: str) -> bool:
    """Whether a query reads what is told of volumes and back-ups (`test_disks.py`)."""
    return any(name.startswith(("node_filesystem_", "hft_backup_")) for name in metrics_in(query))


def queries() -> Iterator[tuple[str, str]]:
    """Every query of every panel, with where it stands."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query, _ in panel.queries:
                yield f"{dashboard.title}, {panel.title}", query.replace("$pair", ".*")


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
