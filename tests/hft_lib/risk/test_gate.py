"""The gate: each reason has its case, what is missing refuses, and reduce-only reduces."""

import ast
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import CapitalOrder, ShadowOrder
from hft_lib.exchange import account as books
from hft_lib.parameters import Limits
from hft_lib.risk import gate
from hft_lib.rows import Rows
from tests.builders import told

ROOT = Path(__file__).resolve().parents[3]
Y, X = books.Y, books.X


class Desk:
    """An order that passes every rule, to be spoilt: 10 units at 100, a capital of 10,000."""

    def __init__(self) -> None:
        self.legs = np.zeros(2, books.Leg)
        for leg in self.legs:
            leg["bid"], leg["ask"] = 99.95, 100.05
            leg["bid_size"] = leg["ask_size"] = 1000.0
            leg["time_ns"], leg["lots_per_unit"], leg["notional_min"] = 1, 100.0, 10.0
            leg["short"] = books.SHORT_PERP
        self.accounts = np.zeros(1, books.Account)
        self.limits = gate.limits_row(Limits(), 10_000.0)
        self.side, self.quantity = 1.0, 10.0
        self.reduce_only = self.stale = self.halted = False

    @property
    def account(self) -> Rows:
        return self.accounts[0]

    def judge(self) -> str:
        code = gate.judge(
            self.legs, self.account, self.limits[0], Y, self.side, self.quantity,
            self.reduce_only, self.stale, self.halted,
        )  # fmt: skip
        return gate.REASONS[code]

    def hold(self, y: float, x: float = 0.0) -> None:
        self.account["position"] = (y, x)


def _approved(desk: Desk) -> None:
    """Nothing is wrong."""


def _no_price(desk: Desk) -> None:
    desk.legs[Y]["bid"] = 0.0


def _spread(desk: Desk) -> None:
    desk.legs[Y]["ask"] = 100.0 * 1.006


def _stale(desk: Desk) -> None:
    desk.stale = True


def _halt(desk: Desk) -> None:
    desk.halted = True


def _not_finite(desk: Desk) -> None:
    desk.quantity = math.nan


def _lot(desk: Desk) -> None:
    desk.quantity = 10.001


def _notional_min(desk: Desk) -> None:
    desk.legs[Y]["notional_min"] = 1000.1


def _order_notional(desk: Desk) -> None:
    desk.limits["order_notional_max"] = 0.0999


def _position(desk: Desk) -> None:
    desk.hold(desk.side * 145.0)
    desk.limits["position_notional_max"] = 1.5


def _gross(desk: Desk) -> None:
    desk.hold(0.0, -50.0)
    desk.limits["gross_max"] = 0.59


def _leverage(desk: Desk) -> None:
    desk.limits["leverage_max"] = 0.101
    desk.account["equity"] = desk.account["block_equity"] = -150.0


def _daily_loss(desk: Desk) -> None:
    desk.account["equity"], desk.account["block_equity"] = -100.0, 100.0


def _drawdown(desk: Desk) -> None:
    desk.account["equity_peak"] = 1000.0


def _no_borrow(desk: Desk) -> None:
    desk.legs[Y]["short"] = books.SHORT_NONE
    desk.side = -1.0


def _reduce_only(desk: Desk) -> None:
    desk.reduce_only = True
    desk.hold(9.99)
    desk.side = -1.0


def _no_capital(desk: Desk) -> None:
    desk.limits["capital"] = 0.0


CASES: dict[str, Callable[[Desk], None]] = {
    case.__name__[1:].upper(): case
    for case in (
        _approved, _no_price, _spread, _stale, _halt, _not_finite, _lot, _notional_min,
        _order_notional, _position, _gross, _leverage, _daily_loss, _drawdown, _no_borrow,
        _reduce_only, _no_capital,
    )
}  # fmt: skip


@pytest.mark.parametrize("reason", gate.REASONS)
def test_each_reason_has_its_case(reason: str):
    desk = Desk()
    CASES[reason](desk)
    assert desk.judge() == reason


@pytest.mark.parametrize("lock, reason", [(1, "DAILY_LOSS"), (2, "DRAWDOWN")])
def test_a_lock_refuses_whatever_the_equity(lock: int, reason: str):
    desk = Desk()
    desk.account["locked"] = lock
    assert desk.judge() == reason


@pytest.mark.parametrize("reason", sorted(set(gate.REASONS) - {"REDUCE_ONLY", "NO_BORROW"}))
def test_reduce_only_passes_what_is_named_and_nothing_else(reason: str):
    desk = Desk()
    CASES[reason](desk)
    desk.reduce_only, desk.side = True, -1.0
    desk.hold(150.0, float(desk.account["position"][X]))
    passes = {"APPROVED", *(gate.REASONS[code] for code in gate.REDUCE_ONLY_PASSES)}
    assert desk.judge() == ("APPROVED" if reason in passes else reason)


quantities = st.integers(-2000, 2000).map(lambda lots: lots / 100.0)


