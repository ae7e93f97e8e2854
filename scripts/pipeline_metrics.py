"""What the pipeline did, as Prometheus reads it: runs, deployments and image scans from records.

    pipeline_metrics.py fetch --folder DIR --repo OWNER/NAME
    pipeline_metrics.py record --folder DIR --target staging --version main-a1b2c3d ...
    pipeline_metrics.py serve --folder DIR --port 9108

DIR holds `runs/RUN-ARTIFACT/run.json`, which the workflow writes (scripts/ci/run_record.py) and
`fetch` gets from GitHub with the run's reports of Trivy; and where somebody deploys by hand,
`deployments.jsonl` of `record` and more reports, `*.trivy.json`. All is read anew at every scrape.
What cannot be read fails the scrape, so that it is not passed over.
"""

import io
import os
import shutil
import subprocess
import time
import zipfile
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

DEPLOYMENTS, REPORTS, RUNS = "deployments.jsonl", "*.trivy.json", "runs/*/run.json"
ARTIFACT, ARTIFACTS_MAX = "pipeline-record", 100
TARGETS = {"Deploy to Staging": "staging", "Deploy to Production": "production"}
SCAN, MAIN = "Security Scanning", "main"
DAY_S, WINDOW_DAYS = 86_400.0, 30.0
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


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job of a run; those of a matrix have the same stage."""

    stage: str
    result: str
    began: datetime
    ended: datetime


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the workflow; `coverage` is a share of lines, `boms` are images with one."""

    run: int
    attempt: int
    branch: str
    commit: str
    committed: datetime
    jobs: list[Job]
    coverage: float | None
    images: list[str]
    boms: list[str]
    locks_updated: list[datetime]

    @property
    def result(self) -> Result:
        """Success where every job that ran succeeded."""
        good = all(job.result == Result.SUCCESS.value for job in self.jobs)
        return Result.SUCCESS if good else Result.FAILURE

    @property
    def ended(self) -> datetime:
        """When its last job did."""
        return max(job.ended for job in self.jobs)


class Pipeline:
    """The figures of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment; raises what a record that cannot be read raises."""
        known = runs(self._folder)
        made = dict.fromkeys(made for run in known for made in deployed(run))
        told = [*deployments(self._folder), *made]
        yield from _deployments(sorted(told, key=lambda item: item.ended), time.time())
        yield from _runs([run for run in known if run.branch == MAIN], time.time())
        yield from _scans([msgspec.json.decode(path.read_bytes()) for path in self._reports()])

    def _reports(self) -> list[Path]:
        return [*self._folder.glob(REPORTS), *self._folder.glob(f"runs/*/{REPORTS}")]


def deployments(folder: Path) -> list[Deployment]:
    """All that a hand recorded, oldest first."""
    path = folder / DEPLOYMENTS
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Deployment) for line in lines]


def runs(folder: Path) -> list[Run]:
    """All that are recorded and in which something ran, oldest first."""
    paths = folder.glob(RUNS)
    known = [msgspec.json.decode(path.read_bytes(), type=Run) for path in paths]
    once = {(run.run, run.attempt): run for run in known if run.jobs}
    return sorted(once.values(), key=lambda run: run.ended)


def deployed(run: Run) -> Iterator[Deployment]:
    """The deployments of a run; one that was cancelled before it began is none.

    A later attempt tells again of what the one before did, with the same times.
    """
    for job in run.jobs:
        if job.stage in TARGETS and job.result in [result.value for result in Result]:
            yield Deployment(
                target=TARGETS[job.stage],
                version=f"{run.branch}-{run.commit[:7]}",
                result=Result(job.result),
                began=job.began,
                ended=job.ended,
                committed=run.committed,
            )


