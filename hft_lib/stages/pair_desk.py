"""What execution holds of one pair: accounts, orders, tops, the forecasts in force, the running
block.
"""

import msgspec
import numpy as np

from hft_lib.exchange import account as books
from hft_lib.line import LineConfig, PairConfig
from hft_lib.risk import gate
from hft_lib.rows import HEDGE, RISK, VOLATILITY, Rows
from hft_lib.stages import desk as desk_kernels
from hft_lib.stages import legs as legs_kernels
from hft_lib.strategy import decision

LEGS = ("y", "x")


class SlotIdentity(msgspec.Struct):
    """Which parameter set a slot runs."""

    generation: int
    parameters_sha256: str


class PairDesk(msgspec.Struct):
    """Everything held and under way for one pair; rows of `accounts` are the slots and, last,
    capital. `word_ns` is the operator's last word that was told (`events.Halted`).
    """

    config: PairConfig
    symbols: tuple[str, str]
    account_epoch: int
    borrow_rate_annual: float | None
    desk: Rows
    legs: Rows
    accounts: Rows
    orders: Rows
    order_ids: list[list[str]]
    strategies: Rows
    limits: Rows
    limits_version: int
    hedges: bytes
    volatilities: bytes
    risks: bytes
    hedge_rows: Rows
    volatility_rows: Rows
    risk_rows: Rows
    identities: list[SlotIdentity]
    slots_version: int
    block_start_ns: int
    block_end_ns: int
    block_alarm: bool
    volatility_sum: float
    volatility_count: int
    trades: int
    next_due_ns: int
    out: Rows
    word_ns: int = 0


def open_desk(config: LineConfig, pair: PairConfig) -> PairDesk:
    """Flat accounts, no slots, no prices."""
    slots, rows = config.slots, config.slots + 1
    assumptions = config.assumptions
    desk = np.zeros(1, desk_kernels.Desk)
    desk["capital_slot"] = -1
    desk["next_due_ns"] = desk_kernels.NEVER_NS
    desk["order_latency_ns"] = assumptions.order_latency_ns
    desk["response_latency_ns"] = assumptions.response_latency_ns
    desk["handover_ns_max"] = round(config.handover_s_max * 1e9)
    desk["capital"] = pair.capital_quote
    accounts = np.zeros(rows, books.Account)
    accounts["slot"] = np.arange(rows)
    accounts[slots]["live"] = 1
    accounts[slots]["slot"] = -1
    accounts[slots]["multiple"] = 1.0
    legs = np.zeros(2, books.Leg)
    legs["lots_per_unit"] = 1e8
    hedges, risks = np.zeros(slots, HEDGE), np.zeros(slots, RISK)
    volatilities = np.zeros(slots, VOLATILITY)
    return PairDesk(
        config=pair,
        symbols=(pair.y, pair.x),
        account_epoch=config.account_epoch,
        borrow_rate_annual=assumptions.borrow_rate_annual,
        desk=desk,
        legs=legs,
        accounts=accounts,
        orders=np.zeros((rows, 2), books.Order),
        order_ids=[["", ""] for _ in range(rows)],
        strategies=np.zeros(slots, decision.Params),
        limits=gate.limits_row(pair.limits, pair.capital_quote),
        limits_version=pair.limits.version,
        hedges=hedges.tobytes(),
        volatilities=volatilities.tobytes(),
        risks=risks.tobytes(),
        hedge_rows=hedges,
        volatility_rows=volatilities,
        risk_rows=risks,
        identities=[SlotIdentity(-1, "") for _ in range(slots)],
        slots_version=0,
        block_start_ns=0,
        block_end_ns=desk_kernels.NEVER_NS,
        block_alarm=False,
        volatility_sum=0.0,
        volatility_count=0,
        trades=0,
        next_due_ns=desk_kernels.NEVER_NS,
        out=np.zeros(8 * rows, legs_kernels.Outcome),
    )


def account_name(row: int, rows: int) -> str:
    """`slot-N`, or `capital` for the last row."""
    return "capital" if row == rows - 1 else f"slot-{row}"
