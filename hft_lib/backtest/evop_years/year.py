"""One simulated year: the orchestrator's own `step`, with a block a day of known accounts.

Nothing of EVOP is imitated here. The line round the stage is: it runs what `SlotAssigned` says,
moves its capital where `Promoted` and `RolledBack` say, and closes a block of every account at
00:00 UTC.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from hft_lib.backtest.evop_years.market import DAYS, Market, limits
from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    DecisionRecorded,
    Event,
    HandedOver,
    Promoted,
    Registered,
    RegistryRead,
    RolledBack,
    SlotAssigned,
)
from hft_lib.evop.policy import DAY_NS, Policy
from hft_lib.evop.slots import CHAMPION
from hft_lib.line import LineConfig, PairConfig
from hft_lib.parameters import Evop, parameter_sha256
from hft_lib.stages.orchestrator import STAGE

CAPITAL_QUOTE = 10_000.0
START_NS = 19_723 * DAY_NS  # 2024-01-01
HANDOVER_NS = 3_600 * 10**9


class Move(msgspec.Struct, frozen=True):
    """The capital moved at the close of `day`, to a set worth `gain` more a year."""

    kind: str
    day: int
    gain: float


class Outcome(msgspec.Struct, frozen=True):
    """What EVOP did in one year, all pairs together.

    `decisions` counts the records by kind. `gain` is what the last champion is worth over the
    first, `gain_start` what the first one still is on the last day: other than 0 where the optimum
    wanders. Means over pairs, a year.
    """

    moves: tuple[Move, ...]
    freezes: tuple[int, ...]
    decisions: dict[str, int]
    gain: float
    gain_start: float

    @property
    def false_promotions(self) -> int:
        """Promotions of a set that was worth no more than the champion it replaced."""
        return sum(move.kind == "promote" and not move.gain > 0.0 for move in self.moves)

    def first_day(self, kind: str) -> int | None:
        """The day of the first move of a kind."""
        return next((move.day for move in self.moves if move.kind == kind), None)


def run_year(markets: Sequence[Market], challengers: int, policy: Policy) -> Outcome:
    """Run a fresh line of these pairs, with as many challengers each, through a year."""
    line = SimulatedLine(markets, challengers, policy)
    for day in range(DAYS):
        line.close(day)
    return line.outcome()


class SimulatedLine:
    """All round the orchestrator: what runs in each pair's rows, and where the capital is."""

    def __init__(self, markets: Sequence[Market], challengers: int, policy: Policy) -> None:
        names = [f"P{k}/USDT:USDT~P{k}/USDT" for k in range(len(markets))]
        self.markets = dict(zip(names, markets, strict=True))
        pairs = tuple(_pair_config(name, market) for name, market in self.markets.items())
        self.state = STAGE.start(
            LineConfig(pairs=pairs, grid_ms=60_000, challengers_max=challengers, policy=policy)
        )
        self.running: dict[str, dict[int, SlotAssigned]] = {name: {} for name in names}
        self.capital: dict[str, SlotAssigned] = {}
        self.moves: list[Move] = []
        self.freezes: list[int] = []
        self.decisions: dict[str, int] = {}
        self.first: dict[str, SlotAssigned] = {}
        for name, market in self.markets.items():
            for event in _registry(name, market):
                self._post(event, 0)

    def close(self, day: int) -> None:
        """Close the block of every pair, in `PAIRS` order."""
        for name, market in self.markets.items():
            self._post(self._block(name, market, day), day)

    def outcome(self) -> Outcome:
        """What was done."""
        last = [m.gain(DAYS - 1, self.capital[name]) for name, m in self.markets.items()]
        first = [m.gain(DAYS - 1, self.first[name]) for name, m in self.markets.items()]
        return Outcome(
            moves=tuple(self.moves),
            freezes=tuple(self.freezes),
            decisions=self.decisions,
            gain=sum(last) / len(last),
            gain_start=sum(first) / len(first),
        )

    def _post(self, event: Event, day: int) -> None:
        for fact in STAGE.step(self.state, event):
            if isinstance(fact, SlotAssigned):
                self.running[fact.pair][fact.slot] = fact
            elif isinstance(fact, Promoted | RolledBack):
                self._move(fact, day)
            elif isinstance(fact, DecisionRecorded):
                self.decisions[fact.kind] = self.decisions.get(fact.kind, 0) + 1
                if fact.kind == "freeze":
                    self.freezes.append(day)

    def _move(self, fact: Promoted | RolledBack, day: int) -> None:
        to, market = self.running[fact.pair][fact.slot], self.markets[fact.pair]
        old = self.capital.get(fact.pair)
        self.capital[fact.pair] = to
        if old is None:
            self.first[fact.pair] = to
            return
        kind = "promote" if isinstance(fact, Promoted) else "rollback"
        self.moves.append(Move(kind, day, market.gain(day, to) - market.gain(day, old)))
        market.moved(day, to)
        when_ns = fact.effective_ns + HANDOVER_NS
        args = (fact.slot, fact.generation, fact.effective_ns, 0.0, False)
        self._post(HandedOver(when_ns, fact.pair, *args), day)

    def _block(self, pair: str, market: Market, day: int) -> BlockClosed:
        start_ns, end_ns = START_NS + day * DAY_NS, START_NS + (day + 1) * DAY_NS
        running, capital = list(self.running[pair].values()), self.capital[pair]
        champion = running.index(capital)
        results = market.results(day, running, champion)
        accounts = [
            _account(f"slot-{run.slot}", run.slot, run, result, market.trading(run), start_ns)
            for run, result in zip(running, results, strict=True)
        ]
        live = results[champion] - market.live_gap(day)
        trading = market.trading(capital)
        accounts.append(_account("capital", -1, capital, live, trading, start_ns))
        return BlockClosed(
            time_ns=end_ns,
            pair=pair,
            start_ns=start_ns,
            end_ns=end_ns,
            capital_slot=capital.slot,
            slots_version=0,
            accounts=tuple(accounts),
            alarm=market.alarm[day],
            volatility_mean=market.volatility[day],
            flagged=False,
        )


