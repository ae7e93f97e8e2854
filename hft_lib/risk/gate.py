"""The gate: every order passes it, and only it makes an approved one.

`judge` is the compiled rule book: it returns 0 or the code of the first rule that refuses. What is
missing refuses (fail closed). A reduce-only order that really reduces passes all rules but those of
its own leg: a price must be there, and its quantity must be tradable; staleness, limits and the
halt do not hold it back (`REDUCE_ONLY_PASSES`).
"""

import numpy as np

from hft_lib.events import CapitalOrder, ShadowOrder
from hft_lib.kernel import kernel
from hft_lib.parameters import Limits as LimitsStruct
from hft_lib.rows import Rows

REASONS = (
    "APPROVED",
    "NO_PRICE",
    "SPREAD",
    "STALE",
    "HALT",
    "NOT_FINITE",
    "LOT",
    "NOTIONAL_MIN",
    "ORDER_NOTIONAL",
    "POSITION",
    "GROSS",
    "LEVERAGE",
    "DAILY_LOSS",
    "DRAWDOWN",
    "NO_BORROW",
    "REDUCE_ONLY",
    "NO_CAPITAL",
)
(
    APPROVED,
    NO_PRICE,
    SPREAD,
    STALE,
    HALT,
    NOT_FINITE,
    LOT,
    NOTIONAL_MIN,
    ORDER_NOTIONAL,
    POSITION,
    GROSS,
    LEVERAGE,
    DAILY_LOSS,
    DRAWDOWN,
    NO_BORROW,
    REDUCE_ONLY,
    NO_CAPITAL,
) = range(len(REASONS))
REDUCE_ONLY_PASSES = (
    STALE,
    SPREAD,
    HALT,
    NO_CAPITAL,
    NOTIONAL_MIN,
    ORDER_NOTIONAL,
    POSITION,
    GROSS,
    LEVERAGE,
    DAILY_LOSS,
    DRAWDOWN,
)

Limits = np.dtype(
    [
        ("order_notional_max", np.float64),
        ("position_notional_max", np.float64),
        ("gross_max", np.float64),
        ("leverage_max", np.float64),
        ("daily_loss_max", np.float64),
        ("drawdown_max", np.float64),
        ("spread_bp_max", np.float64),
        ("capital", np.float64),
    ]
)


def limits_row(limits: LimitsStruct, capital_quote: float) -> Rows:
    """The (1,) row of `Limits` that `judge` reads; fractions are of `capital_quote`."""
    values = [getattr(limits, name) for name in (Limits.names or ())[:-1]]
    return np.array([(*values, capital_quote)], Limits)


@kernel
def judge(legs, account, limits, i, side, quantity, reduce_only, stale, halted):
    """The code of the first rule that refuses an order of leg `i`, or APPROVED."""
    leg = legs[i]
    if not (leg.bid > 0.0 and leg.ask >= leg.bid and leg.ask < np.inf and leg.time_ns > 0):
        return NO_PRICE
    if not 0.0 < quantity < np.inf:
        return NOT_FINITE if not quantity == 0.0 else LOT
    lots = quantity * leg.lots_per_unit
    if not (lots > 0.5 and abs(lots - np.rint(lots)) <= 1e-6 * max(1.0, lots)):
        return LOT
    held = account.position[i]
    if reduce_only:
        return APPROVED if held * side < 0.0 and quantity <= abs(held) else REDUCE_ONLY
    if halted:
        return HALT
    if stale:
        return STALE
    return judge_risk(legs, account, limits, i, side, quantity)


@kernel
def judge_risk(legs, account, limits, i, side, quantity):
    """The rules for an order that may add risk."""
    leg = legs[i]
    price = 0.5 * (leg.bid + leg.ask)
    other = legs[1 - i]
    other_price = 0.5 * (other.bid + other.ask)
    capital = limits.capital
    if not 0.0 < capital < np.inf or not abs(account.equity) < np.inf:
        return NO_CAPITAL
    if not (other.bid > 0.0 and other.ask >= other.bid and other.ask < np.inf):
        return NO_PRICE
    if not (leg.ask - leg.bid) <= limits.spread_bp_max * 1e-4 * price:
        return SPREAD
    notional = quantity * price
    if not notional >= leg.notional_min:
        return NOTIONAL_MIN
    if not notional <= limits.order_notional_max * capital:
        return ORDER_NOTIONAL
    after = account.position[i] + side * quantity
    if after < 0.0 and leg.short == 0:
        return NO_BORROW
    if not abs(after) * price <= limits.position_notional_max * capital:
        return POSITION
    other_after = max(
        abs(account.position[1 - i]), abs(account.goal[1 - i])
    )  # both legs go together
    gross = abs(after) * price + other_after * other_price
    if not gross <= limits.gross_max * capital:
        return GROSS
    if not gross <= limits.leverage_max * (capital + account.equity):
        return LEVERAGE
    if (
        account.locked == 1
        or not account.equity - account.block_equity > -limits.daily_loss_max * capital
    ):
        return DAILY_LOSS
    if (
        account.locked == 2
        or not account.equity_peak - account.equity < limits.drawdown_max * capital
    ):
        return DRAWDOWN
    return APPROVED


def approve(
    capital: bool,
    *,
    time_ns: int,
    pair: str,
    account: str,
    slot: int,
    generation: int,
    leg: str,
    symbol: str,
    side: str,
    type: str,
    quantity: float,
    price: float | None,
    reduce_only: bool,
    purpose: str,
    attempt: int,
    client_order_id: str,
    parameters_sha256: str,
    expires_ns: int,
    z: float,
    intercept: float,
    hedge_ratio: float,
    spread_sd: float,
    y_mid: float,
    x_mid: float,
    run_length: float,
    limits_version: int,
) -> CapitalOrder | ShadowOrder:
    """Turn what `judge` approved into a typed order: the capital account's type can reach a venue,
    the other cannot.
    """
    values = (  # by place, as Order has them: half the cost of names
        time_ns,
        pair,
        account,
        slot,
        generation,
        leg,
        symbol,
        side,
        type,
        quantity,
        price,
        reduce_only,
        purpose,
        attempt,
        client_order_id,
        parameters_sha256,
        expires_ns,
        z,
        intercept,
        hedge_ratio,
        spread_sd,
        y_mid,
        x_mid,
        run_length,
        limits_version,
    )
    return CapitalOrder(*values) if capital else ShadowOrder(*values)
