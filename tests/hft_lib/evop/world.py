"""A made-up line round the orchestrator: it runs what is assigned and closes a block a day."""

import math
from collections.abc import Callable

import msgspec
import numpy as np

from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    DecisionRecorded,
    Event,
    HandedOver,
    Promoted,
    Registered,
    RolledBack,
    SlotAssigned,
)
from hft_lib.evop.policy import DAY_NS
from hft_lib.line import LineConfig, PairConfig
from hft_lib.parameters import (
    BocdParameters,
    Evop,
    GarchParameters,
    KalmanParameters,
    Limits,
    Parameters,
    StrategyParameters,
    parameter_sha256,
)
from hft_lib.stages.orchestrator import STAGE

CAPITAL_QUOTE = 10_000.0
START_NS = 19_000 * DAY_NS
LIMITS = Limits(daily_loss_max=0.004)  # with a leg's cap of 0.05: L_max 0.005, a floor of 10 bp
FLOOR_QUOTE = 10.0
PAIR = "ETH/USDT~BTC/USDT"


def parameters(entry_z: float) -> Parameters:
    return Parameters(
        grid_ms=60_000,
        kalman=KalmanParameters(
            intercept_drift_var=1e-9,
            hedge_drift_var=1e-9,
            noise_var=1e-6,
            intercept_prior_mean=0.0,
            intercept_prior_var=1.0,
            hedge_prior_mean=1.0,
            hedge_prior_var=0.1,
        ),
        garch=GarchParameters(mean=0.0, omega=1e-8, alpha=0.05, beta=0.9, variance_prior=1e-6),
        bocd=BocdParameters(
            hazard=0.001, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
        ),
        strategy=StrategyParameters(
            entry_z=entry_z,
            exit_z=0.5,
            stop_z=6.0,
            horizon_s=3600.0,
            risk_fraction=0.001,
            gross_fraction_max=0.05,
            edge_cost_ratio_min=0.0,
            warmup_s=3600.0,
        ),
    )


def registered(alias: str, entry_z: float, pair: str = PAIR, time_ns: int = START_NS) -> Registered:
    params = parameters(entry_z)
    return Registered(
        time_ns=time_ns,
        pair=pair,
        alias=alias,
        parameters=params,
        parameters_sha256=parameter_sha256(params),
        model_version=alias,
        run_id="run-" + alias,
        git_commit="c0ffee",
        tape_sha256="7a9e",
    )


def config(*pairs: str, challengers_max: int = 4, units: dict[str, float] | None = None):
    return LineConfig(
        pairs=tuple(
            PairConfig(
                pair=pair,
                capital_quote=CAPITAL_QUOTE,
                limits=LIMITS,
                evop=Evop(s0_quote=FLOOR_QUOTE, units=units or {}),
            )
            for pair in pairs or (PAIR,)
        ),
        grid_ms=60_000,
        challengers_max=challengers_max,
    )