def generator(seed: int, scenario: str, number: int) -> np.random.Generator:
    """The chance of one year: its own, whatever ran before it and wherever it runs."""
    words = (seed, number, *scenario.encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


# --- leaves ---


def _pair_config(name: str, market: Market) -> PairConfig:
    return PairConfig(
        pair=name,
        capital_quote=CAPITAL_QUOTE,
        limits=limits(market.loss_max),
        evop=Evop(s0_quote=market.s0 * CAPITAL_QUOTE, units=market.units),
    )


def _registry(pair: str, market: Market) -> list[Event]:
    said: list[Event] = [
        Registered(
            time_ns=START_NS,
            pair=pair,
            alias=f"candidate-{number}" if number else CHAMPION,
            parameters=params,
            parameters_sha256=parameter_sha256(params),
            model_version=str(number + 1),
            run_id="",
            git_commit="",
            tape_sha256="",
        )
        for number, params in enumerate(market.sets())
    ]
    return [*said, RegistryRead(START_NS, pair)]


def _account(
    name: str,
    slot: int,
    run: SlotAssigned,
    result: float,
    trading: tuple[float, float],
    start_ns: int,
) -> AccountBlock:
    """A shadow account's block, or with slot -1 the live one's."""
    return AccountBlock(
        account=name,
        slot=slot,
        generation=run.generation,
        equity_change_quote=result * CAPITAL_QUOTE,
        equity_quote=0.0,
        fees_quote=trading[0] * CAPITAL_QUOTE,
        slippage_quote=0.0,
        funding_quote=0.0,
        borrow_quote=0.0,
        turnover_quote=trading[1] * CAPITAL_QUOTE,
        drawdown_quote=0.0,
        active=True,
        whole=run.effective_ns + round(run.warmup_s * 1e9) <= start_ns,
    )
