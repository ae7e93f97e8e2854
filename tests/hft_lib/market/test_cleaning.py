"""What is wrong with a market event: each reason has its case."""

import math

import msgspec
import pytest

from hft_lib.events import Depth, Funding, Instrument, Mark, MarketEvent, Trade
from hft_lib.market.cleaning import CLEAN, CLOCK_JUMP_NS_MAX, SymbolState, inspect, refused
from tests.builders import HOUR_NS, S_NS, START_NS, Y, instrument, quote

NOW_NS = START_NS + S_NS


def known() -> SymbolState:
    """A symbol with its terms, a top at 100 and a trade."""
    state = SymbolState(Y)
    for event in (instrument(Y), quote(Y, START_NS, 100.0), trade(41, START_NS)):
        assert inspect(state, event) == CLEAN
    return state


def trade(trade_id: int, time_ns: int = NOW_NS, **changes: float) -> Trade:
    made = Trade(time_ns, time_ns - 3_000_000, Y, 100.0, 1.0, "buy", trade_id)
    return msgspec.structs.replace(made, **changes)


def depth(last_id: int, previous_id: int, **changes) -> Depth:
    levels = ((99.0, 1.0),)
    made = Depth(NOW_NS, NOW_NS, Y, False, last_id, last_id, previous_id, levels, ())
    return msgspec.structs.replace(made, **changes)


def judged(event: MarketEvent, state: SymbolState | None = None) -> list[tuple[str, bool]]:
    return [(flaw.reason, flaw.refuses) for flaw in inspect(state or known(), event)]


REFUSED: list[tuple[str, str, MarketEvent]] = [
    ("NAN", "bid", quote(Y, NOW_NS, 100.0, bid=math.nan)),
    ("NAN", "ask", quote(Y, NOW_NS, 100.0, ask=math.inf)),
    ("NAN", "size", quote(Y, NOW_NS, 100.0, size=math.nan)),
    ("PRICE", "bid 0", quote(Y, NOW_NS, 100.0, bid=0.0)),
    ("PRICE", "negative", quote(Y, NOW_NS, -100.0)),
    ("PRICE", "size", quote(Y, NOW_NS, 100.0, size=-1.0)),
    ("CROSSED", "bid over ask", quote(Y, NOW_NS, 100.0, bid=100.02)),
    (
        "DUPLICATE",
        "again",
        quote(Y, NOW_NS, 100.0, exchange_time_ns=START_NS - 3_000_000, size=1e3),
    ),
    ("DISORDER", "older", quote(Y, NOW_NS, 100.0, exchange_time_ns=START_NS - 4_000_000)),
    ("CLOCK_JUMP", "back", quote(Y, NOW_NS, 100.0, exchange_time_ns=NOW_NS + 6 * S_NS)),
    ("NAN", "trade", trade(42, price=math.nan)),
    ("PRICE", "trade", trade(42, size=0.0)),
    ("DUPLICATE", "trade", trade(41)),
    ("DISORDER", "trade", trade(40)),
    ("PRICE", "level", depth(9, 8, bids=((0.0, 1.0),))),
    ("NAN", "funding", Funding(NOW_NS, NOW_NS, Y, math.nan)),
    ("PRICE", "mark", Mark(NOW_NS, NOW_NS, Y, 0.0)),
    ("PRICE", "mark nan", Mark(NOW_NS, NOW_NS, Y, math.nan)),
    *(
        ("INSTRUMENT", name, instrument(Y, NOW_NS, **{name: value}))
        for name, value in (
            ("cadence_ns", 0),
            ("quantity_step", 0.0),
            ("quantity_step", math.inf),
            ("quantity_step", math.nan),
            ("taker_fee_rate", math.nan),
            ("maker_fee_rate", math.inf),
            ("borrow_rate_annual", math.nan),
            ("notional_min_quote", math.nan),
            ("short", "maybe"),
        )
    ),
]


@pytest.mark.parametrize("reason, what, event", REFUSED, ids=[f"{r}-{w}" for r, w, _ in REFUSED])
def test_each_reason_has_its_case(reason: str, what: str, event: MarketEvent):
    state = known()
    before = msgspec.structs.replace(state, clock_offset_ns=0)
    assert judged(event, state) == [(reason, True)]
    assert msgspec.structs.replace(state, clock_offset_ns=0) == before  # nothing of it was used


