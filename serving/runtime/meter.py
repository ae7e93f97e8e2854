"""What a service counts while it steps, in plain numbers, and shows when it is asked.

The stepping thread alone writes; a scrape reads copies on a thread of its own. Counts begin at the
start of the process, and what a restart says again is counted again; a latency is measured only
once the service has caught up.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from hft_lib.events import (
    BlockClosed,
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

# 10 us doubling to 5.2 s; longer ones are only known to be so.
BUCKET_NS_MIN, BUCKETS = 10_000, 20
ORDER = "order"
CAPITAL, SHADOW = "capital", "shadow"
# What is shown of capital's account of a pair, each a gauge `hft_NAME`.
MONEY = (
    ("pnl_quote", "what capital has made"),
    ("day_pnl_quote", "what capital has made since the UTC day began"),
    ("drawdown_quote", "capital's fall from its highest"),
    ("drawdown_max_quote", "capital's largest fall so far"),
    ("capital_quote", "capital's share, of which the limits are fractions"),
    ("day_loss_limit_quote", "loss of a day at which the pair locks until the day ends"),
    ("drawdown_limit_quote", "fall at which the pair locks until it is resumed"),
)
_LE = [*(floatToGoString(BUCKET_NS_MIN * (1 << i) / 1e9) for i in range(BUCKETS)), "+Inf"]


class Latencies:
    """A histogram of durations."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (BUCKETS + 1)
        self.sum_ns = 0

    def observe(self, duration_ns: int) -> None:
        """Count one; a negative one, from a host whose clock is ahead, counts as zero."""
        duration_ns = max(duration_ns, 0)
        at = (max(duration_ns - 1, 0) // BUCKET_NS_MIN).bit_length()
        self.counts[min(at, BUCKETS)] += 1
        self.sum_ns += duration_ns

    def cumulated(self) -> list[tuple[str, float]]:
        """How many were at most each bound in seconds, as Prometheus wants them."""
        total, found = 0, []
        for bound, count in zip(_LE, list(self.counts), strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Holding:
    """Capital's account of one pair, as of its last fill, mark or end of a day, and the two falls
    at which the pair locks.
    """

    __slots__ = ("y", "x", *(name for name, _ in MONEY))

    def __init__(self, desk: Any) -> None:
        account, limits = desk.accounts[-1], desk.limits[0]
        self.y, self.x = account["position"].tolist()
        self.pnl_quote = float(account["equity"])
        self.day_pnl_quote = float(account["equity"] - account["block_equity"])
        self.drawdown_quote = float(account["equity_peak"] - account["equity"])
        self.drawdown_max_quote = float(account["drawdown_max"])
        self.capital_quote = float(limits["capital"])
        self.day_loss_limit_quote = float(limits["daily_loss_max"] * limits["capital"])
        self.drawdown_limit_quote = float(limits["drawdown_max"] * limits["capital"])


class Ticks:
    """How many market events of a pair were accepted, and of these while a leg's quote was old."""

    __slots__ = ("count", "stale")

    def __init__(self) -> None:
        self.count = self.stale = 0


class Steps:
    """How often the stage stepped the models of a pair, and when it last did, by the wall clock."""

    __slots__ = ("count", "last_ns")

    def __init__(self) -> None:
        self.count = self.last_ns = 0

    def add(self, now_ns: int) -> None:
        """Count one."""
        self.count += 1
        self.last_ns = now_ns


class Meter:
    """The figures of one service; `now_ns` is the wall clock, `state` gives the stage's state."""

    def __init__(self, now_ns: Callable[[], int], state: Callable[[], Any]) -> None:
        self.is_timing = False
        self.latencies: dict[str, Latencies] = {}
        self.rejects: dict[tuple[str, str], int] = {}
        self.orders = {CAPITAL: 0, SHADOW: 0}
        self.fills = {CAPITAL: 0, SHADOW: 0}
        self.holdings: dict[str, Holding] = {}
        self.alarms: dict[str, bool] = {}
        self.ticks: dict[str, Ticks] = {}
        self.steps: dict[str, Steps] = {}
        # By pair and slot: the generation that runs there, and how its model does.
        self.healths: dict[tuple[str, int], tuple[int, Health]] = {}
        self._now_ns = now_ns
        self._state = state
        self._origin = NO_ORIGIN
        self._takers: dict[type, Callable[[Any], None]] = {
            CapitalOrder: lambda order: self._ordered(CAPITAL),
            ShadowOrder: lambda order: self._ordered(SHADOW),
            Fill: self._filled,
            Rejected: self._rejected,
            Marked: self._marked,
            BlockClosed: lambda block: self._hold(block.pair),
            HedgeRatio: self._hedge,
            Volatility: self._volatility,
            PairTick: self._ticked,
            RiskView: lambda view: self._stepped(view.tick.pair, view.tick.grid_steps),
        }

    # --- told by the stepping thread ---

    def taken(self, log: str, origin: Origin) -> None:
        """A message of `log`, which came of `origin`, is about to be stepped on."""
        self._origin = origin
        self._time(log)

    def made(self, fact: Event) -> None:
        """The stage made a fact of the message that was taken last."""
        take = self._takers.get(type(fact))
        if take is not None:
            take(fact)

    def _time(self, hop: str) -> None:
        born_ns = self._origin.born_ns
        if not self.is_timing or not born_ns:
            return
        known = self.latencies.get(hop)
        if known is None:
            known = self.latencies[hop] = Latencies()
        known.observe(self._now_ns() - born_ns)

    def _ordered(self, kind: str) -> None:
        self.orders[kind] += 1
        self._time(ORDER)

    def _filled(self, fill: Fill) -> None:
        if fill.account != CAPITAL:
            self.fills[SHADOW] += 1
            return
        self.fills[CAPITAL] += 1
        self._hold(fill.pair)

    def _rejected(self, refused: Rejected) -> None:
        name = (refused.stage, refused.reason)
        self.rejects[name] = self.rejects.get(name, 0) + refused.count

    def _marked(self, mark: Marked) -> None:
        self.alarms[mark.pair] = mark.alarm
        self._stepped(mark.pair, 1)
        self._hold(mark.pair)

    def _hold(self, pair: str) -> None:
        self.holdings[pair] = Holding(self._state().pairs[pair])

    def _ticked(self, tick: PairTick) -> None:
        known = self.ticks.get(tick.pair)
        if known is None:
            known = self.ticks[tick.pair] = Ticks()
        known.count += 1
        known.stale += tick.stale

    def _stepped(self, pair: str, grid_steps: int) -> None:
        """A fact of a pair was made; at a grid point its models stepped, or were acted on."""
        if not grid_steps:
            return
        known = self.steps.get(pair)
        if known is None:
            known = self.steps[pair] = Steps()
        known.add(self._now_ns())

    def _hedge(self, fact: HedgeRatio) -> None:
        self._stepped(fact.tick.pair, fact.tick.grid_steps)
        if not fact.tick.grid_steps:
            return  # the innovation is that of an earlier tick
        rows = np.frombuffer(fact.hedges, HEDGE)
        variances = rows["innovation_var"].tolist()
        scores = [
            innovation / math.sqrt(variance) if variance > 0.0 else math.nan
            for innovation, variance in zip(rows["innovation"].tolist(), variances, strict=True)
        ]
        self._judge(fact.tick.pair, rows, scores)

    def _volatility(self, fact: Volatility) -> None:
        self._stepped(fact.tick.pair, fact.tick.grid_steps)
        if fact.tick.grid_steps:
            scores = np.frombuffer(fact.volatilities, VOLATILITY)["score"].tolist()
            self._judge(fact.tick.pair, np.frombuffer(fact.hedges, HEDGE), scores)

    def _judge(self, pair: str, hedges: Any, scores: list[float]) -> None:
        lives, generations = hedges["live"].tolist(), hedges["generation"].tolist()
        for slot, score in enumerate(scores):
            if not lives[slot]:
                continue
            known = self.healths.get((pair, slot))
            if known is None or known[0] != generations[slot]:
                known = self.healths[pair, slot] = (generations[slot], Health())
            known[1].add(score)

    # --- asked by a scrape ---

    def collect(self) -> Iterator[Metric]:
        """The figures at this moment."""
        yield self._timed()
        yield from self._counted()
        yield from self._held()
        yield from self._paced()
        yield from self._judged()

    def _timed(self) -> Metric:
        found = HistogramMetricFamily(
            "hft_tick_latency_seconds",
            "from an edge's reading of the world to a service's reading of what came of it, and to "
            "an order",
            labels=["hop"],
        )
        for hop, known in dict(self.latencies).items():
            found.add_metric([hop], known.cumulated(), known.sum_ns / 1e9)
        return found

    def _counted(self) -> Iterator[Metric]:
        rejects = CounterMetricFamily(
            "hft_rejects", "inputs and intents refused", labels=["stage", "reason"]
        )
        for name, count in dict(self.rejects).items():
            rejects.add_metric(name, count)
        yield rejects
        for metric, text, counts in (
            ("hft_orders", "orders made", self.orders),
            ("hft_fills", "fills of orders", self.fills),
        ):
            family = CounterMetricFamily(metric, text, labels=["account"])
            for kind, count in counts.items():
                family.add_metric([kind], count)
            yield family

    def _held(self) -> Iterator[Metric]:
        positions = GaugeMetricFamily(
            "hft_position_base", "what capital holds of a leg", labels=["pair", "leg"]
        )
        money = {
            name: GaugeMetricFamily(f"hft_{name}", text, labels=["pair"]) for name, text in MONEY
        }
        for pair, held in dict(self.holdings).items():
            positions.add_metric([pair, "y"], held.y)
            positions.add_metric([pair, "x"], held.x)
            for name, family in money.items():
                family.add_metric([pair], getattr(held, name))
        alarms = GaugeMetricFamily(
            "hft_alarm", "1 while the followed relation is held to be breaking", labels=["pair"]
        )
        for pair, alarm in dict(self.alarms).items():
            alarms.add_metric([pair], float(alarm))
        yield from (positions, *money.values(), alarms)

    def _paced(self) -> Iterator[Metric]:
        ticks = CounterMetricFamily("hft_ticks", "market events accepted", labels=["pair"])
        stale = CounterMetricFamily(
            "hft_ticks_stale", "of these, while a leg's last quote was too old", labels=["pair"]
        )
        for pair, known in dict(self.ticks).items():
            ticks.add_metric([pair], known.count)
            stale.add_metric([pair], known.stale)
        yield from (ticks, stale)
        steps = CounterMetricFamily("hft_model_steps", "grid points stepped on", labels=["pair"])
        last = GaugeMetricFamily(
            "hft_model_stepped_timestamp_seconds",
            "when the models of a pair were last stepped, by the wall clock",
            labels=["pair"],
        )
        for pair, stepped in dict(self.steps).items():
            steps.add_metric([pair], stepped.count)
            last.add_metric([pair], stepped.last_ns / 1e9)
        yield from (steps, last)

    def _judged(self) -> Iterator[Metric]:
        labels = ["pair", "slot"]
        families = (
            GaugeMetricFamily("hft_innovation_mean", "of standardised ones, 0", labels=labels),
            GaugeMetricFamily(
                "hft_innovation_autocorrelation", "at lag 1, 0 where white", labels=labels
            ),
            GaugeMetricFamily(
                "hft_innovation_mean_square", "1 where forecasts are calibrated", labels=labels
            ),
        )
        for (pair, slot), (_, health) in dict(self.healths).items():
            for family, value in zip(families, health.judged(), strict=True):
                family.add_metric([pair, str(slot)], value)
        yield from families
