"""EVOP in figures for `/metrics`: decisions by kind, roles of slots, evidence, budget.

Read from the copy that the page is made of, so that a scrape never touches what the stage steps on.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serving.orchestrator.seen import PairSeen, Seen

# Each is shown from the start on, at zero, so that its first one is seen as an increase.
KINDS = (
    "start",
    "test",
    "promote",
    "rollback",
    "refuse",
    "drop",
    "expire",
    "freeze",
    "thaw",
    "handover",
)


class Looked(Protocol):
    """Who looks at the stage (`gathering.Gatherer`)."""

    @property
    def seen(self) -> Seen | None:
        """The last copy; None before the first."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many decisions of each kind were made since the process began."""


class EvopFigures:
    """The figures; a scrape asks on a thread of its own."""

    def __init__(self, looked: Looked) -> None:
        self._looked = looked

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment; before the first look, the decisions alone."""
        yield self._decisions()
        seen = self._looked.seen
        if seen is None:
            return
        yield from _pairs(seen.pairs)
        yield _slots(seen.pairs)
        spent, alpha = (
            "the year's tests were charged, of alpha",
            "chance of a false promotion a year",
        )
        yield GaugeMetricFamily("hft_evop_alpha_spent", spent, seen.spent)
        yield GaugeMetricFamily("hft_evop_alpha", alpha, seen.alpha)

    def _decisions(self) -> Metric:
        found = CounterMetricFamily(
            "hft_decisions", "decisions of EVOP, and what operators asked of it", labels=["kind"]
        )
        counts = dict.fromkeys(KINDS, 0) | dict(self._looked.counts)
        for kind, count in counts.items():
            found.add_metric([kind], count)
        return found


def _pairs(pairs: tuple[PairSeen, ...]) -> Iterator[Metric]:
    """A gauge by pair each; evidence only where a test is open."""
    rows: tuple[tuple[str, str, dict[str, float]], ...] = (
        (
            "hft_evop_frozen",
            "1 while the pair promotes nothing: the live account is not its twin",
            {pair.pair: float(pair.frozen) for pair in pairs},
        ),
        (
            "hft_evop_waiting",
            "sets that wait for a test",
            {pair.pair: float(pair.waiting) for pair in pairs},
        ),
        (
            "hft_evop_evidence",
            "e of the open test",
            {pair.pair: pair.test.e for pair in pairs if pair.test is not None},
        ),
        (
            "hft_evop_evidence_threshold",
            "e at which the open test promotes",
            {pair.pair: pair.test.threshold for pair in pairs if pair.test is not None},
        ),
        (
            "hft_evop_block_end_timestamp_seconds",
            "end of the last block that was judged, by the line's clock",
            {pair.pair: pair.block_end_ns / 1e9 for pair in pairs},
        ),
        (
            "hft_evop_capital_moved_timestamp_seconds",
            "when capital last moved to another slot, by the line's clock",
            {pair.pair: pair.changed_ns / 1e9 for pair in pairs},
        ),
    )
    for name, text, values in rows:
        family = GaugeMetricFamily(name, text, labels=["pair"])
        for pair, value in values.items():
            family.add_metric([pair], value)
        yield family


def _slots(pairs: tuple[PairSeen, ...]) -> Metric:
    found = GaugeMetricFamily(
        "hft_evop_slot", "1 for the role that a slot has now", labels=["pair", "slot", "role"]
    )
    for pair in pairs:
        for slot in pair.slots:
            found.add_metric([pair.pair, str(slot.slot), slot.role], 1.0)
    return found
