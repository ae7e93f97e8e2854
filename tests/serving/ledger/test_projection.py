"""From facts to rows: what is held, by which day, and what a database cannot hold."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import AccountBlock, BlockClosed, Fill, Marked, Rejected
from serving.ledger import tables
from serving.ledger.projection import Projection, entry_price, exact_sum
from tests.builders import DAY_NS, PAIR, S_NS, START_NS

MIDNIGHT_NS = (START_NS // DAY_NS + 1) * DAY_NS
DAY = START_NS // DAY_NS


def fill(time_ns: int, side: str = "buy", quantity: float = 0.1, **changes: Any) -> Fill:
    values: dict[str, Any] = {
        "time_ns": time_ns,
        "pair": PAIR,
        "account": "slot-1",
        "slot": 1,
        "generation": 1,
        "leg": "y",
        "side": side,
        "quantity": quantity,
        "price": 100.0,
        "fee_quote": 0.1,
        "slippage_quote": 0.01,
        "liquidity": "taker",
        "client_order_id": "h1",
        "trade_id": time_ns,
    }
    return Fill(**{**values, **changes})


def block(end_ns: int) -> BlockClosed:
    account = AccountBlock("slot-1", 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, True, True)
    return BlockClosed(
        end_ns, PAIR, end_ns - DAY_NS, end_ns, 1, 1, (account,), False, 0.0, False
    )  # fmt: skip


def projected(*facts: Any) -> Any:
    projection = Projection("line", (), ())
    for place, fact in enumerate(facts):
        projection.take(place, fact)
    return projection.drain()


def held(*facts: Any) -> dict[tuple[str, str], Any]:
    return {(row["account"], row["leg"]): row for row in projected(*facts).latest[tables.POSITIONS]}


def days(*facts: Any) -> list[int]:
    return [row["day"] for row in projected(*facts).written[tables.FILLS]]


def test_a_fill_of_midnight_belongs_to_the_block_that_it_stands_before_in_the_log():
    first = fill(START_NS)
    before = fill(MIDNIGHT_NS)
    after = fill(MIDNIGHT_NS, trade_id=7)
    assert days(first, before, block(MIDNIGHT_NS), after) == [DAY, DAY, DAY + 1]


def test_a_run_that_begins_at_midnight_begins_a_day():
    assert days(fill(MIDNIGHT_NS)) == [DAY + 1]


@given(st.lists(st.integers(-(10**9), 10**9), max_size=30), st.sampled_from([10, 1000, 10**8]))
def test_what_is_held_is_a_whole_number_of_lots(lots: list[int], lots_per_unit: int):
    position = 0.0
    for count in lots:
        position = exact_sum(position, count / lots_per_unit)
    assert position == sum(lots) / lots_per_unit


@pytest.mark.parametrize(
    ("before", "entered", "traded", "price", "expected"),
    [
        (0.0, None, 2.0, 100.0, 100.0),
        (2.0, 100.0, 2.0, 110.0, 105.0),
        (-2.0, 100.0, -6.0, 80.0, 85.0),
        (4.0, 105.0, -1.0, 300.0, 105.0),
        (4.0, 105.0, -4.0, 300.0, None),
        (4.0, 105.0, -5.0, 300.0, 300.0),
        (-4.0, 105.0, 5.0, 90.0, 90.0),
    ],
)
def test_the_entry_price_is_that_of_the_open_position(
    before: float, entered: float | None, traded: float, price: float, expected: float | None
):
    assert entry_price(before, entered, traded, price, exact_sum(before, traded)) == expected


def test_a_slot_that_is_assigned_anew_starts_flat_and_capital_keeps_what_it_holds():
    old, new = fill(START_NS), fill(START_NS + S_NS, quantity=0.3, generation=2)
    assert held(old, new)["slot-1", "y"]["quantity"] == 0.3
    capital: dict[str, Any] = {"account": "capital"}
    old, new = fill(START_NS, **capital), fill(START_NS + 1, **capital, generation=2)
    assert held(old, new)["capital", "y"]["quantity"] == 0.2


def test_refusals_are_counted_by_day_and_subject():
    def refused(time_ns: int, subject: str, count: int) -> Rejected:
        return Rejected(time_ns, "ingestion", "GAP", subject, "", count)

    facts = (refused(5, "A", 2), refused(6, "A", 3), refused(7, "B\0", 1), refused(DAY_NS, "A", 1))
    assert projected(*facts).rejected == {
        (0, "ingestion", "GAP", "A"): 5,
        (0, "ingestion", "GAP", "B\ufffd"): 1,
        (1, "ingestion", "GAP", "A"): 1,
    }


def test_what_is_no_number_is_null():
    mark = Marked(
        START_NS, PAIR, 1, math.nan, 2.0, 0, 0, 0, 0, 0, 0, 0, 0, False, True, (1.5, -2.0)
    )  # fmt: skip
    (row,) = projected(mark).latest[tables.PAIRS]
    assert (row["y_mid"], row["x_mid"], row["equities_quote"]) == (None, 2.0, "[1.5,-2.0]")


def test_what_was_drained_is_not_said_again():
    projection = Projection("line", (), ())
    projection.take(0, fill(START_NS))
    assert projection.records == 1 and projection.drain().written
    again = projection.drain()
    assert not again.written and not again.latest[tables.POSITIONS] and again.records == 0
