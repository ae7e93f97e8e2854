"""Ingestion: control in band, moments of several events, the grid, and nothing lost."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import (
    Decided,
    Event,
    MarketEvent,
    PairTick,
    Promoted,
    Rejected,
    SlotAssigned,
    TimePassed,
)
from hft_lib.stages.ingestion import STAGE
from tests.builders import (
    HOUR_NS,
    PAIR,
    PAIR2,
    S_NS,
    START_NS,
    Y2,
    X,
    Y,
    assigned,
    config,
    instrument,
    parameters,
    pointed,
    quote,
    told,
)


class Head:
    """The head of a line, told events one at a time."""

    def __init__(self, *pairs: str) -> None:
        self.state = STAGE.start(config(*pairs))

    def post(self, event: Event) -> list[Any]:
        return list[Any](STAGE.step(self.state, event))

    def open(self, *symbols: str, time_ns: int = START_NS) -> list[Any]:
        """Terms and a first quote of every symbol, each a moment of its own."""
        made = [fact for symbol in symbols for fact in self.post(instrument(symbol, time_ns))]
        for symbol in symbols:
            made += self.post(quote(symbol, time_ns, 100.0))
        return made


def ticks(facts: list[Any]) -> list[PairTick]:
    return [fact for fact in facts if isinstance(fact, PairTick)]


def reasons(facts: list[Any]) -> list[str]:
    return [fact.reason for fact in facts if isinstance(fact, Rejected)]


def opened(*symbols: str) -> Head:
    head = Head(*((PAIR, PAIR2) if Y2 in symbols else (PAIR,)))
    head.open(*symbols)
    return head


# --- ticks ---


def test_an_accepted_event_makes_a_tick_of_each_pair_it_touches_in_the_lines_order():
    head = opened(Y, Y2, X)
    made = head.post(quote(X, START_NS + S_NS, 101.0))
    assert [(tick.pair, tick.leg) for tick in ticks(made)] == [(PAIR, "x"), (PAIR2, "x")]
    assert [tick.pair for tick in ticks(head.post(quote(Y2, START_NS + S_NS, 9.0)))] == [PAIR2]


def test_a_tick_carries_the_event_and_both_tops_after_it():
    head = opened(Y, X)
    event = quote(Y, START_NS + S_NS, 101.0, 7.0)
    (tick,) = ticks(head.post(event))
    assert tick.event == event
    assert (tick.y_bid, tick.y_ask, tick.y_bid_size) == (event.bid, event.ask, 7.0)
    assert tick.x_bid == 100.0 * (1.0 - 1e-4)
    assert (tick.y_time_ns, tick.x_time_ns) == (START_NS + S_NS, START_NS)


def test_what_lies_behind_the_line_is_disorder_and_moves_nothing():
    head = opened(Y, X)
    head.post(quote(Y, START_NS + 5 * S_NS, 101.0))
    made = head.post(quote(X, START_NS + S_NS, 55.0))
    assert reasons(made) == ["DISORDER"] and not ticks(made)
    (tick,) = ticks(head.post(quote(Y, START_NS + 6 * S_NS, 101.0)))
    assert tick.x_ask == 100.0 * (1.0 + 1e-4)


def test_a_symbol_of_no_pair_is_told_once_and_counted():
    head = opened(Y, X)
    made = [reasons(head.post(quote("DOGE/USDT", START_NS + k, 1.0))) for k in range(1, 5)]
    assert made == [["UNKNOWN_SYMBOL"], [], [], []]
    assert head.state.unknown == {"DOGE/USDT": 4}


# --- staleness ---


def test_a_leg_that_falls_silent_is_told_once_an_episode():
    head = opened(Y, X)
    told_once: list[str] = []
    for hour in range(1, 6):
        made = head.post(quote(Y, START_NS + hour * HOUR_NS, 100.0))
        told_once += reasons(made)
        assert ticks(made)[0].stale == (hour > 2)  # 2.5 cadences of an hour
    assert [reason for reason in told_once if reason == "STALE_LEG"] == ["STALE_LEG"]
    made = head.post(quote(X, START_NS + 5 * HOUR_NS + 1, 100.0))
    assert not ticks(made)[0].stale
    made = head.post(quote(X, START_NS + 9 * HOUR_NS, 100.0))
    assert "STALE_LEG" in reasons(made) and made[-2].subject == Y


def test_a_leg_that_has_yet_to_begin_is_waited_for():
    head = Head(PAIR)
    made = head.open(Y)
    assert [tick.stale for tick in ticks(made)] == [True, True] and reasons(made) == []


def test_a_stale_moment_steps_no_model_and_its_intervals_are_not_lost():
    head = opened(Y, X)
    for hour in (1, 2, 3, 4):
        (tick,) = ticks(head.post(quote(Y, START_NS + hour * HOUR_NS, 100.0)))
        assert tick.grid_steps == (0 if hour > 2 else 1)
    (tick,) = ticks(head.post(quote(X, START_NS + 4 * HOUR_NS + 1, 100.0)))
    assert tick.grid_steps == 2


# --- the grid ---


def test_the_first_complete_moment_past_a_grid_point_steps_by_whole_intervals():
    head = Head(PAIR)
    made = head.open(Y, X, time_ns=START_NS + 17 * S_NS)
    assert [tick.grid_steps for tick in ticks(made)] == [
        0,
        0,
        0,
        1,
    ]  # the first, once both legs are there
    steps = []
    for time_ns in (START_NS + HOUR_NS - 1, START_NS + HOUR_NS + 3, START_NS + HOUR_NS + 4):
        steps += [tick.grid_steps for tick in ticks(head.post(quote(Y, time_ns, 100.0)))]
    assert steps == [0, 1, 0]
    head.post(quote(X, START_NS + 2 * HOUR_NS - 1, 100.0))
    (tick,) = ticks(head.post(quote(Y, START_NS + 3 * HOUR_NS + HOUR_NS // 4, 100.0)))
    assert tick.grid_steps == 2


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=40))
def test_grid_steps_sum_to_the_intervals_between_first_and_last(waits_s: list[int]):
    head = opened(Y, X)
    total, now_ns = 0, START_NS
    for wait_s in waits_s:
        now_ns += wait_s * S_NS
        for symbol in (Y, X):
            made = ticks(head.post(quote(symbol, now_ns, 100.0, more=symbol == Y)))
            total += sum(tick.grid_steps for tick in made)
            assert symbol == X or made[0].grid_steps == 0
    assert total == now_ns // HOUR_NS - START_NS // HOUR_NS


# --- moments of several events ---


def test_events_of_one_moment_step_once_at_its_end():
    head = opened(Y, X)
    at_ns = START_NS + HOUR_NS
    first = ticks(head.post(quote(X, at_ns, 101.0, more=True)))
    last = ticks(head.post(quote(Y, at_ns, 102.0)))
    assert [(tick.more, tick.grid_steps) for tick in first + last] == [(True, 0), (False, 1)]


def test_a_moment_of_two_pairs_is_completed_for_both():
    head = opened(Y, Y2, X)
    at_ns = START_NS + HOUR_NS
    head.post(quote(Y2, at_ns, 50.0, more=True))
    made = ticks(head.post(quote(Y, at_ns, 101.0)))
    assert [(tick.pair, tick.leg, tick.more, tick.grid_steps) for tick in made] == [
        (PAIR, "y", False, 1),
        (PAIR2, "", False, 1),  # its own last event said that more would follow
    ]


@pytest.mark.parametrize(
    "last",
    [
        quote(Y, START_NS + HOUR_NS, math.nan),
        quote("DOGE/USDT", START_NS + HOUR_NS, 1.0),
        quote(Y, START_NS + HOUR_NS, 100.0, bid=101.0),
    ],
    ids=["nan", "unknown", "crossed"],
)
def test_a_last_event_that_is_rejected_still_completes_the_moment(last: MarketEvent):
    head = opened(Y, X)
    head.post(quote(X, START_NS + HOUR_NS, 101.0, more=True))
    made = head.post(last)
    assert len(reasons(made)) == 1
    (tick,) = ticks(made)
    assert (tick.leg, tick.more, tick.grid_steps) == ("", False, 1)


# --- control ---


def test_control_goes_before_the_first_event_at_or_past_its_time():
    head = opened(Y, X)
    effective_ns = START_NS + 10 * S_NS
    control = assigned(0, parameters(), effective_ns=effective_ns, slots_version=7)
    assert head.post(control) == []
    (before,) = ticks(head.post(quote(Y, effective_ns - 1, 100.0)))
    made = head.post(quote(Y, effective_ns, 101.0))
    assert made[0] == control and isinstance(made[1], PairTick)
    assert (before.slots_version, made[1].slots_version) == (0, 7)


def test_control_is_released_in_order_of_effect_then_of_arrival():
    head = opened(Y, X)
    for slot, at_s in ((0, 30), (1, 10), (2, 10)):
        head.post(assigned(slot, parameters(), effective_ns=START_NS + at_s * S_NS))
    made = head.post(TimePassed(START_NS + 60 * S_NS))
    assert [f.slot for f in made if isinstance(f, SlotAssigned)] == [1, 2, 0]
    assert made[-1] == TimePassed(START_NS + 60 * S_NS)


def test_late_control_goes_at_once_and_is_marked():
    head = opened(Y, X)
    head.post(quote(Y, START_NS + 20 * S_NS, 100.0))
    (made,) = head.post(pointed(Promoted, 1, effective_ns=START_NS + 10 * S_NS))
    assert isinstance(made, Promoted) and made.late


def test_a_rejected_event_still_moves_time_and_releases_control():
    head = opened(Y, X)
    head.post(pointed(Promoted, 1, effective_ns=START_NS + 10 * S_NS))
    made = head.post(quote(Y, START_NS + 11 * S_NS, math.nan))
    assert [type(fact) for fact in made] == [Promoted, Rejected]


def test_control_of_one_pair_stamps_that_pair_alone():
    head = opened(Y, Y2, X)
    head.post(pointed(Promoted, 1, effective_ns=START_NS + S_NS, pair=PAIR2, slots_version=9))
    made = ticks(head.post(quote(X, START_NS + 2 * S_NS, 100.0)))
    assert [(tick.pair, tick.slots_version) for tick in made] == [(PAIR, 0), (PAIR2, 9)]


def test_time_that_lies_behind_says_nothing():
    head = opened(Y, X)
    assert head.post(TimePassed(START_NS - 1)) == []
    assert head.post(TimePassed(START_NS)) == [TimePassed(START_NS)]


def test_an_answer_to_a_block_is_kept():
    head = opened(Y, X)
    assert head.post(Decided(START_NS, PAIR, START_NS)) == []
    assert head.state.decided_ns == {PAIR: START_NS}


# --- nothing is lost ---


def test_every_event_of_the_story_is_a_tick_or_a_rejection():
    state = STAGE.start(config(PAIR, PAIR2))
    outcomes: Counter[str] = Counter()
    for event in told().inboxes["ingestion"]:
        if not isinstance(event, MarketEvent):
            continue
        made = list[Any](STAGE.step(state, event))
        used = [tick for tick in ticks(made) if tick.leg and tick.event is event]
        unknown = event.symbol in state.unknown
        refused = [fact for fact in made if isinstance(fact, Rejected)]
        assert bool(used) != any(f.reason not in ("GAP", "STALE_LEG") for f in refused) or unknown
        assert len(used) == (0 if not used else 2 if event.symbol == X else 1)
        outcomes["used" if used else "refused"] += 1
    assert outcomes["refused"] >= 6 and outcomes["used"] > 400


def test_terms_that_nothing_can_be_traded_on_are_refused_before_execution_sees_them():
    head = opened(Y, X)
    made = head.post(instrument(Y, START_NS + S_NS, short="maybe"))
    assert reasons(made) == ["INSTRUMENT"] and not [tick for tick in ticks(made) if tick.leg]


def test_what_the_live_feed_refused_goes_on_record_as_it_is_and_moves_no_time():
    head = opened(Y, X)
    for time_ns in (START_NS + S_NS, START_NS - S_NS):
        refusal = Rejected(time_ns, "feed", "NAN", Y, "")
        assert head.post(refusal) == [refusal]
    assert head.state.time_ns == START_NS