def _gauge(name: str, text: str, values: dict[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value_of, value in values.items():
        family.add_metric([value_of], value)
    return family


def _runs(known: list[Run], now_s: float) -> Iterator[Metric]:
    """Of main's runs: how they ended, how long each stage of the last took, what the last knew."""
    if not known:
        return
    total = CounterMetricFamily("hft_pipeline_runs", "runs on main", labels=["result"])
    for result in Result:
        total.add_metric([result.value], sum(run.result is result for run in known))
    stages = {stage: seconds for run in known for stage, seconds in durations(run).items()}
    yield total
    yield _gauge("hft_pipeline_stage_seconds", "of the last that ran it", stages, "stage")
    figures = _latest(known, now_s) | {"hft_security_scan_seconds": stages.get(SCAN)}
    for name, value in figures.items():
        if value is not None:
            yield GaugeMetricFamily(name, name.removeprefix("hft_").replace("_", " "), value=value)


def durations(run: Run) -> dict[str, float]:
    """Seconds by stage, from the begin of its first job to the end of its last."""
    spans = {stage: [job for job in run.jobs if job.stage == stage] for stage in _stages(run)}
    return {
        stage: (max(j.ended for j in jobs) - min(j.began for j in jobs)).total_seconds()
        for stage, jobs in spans.items()
    }


def _stages(run: Run) -> list[str]:
    return list(dict.fromkeys(job.stage for job in run.jobs))


def _latest(known: list[Run], now_s: float) -> dict[str, float | None]:
    """Figures of which only the last counts; None where there is none."""
    waits = recoveries([(run.result, run.ended) for run in known])
    covered = [run.coverage for run in known if run.coverage is not None]
    built = [run for run in known if run.images]
    updates = [at.timestamp() for at in known[-1].locks_updated]
    shares = [len({*run.boms} & {*run.images}) / len({*run.images}) for run in built]
    return {
        "hft_pipeline_recovery_seconds": sum(waits) / len(waits) if waits else None,
        "hft_test_coverage_ratio": covered[-1] if covered else None,
        "hft_sbom_coverage_ratio": shares[-1] if shares else None,
        "hft_dependency_updates_a_month": float(_recent(updates, now_s)),
        "hft_dependencies_updated_timestamp_seconds": max(updates, default=None),
    }


def _recent(times_s: list[float], now_s: float) -> int:
    return sum(now_s - at < WINDOW_DAYS * DAY_S for at in times_s)


def _deployments(known: list[Deployment], now_s: float) -> Iterator[Metric]:
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
    often = GaugeMetricFamily("hft_deployments_a_day", "mean of 30 days", labels=labels)
    for target in dict.fromkeys(item.target for item in known):
        ours = [item for item in known if item.target == target]
        last, good = ours[-1], [item for item in ours if item.result is Result.SUCCESS]
        failed.add_metric([target, last.version], float(last.result is Result.FAILURE))
        for result in Result:
            total.add_metric([target, result.value], sum(i.result is result for i in ours))
        seconds.add_metric([target], (last.ended - last.began).total_seconds())
        ended.add_metric([target], last.ended.timestamp())
        times_s = [item.ended.timestamp() for item in ours]
        often.add_metric([target], _recent(times_s, now_s) / WINDOW_DAYS)
        if good:
            lead.add_metric([target], (good[-1].ended - good[-1].committed).total_seconds())
        if waits := recoveries([(item.result, item.ended) for item in ours]):
            recovery.add_metric([target], sum(waits) / len(waits))
    yield from (failed, total, seconds, lead, recovery, ended, often)


def recoveries(known: list[tuple[Result, datetime]]) -> list[float]:
    """Seconds from each first failure to the success that followed it."""
    found, since = [], None
    for result, ended in known:
        if result is Result.FAILURE:
            since = since or ended
        elif since is not None:
            found.append((ended - since).total_seconds())
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
def fetch(
    folder: FolderOption,
    repo: Annotated[str, typer.Option(help="OWNER/NAME on GitHub.")],
) -> None:
    """Get the records of runs that are not here yet, by `gh`: logged in, or with GH_TOKEN."""
    listed = gh(
        "api",
        f"repos/{repo}/actions/artifacts?name={ARTIFACT}&per_page={ARTIFACTS_MAX}",
        "--jq",
        r'.artifacts[] | select(.expired | not) | "\(.workflow_run.id)-\(.id)"',
    )
    # A run that is begun again has an artifact for each attempt.
    for name in dict.fromkeys(listed.decode().split()):
        place = folder / "runs" / name
        if not place.exists():
            # Beside its place first: what is in it is whole.
            half = folder / f"fetching-{name}"
            shutil.rmtree(half, ignore_errors=True)
            sent = gh("api", f"repos/{repo}/actions/artifacts/{name.partition('-')[2]}/zip")
            with zipfile.ZipFile(io.BytesIO(sent)) as archive:
                archive.extractall(half)
            place.parent.mkdir(parents=True, exist_ok=True)
            half.rename(place)
            typer.echo(f"run {name} is here")


def gh(*words: str) -> bytes:
    """GitHub's command (GH names another); raises CalledProcessError where it fails."""
    command = (os.environ.get("GH", "gh"), *words)
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300).stdout


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
