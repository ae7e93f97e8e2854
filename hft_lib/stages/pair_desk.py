"""What execution holds of one pair: accounts, orders, tops, the forecasts in force, the running
block.
"""

import msgspec
import numpy as np

from hft_lib.line import LineConfig, PairConfig
from hft_lib.risk import gate
from hft_lib.rows import HEDGE, RISK, VOLATILITY, Rows
from hft_lib.stages import desk as desk_kernels

LEGS = ("y", "x")


class SlotIdentity(msgspec.Struct):
    """Which parameter set a slot runs."""

    generation: int
    parameters_sha256: str


class PairDesk(msgspec.Struct):
    """Everything held and under way for one pair; rows of `accounts` are the slots and, last,
    capital.

    `sheet` holds the numbers, in a row of `desk.sheet_type`, and each property is a view of a part
    of it. `hedges`, `volatilities` and `risks` are the forecasts that it has taken. `word_ns` is
    the operator's last word that was told (`events.Halted`).
    """

    sheet: Rows
    next_due_ns: int
    slots_version: int
    limits_version: int
    hedges: bytes
    volatilities: bytes
    risks: bytes
    block_start_ns: int
    block_end_ns: int
    block_alarm: bool
    volatility_sum: float
    volatility_count: int
    trades: int
    config: PairConfig
    symbols: tuple[str, str]
    account_epoch: int
    borrow_rate_annual: float | None
    order_ids: list[list[str]]
    identities: list[SlotIdentity]
    word_ns: int = 0

    @property
    def desk(self) -> Rows:
        """The (1,) row of `desk.Desk`."""
        return self._part("desk")

    @property
    def legs(self) -> Rows:
        """Rows of `account.Leg`: y, x."""
        return self._part("legs")

    @property
    def limits(self) -> Rows:
        """The (1,) row of `gate.Limits`."""
        return self._part("limits")

    @property
    def forecasts(self) -> Rows:
        """Rows of `desk.Forecast`, one a slot."""
        return self._part("forecasts")

    @property
    def strategies(self) -> Rows:
        """Rows of `decision.Params`, one a slot."""
        return self._part("strategies")

    @property
    def accounts(self) -> Rows:
        """Rows of `account.Account`: the slots, capital."""
        return self._part("accounts")

    @property
    def orders(self) -> Rows:
        """Rows of `account.Order`, (accounts, legs)."""
        return self._part("orders")

    @property
    def out(self) -> Rows:
        """Rows of `legs.Outcome`, of the last call that made some."""
        return self._part("out")

    def _part(self, name: str) -> Rows:
        part: Rows = self.sheet[name][0]
        return part


def open_desk(config: LineConfig, pair: PairConfig) -> PairDesk:
    """Flat accounts, no slots, no prices."""
    slots, rows = config.slots, config.slots + 1
    opened = PairDesk(
        sheet=np.zeros(1, desk_kernels.sheet_type(slots)),
        next_due_ns=0,  # until the first block is open: then an order's or the block's end
        slots_version=0,
        limits_version=pair.limits.version,
        hedges=np.zeros(slots, HEDGE).tobytes(),
        volatilities=np.zeros(slots, VOLATILITY).tobytes(),
        risks=np.zeros(slots, RISK).tobytes(),
        block_start_ns=0,
        block_end_ns=desk_kernels.NEVER_NS,
        block_alarm=False,
        volatility_sum=0.0,
        volatility_count=0,
        trades=0,
        config=pair,
        symbols=(pair.y, pair.x),
        account_epoch=config.account_epoch,
        borrow_rate_annual=config.assumptions.borrow_rate_annual,
        order_ids=[["", ""] for _ in range(rows)],
        identities=[SlotIdentity(-1, "") for _ in range(slots)],
    )
    opened.sheet["rows"] = rows
    _write_terms(opened.desk, config, pair)
    opened.limits[:] = gate.limits_row(pair.limits, pair.capital_quote)
    opened.legs["lots_per_unit"] = 1e8
    accounts = opened.accounts
    accounts["slot"] = np.arange(rows)
    accounts[slots]["live"] = 1
    accounts[slots]["slot"] = -1
    accounts[slots]["multiple"] = 1.0
    return opened


def _write_terms(desk: Rows, config: LineConfig, pair: PairConfig) -> None:
    """Write what the configuration says of a desk that follows no slot yet."""
    assumptions = config.assumptions
    desk["capital_slot"] = -1
    desk["next_due_ns"] = desk_kernels.NEVER_NS
    desk["order_latency_ns"] = assumptions.order_latency_ns
    desk["response_latency_ns"] = assumptions.response_latency_ns
    desk["handover_ns_max"] = round(config.handover_s_max * 1e9)
    desk["capital"] = pair.capital_quote
    desk["watch_all"] = 1


def account_name(row: int, rows: int) -> str:
    """`slot-N`, or `capital` for the last row."""
    return "capital" if row == rows - 1 else f"slot-{row}"
