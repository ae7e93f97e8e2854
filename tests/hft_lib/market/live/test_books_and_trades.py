"""The sequences of a live symbol: nothing twice, nothing out of order, no wrong book."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_lib.events import Depth, Rejected, Trade
from hft_lib.market.live.books import OLD_MAX, Book
from hft_lib.market.live.items import JUMP_MAX
from hft_lib.market.live.trades import (
    AHEAD_MAX,
    PATIENCE_NS,
    STOPPED_NS_MAX,
    STOPPED_TRADES_MAX,
    Missing,
    Trades,
)

S = "BTC/USDT"


def change(first_id: int, last_id: int, previous_id: int | None = None) -> Depth:
    before = first_id - 1 if previous_id is None else previous_id
    return Depth(last_id, 0, S, False, first_id, last_id, before, ((1.0, float(last_id)),), ())


def snapshot(last_id: int) -> Depth:
    return Depth(last_id, 0, S, True, 0, last_id, 0, ((1.0, float(last_id)),), ())


def trade(trade_id: int, time_ns: int = 1) -> Trade:
    return Trade(time_ns, trade_id, S, 10.0, 1.0, "buy", trade_id)


def reasons(events: list[Any]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Rejected)]


def ids(events: list[Any]) -> list[int]:
    return [
        event.trade_id if isinstance(event, Trade) else event.last_id
        for event in events
        if not isinstance(event, Rejected)
    ]


def test_a_book_begins_with_its_snapshot_and_the_changes_after_it():
    book = Book(S)
    told = [*book.take(change(1, 4)), *book.take(change(5, 8)), *book.take(change(9, 9))]
    assert told == [] and book.wants_snapshot
    assert ids(book.restore(snapshot(6))) == [6, 8, 9]
    assert ids(book.take(change(10, 12))) == [12] and not book.wants_snapshot


def test_changes_of_futures_follow_by_the_id_they_name():
    book = Book(S)
    book.take(change(105, 110, previous_id=90))
    assert ids(book.restore(snapshot(100))) == [100, 110]
    assert ids(book.take(change(140, 150, previous_id=110))) == [150]
    assert reasons(book.take(change(180, 190, previous_id=160))) == ["DEPTH_GAP"]


def test_a_gap_discards_the_book_until_a_snapshot_covers_it():
    book = Book(S)
    book.take(change(1, 4))
    book.restore(snapshot(2))
    assert reasons(book.take(change(6, 7))) == ["DEPTH_GAP"]
    assert book.wants_snapshot and book.resyncs == 1
    assert book.take(change(8, 9)) == []
    assert ids(book.restore(snapshot(7))) == [7, 9]


def test_a_stale_snapshot_is_never_told():
    book = Book(S)
    book.take(change(10, 12))
    told = book.restore(snapshot(5))
    assert reasons(told) == ["STALE_SNAPSHOT"] and ids(told) == []
    assert book.wants_snapshot and ids(book.restore(snapshot(11))) == [11, 12]


def test_a_snapshot_waits_for_the_change_that_shows_it_current():
    book = Book(S)
    book.take(change(1, 4))
    assert book.restore(snapshot(20)) == [] and not book.wants_snapshot
    assert ids(book.take(change(21, 23))) == [20, 23]


def test_a_snapshot_before_a_gap_is_refused_when_the_next_change_comes():
    book = Book(S)
    book.take(change(1, 4))
    book.restore(snapshot(20))
    assert reasons(book.take(change(30, 31))) == ["STALE_SNAPSHOT"] and book.wants_snapshot


def test_a_corrupt_change_does_not_keep_a_book_away_for_ever():
    book = Book(S)
    book.take(change(10**9, 10**9 + 1))
    for last_id in (50, 60):
        book.restore(snapshot(last_id))
    assert book.take(change(61, 62)) == [] and ids(book.restore(snapshot(61))) == [61, 62]
    book.take(change(63, 10**9))
    for last_id in range(64, 64 + OLD_MAX):
        assert book.take(change(last_id, last_id))
    assert book.wants_snapshot


def test_old_changes_are_told_as_what_they_are():
    book = Book(S)
    book.take(change(1, 4))
    book.restore(snapshot(2))
    assert reasons(book.take(change(1, 4))) == ["DUPLICATE"]
    assert reasons(book.take(change(1, 3))) == ["DISORDER"]
    assert ids(book.take(change(5, 6))) == [6]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_comes_a_book_that_is_told_is_continuous(data: st.DataObject):
    """Changes 1..60 dropped, repeated, shuffled nearby; snapshots of any age at any time."""
    order = data.draw(st.lists(st.integers(1, 60), max_size=120).map(lambda x: sorted(x)))
    swaps = data.draw(st.lists(st.integers(0, 118), max_size=15))
    for at in swaps:
        if at + 1 < len(order):
            order[at], order[at + 1] = order[at + 1], order[at]
    book, last_id = Book(S), None
    for number in order:
        told = book.take(change(number, number))
        if data.draw(st.booleans()):
            told += book.restore(snapshot(data.draw(st.integers(1, 60))))
        for event in told:
            if isinstance(event, Depth):
                assert event.snapshot or event.previous_id <= (last_id or 0) < event.last_id
                last_id = event.last_id


# --- trades ---


def test_a_gap_is_asked_for_and_told_in_the_order_of_ids():
    trades = Trades(S)
    assert ids(trades.take(trade(5))) == [5]
    assert trades.take(trade(8, time_ns=10)) == []
    assert trades.wanted(10) is None, "it may have been overtaken only"
    assert trades.wanted(10 + PATIENCE_NS) == Missing(6, 7)
    told = trades.fill(20, [trade(4), trade(5), trade(6, 20), trade(7, 20), trade(8, 20)])
    assert ids(told) == [6, 7, 8] and trades.backfilled == 2
    assert [event.time_ns for event in told] == [20, 20, 20]
    assert trades.wanted(10**12) is None


def test_an_overtaken_trade_fills_the_gap_itself():
    trades = Trades(S)
    trades.take(trade(5))
    trades.take(trade(7))
    assert ids(trades.take(trade(6))) == [6, 7] and trades.backfilled == 0


def test_a_trade_is_told_once():
    trades = Trades(S)
    trades.take(trade(5))
    trades.take(trade(7))
    assert reasons(trades.take(trade(5))) == ["DUPLICATE"]
    assert reasons(trades.take(trade(7))) == ["DUPLICATE"]
    assert ids(trades.fill(1, [trade(6), trade(6)])) == [6, 7]
    assert trades.fill(1, [trade(6), trade(7)]) == []


def test_after_a_reconnect_everything_since_is_asked_for():
    trades = Trades(S)
    trades.reopened()
    assert trades.wanted(1) is None, "nothing was known that could be continued"
    trades.take(trade(5))
    trades.reopened()
    assert trades.wanted(1) == Missing(6, 0)
    assert ids(trades.fill(1, [trade(6), trade(7)])) == [6, 7]
    assert trades.wanted(1) is None
    trades.reopened()
    assert trades.fill(1, []) == [] and trades.wanted(1) is None


def test_an_answer_that_does_not_reach_back_leaves_the_rest_wanted():
    trades = Trades(S)
    trades.take(trade(5))
    trades.reopened()
    assert trades.fill(1, [trade(9), trade(10)]) == []
    assert trades.wanted(1) == Missing(6, 8)


def test_what_happened_before_a_process_began_is_asked_for_behind_the_last_that_was_told():
    trades = Trades(S)
    trades.go_on(5, 100)
    assert trades.wanted(200) is None, "there is no connection yet"
    trades.reopened()
    assert trades.wanted(200) == Missing(6, 0)
    assert reasons(trades.take(trade(5))) == ["DUPLICATE"]
    assert trades.take(trade(9)) == [] and trades.wanted(200) == Missing(6, 8)
    assert ids(trades.fill(200, [trade(number) for number in range(3, 9)])) == [6, 7, 8, 9]
    assert trades.wanted(10**12) is None and trades.backfilled == 3


def test_a_venue_that_trades_nothing_meanwhile_leaves_nothing_wanted():
    trades = Trades(S)
    trades.go_on(5, 100)
    trades.reopened()
    assert trades.fill(200, [trade(4), trade(5)]) == [] and trades.wanted(10**12) is None
    assert ids(trades.take(trade(6))) == [6]


@pytest.mark.parametrize(
    "first_id, age_ns, is_lost",
    [
        (7 + STOPPED_TRADES_MAX, 1, True),
        (6 + STOPPED_TRADES_MAX, 1, False),
        (50, STOPPED_NS_MAX + 1, True),
        (50, STOPPED_NS_MAX, False),
        (6, STOPPED_NS_MAX + 1, False),
    ],
)
def test_what_is_too_much_or_too_old_after_a_stop_is_told_as_lost(
    first_id: int, age_ns: int, is_lost: bool
):
    trades, now_ns = Trades(S), 10 * STOPPED_NS_MAX
    trades.go_on(5, now_ns - age_ns)
    trades.reopened()
    told = trades.fill(now_ns, [trade(first_id), trade(first_id + 1)])
    assert reasons(told) == ["TRADES_LOST"] * is_lost
    if is_lost:
        assert isinstance(told[0], Rejected) and told[0].count == first_id - 6
        assert ids(told) == [first_id, first_id + 1] and trades.wanted(now_ns) is None
    elif first_id > 6:
        assert told == [] and trades.wanted(now_ns) == Missing(6, first_id - 1)


def test_the_bounds_of_a_stop_are_none_of_a_reconnect():
    trades, now_ns = Trades(S), 10 * STOPPED_NS_MAX
    trades.go_on(5, now_ns)
    trades.reopened()
    trades.fill(now_ns, [trade(6)])
    trades.reopened()
    assert trades.fill(now_ns + 2 * STOPPED_NS_MAX, [trade(50)]) == []
    assert trades.wanted(now_ns) == Missing(7, 49)


def test_what_nobody_gives_is_told_as_lost_and_the_rest_goes_on():
    trades = Trades(S)
    trades.take(trade(5))
    trades.take(trade(9))
    told = trades.give_up(1)
    assert [(event.reason, event.count) for event in told if isinstance(event, Rejected)] == [
        ("TRADES_LOST", 3)
    ]
    assert ids(told) == [9] and ids(trades.take(trade(10))) == [10]


def test_a_corrupt_id_does_not_make_all_later_trades_old():
    trades = Trades(S)
    trades.take(trade(5))
    assert reasons(trades.take(trade(6 + 10 * JUMP_MAX))) == ["ID_JUMP"]
    assert ids(trades.take(trade(6))) == [6]
    trades.take(trade(7 + 2 * AHEAD_MAX))
    assert reasons(trades.give_up(1, newest_id=6)) == ["ID_JUMP"]
    assert ids(trades.take(trade(7))) == [7]


def test_two_ids_near_one_another_are_believed():
    trades = Trades(S)
    trades.take(trade(5))
    far = 5 + 10 * JUMP_MAX
    assert reasons(trades.take(trade(far))) == ["ID_JUMP"]
    assert trades.take(trade(far + 1)) == [] and trades.wanted(10**12) == Missing(6, far)


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(1, 21)), st.lists(st.integers(0, 25), max_size=20), st.data())
def test_any_order_gives_each_trade_once_in_the_order_of_ids(
    order: list[int], repeated: list[int], data: st.DataObject
):
    trades = Trades(S)
    told = list(trades.take(trade(1)))
    for number in order + [value for value in repeated if 1 <= value <= 20]:
        if data.draw(st.integers(0, 3)):
            told += trades.take(trade(number))
    told += trades.fill(1, [trade(number) for number in range(1, 21)])
    told += trades.give_up(1)
    assert ids(told) == list(range(1, 21))


@pytest.mark.parametrize("count", [3])
def test_too_many_that_wait_are_bounded(count: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hft_lib.market.live.trades.HELD_MAX", count)
    trades = Trades(S)
    trades.take(trade(1))
    told = [event for number in range(3, 7) for event in trades.take(trade(number))]
    assert reasons(told) == ["TRADES_LOST"] and ids(told) == [3, 4, 5, 6]
