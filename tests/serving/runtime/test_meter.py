"""What a service counts: equal to what its facts and its state say, in Prometheus' own words."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from hft_lib.events import (
    CapitalOrder,
    Event,
    Fill,
    HedgeRatio,
    Marked,
    PairTick,
    Rejected,
    RiskView,
    ShadowOrder,
    Volatility,
)
from hft_lib.rows import HEDGE, VOLATILITY
from serving.runtime.chain import NO_ORIGIN, Origin
from serving.runtime.health import Health
from serving.runtime.host import Host
from serving.runtime.meter import BUCKETS, ORDER, Latencies, Meter
from serving.runtime.trace import SPARSE_FROM, Teller
from serving.services import stages
from tests.builders import PAIR, PAIR2, START_NS, story_config, told

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
BORN_NS = 1_700_000_000_000_000_000


class Nowhere:
    """A bus that keeps nothing."""

    def write(self, log: str, fact: Event) -> None:
        assert log

    def read(self, log: str, reader: Any) -> None:
        assert log


class Metered:
    """The story through one stage, metered; each event is `aged_ns` old when it is taken."""

    def __init__(self, name: str, aged_ns: int = 15_000) -> None:
        stage = next(stage for stage in stages() if stage.name == name)
        self.host = Host(stage, story_config(), Nowhere())
        self.facts: list[Any] = []
        self.inbox = told().inboxes[name]
        self.meter = Meter(lambda: BORN_NS + aged_ns, lambda: self.host.state)
        self.meter.is_timing = True
        self.host.on_made = self._made
        for event in self.inbox:
            self.meter.taken(name, Origin(BORN_NS, "feed-1"))
            self.host.take(event)

    def _made(self, fact: Event) -> None:
        self.facts.append(fact)
        self.meter.made(fact)

    def made(self, kind: type) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def samples(self) -> Samples:
        registry = CollectorRegistry()
        registry.register(self.meter)
        text = generate_latest(registry).decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.fixture(scope="module")
def execution() -> Metered:
    return Metered("execution")


def test_orders_and_fills_are_counted_by_kind_of_account(execution: Metered):
    samples = execution.samples()
    fills = Counter(fill.account == "capital" for fill in execution.made(Fill))
    assert samples[of("hft_orders_total", account="capital")] == len(execution.made(CapitalOrder))
    assert samples[of("hft_orders_total", account="shadow")] == len(execution.made(ShadowOrder))
    assert samples[of("hft_fills_total", account="capital")] == fills[True] > 0
    assert samples[of("hft_fills_total", account="shadow")] == fills[False] > 0


@pytest.mark.parametrize("name", ["ingestion", "execution"])
def test_rejects_are_counted_by_reason_and_a_run_of_them_by_its_length(name: str):
    metered, expected = Metered(name), Counter[str]()
    for refused in metered.made(Rejected):
        expected[refused.reason] += refused.count
    samples = metered.samples()
    assert expected
    for reason, count in expected.items():
        assert samples[of("hft_rejects_total", stage=name, reason=reason)] == count


def test_a_run_of_refusals_counts_by_its_length():
    meter = Meter(lambda: BORN_NS, lambda: None)
    meter.made(Rejected(START_NS, "execution", "HALTED", "a/capital/y", "", 7))
    meter.made(Rejected(START_NS, "execution", "HALTED", "a/capital/x", ""))
    assert meter.rejects == {("execution", "HALTED"): 8}


def test_positions_are_the_sum_of_capitals_fills_and_the_result_is_the_accounts(
    execution: Metered,
):
    samples = execution.samples()
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for fill in execution.made(Fill):
        if fill.account == "capital":
            sign = 1.0 if fill.side == "buy" else -1.0
            sums[fill.pair, fill.leg] += sign * fill.quantity
    assert sums
    for pair in (PAIR, PAIR2):
        mark = next(m for m in reversed(execution.made(Marked)) if m.pair == pair)
        account = execution.host.state.pairs[pair].accounts[-1]
        assert samples[of("hft_pnl_quote", pair=pair)] == account["equity"]
        assert samples[of("hft_drawdown_max_quote", pair=pair)] == account["drawdown_max"]
        assert samples[of("hft_alarm", pair=pair)] == mark.alarm
        for leg in ("y", "x"):
            held = samples[of("hft_position_base", pair=pair, leg=leg)]
            assert held == pytest.approx(sums[pair, leg], abs=1e-9)


def test_falls_are_shown_beside_the_limits_at_which_the_pair_locks(execution: Metered):
    samples = execution.samples()
    for pair in (PAIR, PAIR2):
        desk = execution.host.state.pairs[pair]
        account, limits = desk.accounts[-1], desk.config.limits
        capital = desk.config.capital_quote
        expected = {
            "hft_day_pnl_quote": account["equity"] - account["block_equity"],
            "hft_drawdown_quote": account["equity_peak"] - account["equity"],
            "hft_capital_quote": capital,
            "hft_day_loss_limit_quote": limits.daily_loss_max * capital,
            "hft_drawdown_limit_quote": limits.drawdown_max * capital,
        }
        assert {name: samples[of(name, pair=pair)] for name in expected} == expected


def test_accepted_ticks_are_counted_by_pair_and_those_of_an_old_leg_apart():
    metered = Metered("ingestion")
    ticks = Counter(tick.pair for tick in metered.made(PairTick))
    stale = Counter(tick.pair for tick in metered.made(PairTick) if tick.stale)
    samples = metered.samples()
    assert set(ticks) == {PAIR, PAIR2} and 0 < stale.total() < ticks.total()
    for pair, count in ticks.items():
        assert samples[of("hft_ticks_total", pair=pair)] == count
        assert samples[of("hft_ticks_stale_total", pair=pair)] == stale[pair]


@pytest.mark.parametrize("name", ["kalman_filter", "garch_model", "risk_manager", "execution"])
def test_the_steps_of_models_are_counted_by_pair_with_the_time_of_the_last(name: str):
    metered = Metered(name)
    expected: Counter[str] = Counter()
    for fact in metered.facts:
        if isinstance(fact, HedgeRatio | Volatility | RiskView) and fact.tick.grid_steps:
            expected[fact.tick.pair] += 1
        elif isinstance(fact, Marked):
            expected[fact.pair] += 1
    samples = metered.samples()
    assert set(expected) == {PAIR, PAIR2}
    for pair, count in expected.items():
        assert samples[of("hft_model_steps_total", pair=pair)] == count > 1
        last = samples[of("hft_model_stepped_timestamp_seconds", pair=pair)]
        assert last == pytest.approx((BORN_NS + 15_000) / 1e9)


def test_latency_is_shown_by_hop_and_to_the_order(execution: Metered):
    samples, orders = execution.samples(), len(execution.made(CapitalOrder)) + len(
        execution.made(ShadowOrder)
    )
    for hop, count in (("execution", len(execution.inbox)), (ORDER, orders)):
        name = "hft_tick_latency_seconds"
        assert samples[of(f"{name}_bucket", hop=hop, le="1e-05")] == 0.0
        assert samples[of(f"{name}_bucket", hop=hop, le="2e-05")] == count > 0
        assert samples[of(f"{name}_bucket", hop=hop, le="+Inf")] == count
        assert samples[of(f"{name}_sum", hop=hop)] == pytest.approx(count * 15e-6)


def test_nothing_is_timed_before_a_service_has_caught_up_nor_what_came_of_nothing():
    meter = Meter(lambda: BORN_NS + 5, lambda: None)
    meter.taken("execution", Origin(BORN_NS, "feed-1"))
    meter.is_timing = True
    meter.taken("execution", NO_ORIGIN)
    assert meter.latencies == {}


@pytest.mark.parametrize(
    "duration_ns, bucket",
    [
        (-5, 0),
        (0, 0),
        (10_000, 0),
        (10_001, 1),
        (20_000, 1),
        (20_001, 2),
        (10_000 << (BUCKETS - 1), BUCKETS - 1),
        ((10_000 << (BUCKETS - 1)) + 1, BUCKETS),
        (1 << 62, BUCKETS),
    ],
)
def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass(duration_ns, bucket):
    known = Latencies()
    known.observe(duration_ns)
    assert known.counts.index(1) == bucket and known.sum_ns == max(duration_ns, 0)


@pytest.mark.parametrize("name, kind", [("kalman_filter", HedgeRatio), ("garch_model", Volatility)])
def test_health_is_that_of_each_slots_own_innovations_at_grid_points(name: str, kind: type):
    metered = Metered(name)
    expected: dict[tuple[str, int], tuple[int, Health]] = {}
    for fact in metered.made(kind):
        hedges = np.frombuffer(fact.hedges, HEDGE)
        for slot in np.flatnonzero(hedges["live"]).tolist() if fact.tick.grid_steps else ():
            row, key = hedges[slot], (fact.tick.pair, slot)
            if key not in expected or expected[key][0] != row["generation"]:
                expected[key] = (int(row["generation"]), Health())
            if kind is HedgeRatio:
                z = row["innovation"] / np.sqrt(row["innovation_var"])
            else:
                z = np.frombuffer(fact.volatilities, VOLATILITY)[slot]["score"]
            expected[key][1].add(float(z))
    samples = metered.samples()
    assert len(expected) > 1
    for (pair, slot), (_, health) in expected.items():
        for figure, value in health.judged()._asdict().items():
            shown = samples[of(f"hft_innovation_{figure}", pair=pair, slot=str(slot))]
            assert shown == pytest.approx(value, nan_ok=True)


def test_records_of_orders_and_refusals_carry_the_events_name(execution: Metered):
    teller = Teller("execution")
    order, refused = execution.made(CapitalOrder)[0], execution.made(Rejected)[0]
    with capture_logs() as records:
        teller.made(order, "feed-41", again=False)
        teller.made(refused, "feed-42", again=True)
        teller.made(execution.made(Marked)[0], "feed-43", again=False)
    assert [(r["event"], r["trace"], r["again"]) for r in records] == [
        ("order", "feed-41", False),
        ("rejected", "feed-42", True),
    ]
    assert records[0]["client_order_id"] == order.client_order_id


def test_a_reason_that_goes_on_is_said_ever_less_often():
    teller, refused = Teller("ingestion"), Rejected(START_NS, "ingestion", "DISORDER", "A", "")
    with capture_logs() as records:
        for _ in range(4 * SPARSE_FROM):
            teller.made(refused, "feed-1", again=False)
    powers = [1 << n for n in range(SPARSE_FROM.bit_length())]
    assert [r["so_far"] for r in records] == [*powers, *(SPARSE_FROM * n for n in (2, 3, 4))]