@pytest.mark.parametrize(
    "event, reason",
    [
        (quote(Y, START_NS + 2 * HOUR_NS, 100.0), "GAP"),
        (trade(50), "GAP"),
    ],
)
def test_a_gap_is_told_and_the_event_used(event: MarketEvent, reason: str):
    state = known()
    flaws = inspect(state, event)
    assert [flaw.reason for flaw in flaws] == [reason] and not refused(flaws)
    assert (state.quote_ns, state.trade_id) in ((event.time_ns, 41), (START_NS, 50))


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_an_empty_side_says_that_the_top_is_no_more_until_a_whole_quote_comes(side: str):
    state = known()
    empty = {side: 0.0, f"{side}_size": 0.0}
    late = quote(Y, NOW_NS, 100.0, exchange_time_ns=START_NS - S_NS, **empty)
    told = [late, quote(Y, NOW_NS, 100.0, **empty), quote(Y, NOW_NS + 1, 100.0)]
    assert [(judged(one, state), state.is_one_sided) for one in told] == [
        ([("PRICE", True)], False),
        ([("PRICE", True)], True),
        ([], False),
    ]


def test_a_quote_of_a_known_update_is_a_duplicate_and_an_older_one_disorder():
    state = known()
    assert judged(quote(Y, NOW_NS, 100.0, update_id=7), state) == []
    assert judged(quote(Y, NOW_NS, 101.0, update_id=7), state) == [("DUPLICATE", True)]
    assert judged(quote(Y, NOW_NS, 101.0, update_id=6), state) == [("DISORDER", True)]
    assert judged(quote(Y, NOW_NS, 101.0, update_id=8), state) == []


def test_another_top_of_the_same_exchange_time_is_news():
    same_ns = START_NS - 3_000_000
    assert judged(quote(Y, NOW_NS, 100.0, 999.0, exchange_time_ns=same_ns)) == []


def test_a_locked_book_and_an_empty_side_are_quotes():
    assert judged(quote(Y, NOW_NS, 100.0, bid=100.0, ask=100.0)) == []
    assert judged(quote(Y, NOW_NS, 100.0, size=0.0)) == []


def test_a_clock_that_jumped_refuses_one_event_and_is_then_believed():
    state = known()
    shift_ns = CLOCK_JUMP_NS_MAX + S_NS

    def shifted(at_s: int) -> MarketEvent:
        time_ns = START_NS + at_s * S_NS
        return quote(Y, time_ns, 100.0 + at_s, exchange_time_ns=time_ns + shift_ns)

    assert judged(shifted(1), state) == [("CLOCK_JUMP", True)]
    assert judged(shifted(2), state) == []
    assert state.quote_ns == START_NS + 2 * S_NS


def test_trades_that_were_filled_in_after_an_outage_are_late_and_no_jump():
    state, at_ns = known(), START_NS + 120 * S_NS
    filled = [
        trade(42 + number, at_ns + number, exchange_time_ns=START_NS + number * 6 * S_NS)
        for number in range(20)
    ]
    live = trade(62, at_ns + S_NS)
    assert [judged(one, state) for one in (*filled, live)] == [[]] * 21
    assert judged(quote(Y, at_ns + 2 * S_NS, 100.0), state) == []
    assert (state.trade_id, state.trade_exchange_ns) == (62, live.exchange_time_ns)


def test_quotes_between_late_trades_are_judged_by_their_own_clock():
    state = known()
    for number in range(5):
        at_ns = START_NS + 30 * S_NS + number
        late = trade(42 + number, at_ns, exchange_time_ns=START_NS + number * S_NS)
        assert judged(late, state) == []
    assert judged(quote(Y, START_NS + 31 * S_NS, 100.0), state) == []
    ahead = START_NS + 40 * S_NS
    jumped = quote(Y, START_NS + 32 * S_NS, 100.0, exchange_time_ns=ahead)
    assert judged(jumped, state) == [("CLOCK_JUMP", True)]


def test_trades_that_are_late_for_a_minute_tell_that_the_clock_is():
    state = known()

    def late(number: int) -> Trade:
        at_ns = START_NS + number * 10 * S_NS
        return trade(41 + number, at_ns, exchange_time_ns=at_ns - 20 * S_NS)

    told = [judged(late(number), state) for number in range(1, 10)]
    assert told == [[]] * 7 + [[("CLOCK_JUMP", True)], []]
    assert state.clock_offset_ns == 20 * S_NS


def test_a_trade_ahead_of_its_clock_is_refused_and_its_id_is_not_missing():
    state = known()
    ahead = trade(42, exchange_time_ns=NOW_NS + 6 * S_NS)
    assert judged(ahead, state) == [("CLOCK_JUMP", True)]
    back = trade(43, exchange_time_ns=NOW_NS + 6 * S_NS)
    assert judged(back, state) == [], "no gap is told"


