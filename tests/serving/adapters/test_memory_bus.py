"""The memory bus: each fact of an edge runs to quiescence, first in, first out."""

import pytest

from hft_lib.events import Event, TimePassed
from serving.adapters.memory_bus import MemoryBus


def bus_of(*inboxes: str) -> tuple[MemoryBus, list[tuple[str, Event]]]:
    kept: list[tuple[str, Event]] = []
    return MemoryBus(frozenset(inboxes), lambda log, fact: kept.append((log, fact))), kept


def test_what_an_edge_writes_is_kept_before_anyone_reads_it():
    bus, kept = bus_of("a")
    seen: list[int] = []
    bus.read("a", lambda fact: seen.append(len(kept)))
    bus.write("a", TimePassed(1))
    assert seen == [1] and kept == [("a", TimePassed(1))]


def test_a_fact_runs_to_quiescence_breadth_first():
    bus, kept = bus_of("a", "b", "c")
    order: list[str] = []

    def first(fact: Event) -> None:
        order.append("a")
        bus.write("b", fact)
        bus.write("c", fact)

    def second(fact: Event) -> None:
        order.append("b")
        bus.write("out", fact)

    bus.read("a", first)
    bus.read("b", second)
    bus.read("c", lambda fact: order.append("c"))
    bus.read("out", lambda fact: order.append("out"))
    bus.write("a", TimePassed(1))
    assert order == ["a", "b", "c", "out"]
    assert [log for log, _ in kept] == ["a", "out"]  # what stages say to one another is recomputed


def test_every_reader_of_a_log_hears_every_fact_in_order():
    bus, _ = bus_of("a")
    one: list[Event] = []
    other: list[Event] = []
    bus.read("a", one.append)
    bus.read("a", other.append)
    for time_ns in range(5):
        bus.write("a", TimePassed(time_ns))
    assert one == other == [TimePassed(time_ns) for time_ns in range(5)]


def test_after_a_reader_failed_nothing_half_done_is_gone_on_with():
    bus, _ = bus_of("a", "b")
    heard: list[Event] = []

    def fail(fact: Event) -> None:
        bus.write("b", fact)
        raise RuntimeError("broken")

    bus.read("a", fail)
    bus.read("b", heard.append)
    with pytest.raises(RuntimeError, match="broken"):
        bus.write("a", TimePassed(1))
    bus.write("b", TimePassed(2))
    assert heard == [TimePassed(2)]
