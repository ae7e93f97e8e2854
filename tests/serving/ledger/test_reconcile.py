"""What execution holds against the sums of its fills."""

from typing import Any

import pytest
from sqlalchemy import Connection, delete, update

from hft_lib.events import Fill
from serving.ledger import tables
from serving.ledger.reconcile import Behind, Difference, compare
from serving.runtime import shown
from tests.builders import PAIR, PAIR2, X, Y, told

FILLS = tables.FILLS


@pytest.fixture
def holdings() -> list[dict[str, Any]]:
    return shown.holdings(told().hosts["execution"].state)


def fills_of(pair: str, account: str = "") -> list[Fill]:
    found: list[Fill] = told().records(Fill)
    return [fill for fill in found if fill.pair == pair and account in fill.account]


def test_the_accounts_of_a_line_hold_what_their_fills_come_to(
    connection: Connection, line: str, holdings: list[dict[str, Any]]
):
    assert len({(row["account"], row["generation"]) for row in holdings}) > 3
    assert any(row["y"] != 0.0 for row in holdings)
    assert compare(connection, line, holdings) == []


def test_a_leg_that_holds_another_quantity_is_named_with_both_figures(
    connection: Connection, line: str, holdings: list[dict[str, Any]]
):
    row = next(row for row in holdings if row["y"] != 0.0)
    fills = row["y"]
    row["y"] = fills + 0.001
    (found,) = compare(connection, line, holdings)
    pair, account = row["pair"], row["account"]
    assert found == Difference(
        pair=pair, account=account, leg="y", symbol=found.symbol, held=row["y"], filled=fills
    )
    assert found.symbol == pair.split("~")[0]


def test_a_fill_that_was_changed_in_the_ledger_is_found(
    connection: Connection, line: str, holdings: list[dict[str, Any]]
):
    fill = fills_of(PAIR, "capital")[0]
    key = (FILLS.c.pair == fill.pair) & (FILLS.c.trade_id == fill.trade_id)
    connection.execute(update(FILLS).where(key).values(quantity=fill.quantity + 0.5))
    (found,) = compare(connection, line, holdings)
    symbol = Y if fill.leg == "y" else X
    assert (found.account, found.leg, found.symbol) == ("capital", fill.leg, symbol)
    assert abs(found.filled - (found.held or 0.0)) == pytest.approx(0.5)


def test_both_sides_are_of_one_point_while_the_line_goes_on(connection: Connection, line: str):
    fills = fills_of(PAIR)
    for count in (len(fills) // 3, len(fills) // 2):
        held = {"y": 0.0, "x": 0.0}
        for fill in fills[:count]:
            if fill.account == "capital":
                held[fill.leg] += fill.quantity if fill.side == "buy" else -fill.quantity
        row = {"pair": PAIR, "account": "capital", "generation": 9, "fills": count, **held}
        assert compare(connection, line, [row], is_whole=False) == []


def test_a_ledger_that_lacks_the_last_fills_is_behind(
    connection: Connection, line: str, holdings: list[dict[str, Any]]
):
    last = fills_of(PAIR)[-1].trade_id
    connection.execute(delete(FILLS).where((FILLS.c.pair == PAIR) & (FILLS.c.trade_id == last)))
    with pytest.raises(Behind, match=f"{last - 1} fills of {PAIR}, execution has booked {last}"):
        compare(connection, line, holdings)


def test_an_account_or_a_pair_that_execution_does_not_have_is_a_difference(
    connection: Connection, line: str, holdings: list[dict[str, Any]]
):
    fill = fills_of(PAIR, "slot-0")[0]
    key = (FILLS.c.pair == fill.pair) & (FILLS.c.trade_id == fill.trade_id)
    connection.execute(update(FILLS).where(key).values(account="slot-77"))
    found = {item.account: item for item in compare(connection, line, holdings)}
    assert found["slot-77"].held is None and abs(found["slot-77"].filled) == fill.quantity
    connection.rollback()
    one = [row for row in holdings if row["pair"] == PAIR]
    connection.execute(delete(FILLS).where((FILLS.c.pair == PAIR2) & (FILLS.c.side == "sell")))
    found2 = compare(connection, line, one)
    assert found2 and {item.pair for item in found2} == {PAIR2}
    assert compare(connection, line, one, is_whole=False) == []
