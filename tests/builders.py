"""What the tests of the spine share: parameter sets, facts with few words, one rich small story.

The story is six days of three symbols and two pairs that share one of them. Everything that a line
does happens in it: orders of all accounts, partial fills, ends of days, promotions and a way back,
funding, borrowing, a leg that falls silent, refusals of ingestion and of the gate, an operator's
halt.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np

from hft_lib.events import (
    Depth,
    Event,
    Funding,
    Halted,
    Instrument,
    Mark,
    MarketEvent,
    Promoted,
    Quote,
    Registered,
    RegistryRead,
    Resumed,
    RolledBack,
    SlotAssigned,
    TimePassed,
    Trade,
)
from hft_lib.evop import policy
from hft_lib.evop.policy import Policy
from hft_lib.line import LineConfig, PairConfig
from hft_lib.parameters import (
    Assumptions,
    BocdParameters,
    Evop,
    GarchParameters,
    KalmanParameters,
    Limits,
    Parameters,
    StrategyParameters,
    parameter_sha256,
)
from serving.adapters.memory_bus import MemoryBus
from serving.runtime.host import Host, serve
from serving.services import INBOXES, stages

S_NS = 1_000_000_000
DAY_NS = policy.DAY_NS
HOUR_NS = 3_600 * S_NS
START_NS = 20_000 * DAY_NS + 7 * HOUR_NS
Y, Y2, X = "ETH/USDT:USDT", "SOL/USDT", "ETH/USDT"
PAIR, PAIR2 = f"{Y}~{X}", f"{Y2}~{X}"
DAYS = 6
Posts = list[tuple[str, Any]]  # a fact of any kind: each test knows which it means


def parameters(**strategy: float) -> Parameters:
    """An eager parameter set on an hour's grid; `strategy` changes single values."""
    values: dict[str, float] = {
        "entry_z": 1.0,
        "exit_z": 0.3,
        "stop_z": 6.0,
        "horizon_s": 3600.0,
        "risk_fraction": 0.004,
        "gross_fraction_max": 1.0,
        "edge_cost_ratio_min": 0.0,
        "warmup_s": 0.0,
    }
    return Parameters(
        grid_ms=3_600_000,
        kalman=KalmanParameters(
            intercept_drift_var=1e-10,
            hedge_drift_var=1e-10,
            noise_var=1.6e-5,
            intercept_prior_mean=0.0,
            intercept_prior_var=1e-6,
            hedge_prior_mean=1.0,
            hedge_prior_var=1e-8,
        ),
        garch=GarchParameters(mean=0.0, omega=4e-6, alpha=0.05, beta=0.7, variance_prior=1.6e-5),
        bocd=BocdParameters(
            hazard=0.01,
            prior_mean=0.0,
            prior_kappa=1.0,
            prior_alpha=1.0,
            prior_beta=1.0,
            alarm_run_length=3,
            alarm_probability=0.6,
            alarm_hold_s=7200.0,
        ),
        strategy=StrategyParameters(**{**values, **strategy}),
    )


def config(*pairs: str, **changes: Any) -> LineConfig:
    """A line of `pairs`, 10,000 quote each, whose EVOP decides within days."""
    rules = Policy(
        alpha=0.95,
        tests_a_year=1,
        blocks_min=1,
        regime_blocks_min=0,
        alarm_quiet_days=0,
        cool_down_days=0,
        life_days=30,
    )
    limits = changes.pop("limits", Limits(stale_cadences_max=2.5, daily_loss_max=0.05))
    values: dict[str, Any] = {
        "pairs": tuple(
            PairConfig(pair=pair, capital_quote=10_000.0, limits=limits, evop=Evop(s0_quote=50.0))
            for pair in pairs or (PAIR,)
        ),
        "grid_ms": 3_600_000,
        "challengers_max": 2,
        "policy": rules,
        "handover_s_max": 6 * 3600.0,
    }
    return LineConfig(**{**values, **changes})


# --- facts with few words ---


def instrument(symbol: str, time_ns: int = START_NS, **changes: Any) -> Instrument:
    """The terms of a symbol: `X` may be borrowed, `Y2` not be shorted, `Y` is a perpetual."""
    kinds = {Y: ("perpetual", "perp", 0.0), X: ("spot", "borrow", 0.2), Y2: ("spot", "none", 0.0)}
    kind, short, borrow = kinds[symbol]
    values: dict[str, Any] = {
        "time_ns": time_ns,
        "symbol": symbol,
        "kind": kind,
        "short": short,
        "borrow_rate_annual": borrow,
        "taker_fee_rate": 5e-4,
        "maker_fee_rate": 2e-4,
        "price_tick": 0.01,
        "quantity_step": 0.01 if symbol == Y else 0.001,
        "notional_min_quote": 10.0,
        "cadence_ns": HOUR_NS,
    }
    return Instrument(**{**values, **changes})


