"""The guards: what evidence alone cannot see.

Each is a named function of a `Case` and passes or blocks.

A guard's value carries its inputs and its threshold, so that a record shows why it passed as well
as why it did not. Only promotions are guarded: a rollback returns to a known state.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from hft_lib.evop.evidence import Evidence
from hft_lib.evop.policy import DAY_NS, YEAR_DAYS, Policy
from hft_lib.parameters import Limits

BUDGET_TOLERANCE = 1e-12  # six charges of 1/120 must not exceed 0.05 by rounding


class PairedBlock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One block of an account and of the base it is measured against, in the quote currency.

    `cost` is fees plus slippage. `volatility` is the pair's mean forecast over the block.
    """

    end_ns: int
    change_quote: float
    base_change_quote: float
    cost_quote: float
    base_cost_quote: float
    turnover_quote: float
    base_turnover_quote: float
    volatility: float


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A test begun: when, for which pair, and the T whose inverse it is charged."""

    time_ns: int
    pair: str
    threshold: float


class Gap(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums over blocks of g, the twin's equity change less the live one's, and t, its turnover."""

    blocks: int = 0
    g: float = 0.0
    t: float = 0.0
    gg: float = 0.0
    gt: float = 0.0
    tt: float = 0.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asked for, and where the set stood that it came to.

    `move` is promote or rollback. `slot` is -1 where no row of the pair runs what `wanted` names,
    `warm_ns` when that row is warm. `word_ns` numbers the word.
    """

    move: str
    wanted: str
    slot: int
    role: str
    warm_ns: int
    word_ns: int


class Case(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that a decision depends on; `judge` of `hft_lib.evop.record` is a pure function of it.

    `process` is test, rollback, gap, begin or asked. `loss_max` and `s0` are fractions of the
    capital share. `volatilities` is the pair's history, oldest first, this block last. `alarm_ns`
    is the end of the last block with an alarm (0: none), `changed_ns` the last move of the capital
    pointer. `charges` are the tests begun before. `asked` is an operator's, and left out of the
    record of every other case.
    """

    process: str
    pair: str
    time_ns: int
    policy: Policy
    pairs: tuple[str, ...]
    capital_quote: float
    s0: float
    loss_max: float
    limits: Limits
    threshold: float
    began_ns: int = 0
    blocks: tuple[PairedBlock, ...] = ()
    volatilities: tuple[float, ...] = ()
    alarm_ns: int = 0
    changed_ns: int = 0
    barred_until_ns: int = 0
    frozen: bool = False
    gap: Gap = Gap()
    charges: tuple[Charge, ...] = ()
    asked: Asked | UnsetType = UNSET

    @cached_property
    def v(self) -> tuple[float, ...]:
        """The difference of the equity changes of every block, a fraction of the capital share."""
        share = self.capital_quote
        return tuple([(b.change_quote - b.base_change_quote) / share for b in self.blocks])


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """One guard's verdict, true when it passes, with all it was made of."""

    name: str
    inputs: dict[str, float]
    threshold: float
    verdict: bool


def differences(case: Case) -> list[float]:
    """v of every block."""
    return list(case.v)


def haircut(case: Case) -> float:
    """h+: upper limit of what the twin gains on the live account a unit of turnover.

    0 until it was measured.
    """
    gap, policy = case.gap, case.policy
    if gap.blocks < policy.haircut_blocks_min or not gap.t > 0.0:
        return 0.0
    h = gap.g / gap.t
    residual = max(gap.gg - 2.0 * h * gap.gt + h * h * gap.tt, 0.0)
    error = math.sqrt(residual * gap.blocks / (gap.blocks - 1)) / gap.t
    return max(h + policy.haircut_sds * error, 0.0)


def haircut_differences(case: Case) -> list[float]:
    """v less the haircut on what the account turns over more than its base."""
    rate = haircut(case) / case.capital_quote
    return [
        v - rate * (block.turnover_quote - block.base_turnover_quote)
        for v, block in zip(case.v, case.blocks, strict=True)
    ]


# --- the guards of a promotion ---