@given(quantities, quantities, st.sampled_from([-1.0, 1.0]), st.booleans(), st.booleans())
def test_reduce_only_never_opens_nor_flips(
    held: float, quantity: float, side: float, stale: bool, halted: bool
):
    desk = Desk()
    desk.hold(held)
    desk.side, desk.quantity = side, quantity
    desk.reduce_only, desk.stale, desk.halted = True, stale, halted
    after = held + side * quantity
    reduces = quantity > 0.0 and abs(after) < abs(held) and after * held >= 0.0
    assert (desk.judge() == "APPROVED") == reduces


@given(quantities, quantities, quantities, st.sampled_from([-1.0, 1.0]))
def test_an_approved_opening_is_within_every_limit(
    held: float, other: float, quantity: float, side: float
):
    desk = Desk()
    desk.hold(10.0 * held, 10.0 * other)
    desk.side, desk.quantity = side, 10.0 * quantity
    if desk.judge() != "APPROVED":
        return
    limits, after = Limits(), 10.0 * abs(held + side * quantity) * 100.0
    assert 10.0 * quantity * 100.0 <= limits.order_notional_max * 10_000.0
    assert after <= limits.position_notional_max * 10_000.0
    assert after + 10.0 * abs(other) * 100.0 <= limits.gross_max * 10_000.0


def test_gross_counts_the_other_leg_that_goes_out_in_the_same_round():
    desk = Desk()
    desk.limits["gross_max"] = 0.15
    assert desk.judge() == "APPROVED"
    desk.account["goal"] = (10.0, -10.0)
    assert desk.judge() == "GROSS"


# --- fail closed ---

LEG_FLOATS = ("bid", "ask", "lots_per_unit", "notional_min")
LIMIT_FIELDS = gate.Limits.names or ()
ACCOUNT_FLOATS = ("equity", "block_equity", "equity_peak")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", LEG_FLOATS)
def test_a_leg_that_is_no_number_refuses(field: str, value: float):
    desk = Desk()
    desk.legs[Y][field] = value
    may = field == "notional_min" and value == -math.inf  # no minimum at all
    assert may or desk.judge() != "APPROVED"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0])
@pytest.mark.parametrize("field", ["bid", "ask"])
def test_the_other_leg_without_a_price_refuses(field: str, value: float):
    desk = Desk()
    desk.legs[X][field] = value
    assert desk.judge() == "NO_PRICE"


@pytest.mark.parametrize("field", LIMIT_FIELDS)
def test_a_limit_that_is_no_number_refuses(field: str):
    desk = Desk()
    desk.limits[field] = math.nan
    assert desk.judge() != "APPROVED"


@pytest.mark.parametrize("field", ACCOUNT_FLOATS)
def test_an_account_that_is_no_number_refuses(field: str):
    desk = Desk()
    desk.account[field] = math.nan
    assert desk.judge() != "APPROVED"


@pytest.mark.parametrize("leg", [Y, X])
def test_a_position_that_is_no_number_refuses(leg: int):
    desk = Desk()
    desk.account["position"][leg] = math.nan
    assert desk.judge() != "APPROVED"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -10.0])
def test_a_quantity_that_is_none_refuses(value: float):
    desk = Desk()
    desk.quantity = value
    assert desk.judge() in ("NOT_FINITE", "LOT")
    desk.reduce_only, desk.side = True, -1.0
    desk.hold(20.0)
    assert desk.judge() in ("NOT_FINITE", "LOT")


def test_a_side_that_is_no_number_refuses():
    desk = Desk()
    desk.side = math.nan
    assert desk.judge() != "APPROVED"
    desk.reduce_only = True
    desk.hold(20.0)
    assert desk.judge() == "REDUCE_ONLY"


def test_no_lots_refuse():
    desk = Desk()
    desk.legs[Y]["lots_per_unit"] = 0.0
    assert desk.judge() == "LOT"


def test_a_top_before_the_first_quote_refuses():
    desk = Desk()
    desk.legs[Y]["time_ns"] = 0
    assert desk.judge() == "NO_PRICE"


# --- who makes orders ---


def test_approve_makes_the_accounts_own_type():
    order = told().records(CapitalOrder)[0]
    fields = {name: getattr(order, name) for name in order.__struct_fields__}
    assert gate.approve(True, **fields) == order
    assert type(gate.approve(False, **fields)) is ShadowOrder


def test_only_the_gate_constructs_orders():
    makers = []
    for path in sorted((ROOT / "hft_lib").rglob("*.py")) + sorted((ROOT / "serving").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("CapitalOrder", "ShadowOrder"):
                    makers.append(path.relative_to(ROOT).as_posix())
    assert set(makers) == {"hft_lib/risk/gate.py"}


def test_limits_row_holds_the_limits_in_the_kernels_order():
    limits = Limits(order_notional_max=0.1, drawdown_max=0.2, spread_bp_max=7.0)
    row = gate.limits_row(limits, 123.0)[0]
    assert row["capital"] == 123.0
    for name in LIMIT_FIELDS[:-1]:
        assert row[name] == getattr(limits, name)