def quote(symbol: str, time_ns: int, mid: float, size: float = 1000.0, **changes: Any) -> Quote:
    """A top two basis points wide round `mid`, the exchange's clock 3 ms before ours."""
    values: dict[str, Any] = {
        "time_ns": time_ns,
        "exchange_time_ns": time_ns - 3_000_000,
        "symbol": symbol,
        "bid": mid * (1.0 - 1e-4),
        "bid_size": size,
        "ask": mid * (1.0 + 1e-4),
        "ask_size": size,
    }
    return Quote(**{**values, **changes})


def registered(
    alias: str, params: Parameters, pair: str = PAIR, time_ns: int = START_NS
) -> Registered:
    """A parameter set as the registry tells it."""
    sha256 = parameter_sha256(params)
    return Registered(time_ns, pair, alias, params, sha256, alias, f"run-{alias}", "c0ffee", "7a9e")


def assigned(slot: int, params: Parameters, **changes: Any) -> SlotAssigned:
    """`slot` of the first pair runs `params` from the story's start on."""
    values: dict[str, Any] = {
        "time_ns": START_NS,
        "effective_ns": START_NS,
        "pair": PAIR,
        "slot": slot,
        "generation": 1,
        "role": "explorer",
        "parameters": params,
        "parameters_sha256": parameter_sha256(params),
        "model_version": f"v{slot}",
        "run_id": f"run-{slot}",
        "copy_from": -1,
        "warmup_s": params.strategy.warmup_s,
        "slots_version": slot + 1,
    }
    return SlotAssigned(**{**values, **changes})


def pointed(kind: type[Promoted] | type[RolledBack], slot: int, **changes: Any) -> Any:
    """The capital account of the first pair follows `slot` from the story's start on."""
    values: dict[str, Any] = {
        "time_ns": START_NS,
        "effective_ns": START_NS,
        "pair": PAIR,
        "slot": slot,
        "generation": 1,
        "model_version": f"v{slot}",
        "decision_id": "evop-1",
        "slots_version": 10,
    }
    return kind(**{**values, **changes})


# --- the story ---


def story_config() -> LineConfig:
    """Both pairs, with answers that take seconds: orders are under way while the market moves."""
    slow = Assumptions(order_latency_ns=S_NS, response_latency_ns=S_NS)
    return config(PAIR, PAIR2, assumptions=slow)


def story(seed: int = 7) -> Posts:
    """Every fact that the edges bring, each with the inbox it is for, in order."""
    rng = np.random.Generator(np.random.PCG64(seed))
    eager = parameters(entry_z=0.6, exit_z=0.5)
    small = parameters(entry_z=0.6, exit_z=0.5, risk_fraction=0.0008)
    posts: Posts = []
    for pair in (PAIR, PAIR2):
        posts.append(("orchestrator", registered("champion", small, pair)))
        posts.append(("orchestrator", registered("eager", eager, pair)))
        posts.append(("orchestrator", registered("other", parameters(entry_z=1.3), pair)))
        posts.append(("orchestrator", RegistryRead(START_NS, pair)))
    posts += [("ingestion", event) for event in _opening()]
    for hour in range(1, DAYS * 24):
        posts += _control(hour)
        posts += [("ingestion", event) for event in _hour(rng, hour)]
    posts.append(("ingestion", TimePassed(START_NS + DAYS * DAY_NS)))
    return posts


def _opening() -> list[Event]:
    terms = [instrument(symbol, more=True) for symbol in (X, Y2)]
    return [*terms, instrument(Y)]


def _mids(rng: np.random.Generator, hour: int) -> dict[str, float]:
    """x wanders; y and y2 swing round it within hours, and y2 breaks away in the end."""
    x = 100.0 * (1.0 + 0.03 * float(np.sin(hour / 17.0)))
    swing = 0.006 * float(np.sin(hour * 1.9)) + 0.002 * float(rng.standard_normal())
    swing2 = 0.006 * float(np.cos(hour * 2.3)) + 0.002 * float(rng.standard_normal())
    away = 0.004 * max(0, hour - 115)
    return {X: x, Y: x * (1.0 + swing), Y2: x * (1.0 + swing2 + away)}


