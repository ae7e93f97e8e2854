"""What a run comes to: the hash by an independent count, figures by hand, columns to the letter."""

import hashlib
import io
import math
import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hft_lib.backtest.tally import (
    FILL_COLUMNS,
    ORDER_COLUMNS,
    Tally,
    csv_line,
    sharpe_annual,
)
from hft_lib.events import BlockClosed, CapitalOrder, Fill, Order, Rejected, ShadowOrder
from tests.builders import PAIR, PAIR2, told

ROOT = Path(__file__).resolve().parents[3]


def records() -> list[Any]:
    return [fact for log, fact in told().leaving if log == "hft.records"]


def tallied(*files: io.StringIO) -> Tally:
    tally = Tally(*files)
    for fact in records():
        tally.take(fact)
    return tally


def orders() -> list[Any]:
    return [fact for fact in records() if isinstance(fact, Order)]


def lines() -> list[str]:
    """Every order as the contract words it, in its order; written apart from what is tested."""
    ordered = sorted(orders(), key=lambda order: (order.time_ns, order.client_order_id))
    return [
        ",".join(
            [
                str(order.time_ns),
                order.account,
                order.pair,
                order.leg,
                order.side,
                "market",
                repr(order.quantity),
                "",
                order.client_order_id,
            ]
        )
        + "\n"
        for order in ordered
    ]


def test_the_hash_is_that_of_the_sorted_lines():
    expected = hashlib.sha256("".join(lines()).encode()).hexdigest()
    tally = tallied()
    assert tally.orders_sha256() == expected == tally.orders_sha256()


def test_the_hash_does_not_depend_on_the_order_within_a_moment():
    tally, held = Tally(), sorted(orders(), key=lambda o: (o.time_ns, o.leg, o.account))
    for order in held:
        tally.take(order)
    assert tally.orders_sha256() == tallied().orders_sha256()


def test_the_hash_of_no_orders_is_that_of_nothing():
    assert Tally().orders_sha256() == hashlib.sha256(b"").hexdigest()


def test_files_have_a_header_and_the_hashed_lines():
    orders_file, fills_file = io.StringIO(), io.StringIO()
    tally = tallied(orders_file, fills_file)
    tally.orders_sha256()
    header, *rest = orders_file.getvalue().splitlines(keepends=True)
    assert header == "time_ns,account,pair,leg,side,type,quantity,price,client_order_id\n"
    assert rest == lines()
    fills = fills_file.getvalue().splitlines()
    assert fills[0] == (
        "time_ns,account,pair,leg,side,quantity,price,fee_quote,liquidity,client_order_id,trade_id"
    )
    made = [fact for fact in records() if isinstance(fact, Fill)]
    assert len(fills) == len(made) + 1
    last = made[-1]
    assert fills[-1].split(",")[5:8] == [
        repr(last.quantity),
        repr(last.price),
        repr(last.fee_quote),
    ]


def test_a_line_holds_integers_as_they_are_floats_by_repr_and_nothing_for_what_is_absent():
    order = msgspec.structs.replace(orders()[0], time_ns=7, quantity=0.1 + 0.2, price=None)
    cells = csv_line(order, ORDER_COLUMNS).rstrip("\n").split(",")
    assert (cells[0], cells[6], cells[7]) == ("7", "0.30000000000000004", "")
    priced = msgspec.structs.replace(order, price=1e-7)
    assert csv_line(priced, ORDER_COLUMNS).split(",")[7] == "1e-07"


def test_the_columns_are_fields_of_the_facts():
    assert set(ORDER_COLUMNS) <= set(CapitalOrder.__struct_fields__)
    assert set(FILL_COLUMNS) <= set(Fill.__struct_fields__)


def test_counts_are_of_all_accounts():
    tally = tallied()
    assert tally.orders == len(orders())
    assert tally.fills == sum(isinstance(fact, Fill) for fact in records())
    assert sum(tally.rejected.values()) == sum(
        fact.count for fact in records() if isinstance(fact, Rejected)
    )
    assert tally.rejected["NAN"] == 1


def test_a_refusal_counts_as_often_as_it_says():
    tally = Tally()
    tally.take(Rejected(1, "ingestion", "GAP", "X", "", count=5))
    tally.take(Rejected(1, "ingestion", "GAP", "X", ""))
    assert tally.rejected == {"GAP": 6}


def test_days_are_of_the_capital_accounts_of_all_pairs_together():
    tally = tallied()
    blocks = [fact for fact in records() if isinstance(fact, BlockClosed)]
    assert {block.pair for block in blocks} == {PAIR, PAIR2}
    for end_ns, change in tally.days.items():
        parts = [
            account.equity_change_quote
            for block in blocks
            for account in block.accounts
            if block.end_ns == end_ns and account.account == "capital"
        ]
        assert change == pytest.approx(sum(parts)) and len(parts) == 2


def test_the_document_agrees_with_fills_and_blocks():
    document = tallied().document(told().hosts["execution"].state)
    fills = [f for f in records() if isinstance(f, Fill) and f.account == "capital"]
    turnover = sum(fill.quantity * fill.price for fill in fills)
    assert document["turnover_quote"] == pytest.approx(turnover)
    assert document["fees_quote"] == pytest.approx(sum(fill.fee_quote for fill in fills))
    assert document["slippage_quote"] == pytest.approx(sum(fill.slippage_quote for fill in fills))
    blocks = [fact for fact in records() if isinstance(fact, BlockClosed)]
    closed = sum(account.equity_change_quote for b in blocks for account in b.accounts[-1:])
    since = 0.0  # the last block is still open, and its last fills came after the last mark
    for pair in told().hosts["execution"].state.pairs.values():
        held, mids = pair.accounts[-1], 0.5 * (pair.legs["bid"] + pair.legs["ask"])
        marked = float(held["cash"] + held["position"][0] * mids[0] + held["position"][1] * mids[1])
        since += marked - float(held["block_equity"])
    assert document["pnl_quote"] == pytest.approx(closed + since)
    assert document["orders_sha256"] == tallied().orders_sha256()
    assert {"sharpe_annual", "max_drawdown_quote", "funding_quote", "borrow_quote"} <= set(document)


def test_sharpe_by_hand():
    days = [1.0, 2.0, -0.5, 3.0]
    expected = statistics.mean(days) / statistics.stdev(days) * math.sqrt(365.0)
    assert sharpe_annual(days) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("days", [[], [1.0], [2.0, 2.0, 2.0]])
def test_there_is_no_sharpe_where_nothing_varies(days: list[float]):
    assert sharpe_annual(days) is None


def test_shadow_and_capital_orders_are_both_in_the_hash():
    tally = Tally()
    for order in orders():
        if isinstance(order, CapitalOrder):
            tally.take(order)
    assert tally.orders_sha256() != tallied().orders_sha256()
    assert any(isinstance(order, ShadowOrder) for order in orders())