def minimum_sample(case: Case, evidence: Evidence, _: Evidence) -> Guard:
    """Enough blocks on which the two differed."""
    least = case.policy.blocks_min
    return _guard("minimum_sample", {"active": evidence.active}, least, evidence.active >= least)


def tail(case: Case, evidence: Evidence, _: Evidence) -> Guard:
    """No block below -c floor.

    Such a block breaks the bound under the proof, and retires the challenger.
    """
    worst, bound = min(case.v, default=0.0), -case.policy.bets.clip * evidence.floor
    return _guard("tail", {"worst": worst, "floor": evidence.floor}, bound, worst >= bound)


def worst_block(case: Case, evidence: Evidence, _: Evidence) -> Guard:
    """The worst block is not much worse than the twin's; less than a bet's scale is no tail."""
    own = _worst([block.change_quote for block in case.blocks]) / case.capital_quote
    twin = _worst([block.base_change_quote for block in case.blocks]) / case.capital_quote
    return _against_twin("worst_block", case, evidence, own, twin)


def drawdown(case: Case, evidence: Evidence, _: Evidence) -> Guard:
    """The drawdown over the test is not much deeper than the twin's."""
    own = _drawdown([block.change_quote for block in case.blocks]) / case.capital_quote
    twin = _drawdown([block.base_change_quote for block in case.blocks]) / case.capital_quote
    return _against_twin("drawdown", case, evidence, own, twin)


def cost_stress(case: Case, _: Evidence, __: Evidence) -> Guard:
    """The mean difference stays positive at a multiple of the fees and slippage charged."""
    more = (case.policy.cost_stress - 1.0) / case.capital_quote
    total = 0.0
    for v, block in zip(case.v, case.blocks, strict=True):
        total += v - more * (block.cost_quote - block.base_cost_quote)
    mean = total / max(len(case.blocks), 1)
    return _guard(
        "cost_stress", {"mean": mean, "multiple": case.policy.cost_stress}, 0.0, mean > 0.0
    )


def turnover_haircut(case: Case, _: Evidence, stressed: Evidence) -> Guard:
    """e still reaches T when turnover above the twin's costs h+ more.

    Simulated fills flatter those who trade.
    """
    inputs = {"h_plus": haircut(case), "e": stressed.e}
    return _guard("turnover_haircut", inputs, case.threshold, stressed.e >= case.threshold)


def live_twin_gap(case: Case, _: Evidence, __: Evidence) -> Guard:
    """The live account does what its twin says: no freeze is in force."""
    return _guard("live_twin_gap", {"frozen": float(case.frozen)}, 0.0, not case.frozen)


def changepoint(case: Case, _: Evidence, __: Evidence) -> Guard:
    """The relation has been quiet: no alarm in this block nor in the days before.

    Such blocks still count.
    """
    quiet = case.policy.alarm_quiet_days
    days = (case.time_ns - case.alarm_ns) / DAY_NS
    verdict = case.alarm_ns == 0 or days >= quiet
    return _guard(
        "changepoint", {"days": days, "alarmed": float(case.alarm_ns > 0)}, quiet, verdict
    )


def regimes(case: Case, _: Evidence, __: Evidence) -> Guard:
    """The difference was seen in more than one third of the pair's volatility."""
    counts = _tercile_counts(case)
    least = case.policy.regime_blocks_min
    covered = sum(count >= least for count in counts)
    inputs = {"low": counts[0], "middle": counts[1], "high": counts[2], "blocks_min": least}
    return _guard("regimes", inputs, case.policy.regimes_min, covered >= case.policy.regimes_min)


def cool_down(case: Case, _: Evidence, __: Evidence) -> Guard:
    """The last move of the capital pointer is long enough ago."""
    days, least = (case.time_ns - case.changed_ns) / DAY_NS, case.policy.cool_down_days
    return _guard("cool_down", {"days": days}, least, days >= least)


def barred(case: Case, _: Evidence, __: Evidence) -> Guard:
    """This pair of sets was not rolled back lately."""
    days = (case.barred_until_ns - case.time_ns) / DAY_NS if case.barred_until_ns else 0.0
    return _guard("barred", {"days_left": max(days, 0.0)}, 0.0, days <= 0.0)


