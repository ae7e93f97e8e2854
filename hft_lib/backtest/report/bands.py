"""How uncertain the three numbers of the verdict are: a block bootstrap of the capital account's
days.

Days are drawn in runs of about n^(1/3), from a circle, so that what hangs together stays together.
Politis & Romano (1992), A circular block-resampling procedure for stationary data.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hft_lib.backtest.record import CAPITAL, RunRecord

Vector = npt.NDArray[np.float64]
DAYS_MIN = 5
RESAMPLES = 2_000
LEVEL = 0.90
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Days:
    """The capital account by whole UTC day, quote currency, (days,) each; `drawdown` is the day's
    own, 0 or more.
    """

    change: Vector
    cost: Vector
    drawdown: Vector


@dataclass(frozen=True)
class Band:
    """The middle 90 % of the resampled runs."""

    low: float
    high: float


@dataclass(frozen=True)
class Bands:
    """Of PnL after costs, worst drawdown, and share of gross eaten by costs (infinite where gross
    is no gain).
    """

    pnl: Band
    drawdown: Band
    cost_share: Band


def capital_days(record: RunRecord) -> Days:
    """The whole days that closed while a slot was followed."""
    rows = [
        (
            account.equity_change_quote,
            account.fees_quote
            + account.slippage_quote
            + account.funding_quote
            + account.borrow_quote,
            account.drawdown_quote,
        )
        for block in record.blocks
        if block.end_ns - block.start_ns == DAY_NS and block.capital_slot >= 0
        for account in block.accounts
        if account.account == CAPITAL
    ]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return Days(table[:, 0], table[:, 1], table[:, 2])


def bands(days: Days, seed: int) -> Bands | None:
    """The bands by `RESAMPLES` seeded draws, None where there are fewer than five whole days."""
    size = days.change.size
    if size < DAYS_MIN:
        return None
    draws = draw_days(size, seed)
    change, cost = days.change[draws], days.cost[draws]
    equity = np.cumsum(change, axis=1)
    before = np.maximum.accumulate(
        np.concatenate((np.zeros((RESAMPLES, 1)), equity), axis=1), axis=1
    )
    deepest = np.maximum(before[:, 1:] - equity, days.drawdown[draws]).max(axis=1)
    return Bands(
        pnl=_middle(equity[:, -1]),
        drawdown=_middle(deepest),
        cost_share=_middle(cost_share(equity[:, -1], cost.sum(axis=1))),
    )


def cost_share(net: Vector, cost: Vector) -> Vector:
    """Costs over what was earned before them; infinite where that was no gain."""
    gross = net + cost
    share: Vector = np.full(gross.shape, np.inf)
    np.divide(cost, gross, out=share, where=gross > 0.0)
    return share


def draw_days(size: int, seed: int) -> npt.NDArray[np.intp]:
    """Row numbers of resampled runs, (RESAMPLES, size)."""
    length = max(1, round(float(size) ** (1.0 / 3.0)))
    runs = -(-size // length)
    starts = np.random.default_rng(seed).integers(0, size, (RESAMPLES, runs))
    drawn = (starts[:, :, None] + np.arange(length)) % size
    rows: npt.NDArray[np.intp] = drawn.reshape(RESAMPLES, -1)[:, :size]
    return rows


def _middle(values: Vector) -> Band:
    tail = 0.5 * (1.0 - LEVEL)
    ordered = np.sort(values)
    low, high = (ordered[round(share * (values.size - 1))] for share in (tail, 1.0 - tail))
    return Band(float(low), float(high))