def test_a_clock_within_its_bounds_is_no_jump():
    state = known()
    assert judged(quote(Y, NOW_NS, 100.0, exchange_time_ns=NOW_NS + 4 * S_NS), state) == []


def test_without_the_exchanges_clock_nothing_is_late_nor_a_jump():
    assert judged(quote(Y, NOW_NS, 100.0, exchange_time_ns=0)) == []


def test_depth_is_judged_by_its_sequence():
    state = known()
    assert judged(depth(10, 0, snapshot=True), state) == []
    assert judged(depth(12, 10), state) == []
    assert judged(depth(12, 10), state) == [("DUPLICATE", True)]
    assert judged(depth(11, 10), state) == [("DISORDER", True)]
    assert judged(depth(20, 15), state) == [("GAP", False)]


def kinds(number: int, at_s: float) -> list[MarketEvent]:
    """An event of each kind that has an id, all with this one."""
    time_ns = START_NS + int(at_s * S_NS)
    change = depth(number, number - 1, time_ns=time_ns)
    return [quote(Y, time_ns, 100.0 + at_s, update_id=number), trade(number, time_ns), change]


def refusal(event: MarketEvent, state: SymbolState) -> str:
    """Why the event is refused; empty where it is not."""
    return "".join(flaw.reason for flaw in inspect(state, event) if flaw.refuses)


KINDS = pytest.mark.parametrize("kind", range(3), ids=["quote", "trade", "depth"])
FAR = 2**62


@KINDS
def test_a_corrupt_id_costs_one_event_and_not_the_stream(kind: int):
    state = SymbolState(Y)
    sent = [100, 101, 102, FAR, 103, 104, FAR + 9_000_000, 105]
    found = [refusal(kinds(number, at)[kind], state) for at, number in enumerate(sent)]
    assert found == ["", "", "", "ID_JUMP", "", "", "ID_JUMP", ""]


@KINDS
def test_ids_that_go_on_from_a_far_one_are_believed_again(kind: int):
    state = SymbolState(Y)
    sent = [100, 101, FAR, FAR + 1, FAR + 2, 102]
    found = [refusal(kinds(number, at)[kind], state) for at, number in enumerate(sent)]
    assert found == ["", "", "ID_JUMP", "", "", "DISORDER"]


@KINDS
def test_a_first_id_that_was_corrupt_does_not_make_all_others_late(kind: int):
    state = SymbolState(Y)
    found = [refusal(kinds(number, at)[kind], state) for at, number in enumerate([FAR, 7, 8, 9])]
    assert found == ["", "DISORDER", "", ""]


@KINDS
def test_what_is_old_stays_old_however_much_of_it_comes(kind: int):
    state = SymbolState(Y)
    begun = 50_000_000_000
    for at, number in enumerate([begun, begun + 1]):
        assert judged(kinds(number, at)[kind], state) == []
    for at, number in enumerate(range(5, 30), start=2):
        assert judged(kinds(number, at)[kind], state) == [("DISORDER", True)]


@KINDS
def test_a_long_gap_lets_ids_move_as_far(kind: int):
    state = SymbolState(Y)
    assert judged(kinds(100, 0.0)[kind], state) == []
    assert refusal(kinds(100 + 60_000_000, 3_600.0)[kind], state) == ""


def test_an_event_without_an_id_leaves_the_sequence_as_it_is():
    state = SymbolState(Y)
    for at, number in enumerate([100, 0, 101, 0]):
        for event in kinds(number, at)[:2]:
            assert judged(event, state) == []
    assert [judged(event, state) for event in kinds(100, 4.0)[:2]] == [[("DISORDER", True)]] * 2


@pytest.mark.parametrize(
    "cadence_ns, silence_ns, gap",
    [
        (HOUR_NS, HOUR_NS + HOUR_NS // 3, False),
        (HOUR_NS, HOUR_NS + 2 * HOUR_NS // 3, True),  # on a grid one missing is a gap
        (S_NS // 10, 9 * S_NS // 10, False),
        (S_NS // 10, 11 * S_NS // 10, True),
    ],
)
def test_what_a_gap_is_depends_on_the_cadence(cadence_ns: int, silence_ns: int, gap: bool):
    state = SymbolState(Y)
    terms: Instrument = instrument(Y, cadence_ns=cadence_ns)
    inspect(state, terms)
    inspect(state, quote(Y, START_NS, 100.0))
    found = judged(quote(Y, START_NS + silence_ns, 100.0), state)
    assert found == ([("GAP", False)] if gap else [])
