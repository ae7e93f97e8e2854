"""The figures that the six services export, asked of their own pages over one small story.

Each stage is stepped through the story under its real meter, and each page holds the parts that a
service on Kafka has. No server is needed: what a part would ask is not asked.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hft_lib.health.verdict import SlotHealth, judge
from hft_lib.health.window import WINDOW
from hft_lib.line import LineConfig
from scripts.pipeline_metrics import Pipeline
from serving.adapters.memory_bus import MemoryBus
from serving.backup import figures as backup
from serving.ledger import kafka_source
from serving.orchestrator.figures import EvopFigures
from serving.registry_watch import MovesInProcess, Registry
from serving.runtime.access import Access, Role
from serving.runtime.chain import Origin
from serving.runtime.disk import Disk
from serving.runtime.host import serve
from serving.runtime.judged import Judged
from serving.runtime.kept_words import WordsFile
from serving.runtime.latch import FileLatch, LatchEdge, Watch
from serving.runtime.lease import Holder, Keeper
from serving.runtime.metered import Hosted
from serving.runtime.model_words import Move, MovesWatch
from serving.runtime.pages import Pages
from serving.runtime.settings import Settings
from serving.runtime.shown import ExecutionShown
from serving.services import INBOXES, SERVICES, Service
from serving.tape_edge import TapeEdge
from tests.builders import PAIR, story_config, told
from tests.hft_lib.health.made import REFERENCE, Made
from tests.scripts.test_pipeline_metrics import deployment, keep, report, run_record, stage
from tests.serving.orchestrator.board import Board

Labels = Mapping[str, str]
BORN_NS = 1_700_000_000_000_000_000


def exported(folder: Path) -> dict[str, list[Labels]]:
    """The labels of every sample of the services and of the pipeline, by name."""
    found: dict[str, list[Labels]] = {}
    (folder / "deployments.jsonl").write_text(
        "\n".join(deployment(*row) for row in (("failure", 1), ("success", 2)))
    )
    (folder / "a.trivy.json").write_text(report("docker.io/ada/execution:v1", 1, "LOW"))
    jobs = [stage("Security Scanning", 0, 1, "failure"), stage("Security Scanning", 2, 1)]
    more: dict[str, Any] = {"coverage": 0.9, "images": ["execution"]}
    more["locks_updated"] = ["2026-01-01T00:00:00Z"]
    keep(folder, *(run_record(at, [job], **more) for at, job in enumerate(jobs)))
    _add(found, [Pipeline(folder)], {"job": "pipeline", "instance": "i"})
    _add(found, [backup.figures(folder)], {"job": "backup", "part": "nightly"})
    # node-exporter's own, as Prometheus keeps them: `test_disks.py` asks it.
    for name in ("node_filesystem_avail_bytes", "node_filesystem_size_bytes"):
        found[name] = [{"job": "disks", "service": "kafka"}]
    for service in SERVICES:
        known = {"job": "hft", "instance": "i", "service": service.name}
        _add(found, _sources(service, folder), known)
    return found


def _add(found: dict[str, list[Labels]], sources: Iterable[Any], known: Labels) -> None:
    registry = CollectorRegistry()
    for source in sources:
        registry.register(source)
    ProcessCollector(registry=registry)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append({**sample.labels, **known})


def _sources(service: Service, folder: Path) -> list[Any]:
    hosted = _stepped(service.name)
    pages = Pages(service.name, 0)
    access = Access({Role.VIEWER: "v" * 32})
    pages.add(Disk(folder))
    pages.watch(hosted)
    state = hosted.host.state
    holder = Holder(
        service=service.name, host="box", pid=1, token="t", since_ns=0, place="", born=""
    )
    match service.name:
        case "ingestion":
            pages.add(TapeEdge(hosted, story_config(), folder, None))  # type: ignore[arg-type]
        case "execution":
            shown = ExecutionShown(lambda: state)
            shown.turn()
            stage = SimpleNamespace(held=(False, False))
            pages.add(shown)
            pages.add(LatchEdge(Watch(FileLatch(folder / "latch")), stage, lambda s: False))
            pages.add(Keeper(SimpleNamespace(), holder, lambda by: None))
        case "garch_model":
            return [pages, access, _WithReference(lambda: state)]
        case "orchestrator":
            pages.add(MovesWatch(WordsFile(folder / "moves", Move)))
            pages.add(Registry(Settings(), (), lambda: MovesInProcess([])))
            pages.add(kafka_source.Shown(_ledger(folder)))
            return [pages, access, EvopFigures(Board().gatherer)]
    return [pages, access]


class _WithReference(Judged):
    """A slot of which it is known what it was calibrated on: the story's say nothing of that."""

    def rows(self) -> list[SlotHealth]:
        """One slot, judged as the service judges."""
        return [judge(PAIR, Made(WINDOW, seed=5).values(REFERENCE, slot=0, generation=1))]


def _ledger(folder: Path) -> kafka_source.Following:
    return kafka_source.Following("", f"sqlite:///{folder / 'ledger.db'}")


@cache
def _stepped(name: str) -> Hosted:
    """A service after the story."""
    config: LineConfig = story_config()
    stage = next(service for service in SERVICES if service.name == name).stage
    hosted = Hosted(name, serve(stage, config, MemoryBus(INBOXES, lambda log, fact: None)), _now)
    hosted.ready = hosted.meter.is_timing = True
    hosted.bus.lag[name] = 0
    hosted.host.on_made = hosted.meter.made
    for event in told().inboxes[name]:
        hosted.meter.taken(name, Origin(BORN_NS, "feed-1"))
        hosted.host.take(event)
    return hosted


def _now() -> int:
    return BORN_NS + 15_000
