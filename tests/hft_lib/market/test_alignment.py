"""The legs side by side: tops, staleness, grid points."""

from hypothesis import given
from hypothesis import strategies as st

from hft_lib.market.alignment import PairState, tick
from hft_lib.market.cleaning import SymbolState
from tests.builders import S_NS, START_NS, X, Y, quote

GRID_NS = 60 * S_NS


def legs(y_ns: int = START_NS, x_ns: int = START_NS) -> tuple[SymbolState, SymbolState]:
    y = SymbolState(Y, bid=99.0, bid_size=1.0, ask=101.0, ask_size=2.0, quote_ns=y_ns)
    x = SymbolState(X, bid=49.0, bid_size=3.0, ask=51.0, ask_size=4.0, quote_ns=x_ns)
    return y, x


def pair() -> PairState:
    return PairState(f"{Y}~{X}", Y, X, GRID_NS, stale_cadences_max=10.0, slots_version=5)


def test_a_tick_holds_both_tops_side_by_side():
    event = quote(Y, START_NS, 100.0)
    made = tick(pair(), *legs(), "y", event, False)
    assert (made.y_bid, made.y_bid_size, made.y_ask, made.y_ask_size) == (99.0, 1.0, 101.0, 2.0)
    assert (made.x_bid, made.x_bid_size, made.x_ask, made.x_ask_size) == (49.0, 3.0, 51.0, 4.0)
    assert (made.event, made.leg, made.slots_version) == (event, "y", 5)


def test_a_leg_older_than_its_cadences_allow_is_stale():
    for y_age_s, x_age_s, stale in ((10, 10, False), (11, 0, True), (0, 11, True)):
        y, x = legs(START_NS - y_age_s * S_NS, START_NS - x_age_s * S_NS)
        assert tick(pair(), y, x, "y", quote(Y, START_NS, 100.0), False).stale == stale


def test_no_step_is_made_while_a_side_of_a_book_is_empty():
    for number in (0, 1):
        sides = legs()
        sides[number].is_one_sided = True
        made = tick(pair(), *sides, "y", quote(Y, START_NS, 100.0), False)
        assert (made.stale, made.grid_steps) == (True, 0)


def test_an_unfinished_moment_does_not_move_the_grid():
    state = pair()
    made = tick(state, *legs(), "y", quote(Y, START_NS, 100.0), True)
    assert (made.grid_steps, made.more, state.grid_index) == (0, True, 0)
    made = tick(state, *legs(), "x", quote(X, START_NS, 100.0), False)
    assert (made.grid_steps, made.more) == (1, False)


@given(st.lists(st.integers(0, 200 * S_NS), min_size=1, max_size=30))
def test_each_grid_point_is_stepped_once(waits_ns: list[int]):
    state, now_ns, total = pair(), START_NS, 0
    tick(state, *legs(), "y", quote(Y, now_ns, 100.0), False)
    for wait_ns in waits_ns:
        now_ns += wait_ns
        before = state.grid_index
        made = tick(state, *legs(now_ns, now_ns), "y", quote(Y, now_ns, 100.0), False)
        assert made.grid_steps == now_ns // GRID_NS - before
        total += made.grid_steps
    assert total == now_ns // GRID_NS - START_NS // GRID_NS
