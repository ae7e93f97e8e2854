"""Trades without ids: what a stream and an answer tell of the same time is told once, in order."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import MarketEvent, Rejected, Trade
from hft_lib.market.live import unnumbered
from hft_lib.market.live.trades import Missing
from hft_lib.market.live.unnumbered import UnnumberedTrades

T0 = 1_700_000_000 * 10**9
US = 1_000


def trade(at_us: int, price: float = 10.0, came_ns: int = 0) -> Trade:
    own_ns = T0 + at_us * US
    return Trade(came_ns or own_ns + 5, own_ns, "S/T", price, 1.0, "buy", 0)


def times(told: Sequence[MarketEvent | Rejected]) -> list[int]:
    return [(one.exchange_time_ns - T0) // US for one in told if isinstance(one, Trade)]


def begun(*at_us: int) -> UnnumberedTrades:
    trades = UnnumberedTrades("S/T")
    for at in at_us:
        assert times(trades.take(trade(at))) == [at]
    return trades


def test_trades_of_a_stream_are_told_as_they_come():
    trades = begun(1, 2, 2, 9)
    assert trades.wanted(T0) is None and trades.last_exchange_ns == T0 + 9 * US


def test_after_a_lost_connection_the_venue_is_asked_and_what_comes_waits():
    trades = begun(1, 2)
    trades.lost()
    assert trades.wanted(T0) is None, "nothing can be asked yet"
    assert trades.take(trade(7)) == []
    trades.reopened()
    assert trades.wanted(T0) == Missing(1, 0)
    told = trades.fill(T0 + 99, [trade(2), trade(4), trade(5), trade(7)])
    assert times(told) == [4, 5, 7] and {one.time_ns for one in told} == {T0 + 99}
    assert trades.backfilled == 2 and trades.wanted(T0) is None
    assert times(trades.take(trade(8))) == [8]


def test_before_anything_was_told_nothing_is_missing():
    trades = UnnumberedTrades("S/T")
    trades.lost()
    trades.reopened()
    assert trades.wanted(T0) is None and times(trades.take(trade(1))) == [1]


def test_a_stream_that_repeats_what_was_told_before_is_told_apart():
    trades = begun(3, 4)
    trades.lost()
    trades.reopened()
    for at in (1, 3, 4, 6):  # 1 happened before anybody listened
        assert trades.take(trade(at)) == []
    assert times(trades.fill(T0, [trade(6)])) == [6]
    assert trades.backfilled == 0


def test_an_answer_may_be_ahead_of_the_stream():
    trades = begun(1)
    trades.lost()
    trades.reopened()
    assert times(trades.fill(T0, [trade(1), trade(2), trade(3)])) == [2, 3]
    assert trades.take(trade(3)) == [], "the stream brings what the answer had"
    assert times(trades.take(trade(3))) == [], "or what it had a microsecond apart"
    assert times(trades.take(trade(3))) == [3], "another that is alike"


def test_a_doubt_before_the_connection_is_back_waits_for_it():
    trades = begun(1)
    trades.lost()
    trades.unsure()
    assert trades.wanted(T0) is None, "what happens until then would be missed"
    trades.reopened()
    assert trades.wanted(T0) is not None


def test_a_doubt_while_the_venue_is_asked_is_another():
    trades = begun(1)
    trades.unsure()
    first = trades.wanted(T0)
    trades.unsure()
    assert first is not None and trades.wanted(T0) not in (None, first)
    assert times(trades.fill(T0, [trade(1), trade(4)])) == [4] and trades.wanted(T0) is None


def test_two_alike_are_two():
    trades = begun(1, 1)
    trades.lost()
    trades.reopened()
    assert times(trades.fill(T0, [trade(1), trade(1), trade(1)])) == [1]


@pytest.mark.parametrize("off_us", [-1, 1])
def test_a_time_that_was_rounded_is_the_same(off_us: int):
    trades = begun(10)
    trades.lost()
    trades.reopened()
    assert trades.fill(T0, [trade(10 + off_us)]) == []
    assert times(trades.take(trade(10 + off_us, price=11.0))) == [10 + off_us]


def test_where_the_venue_does_not_say_a_loss_is_told_and_the_rest_goes_on():
    trades = begun(1, 2)
    assert trades.give_up(T0) == []
    trades.lost()
    trades.reopened()
    assert trades.take(trade(2)) == trades.take(trade(5)) == []
    lost, *rest = trades.give_up(T0 + 99)
    assert isinstance(lost, Rejected) and lost.reason == "TRADES_LOST" and times(rest) == [5]
    assert trades.wanted(T0) is None


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unnumbered, "HELD_MAX", 3)
    trades = begun(1)
    trades.lost()
    assert [trades.take(trade(at)) for at in (4, 6, 8)] == [[], [], []]
    told = trades.take(trade(10))
    assert isinstance(told[0], Rejected) and times(told) == [4, 6, 8, 10]


def moment_end(happened: list[Trade], place: int) -> int:
    """The place after the moment of the trade before `place`: no new connection is as fast."""
    while 0 < place < len(happened) and times(happened[place - 1 : place]) == times(
        happened[place : place + 1]
    ):
        place += 1
    return place


@given(
    truth=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 2)), min_size=1, max_size=30),
    cuts=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)),
)
def test_each_trade_is_told_once_however_the_connection_ends(
    truth: list[tuple[int, int]], cuts: tuple[int, int, int, int]
) -> None:
    """The stream brings the first part, then from some place on; the answer has what was by then.

    Times are 3 us apart or equal, so that none is taken for a rounded other.
    """
    happened = [trade(at * 3, float(price)) for at, price in sorted(truth)]
    lost_at, back_at, asked_at, repeats = (min(cut, len(happened)) for cut in cuts)
    lost_at = max(lost_at, 1)
    back_at = moment_end(happened, max(back_at, lost_at))
    asked_at = moment_end(happened, max(asked_at, back_at))
    trades, told = UnnumberedTrades("S/T"), list[MarketEvent | Rejected]()
    for one in happened[:lost_at]:
        told += trades.take(one)
    trades.lost()
    trades.reopened()
    seen = max(back_at, min(asked_at, back_at + 3))
    for one in happened[max(back_at - repeats, 0) : seen]:
        told += trades.take(one)
    since_ns = trades.last_exchange_ns
    told += trades.fill(
        T0, [one for one in happened[:asked_at] if one.exchange_time_ns >= since_ns]
    )
    for one in happened[seen:]:
        told += trades.take(one)
    expected = Counter(msgspec.structs.replace(one, time_ns=0) for one in happened)
    found = Counter(
        msgspec.structs.replace(one, time_ns=0) for one in told if isinstance(one, Trade)
    )
    assert found == expected
    assert times(told) == sorted(times(told))


def test_what_two_connections_bring_before_an_answer_is_told_once():
    trades = begun(1, 2)
    for _ in range(2):  # each begins with the last trades, as Kraken's subscriptions may
        trades.lost()
        trades.reopened()
        for at in (1, 2, 4, 5):
            assert trades.take(trade(at)) == []
    assert times(trades.fill(T0, [trade(2), trade(4), trade(5), trade(6)])) == [4, 5, 6]
    assert trades.backfilled == 1


def test_a_connection_may_repeat_what_was_told_before_it_after_the_answer():
    trades = begun(5, 8)
    trades.lost()
    trades.reopened()
    assert times(trades.fill(T0, [trade(8), trade(11)])) == [11]
    for at in (2, 5, 8, 11):  # 2 happened before anybody listened
        assert trades.take(trade(at)) == []
    assert times(trades.take(trade(14))) == [14]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["goes on", "ends", "begins", "is asked", "is unsure"]), st.integers(0, 6)
    ),
    max_size=20,
)


@given(truth=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 2)), min_size=1), steps=_STEPS)
def test_each_trade_is_told_once_whatever_connections_repeat_and_answers_have(
    truth: list[tuple[int, int]], steps: list[tuple[str, int]]
) -> None:
    """Connections come and go, each begins with some of the last trades; the answer has all."""
    happened = [trade(at * 3, float(price)) for at, price in sorted(truth)]
    trades, is_there = UnnumberedTrades("S/T"), True
    told, now = trades.take(happened[0]), 1
    for step, number in [*steps, ("ends", 0), ("begins", 6), ("is asked", 0), ("goes on", 99)]:
        if step == "goes on":
            later = happened[now : now + number]
            now += len(later)
            told += [fact for one in later if is_there for fact in trades.take(one)]
        elif step == "ends" and is_there:
            is_there = False
            trades.lost()
        elif step == "begins" and not is_there:
            is_there, now = True, moment_end(happened, now)
            trades.reopened()
            for one in happened[max(now - number, 0) : now]:
                told += trades.take(one)
        elif step == "is unsure" and is_there:
            trades.unsure()
        elif step == "is asked" and trades.wanted(T0) is not None:
            since_ns = trades.last_exchange_ns
            answer = [one for one in happened[:now] if one.exchange_time_ns >= since_ns]
            told += trades.fill(T0, answer)
    found = Counter((one.exchange_time_ns, one.price) for one in told if isinstance(one, Trade))
    assert found == Counter((one.exchange_time_ns, one.price) for one in happened)
    assert times(told) == sorted(times(told))
