"""What the pipeline did, as Prometheus reads it: deployments and image scans from their records.

    pipeline_metrics.py record --folder DIR --target staging --version main-a1b2c3d ...
    pipeline_metrics.py serve --folder DIR --port 9108

DIR holds `deployments.jsonl`, a line a deployment, and Trivy's reports as `*.trivy.json`. It is
read anew at every scrape. What cannot be read fails the scrape, so that it is not passed over.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from wsgiref.simple_server import make_server

import msgspec
import typer
from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

DEPLOYMENTS, REPORTS = "deployments.jsonl", "*.trivy.json"
SEVERITIES = ("critical", "high", "medium", "low", "unknown")
FolderOption = Annotated[Path, typer.Option(help="Where the records and reports are.")]
app = typer.Typer(no_args_is_help=True, add_completion=False)


class Result(str, Enum):
    """How a deployment ended."""

    SUCCESS = "success"
    FAILURE = "failure"


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment; `committed` is the time of the newest commit in it."""

    target: str
    version: str
    result: Result
    began: datetime
    ended: datetime
    committed: datetime


class Pipeline:
    """The figures of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment; raises what a record that cannot be read raises."""
        yield from _deployments(deployments(self._folder))
        yield from _scans([msgspec.json.decode(path.read_bytes()) for path in self._reports()])

    def _reports(self) -> list[Path]:
        return sorted(self._folder.glob(REPORTS))


def deployments(folder: Path) -> list[Deployment]:
    """All that were recorded, oldest first."""
    path = folder / DEPLOYMENTS
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Deployment) for line in lines]


def _deployments(known: list[Deployment]) -> Iterator[Metric]:
    labels = ["target"]
    failed = GaugeMetricFamily(
        "hft_deployment_failed", "1 where the last one failed", labels=["target", "version"]
    )
    total = CounterMetricFamily("hft_deployments", "deployments", labels=["target", "result"])
    seconds = GaugeMetricFamily("hft_deployment_seconds", "duration of the last", labels=labels)
    lead = GaugeMetricFamily(
        "hft_deployment_lead_seconds", "from commit to the last success", labels=labels
    )
    recovery = GaugeMetricFamily(
        "hft_deployment_recovery_seconds",
        "mean time from a failure to the next success",
        labels=labels,
    )
    ended = GaugeMetricFamily("hft_deployment_timestamp_seconds", "of the last", labels=labels)
    for target in dict.fromkeys(item.target for item in known):
        ours = [item for item in known if item.target == target]
        last, good = ours[-1], [item for item in ours if item.result is Result.SUCCESS]
        failed.add_metric([target, last.version], float(last.result is Result.FAILURE))
        for result in Result:
            total.add_metric([target, result.value], sum(i.result is result for i in ours))
        seconds.add_metric([target], (last.ended - last.began).total_seconds())
        ended.add_metric([target], last.ended.timestamp())
        if good:
            lead.add_metric([target], (good[-1].ended - good[-1].committed).total_seconds())
        if waits := recoveries(ours):
            recovery.add_metric([target], sum(waits) / len(waits))
    yield from (failed, total, seconds, lead, recovery, ended)


def recoveries(known: list[Deployment]) -> list[float]:
    """Seconds from each first failure to the success that followed it."""
    found, since = [], None
    for item in known:
        if item.result is Result.FAILURE:
            since = since or item.ended
        elif since is not None:
            found.append((item.ended - since).total_seconds())
            since = None
    return found


def _scans(reports: list[dict[str, Any]]) -> Iterator[Metric]:
    """The latest report of each image counts."""
    latest: dict[str, dict[str, Any]] = {}
    for report in sorted(reports, key=lambda item: str(item["CreatedAt"])):
        latest[image_of(report["ArtifactName"])] = report
    counts = GaugeMetricFamily(
        "hft_image_vulnerabilities", "found by the last scan", labels=["image", "severity"]
    )
    scanned = GaugeMetricFamily(
        "hft_image_scanned_timestamp_seconds", "when it was scanned last", labels=["image"]
    )
    for image, report in latest.items():
        found = [
            flaw["Severity"].lower()
            for part in report.get("Results", [])
            for flaw in part.get("Vulnerabilities", [])
        ]
        for severity in SEVERITIES:
            counts.add_metric([image, severity], found.count(severity))
        scanned.add_metric([image], datetime.fromisoformat(report["CreatedAt"]).timestamp())
    yield from (counts, scanned)


def image_of(name: str) -> str:
    """An image's name without registry, account, tag and digest."""
    return name.partition("@")[0].rpartition("/")[2].partition(":")[0]


@app.command()
def record(
    folder: FolderOption,
    target: Annotated[str, typer.Option(help="The environment.")],
    version: Annotated[str, typer.Option(help="What was deployed, such as main-a1b2c3d.")],
    result: Annotated[Result, typer.Option()],
    began: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"])],
    committed: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"])],
) -> None:
    """Write down a deployment that ended now."""
    ended = datetime.fromtimestamp(round(time.time()), tz=began.tzinfo)
    made = Deployment(
        target=target,
        version=version,
        result=result,
        began=began,
        ended=ended,
        committed=committed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / DEPLOYMENTS).open("ab") as records:
        records.write(msgspec.json.encode(made) + b"\n")


@app.command()
def render(folder: FolderOption) -> None:
    """Print the figures as a scrape would get them."""
    typer.echo(generate_latest(_registry(folder)).decode(), nl=False)


@app.command()
def serve(folder: FolderOption, port: Annotated[int, typer.Option()] = 9108) -> None:
    """Answer scrapes until the process is ended."""
    # All addresses: the scrape comes from another pod.
    make_server("", port, make_wsgi_app(_registry(folder))).serve_forever()


def _registry(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Pipeline(folder))
    return registry


if __name__ == "__main__":
    app()
