"""A symbol's quotes, marks, funding and terms; and the order of time of the whole feed."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import Funding, Instrument, Mark, Quote, Rejected, TimePassed
from hft_lib.market.imports import instrument_of
from hft_lib.market.live.items import JUMP_MAX, FundingNotice
from hft_lib.market.live.sequence import SILENCE_NS, Sequencer
from hft_lib.market.live.symbol import GAPS_MAX, SymbolFeed
from hft_lib.market.merge import DAY_NS

S = "BTC/USDT:USDT"


def quote(update_id: int, time_ns: int = 1) -> Quote:
    return Quote(time_ns, 0, S, 99.0, 1.0, 101.0, 1.0, update_id)


def notice(at: int, due: int, rate: float = 0.0001) -> FundingNotice:
    return FundingNotice(Mark(at, at, S, 100.0), rate, due)


def terms(time_ns: int = 1, step: float = 0.001) -> Instrument:
    return instrument_of(S, time_ns, 0.1, step, 1_000_000_000)


def test_a_quote_is_told_once_and_never_after_a_newer_one():
    feed = SymbolFeed(S)
    told = [feed.take(quote(number))[0] for number in (5, 5, 4, 6)]
    assert [getattr(one, "reason", "") for one in told] == ["", "DUPLICATE", "DISORDER", ""]


def test_a_corrupt_quote_id_does_not_make_all_later_quotes_old():
    feed = SymbolFeed(S)
    feed.take(quote(5))
    refused = feed.take(quote(5 + 2 * JUMP_MAX))[0]
    assert isinstance(refused, Rejected) and refused.reason == "ID_JUMP"
    assert isinstance(feed.take(quote(6))[0], Quote)
    feed.lost()
    assert isinstance(feed.take(quote(6 + 2 * JUMP_MAX))[0], Quote), "an outage moves ids on"


def test_funding_falls_due_when_the_announced_time_moves_on():
    feed = SymbolFeed(S)
    assert [type(one) for one in feed.take(notice(10, due=100))] == [Mark]
    assert [type(one) for one in feed.take(notice(90, due=100, rate=0.0002))] == [Mark]
    told = feed.take(notice(101, due=200))
    assert [type(one) for one in told] == [Funding, Mark]
    funding = told[0]
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.exchange_time_ns) == (0.0002, 100)
    repeated = feed.take(notice(101, due=200))
    assert [type(one) for one in repeated] == [Rejected]


def test_funding_does_not_fall_due_before_its_time():
    feed = SymbolFeed(S)
    feed.take(notice(10, due=100))
    assert [type(one) for one in feed.take(notice(20, due=150))] == [Mark]
    back = feed.take(notice(30, due=120))
    assert [getattr(one, "reason", "") for one in back] == ["FUNDING", ""]


def test_an_instrument_is_told_when_its_terms_are_new():
    feed = SymbolFeed(S)
    assert [type(one) for one in feed.define(terms())] == [Instrument]
    assert feed.define(terms(time_ns=2)) == []
    changed = feed.define(terms(time_ns=3, step=0.01))[0]
    assert isinstance(changed, Instrument) and changed.quantity_step == 0.01
    refused = feed.define(msgspec.structs.replace(terms(4), quantity_step=0.0))[0]
    assert isinstance(refused, Rejected) and refused.reason == "INSTRUMENT"


def test_the_cadence_of_an_instrument_is_measured():
    feed = SymbolFeed(S)
    feed.define(terms())
    for number in range(1, GAPS_MAX + 2):
        feed.take(quote(number, time_ns=number * 2_000_000_000))
    told = feed.define(terms(time_ns=9))[0]
    assert isinstance(told, Instrument) and told.cadence_ns == 2_000_000_000


def test_time_passes_at_each_midnight_and_in_silence():
    sequencer = Sequencer()
    assert sequencer.passed(5) == []
    before = DAY_NS - 10
    told: list[Any] = sequencer.stamp([quote(1, before)])
    assert sequencer.passed(before + 5) == []
    told += sequencer.stamp([quote(2, DAY_NS)])
    assert [one.time_ns for one in told] == [before, DAY_NS, DAY_NS + 1]
    assert isinstance(told[1], TimePassed)
    silent = sequencer.passed(DAY_NS + 1 + SILENCE_NS)
    assert silent == [TimePassed(DAY_NS + 1 + SILENCE_NS)]
    assert sequencer.passed(2 * DAY_NS) == [TimePassed(2 * DAY_NS)]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * DAY_NS)), max_size=40))
def test_time_goes_forward_at_every_fact(steps: list[tuple[bool, int]]):
    sequencer = Sequencer()
    told: list[Any] = []
    for is_quote, time_ns in steps:
        told += sequencer.stamp([quote(1, time_ns)]) if is_quote else sequencer.passed(time_ns)
    times = [event.time_ns for event in told]
    assert times == sorted(set(times))
    quotes = sum(is_quote for is_quote, _ in steps)
    assert sum(isinstance(event, Quote) for event in told) == quotes
    if times:
        midnights = {
            event.time_ns
            for event in told
            if isinstance(event, TimePassed) and event.time_ns % DAY_NS == 0
        }
        first = times[0] // DAY_NS + 1
        assert midnights >= {day * DAY_NS for day in range(first, times[-1] // DAY_NS + 1)}