def _hour(rng: np.random.Generator, hour: int) -> Iterator[Event]:
    """One hour: midnight where it is one, a moment of up to three quotes, flaws, a second look."""
    time_ns = START_NS + hour * HOUR_NS
    mids = _mids(rng, hour)
    if time_ns % DAY_NS == 0:
        yield TimePassed(time_ns)
    symbols = [Y, Y2] if 50 <= hour % 72 < 55 else [X, Y2, Y]
    for number, symbol in enumerate(symbols, start=1):
        size = 20.0 + 150.0 * float(rng.random())
        yield quote(symbol, time_ns, mids[symbol], size, more=number < len(symbols))
    yield from _extra(hour, time_ns, mids)
    if hour % 3 == 0:
        for number, symbol in enumerate((X, Y, Y2), start=1):
            size = 20.0 + 150.0 * float(rng.random())
            yield quote(symbol, time_ns + 2 * number * S_NS, mids[symbol] * 1.0003, size)


def _extra(hour: int, time_ns: int, mids: dict[str, float]) -> Iterator[MarketEvent]:
    """Funding, trades, marks and depth; and of every flaw one."""
    exchange_ns, later_ns = time_ns - 3_000_000, time_ns + S_NS
    if time_ns % (8 * HOUR_NS) == 0:
        yield Funding(later_ns, later_ns, Y, 1e-3)
    match hour:
        case 5:
            yield Trade(later_ns, exchange_ns, Y, mids[Y], 1.0, "buy", 17)
            yield Mark(later_ns, exchange_ns, Y, mids[Y])
            yield Depth(
                later_ns,
                exchange_ns,
                X,
                True,
                1,
                9,
                0,
                ((mids[X] * 0.999, 5.0),),
                ((mids[X], 4.0),),
            )
        case 11:
            yield quote(Y, later_ns, float("nan"))
        case 13:
            yield quote(X, later_ns, mids[X], bid=mids[X] * 1.01)
        case 17:
            yield quote("DOGE/USDT", later_ns, 1.0)
        case 23:
            yield quote(Y, later_ns, mids[Y], exchange_time_ns=time_ns - HOUR_NS)
        case 27:
            yield quote(Y, later_ns, mids[Y], exchange_time_ns=later_ns + 60 * S_NS)
            yield quote(Y, later_ns + S_NS, mids[Y] * 1.001)
        case 31:
            yield quote(X, time_ns - HOUR_NS, mids[X])


def _control(hour: int) -> Posts:
    """The operator's halt of the second pair, a way back and a set that is gone in the first."""
    time_ns = START_NS + hour * HOUR_NS
    if hour == 79:
        return [("execution", Halted(time_ns, PAIR2, True, "ada", "drill"))]
    if hour == 100:
        return [("execution", Resumed(time_ns, PAIR2, "ada", "drill over"))]
    if hour == 120:
        back = pointed(RolledBack, 0, effective_ns=time_ns + 1, slots_version=1001)
        gone = pointed(Promoted, 1, effective_ns=time_ns + 2, generation=77, slots_version=1002)
        return [("ingestion", back), ("ingestion", gone)]
    return []


class Told:
    """What a line made of posts: every stage's inbox, what left it, and the hosts at the end."""

    def __init__(self, posts: Iterable[tuple[str, Event]], line: LineConfig) -> None:
        self.kept: Posts = []
        self.leaving: Posts = []
        self.inboxes: dict[str, list[Any]] = {name: [] for name in INBOXES}
        bus = MemoryBus(INBOXES, lambda log, fact: self.kept.append((log, fact)))
        for name, inbox in self.inboxes.items():
            bus.read(name, inbox.append)
        self.hosts: dict[str, Host] = {
            stage.name: serve(stage, line, _Tap(bus, self.leaving)) for stage in stages()
        }
        self.ends: list[int] = []
        for log, fact in posts:
            bus.write(log, fact)
            self.ends.append(len(self.leaving))

    def records(self, kind: type) -> list[Any]:
        """The records of one kind, in order."""
        return [
            fact for log, fact in self.leaving if log == "hft.records" and isinstance(fact, kind)
        ]


class _Tap:
    """A bus that also notes, in order, what the hosts write to logs that no stage reads."""

    def __init__(self, bus: MemoryBus, leaving: Posts) -> None:
        self._bus, self._leaving = bus, leaving
        self.read = bus.read

    def write(self, log: str, fact: Event) -> None:
        if log not in INBOXES:
            self._leaving.append((log, fact))
        self._bus.write(log, fact)


def encoded(facts: Iterable[Any]) -> list[bytes]:
    """The bytes of facts, or of facts with their logs: what bit for bit means."""
    return [msgspec.msgpack.encode(fact) for fact in facts]


def market_only(posts: Posts, keep: Callable[[Event], bool]) -> Posts:
    """The story without the market's facts that `keep` refuses."""
    return [(log, fact) for log, fact in posts if log != "ingestion" or keep(fact)]


@cache
def told() -> Told:
    """The story, told once by the six hosts; no test changes it."""
    return Told(story(), story_config())
