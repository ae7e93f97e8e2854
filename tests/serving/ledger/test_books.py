"""What the ledger says of a day and of now, held against what execution said."""

import math

import pytest
from sqlalchemy import Connection, update

from hft_lib.events import BlockClosed, Fill, Marked
from serving.ledger import books, tables
from serving.ledger.database import LedgerError
from serving.ledger.journal_source import SOURCE
from tests.builders import DAY_NS, DAYS, PAIR, PAIR2, START_NS, told

FIRST = START_NS // DAY_NS
CENT = 0.01


def test_every_closed_day_reconciles_and_has_the_blocks_figures(connection: Connection, line: str):
    compared = 0
    for block in told().records(BlockClosed):
        said = {
            item.account: item
            for item in books.statement(connection, line, block.start_ns // DAY_NS)
            if item.pair == block.pair and item.closed
        }
        assert set(said) == {account.account for account in block.accounts}
        for account in block.accounts:
            item = said[account.account]
            assert item.differences == {}, item
            assert item.pnl_quote == account.equity_change_quote
            assert item.equity_quote == account.equity_quote
            assert item.funding_quote == account.funding_quote
            assert item.borrow_quote == account.borrow_quote
            assert item.fees_quote == account.fees_quote
            compared += item.fills > 0
    assert compared > 10


def test_the_days_together_hold_every_fill(connection: Connection, line: str):
    first, last = books.days_of(connection, line) or (0, 0)
    assert first == FIRST and last >= FIRST + DAYS - 1
    days = [books.statement(connection, line, day) for day in range(first, last + 1)]
    fills = told().records(Fill)
    assert sum(item.fills for day in days for item in day) == len(fills)
    fees = math.fsum(item.fees_quote for day in days for item in day)
    assert fees == pytest.approx(math.fsum(fill.fee_quote for fill in fills), abs=CENT)


@pytest.mark.parametrize("column", ["fee_quote", "slippage_quote", "quantity"])
def test_a_fill_that_was_changed_is_found(connection: Connection, line: str, column: str):
    fill = next(item for item in told().records(Fill) if item.account == "capital")
    key = (tables.FILLS.c.pair == fill.pair) & (tables.FILLS.c.trade_id == fill.trade_id)
    changed = update(tables.FILLS).where(key)
    connection.execute(changed.values({column: tables.FILLS.c[column] + 0.02}))
    day = fill.time_ns // DAY_NS
    wrong = [item for item in books.statement(connection, line, day) if item.differences]
    assert [(item.pair, item.account) for item in wrong] == [(fill.pair, "capital")]


def test_a_day_that_is_missing_is_found(connection: Connection, line: str):
    day = FIRST + 2
    connection.execute(tables.BLOCKS.delete().where(tables.BLOCKS.c.day == day - 1))
    wrong = [item for item in books.statement(connection, line, day) if item.differences]
    assert wrong and all(set(item.differences) == {"equity_quote"} for item in wrong)


def test_a_running_day_is_valued_at_the_last_mark(connection: Connection, line: str):
    marks = {mark.pair: mark for mark in told().records(Marked)}
    last = FIRST + DAYS  # the story ends in its morning
    assert {mark.time_ns // DAY_NS for mark in marks.values()} == {last}
    items = [item for item in books.statement(connection, line, last) if item.slot < 0]
    assert [item.pair for item in items] == sorted((PAIR, PAIR2))
    for item in items:
        assert not item.closed and item.differences == {} and item.funding_quote is None
        assert item.equity_quote == marks[item.pair].equities_quote[-1]
        before = books.statement(connection, line, last - 1)
        equity = next(
            each.equity_quote for each in before if each.pair == item.pair and each.slot < 0
        )
        assert equity is not None and item.equity_quote is not None
        assert item.pnl_quote == item.equity_quote - equity


def test_a_day_without_a_row_is_empty(connection: Connection, line: str):
    assert books.statement(connection, line, FIRST - 1) == []


def test_accounts_now_are_capital_and_the_slots_as_they_are_marked(
    connection: Connection, line: str
):
    marks = {mark.pair: mark for mark in told().records(Marked)}
    desks = told().hosts["execution"].state.pairs
    found = books.accounts_now(connection, line)
    assert {item.pair for item in found} == {PAIR, PAIR2}
    for item in found:
        assert item.equity_quote == marks[item.pair].equities_quote[item.slot]
        held = desks[item.pair].accounts[item.slot]["position"]
        mids = (marks[item.pair].y_mid, marks[item.pair].x_mid)
        expected = {
            leg: quantity
            for leg, quantity, mid in zip("yx", held.tolist(), mids, strict=True)
            if abs(quantity * mid) >= books.FLAT_QUOTE
        }
        assert {each.leg: each.quantity for each in item.holdings} == expected
        assert item.is_flat == (not expected)
    assert any(not item.is_flat for item in found)


def test_a_line_is_named_where_there_are_several(connection: Connection, line: str):
    with pytest.raises(LedgerError, match="--line"):
        books.line_in(connection, SOURCE, "nosuch")
    connection.execute(
        tables.LINES.insert().values(
            line="other", source=SOURCE, read=0, records=0, time_ns=0, mark=b""
        )
    )
    with pytest.raises(LedgerError, match=f"it holds: other, {line}"):
        books.line_in(connection, SOURCE)
    assert books.line_in(connection, SOURCE, "other") == "other"
