"""Write monitoring/grafana/dashboards/*.json: what each dashboard shows, said once, here.

A panel is a title, a unit, and queries with their legends; a test runs every query. Grafana loads
the files as they are written (`monitoring/grafana/provisioning`), and nobody edits them by hand.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "monitoring" / "grafana" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, ACROSS = 12, 8, 2  # of Grafana's 24 columns
SCHEMA = 39  # of Grafana 10 and 11, which raise older ones by themselves


class Panel(NamedTuple):
    """One panel: `queries` are pairs of an expression and the legend of its series."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


class Dashboard(NamedTuple):
    """One dashboard; `pairs` says whether a pair is chosen on it."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    pairs: bool = True


def panel(title: str, unit: str, *queries: tuple[str, str], kind: str = "timeseries") -> Panel:
    """A panel of these queries."""
    return Panel(title, unit, queries, kind)


_OF = '{pair=~"$pair"}'
TRADING = Dashboard(
    "hft-trading",
    "HFT: trading",
    (
        panel(
            "Latch and pairs held back",
            "short",
            ("max(hft_latch_halted)", "latch pulled"),
            ("max(hft_pairs_halted)", "pairs halted"),
            ("max(hft_pairs_locked)", "pairs locked, drawdown"),
            ("max(hft_pairs_locked_day)", "pairs locked, day"),
            kind="stat",
        ),
        panel(
            "Orders under way",
            "short",
            ("max(hft_orders_under_way)", "waiting for their answer"),
            ("max(hft_orders_unknown)", "UNKNOWN"),
        ),
        panel("PnL of capital", "none", (f"hft_pnl_quote{_OF}", "{{pair}}")),
        panel("PnL since midnight UTC", "none", (f"hft_day_pnl_quote{_OF}", "{{pair}}")),
        panel(
            "Drawdown against its limit",
            "none",
            (f"hft_drawdown_quote{_OF}", "{{pair}} now"),
            (f"hft_drawdown_max_quote{_OF}", "{{pair}} largest"),
            (f"hft_drawdown_limit_quote{_OF}", "{{pair}} limit"),
        ),
        panel("Position, base units", "none", (f"hft_position_base{_OF}", "{{pair}} {{leg}}")),
        panel(
            "Orders a minute",
            "opm",
            ("60 * sum by (account) (rate(hft_orders_total[5m]))", "{{account}}"),
        ),
        panel(
            "Fills a minute",
            "opm",
            ("60 * sum by (account) (rate(hft_fills_total[5m]))", "{{account}}"),
        ),
        panel(
            "Refusals by reason, a minute",
            "opm",
            ("60 * sum by (stage, reason) (rate(hft_rejects_total[5m]))", "{{stage}} {{reason}}"),
        ),
        panel(
            "Ticks accepted",
            "ops",
            (f"sum by (pair) (rate(hft_ticks_total{_OF}[1m]))", "{{pair}}"),
            (f"sum by (pair) (rate(hft_ticks_stale_total{_OF}[1m]))", "{{pair}} of an old leg"),
        ),
    ),
)
MODELS = Dashboard(
    "hft-models",
    "HFT: models",
    (
        panel(
            "Health: 1 good, 2 to be looked at, 3 off",
            "none",
            (f"hft_model_health{_OF}", "{{pair}} slot {{slot}} {{aspect}}"),
        ),
        panel("Relation held to be breaking", "none", (f"hft_alarm{_OF}", "{{pair}}")),
        panel(
            "Steps of the models, an hour",
            "none",
            (f"3600 * rate(hft_model_steps_total{_OF}[10m])", "{{pair}} {{service}}"),
        ),
        panel(
            "Since the last step",
            "s",
            (f"time() - hft_model_stepped_timestamp_seconds{_OF}", "{{pair}} {{service}}"),
        ),
        panel(
            "Mean square of innovations: 1 where calibrated",
            "none",
            (f"hft_innovation_mean_square{_OF}", "{{pair}} slot {{slot}} {{service}}"),
        ),
        panel(
            "Autocorrelation of innovations: 0 where white",
            "none",
            (f"hft_innovation_autocorrelation{_OF}", "{{pair}} slot {{slot}} {{service}}"),
        ),
        panel(
            "Coverage of forecast intervals",
            "percentunit",
            (f"hft_model_coverage{_OF}", "{{pair}} slot {{slot}} nominal {{nominal}}"),
        ),
        panel(
            "Drift of the data (PSI; 0.25 is off)",
            "none",
            (f"hft_model_drift_psi{_OF}", "{{pair}} slot {{slot}} {{feature}}"),
        ),
        panel(
            "p of the tests",
            "none",
            (f"hft_model_p_value{_OF}", "{{pair}} slot {{slot}} {{test}}"),
        ),
        panel(
            "Grid steps judged",
            "none",
            (f"hft_model_observations{_OF}", "{{pair}} slot {{slot}}"),
        ),
    ),
)
EVOP = Dashboard(
    "hft-evop",
    "HFT: EVOP",
    (
        panel(
            "Evidence of the open test, and what it must reach",
            "none",
            (f"hft_evop_evidence{_OF}", "{{pair}} e"),
            (f"hft_evop_evidence_threshold{_OF}", "{{pair}} promotes"),
        ),
        panel("Roles of slots", "none", (f"hft_evop_slot{_OF}", "{{pair}} slot {{slot}} {{role}}")),
        panel(
            "Decisions since the start",
            "none",
            ("sum by (kind) (hft_decisions_total)", "{{kind}}"),
            kind="stat",
        ),
        panel("Promotions frozen", "none", (f"hft_evop_frozen{_OF}", "{{pair}}")),
        panel("Sets that wait for a test", "none", (f"hft_evop_waiting{_OF}", "{{pair}}")),
        panel(
            "Error budget of the year",
            "none",
            ("hft_evop_alpha_spent", "charged"),
            ("hft_evop_alpha", "alpha"),
        ),
        panel(
            "Line's time past the last day judged",
            "s",
            (
                f"scalar(hft_line_timestamp_seconds) - hft_evop_block_end_timestamp_seconds{_OF}",
                "{{pair}}",
            ),
        ),
    ),
)
SERVICES = Dashboard(
    "hft-services",
    "HFT: services",
    (
        panel("Ready", "none", ("hft_ready", "{{service}}"), kind="stat"),
        panel("Start, until ready first", "s", ("hft_startup_seconds", "{{service}}")),
        panel(
            "Facts read",
            "ops",
            ("sum by (service) (rate(hft_facts_read_total[1m]))", "{{service}}"),
        ),
        panel(
            "Latency by hop, 99th percentile",
            "s",
            ("hft:tick_latency_seconds:p99", "{{hop}}"),
        ),
        panel("Latency by hop, median", "s", ("hft:tick_latency_seconds:p50", "{{hop}}")),
        panel("Messages behind", "none", ("hft_lag", "{{service}} {{log}}")),
        panel(
            "Set aside and fenced",
            "none",
            ("hft_dead_letters_total", "{{service}} dead letters"),
            ("hft_messages_fenced_total", "{{service}} fenced"),
        ),
        panel(
            "Pages refused",
            "none",
            (
                "sum by (service, decision) "
                '(increase(hft_page_access_total{decision!="allowed"}[5m]))',
                "{{service}} {{decision}}",
            ),
        ),
        panel("Memory", "bytes", ('process_resident_memory_bytes{job="hft"}', "{{service}}")),
        panel(
            "Processor",
            "percentunit",
            ('rate(process_cpu_seconds_total{job="hft"}[1m])', "{{service}}"),
        ),
        panel(
            "Disk free",
            "percentunit",
            ("hft_disk_free_bytes / hft_disk_size_bytes", "{{service}}"),
            (
                'node_filesystem_avail_bytes{job="disks"} / node_filesystem_size_bytes',
                "{{service}}, its volume",
            ),
            ("hft_backup_disk_free_bytes / hft_backup_disk_size_bytes", "back-ups, {{part}}"),
        ),
        panel(
            "Age of the last back-up",
            "s",
            ("time() - hft_backup_success_timestamp_seconds", "{{part}}"),
        ),
        panel(
            "Versions of logic",
            "none",
            ("count by (logic, schema) (hft_build_info)", "logic {{logic}} schema {{schema}}"),
            kind="stat",
        ),
        panel("Snapshot", "bytes", ("hft_snapshot_bytes", "{{service}}")),
    ),
    pairs=False,
)
_SUCCESS = '{result="success"}'
PIPELINE = Dashboard(
    "hft-pipeline",
    "HFT: pipeline",
    (
        panel(
            "Last deployment failed",
            "none",
            ("hft_deployment_failed", "{{target}} {{version}}"),
            kind="stat",
        ),
        panel(
            "Success rate",
            "percentunit",
            (
                f"sum by (target) (hft_deployments_total{_SUCCESS})"
                " / sum by (target) (hft_deployments_total)",
                "deployments to {{target}}",
            ),
            (
                f"sum(hft_pipeline_runs_total{_SUCCESS}) / sum(hft_pipeline_runs_total)",
                "runs on main",
            ),
        ),
        panel("Build duration, by stage", "s", ("hft_pipeline_stage_seconds", "{{stage}}")),
        panel("Test coverage", "percentunit", ("hft_test_coverage_ratio", "lines")),
        panel(
            "Mean time to recovery of the pipeline",
            "s",
            ("hft_pipeline_recovery_seconds", "from red to green"),
        ),
        panel("Deployments", "none", ("hft_deployments_total", "{{target}} {{result}}")),
        panel(
            "Deployment frequency, a day over thirty",
            "none",
            ("hft_deployments_a_day", "{{target}}"),
        ),
        panel("Duration of the last deployment", "s", ("hft_deployment_seconds", "{{target}}")),
        panel(
            "Lead time, from commit to success", "s", ("hft_deployment_lead_seconds", "{{target}}")
        ),
        panel(
            "Recovery time, from failure to success, mean",
            "s",
            ("hft_deployment_recovery_seconds", "{{target}}"),
        ),
        panel(
            "Change failure rate",
            "percentunit",
            (
                'sum by (target) (hft_deployments_total{result="failure"})'
                " / sum by (target) (hft_deployments_total)",
                "{{target}}",
            ),
        ),
        panel("Vulnerabilities", "none", ("hft_image_vulnerabilities", "{{image}} {{severity}}")),
        panel(
            "Since the last scan",
            "s",
            ("time() - hft_image_scanned_timestamp_seconds", "{{image}}"),
        ),
        panel("Security scan duration", "s", ("hft_security_scan_seconds", "all images")),
        panel(
            "SBOM coverage", "percentunit", ("hft_sbom_coverage_ratio", "images that have theirs")
        ),
        panel(
            "Dependency updates, of thirty days",
            "none",
            ("hft_dependency_updates_a_month", "changes of the locks"),
        ),
        panel(
            "Since dependencies were updated",
            "s",
            ("time() - hft_dependencies_updated_timestamp_seconds", "the locks"),
        ),
    ),
    pairs=False,
)
DASHBOARDS = (TRADING, MODELS, EVOP, SERVICES, PIPELINE)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana's JSON model."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["hft"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_pair()] if dashboard.pairs else []},
        "annotations": {"list": [_moves()]},
        "panels": [_panel(i, item) for i, item in enumerate(dashboard.panels)],
    }


def _pair() -> dict[str, Any]:
    """The choice of pairs."""
    return {
        "name": "pair",
        "label": "Pair",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(hft_ticks_total, pair)", "refId": "pair"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _moves() -> dict[str, Any]:
    """A mark at each move of capital."""
    return {
        "name": "Moves of capital",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": 'increase(hft_decisions_total{kind=~"promote|rollback"}[1m]) > 0',
        "titleFormat": "{{kind}}",
    }


def _panel(place: int, item: Panel) -> dict[str, Any]:
    row, column = divmod(place, ACROSS)
    return {
        "id": place + 1,
        "type": item.kind,
        "title": item.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": item.unit}, "overrides": []},
        "options": _options(item.kind),
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "expr": query,
                "legendFormat": legend,
                "datasource": SOURCE,
            }
            for i, (query, legend) in enumerate(item.queries)
        ],
    }


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def text(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(document(dashboard), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for made in DASHBOARDS:
        (FOLDER / f"{made.uid}.json").write_text(text(made), encoding="utf-8")
