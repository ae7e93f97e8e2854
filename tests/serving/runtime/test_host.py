"""Hosts: a stage at work on a bus, its numbers, its snapshots; edges that only read."""

from typing import Any

import pytest

from hft_lib.events import Event, Halted, Promoted, Quote
from hft_lib.stage import kinds, replay, snapshot
from serving.adapters.memory_bus import MemoryBus
from serving.runtime.host import Host, Misdirected, connect, serve
from serving.services import INBOXES, stages
from tests.builders import START_NS, encoded, story_config, told

KALMAN = next(stage for stage in stages() if stage.name == "kalman_filter")


class Log:
    """A bus of which only what is written is kept."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Event]] = []
        self.readers: dict[str, Any] = {}

    def write(self, log: str, fact: Event) -> None:
        self.written.append((log, fact))

    def read(self, log: str, reader: Any) -> None:
        self.readers[log] = reader


def test_serve_reads_the_stages_inbox_and_writes_by_its_routes():
    bus = Log()
    host = serve(KALMAN, story_config(), bus)
    for event in told().inboxes["kalman_filter"]:
        bus.readers["kalman_filter"](event)
    made = list(replay(KALMAN, story_config(), told().inboxes["kalman_filter"]))
    assert encoded(bus.written) == encoded(("garch_model", fact) for fact in made)
    assert (host.read, host.written) == (len(told().inboxes["kalman_filter"]), len(made))


def test_a_restored_host_goes_on_with_state_and_numbers():
    inbox = told().inboxes["kalman_filter"]
    host = Host(KALMAN, story_config(), Log())
    for event in inbox[:300]:
        host.take(event)
    other = Host(KALMAN, story_config(), Log())
    other.restore(host.snapshot())
    assert (other.read, other.written) == (300, host.written)
    for event in inbox[300:]:
        host.take(event)
        other.take(event)
    assert other.snapshot() == host.snapshot()


def test_a_snapshot_is_a_copy():
    host = Host(KALMAN, story_config(), Log())
    saved = host.snapshot()
    for event in told().inboxes["kalman_filter"][:50]:
        host.take(event)
    assert saved.state == snapshot(KALMAN.start(story_config())) != host.snapshot().state


def test_a_snapshot_of_another_stage_is_refused():
    garch = next(stage for stage in stages() if stage.name == "garch_model")
    saved = Host(garch, story_config(), Log()).snapshot()
    with pytest.raises(ValueError, match="garch_model is none of kalman_filter"):
        Host(KALMAN, story_config(), Log()).restore(saved)


@pytest.mark.parametrize(
    "fact, why",
    [
        (Quote(START_NS, 0, "ETH/USDT", 1.0, 1.0, 2.0, 1.0), "kalman_filter takes no Quote"),
        (Halted(START_NS, "", False, "ada", "drill"), "kalman_filter takes no Halted"),
        (
            Promoted(START_NS, START_NS, "A~B", 0, 0, "", "", 1),
            "the line has no pair 'A~B'",
        ),
    ],
)
def test_a_fact_that_is_none_of_the_inboxs_is_refused_and_not_stepped_on(fact: Event, why: str):
    bus = Log()
    host = Host(KALMAN, story_config(), bus)
    before = host.snapshot()
    with pytest.raises(Misdirected, match=why):
        host.take(fact)
    assert host.snapshot() == before and not bus.written


def test_every_stage_takes_the_kinds_that_others_route_to_it():
    taken = {stage.name: kinds(stage) for stage in stages()}
    for stage in stages():
        for kind, logs in stage.routes.items():
            assert all(kind in taken[log] for log in logs if log in taken), kind


def test_an_edge_hears_each_of_its_logs_under_its_name():
    class Ear:
        logs = ("hft.records", "hft.registry")

        def __init__(self) -> None:
            self.heard: list[str] = []

        def take(self, log: str, fact: Event) -> None:
            self.heard.append(log)

    ear, bus = Ear(), MemoryBus(INBOXES, lambda log, fact: None)
    connect(ear, bus)
    for log in ("hft.records", "hft.registry", "hft.other", "hft.records"):
        bus.write(log, told().leaving[0][1])
    assert ear.heard == ["hft.records", "hft.registry", "hft.records"]
