"""The one order: sources merged by time, and the feed's moments, midnights and end."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_lib.events import Funding, Instrument, Mark, Quote, TimePassed
from hft_lib.market import tape as tapes
from hft_lib.market.merge import DAY_NS, feed_events, merge
from hft_lib.market.tape import Tape, TapeWriter

HOUR = 3600 * 10**9
FIRST = Instrument(5, "A", "spot", "none", 0.0, 0.001, 0.001, 0.01, 1e-8, 5.0, HOUR)


def quote(time_ns: int, symbol: str = "A", more: bool = False) -> Quote:
    return Quote(time_ns, time_ns, symbol, 1.0, 1.0, 2.0, 1.0, 0, more)


def tape_of(path: Path, stream: list) -> Tape:
    with TapeWriter(path) as tape:
        tape.write(stream)
    return Tape.open(path)


def test_sources_merge_by_time_then_symbol() -> None:
    a = [quote(1, "A"), quote(3, "A"), quote(3, "A")]
    b = [quote(1, "B"), quote(2, "B"), quote(3, "B")]
    expected = [(1, "A"), (1, "B"), (2, "B"), (3, "A"), (3, "A"), (3, "B")]
    for sources in ([a, b], [b, a]):
        assert [(event.time_ns, event.symbol) for event in merge(sources)] == expected


def test_all_but_the_last_of_one_time_carry_more(tmp_path: Path) -> None:
    stream = [quote(1, "A"), Mark(1, 1, "B", 1.0), Funding(1, 1, "B", 0.0), quote(2), quote(3)]
    fed = list(feed_events(tape_of(tmp_path / "tape", stream)))
    assert [getattr(event, "more") for event in fed[:-1]] == [True, True, False, False, False]
    assert fed[-1] == TimePassed(3)


def test_time_passes_at_each_midnight_before_what_is_at_or_past_it(tmp_path: Path) -> None:
    stream = [quote(DAY_NS - 1), quote(DAY_NS), quote(3 * DAY_NS + 5)]
    fed = list(feed_events(tape_of(tmp_path / "tape", stream)))
    assert fed == [
        stream[0],
        TimePassed(DAY_NS),
        stream[1],
        TimePassed(2 * DAY_NS),
        TimePassed(3 * DAY_NS),
        stream[2],
        TimePassed(3 * DAY_NS + 5),
    ]


def test_a_window_ends_at_its_end_and_no_later_than_the_tape(tmp_path: Path) -> None:
    tape = tape_of(tmp_path / "tape", [quote(1), quote(DAY_NS + 7), quote(2 * DAY_NS)])
    assert list(feed_events(tape, end_ns=DAY_NS)) == [quote(1), TimePassed(DAY_NS)]
    assert list(feed_events(tape, end_ns=DAY_NS + 2)) == [
        quote(1),
        TimePassed(DAY_NS),
        TimePassed(DAY_NS + 2),
    ]
    assert list(feed_events(tape, DAY_NS, 99 * DAY_NS))[-1] == TimePassed(2 * DAY_NS)
    assert list(feed_events(tape, 2, 5)) == []


def test_a_late_window_begins_with_the_instruments_in_force(tmp_path: Path) -> None:
    other = msgspec.structs.replace(FIRST, symbol="B")
    tape = tape_of(tmp_path / "tape", [FIRST, other, quote(6), quote(9), quote(10)])
    fed = list(feed_events(tape, 9))
    assert fed[:2] == [
        msgspec.structs.replace(FIRST, time_ns=9, more=True),
        msgspec.structs.replace(other, time_ns=9, more=True),
    ]
    assert fed[2:] == [quote(9), quote(10), TimePassed(10)]
    later = list(feed_events(tape, 7, symbols=["A"]))
    assert later[0] == msgspec.structs.replace(FIRST, time_ns=7)
    assert list(feed_events(tape, 5))[:2] == [msgspec.structs.replace(FIRST, more=True), other]


def test_time_that_has_already_come_does_not_cut_a_moment(tmp_path: Path) -> None:
    stream = [TimePassed(1), quote(1, "A"), TimePassed(1), quote(1, "B"), TimePassed(4), quote(5)]
    fed = list(feed_events(tape_of(tmp_path / "tape", stream)))
    expected = [TimePassed(1), quote(1, "A", True), quote(1, "B"), TimePassed(4), quote(5)]
    assert fed == [*expected, TimePassed(5)]


def plain_feed(stream: list) -> list:
    """The feed of a whole tape, one event at a time."""
    kept = [stream[0]]
    for event in stream[1:]:
        if not (isinstance(event, TimePassed) and event.time_ns == kept[-1].time_ns):
            kept.append(event)
    fed: list = []
    midnight_ns = (stream[0].time_ns // DAY_NS + 1) * DAY_NS
    for number, event in enumerate(kept):
        while event.time_ns >= midnight_ns:
            fed.append(TimePassed(midnight_ns))
            midnight_ns += DAY_NS
        if not isinstance(event, TimePassed):
            after = kept[number + 1] if number + 1 < len(kept) else None
            more = after is not None and after.time_ns == event.time_ns
            event = msgspec.structs.replace(event, more=more)
        elif fed and event == fed[-1]:
            continue  # a midnight that the tape has itself
        fed.append(event)
    return [*fed, TimePassed(kept[-1].time_ns)]


moments = st.integers(0, 12).map(lambda six_hours: six_hours * 6 * HOUR)
streams = st.lists(
    st.builds(quote, moments, st.sampled_from("AB")) | st.builds(TimePassed, moments), min_size=1
).map(lambda stream: sorted(stream, key=lambda event: event.time_ns))


@settings(max_examples=80)
@given(stream=streams, batch_rows=st.integers(1, 4))
def test_the_feed_is_that_of_its_plain_twin(stream, batch_rows, tmp_path_factory) -> None:
    tape = tape_of(tmp_path_factory.mktemp("tape") / "tape", stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tapes, "BATCH_ROWS", batch_rows)
        assert list(feed_events(tape)) == plain_feed(stream)


def test_a_live_tape_holds_its_midnights_and_brings_each_once(tmp_path):
    came: list[Quote | TimePassed] = [
        quote(1),
        TimePassed(5),
        TimePassed(DAY_NS),
        quote(DAY_NS + 1),
        TimePassed(DAY_NS + 9),
    ]
    with TapeWriter(tmp_path / "live") as writer:
        writer.write(came)
    fed = list(feed_events(Tape.open(tmp_path / "live")))
    assert fed == [*came, TimePassed(DAY_NS + 9)]
