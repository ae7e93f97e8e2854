"""The gate before the registry: is the best of all that was tried more than luck?

Judged out of sample and after costs, with every trial counted: all candidates of all pairs of this
run, and those that were tried on the tape before it.

    days          at least 20 whole days
    mean          the candidate earned
    deflated      its deflated Sharpe ratio is at least 0.95
    SPA           over the pair's candidates, p (consistent) times the number of pairs at most 0.05

A candidate that keeps all four is registered. Where none does, of no pair, the pipeline ends here.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from hft_lib.backtest.selection_bias import (
    Sharpe,
    deflated_sharpe,
    expected_best,
    sharpe,
    superiority,
    variance_of_ratios,
)
from hft_lib.backtest.tally import DAYS_A_YEAR
from hft_lib.workflow.refusal import Refused, read_json, write_json
from hft_lib.workflow.walk_forward import Trials

DAYS_MIN = 20
DEFLATED_MIN = 0.95
SPA_P_MAX = 0.05


class CandidateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate out of sample; ratios and moments are None where it hardly traded.

    `reason` says why it is not registered, empty where it is.
    """

    name: str
    pnl_quote_per_day: float
    sharpe_annual: float | None
    skew: float | None
    kurtosis: float | None
    deflated_sharpe: float | None
    reason: str


class PairVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A pair's candidates, the best first; the p-values are before the number of pairs counts."""

    pair: str
    days: int
    spa_p: float | None
    spa_p_lower: float | None
    reality_check_p: float | None
    sharpe_expected_of_luck_annual: float | None
    candidates: list[CandidateVerdict]

    @property
    def passed(self) -> list[CandidateVerdict]:
        """The candidates to be registered."""
        return [item for item in self.candidates if not item.reason]


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's word on a run; `trials` is the number that every figure is deflated by."""

    trials: int
    pairs: list[PairVerdict]


def gate_file(trials: Sequence[Path | str], trials_before: int, out: Path | str) -> int:
    """Judge the walk-forwards at `trials` and write the verdict; returns how many candidates pass.

    Raises Refused with every pair's reason where none does.
    """
    found = judge([read_json(path, Trials) for path in trials], trials_before)
    write_json(out, found)
    passed = sum(len(pair.passed) for pair in found.pairs)
    if not passed:
        raise Refused(f"no candidate passes the gate: {'; '.join(map(_refusal, found.pairs))}")
    return passed


def judge(walks: Sequence[Trials], trials_before: int = 0) -> GateVerdict:
    """Hold every candidate against the rules; raises Refused for a count that cannot be."""
    if trials_before < 0:
        raise Refused(f"trials_before must be at least 0, was {trials_before}")
    count = trials_before + sum(len(walk.names) for walk in walks)
    pairs = [_pair(walk, count, len(walks)) for walk in walks]
    return GateVerdict(trials=count, pairs=pairs)


def _pair(walk: Trials, trials: int, pairs: int) -> PairVerdict:
    daily = np.array(walk.daily_quote, np.float64).reshape(-1, len(walk.names))
    days = len(daily)
    found = [sharpe(daily[:, k]) for k in range(len(walk.names))]
    ratios = [one.ratio for one in found if one is not None]
    tested = superiority(daily) if days >= DAYS_MIN else None
    variance = variance_of_ratios(ratios, days) if days >= DAYS_MIN else None
    judged = []
    for k, name in enumerate(walk.names):
        value = found[k]
        deflated = None
        if value is not None and variance is not None:
            deflated = deflated_sharpe(value, trials, variance)
        mean = math.fsum(daily[:, k].tolist()) / days if days else 0.0
        p = None if tested is None else min(1.0, tested.consistent * pairs)
        reason = _reason(days, mean, deflated, p, trials)
        judged.append(_candidate(name, mean, value, deflated, reason))
    judged.sort(key=lambda item: (-(item.deflated_sharpe or 0.0), -item.pnl_quote_per_day))
    luck = None if variance is None else expected_best(trials, variance) * math.sqrt(DAYS_A_YEAR)
    return PairVerdict(
        pair=walk.pair,
        days=days,
        spa_p=tested.consistent if tested else None,
        spa_p_lower=tested.lower if tested else None,
        reality_check_p=tested.upper if tested else None,
        sharpe_expected_of_luck_annual=luck,
        candidates=judged,
    )


def _candidate(
    name: str, mean: float, value: Sharpe | None, deflated: float | None, reason: str
) -> CandidateVerdict:
    return CandidateVerdict(
        name=name,
        pnl_quote_per_day=mean,
        sharpe_annual=value.ratio * math.sqrt(DAYS_A_YEAR) if value else None,
        skew=value.skew if value else None,
        kurtosis=value.kurtosis if value else None,
        deflated_sharpe=deflated,
        reason=reason,
    )


def _reason(days: int, mean: float, deflated: float | None, p: float | None, trials: int) -> str:
    """The first rule that a candidate breaks, with its value; empty where it keeps them all."""
    if days < DAYS_MIN:
        return f"whole days out of sample must be at least {DAYS_MIN}, was {days}"
    if deflated is None:
        return "it must trade, did not"
    if mean <= 0.0:
        return f"its mean after costs must be positive, was {mean:.4g} a day"
    if deflated < DEFLATED_MIN:
        rule = f"its deflated Sharpe ratio over {trials} trials must be at least {DEFLATED_MIN}"
        return f"{rule}, was {deflated:.4f}"
    if p is None or p > SPA_P_MAX:
        return f"SPA must give at most p = {SPA_P_MAX}, was {'none' if p is None else f'{p:.4f}'}"
    return ""


def _refusal(pair: PairVerdict) -> str:
    best = pair.candidates[0]
    return f"{pair.pair}, best {best.name}: {best.reason}"