Rule: TypeAlias = Callable[[Case, Evidence, Evidence], Guard]
GUARDS: tuple[Rule, ...] = (
    minimum_sample,
    tail,
    worst_block,
    drawdown,
    cost_stress,
    turnover_haircut,
    live_twin_gap,
    changepoint,
    regimes,
    cool_down,
    barred,
)


# Those that an operator's word does not override: the others weigh evidence.
RULING: tuple[Rule, ...] = (live_twin_gap, barred)

# --- the guards of a test's begin ---

NO_EVIDENCE = Evidence(w=(0.0, 0.0, 0.0), e=0.0, s2=0.0, v_prev=0.0, floor=0.0, blocks=0, active=0)


def budget(case: Case) -> Guard:
    """The charges of a trailing year, with this 1/T, stay within alpha, all pairs together."""
    spent = 0.0
    for charge in _of_the_year(case):
        spent += 1.0 / charge.threshold
    total = spent + 1.0 / case.threshold
    inputs = {"spent": spent, "charge": 1.0 / case.threshold}
    alpha = case.policy.alpha
    return _guard("budget", inputs, alpha, total <= alpha + BUDGET_TOLERANCE)


def tests_of_the_year(case: Case) -> Guard:
    """Fewer tests of this pair than the policy allows were begun in a trailing year."""
    begun, most = (
        sum(charge.pair == case.pair for charge in _of_the_year(case)),
        case.policy.tests_a_year,
    )
    return _guard("tests_of_the_year", {"begun": begun}, most, begun < most)


# --- what an operator's word does not override ---


def seated(case: Case, asked: Asked) -> Guard:
    """A row runs what was asked for, in a role from which it can take the capital."""
    may = ("predecessor",) if asked.move == "rollback" else ("explorer", "test")
    return _guard("seated", {"slot": asked.slot}, 0.0, asked.slot >= 0 and asked.role in may)


def reached(case: Case, evidence: Evidence) -> Guard:
    """e of the set's own process has reached what moves the capital without an operator."""
    return _guard("evidence", {"e": evidence.e}, case.threshold, evidence.e >= case.threshold)


def warm(case: Case, asked: Asked) -> Guard:
    """The row's models are warm: before that they forecast their priors."""
    seconds = max((asked.warm_ns - case.time_ns) / 1e9, 0.0) if asked.slot >= 0 else 0.0
    return _guard("warm", {"seconds_left": seconds}, 0.0, seconds <= 0.0)


# --- leaves ---


def _guard(name: str, inputs: Mapping[str, float], threshold: float, verdict: bool) -> Guard:
    numbers = {key: float(value) for key, value in inputs.items()}
    return Guard(name=name, inputs=numbers, threshold=float(threshold), verdict=bool(verdict))


def _against_twin(name: str, case: Case, evidence: Evidence, own: float, twin: float) -> Guard:
    most = max(case.policy.twin_risk_ratio_max * twin, evidence.floor)
    return _guard(name, {"own": own, "twin": twin, "floor": evidence.floor}, most, own <= most)


def _worst(changes: list[float]) -> float:
    return max(-min(changes, default=0.0), 0.0)


def _drawdown(changes: list[float]) -> float:
    equity = peak = deepest = 0.0
    for change in changes:
        equity += change
        if equity > peak:
            peak = equity
        elif peak - equity > deepest:
            deepest = peak - equity
    return deepest


def _tercile_counts(case: Case) -> list[int]:
    """Active blocks in the lowest, middle and highest third of the history.

    Equal values rank by age.
    """
    history, counts = sorted(case.volatilities), [0, 0, 0]
    placed: dict[float, int] = {}
    for v, block in zip(case.v, case.blocks, strict=True):
        if v == 0.0 or not history:
            continue
        before = placed.get(block.volatility, 0)
        rank = bisect_left(history, block.volatility) + before
        placed[block.volatility] = before + 1
        counts[min(3 * rank // len(history), 2)] += 1
    return counts


def _of_the_year(case: Case) -> list[Charge]:
    start_ns = case.time_ns - YEAR_DAYS * DAY_NS
    return [charge for charge in case.charges if charge.time_ns > start_ns]