class World:
    """The line round the orchestrator: it runs what is assigned and closes a block a day.

    `gain(day, parameters)` is what a set earns on a day, in the quote currency.
    """

    def __init__(self, line: LineConfig, gain: Callable[[int, Parameters], float]) -> None:
        self.line, self.gain = line, gain
        self.state = STAGE.start(line)
        self.facts: list[Event] = []
        self.inbox: list[Event] = []
        self.day = 0
        self.running: dict[tuple[str, int], SlotAssigned] = {}
        self.capital: dict[str, tuple[int, int]] = {}
        self.live_gap = 0.0
        self.alarm: Callable[[int], bool] = lambda day: False
        self.flagged: Callable[[int], bool] = lambda day: False
        self.volatility: Callable[[int], float] = lambda day: 0.01 * (1 + day % 7)
        self.hand_over = True

    def post(self, event: Event) -> tuple[Event, ...]:
        self.inbox.append(event)
        answer = STAGE.step(self.state, event)
        self.facts.extend(answer)
        for fact in answer:
            if isinstance(fact, SlotAssigned):
                self.running[fact.pair, fact.slot] = fact
            elif isinstance(fact, Promoted | RolledBack):
                if fact.pair in self.capital:
                    self._hand_over(fact)
                self.capital[fact.pair] = (fact.slot, fact.effective_ns)
        return answer

    def _hand_over(self, fact: Promoted | RolledBack) -> None:
        if self.hand_over:
            when_ns = fact.effective_ns + 3_600 * 10**9
            args = (fact.slot, fact.generation, fact.effective_ns, 1.5, False)
            self.post(HandedOver(when_ns, fact.pair, *args))

    def run(self, days: int) -> "World":
        for _ in range(days):
            for pair in self.line.pairs:
                self.post(self.block(pair.pair, self.day))
            self.day += 1
        return self

    def block(self, pair: str, day: int) -> BlockClosed:
        start_ns, end_ns = START_NS + day * DAY_NS, START_NS + (day + 1) * DAY_NS
        accounts = [
            self.account(f"slot-{slot}", slot, run, self.gain(day, run.parameters), start_ns)
            for (name, slot), run in sorted(self.running.items())
            if name == pair
        ]
        slot, moved_ns = self.capital.get(pair, (-1, 0))
        if (pair, slot) in self.running:
            run = self.running[pair, slot]
            change = self.gain(day, run.parameters) - self.live_gap
            accounts.append(self.account("capital", -1, run, change, start_ns))
        return BlockClosed(
            time_ns=end_ns,
            pair=pair,
            start_ns=start_ns,
            end_ns=end_ns,
            capital_slot=slot,
            slots_version=0,
            accounts=tuple(accounts),
            alarm=self.alarm(day),
            volatility_mean=self.volatility(day),
            flagged=self.flagged(day),
        )

    def account(self, name: str, slot: int, run: SlotAssigned, change: float, start_ns: int):
        return AccountBlock(
            account=name,
            slot=slot,
            generation=run.generation,
            equity_change_quote=change,
            equity_quote=0.0,
            fees_quote=0.1,
            slippage_quote=0.1,
            funding_quote=0.0,
            borrow_quote=0.0,
            turnover_quote=1000.0,
            drawdown_quote=0.0,
            active=True,
            whole=run.effective_ns + run.warmup_s * 1e9 <= start_ns,
        )

    def records(self, *kinds: str) -> list[DecisionRecorded]:
        made = [fact for fact in self.facts if isinstance(fact, DecisionRecorded)]
        return [fact for fact in made if not kinds or fact.kind in kinds]

    def of(self, kind: type) -> list:
        return [fact for fact in self.facts if isinstance(fact, kind)]


def noise(seed: int, day: int, entry_z: float) -> float:
    """One set's own noise on a day, 10 quote units of sd, the same whenever it is asked."""
    rng = np.random.default_rng((seed, day, round(entry_z * 1e6)))
    return FLOOR_QUOTE * float(rng.standard_normal()) / math.sqrt(2.0)


def world(
    gain: Callable[[int, Parameters], float], *aliases: tuple[str, float], **options
) -> World:
    made = World(config(**options), gain)
    made.post(registered("champion", 2.0))
    for alias, entry_z in aliases:
        made.post(registered(alias, entry_z))
    return made


def per_set(gains: dict[float, float], seed: int | None = None):
    """Each set, by its entry z, earns its gain a day, with noise of its own if there is a seed."""

    def gain(day: int, params: Parameters) -> float:
        entry_z = params.strategy.entry_z
        extra = noise(seed, day, entry_z) if seed is not None else 0.0
        return gains.get(entry_z, 0.0) + extra

    return gain


BETTER = per_set({1.5: 12.0}, seed=1)


def decoded(fact: DecisionRecorded) -> dict:
    return msgspec.json.decode(fact.record)


def turned_world(*others: tuple[str, float]) -> World:
    """A set that is better until it has the capital, and worse from then on; and equal others."""

    def gain(day: int, params: Parameters) -> float:
        return (20.0 if day < 21 else -14.0) * (params.strategy.entry_z == 1.5)

    return world(gain, ("turncoat", 1.5), *others)
