"""Two legs as one machine: whatever the market gives, nothing stays unhedged and all adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_lib.events import CapitalOrder, Fill, Order, Rejected, ShadowOrder
from hft_lib.exchange.account import Account, Leg
from hft_lib.parameters import Assumptions, Limits
from hft_lib.stages.legs import ATTEMPTS_MAX, aim, at_goal, hedged_multiple, shrink
from tests.builders import S_NS, X, Y
from tests.trading import Trader

NAMES = ("slot-0", "slot-1", "capital")
LOT = {"y": 0.01, "x": 0.001}  # the instruments' steps

z_scores = st.sampled_from([-2.5, -1.2, -0.7, 0.0, 0.3, 0.8, 1.1, 2.5])
thin = st.one_of(st.just(0.0), st.floats(0.0, 60.0), st.just(1e6))
moves = st.tuples(
    z_scores,
    z_scores,
    thin,
    thin,
    st.floats(99.0, 101.0),
    st.sampled_from([0.2, 1.0, 7.0, 60.0, 3600.0]),
    st.sampled_from([False, False, False, True]),
)


def told_to(trader: Trader, made: list[tuple[float, ...]]) -> None:
    for z0, z1, y_size, x_size, y, dt_s, stale in made:
        trader.tick(z0, z1, dt_s=dt_s, y=y, sizes=(y_size, x_size), stale=bool(stale))


def imbalance_lots(trader: Trader, name: str) -> float:
    """How far the legs are from one multiple of what is wanted, in the coarser leg's lots."""
    account = trader.account(name)
    wanted, held = account["wanted"], account["position"]
    if not wanted.any():
        return float(np.abs(held).max()) / LOT["y"]
    shares = held / wanted
    return float(abs(shares[0] - shares[1]) * np.abs(wanted).max() / LOT["y"])


@settings(max_examples=60)
@given(st.lists(moves, min_size=1, max_size=25), st.sampled_from([0, 1_000_000, 2 * S_NS]))
def test_no_leg_stays_unhedged_once_there_is_liquidity(made, latency_ns: int):
    trader = Trader(assumptions=Assumptions(latency_ns, latency_ns))
    told_to(trader, made)
    z0, z1 = made[-1][:2]
    for _ in range(2 * ATTEMPTS_MAX + 2):
        trader.tick(z0, z1)
        trader.wait(10.0)
    for name in NAMES:
        assert imbalance_lots(trader, name) <= 1.01, (name, trader.account(name))


@settings(max_examples=60)
@given(st.lists(moves, min_size=1, max_size=25), st.floats(-0.001, 0.001))
def test_positions_cash_and_fees_add_up(made, funding: float):
    trader = Trader(assumptions=Assumptions(S_NS, S_NS))
    told_to(trader, made[:10])
    trader.fund(funding)
    told_to(trader, made[10:])
    for name in NAMES:
        account, fills = trader.account(name), trader.of(Fill, name)
        assert trader.held(name) == pytest.approx(trader.filled(name), abs=1e-9)
        paid = sum(
            fill.quantity * fill.price * (1.0 if fill.side == "buy" else -1.0) for fill in fills
        )
        fees = sum(fill.fee_quote for fill in fills)
        slippage = sum(fill.slippage_quote for fill in fills)
        carried = float(account["funding"]) + float(account["borrow"])
        mids = 0.5 * (trader.desk.legs["bid"] + trader.desk.legs["ask"])
        marks = float((account["position"] * mids).sum())
        trader_equity = float(account["equity"])
        assert trader_equity == pytest.approx(-paid - fees - carried + marks, abs=1e-9, rel=1e-11)
        assert float(account["fees"]) == pytest.approx(fees, abs=1e-9)
        assert float(account["slippage"]) == pytest.approx(slippage, abs=1e-9)


@settings(max_examples=40)
@given(st.lists(moves, min_size=1, max_size=25))
def test_every_order_is_of_whole_lots_and_reduce_only_reduces(made):
    trader = Trader(assumptions=Assumptions(0, 0))
    told_to(trader, made)
    held = {(name, leg): 0.0 for name in NAMES for leg in ("y", "x")}
    for fact in trader.facts:
        if isinstance(fact, Order):
            step, before = LOT[fact.leg], held[fact.account, fact.leg]
            assert abs(fact.quantity / step - round(fact.quantity / step)) < 1e-6
            if fact.reduce_only:
                sign = 1.0 if fact.side == "buy" else -1.0
                assert sign * before < 0.0 and fact.quantity <= abs(before) + 1e-9
        elif isinstance(fact, Fill):
            sign = 1.0 if fact.side == "buy" else -1.0
            held[fact.account, fact.leg] += sign * fact.quantity


@settings(max_examples=40)
@given(st.lists(moves, min_size=1, max_size=20))
def test_a_closing_order_is_always_reduce_only(made):
    # What closes must pass whatever the instrument: a last bit too much would be a short sale.
    trader = Trader(assumptions=Assumptions(0, 0))
    trader.terms(symbol=X, short="none", quantity_step=0.001)
    told_to(trader, made)
    trader.tick(0.0, 0.0)
    for _ in range(4):
        trader.tick(0.0, 0.0)
        trader.wait(2.0)
    for name in NAMES:
        assert trader.held(name) == (0.0, 0.0), trader.account(name)


def test_a_partial_fill_is_sent_again_until_it_is_whole():
    trader = Trader()
    trader.tick(-2.0, sizes=(20.0, 1e6))
    trader.tick(-2.0, sizes=(20.0, 1e6))
    trader.tick(-2.0, sizes=(20.0, 1e6))
    trader.wait(1.0)
    y = [order for order in trader.orders("slot-0") if order.leg == "y"]
    assert [(order.quantity, order.attempt) for order in y] == [(50.0, 1), (30.0, 2), (10.0, 3)]
    assert trader.held("slot-0") == (50.0, -50.0)


def test_after_the_last_round_the_goal_is_what_both_legs_cover():
    trader = Trader()
    for _ in range(ATTEMPTS_MAX):
        trader.tick(-2.0, sizes=(5.0, 1e6))
    trader.tick(-2.0)
    trader.wait(1.0)
    trader.tick(-2.0)
    assert trader.held("slot-0") == (15.0, -15.0)
    order = trader.orders("slot-0")[-1]
    assert (order.leg, order.side, order.quantity, order.purpose) == ("x", "buy", 35.0, "unwind")
    assert order.reduce_only


def test_a_leg_that_gets_nothing_undoes_the_other_and_the_account_is_flat():
    trader = Trader()
    for _ in range(ATTEMPTS_MAX + 1):
        trader.tick(-2.0, sizes=(0.0, 1e6))
    trader.tick(0.0)
    trader.wait(1.0)
    assert trader.held("slot-0") == (0.0, 0.0)
    assert int(trader.account("slot-0")["direction"]) == 0


def test_stale_inputs_undo_an_unhedged_leg_at_once_and_hold_a_hedged_position():
    trader = Trader()
    trader.tick(-2.0, -2.0, sizes=(0.0, 1e6))
    trader.tick(-2.0, -2.0, stale=True)
    trader.wait(1.0)
    trader.tick(-2.0, -2.0, stale=True)
    assert trader.held("slot-0") == (0.0, 0.0)
    assert trader.orders("slot-0")[-1].purpose == "unwind"
    hedged = Trader()
    hedged.tick(-2.0)
    hedged.wait(1.0)
    hedged.tick(0.0, stale=True)
    assert hedged.held("slot-0") == (50.0, -50.0) and len(hedged.orders("slot-0")) == 2


def test_less_than_a_lot_of_one_leg_is_nothing_of_either():
    # One lot of y is 30 units: what x got of its 50 covers less, so neither leg is kept, and the
    # slot is free to enter again.
    trader = Trader()
    trader.terms(quantity_step=30.0)
    for _ in range(ATTEMPTS_MAX + 1):
        trader.tick(-2.0, sizes=(1e6, 4.0))
    assert trader.filled("slot-0")[1] > -30.0
    for _ in range(3):
        trader.tick(-2.0)
        trader.wait(1.0)
    assert trader.held("slot-0") == (30.0, -30.0)


def test_what_opens_goes_whole_or_not_at_all():
    trader = Trader()
    trader.terms(symbol=X, notional_min_quote=1e9)
    trader.tick(-2.0)
    assert not trader.of(ShadowOrder) and not trader.of(CapitalOrder)
    assert set(trader.reasons()) == {"NOTIONAL_MIN"}


def test_both_legs_together_keep_the_gross_limit():
    trader = Trader(limits=Limits(gross_max=0.8))
    trader.tick(-2.0)
    assert not trader.of(ShadowOrder) and trader.reasons("slot-0") == ["GROSS"]


def test_a_standing_refusal_is_told_once():
    trader = Trader(limits=Limits(gross_max=0.8))
    for _ in range(5):
        trader.tick(-2.0)
    assert [fact.reason for fact in trader.of(Rejected) if "slot-0" in fact.subject] == ["GROSS"]


# --- the leaves ---


def row(position=(0.0, 0.0), wanted=(0.0, 0.0)):
    account = np.zeros(1, Account)[0]
    account["position"], account["wanted"] = position, wanted
    return account


@given(
    st.tuples(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0)),
    st.tuples(st.floats(0.5, 9.0), st.floats(-9.0, -0.5)),
)
def test_a_hedged_multiple_lies_within_both_held_legs(position, wanted):
    share = hedged_multiple(np.array(position), np.array(wanted))
    assert 0.0 <= share <= 1.0
    for held, want in zip(position, wanted):
        assert share == 0.0 or abs(share * want) <= abs(held) + 1e-12
    bound = [held / want for held, want in zip(position, wanted)]
    assert share == pytest.approx(max(0.0, min(1.0, *bound)))


def test_nothing_wanted_is_covered_whole():
    assert hedged_multiple(np.array((3.0, -1.0)), np.zeros(2)) == 1.0


def test_aim_cuts_to_lots_and_at_goal_forgives_half_of_one():
    legs = np.zeros(2, Leg)
    legs["lots_per_unit"] = 10.0
    account = row(wanted=(1.27, -2.55))
    aim(account, legs, 1.0)
    assert account["goal"].tolist() == [1.2, -2.4]
    account["position"] = (1.16, -2.36)
    assert at_goal(account, legs)
    account["position"] = (1.14, -2.4)
    assert not at_goal(account, legs)


def test_shrinking_below_a_lot_wants_nothing():
    legs = np.zeros(2, Leg)
    legs["lots_per_unit"] = (0.1, 1000.0)
    account = row(position=(20.0, -3.0), wanted=(50.0, -50.0))
    account["direction"] = 1
    shrink(account, legs)
    assert account["goal"].tolist() == [0.0, 0.0] == account["wanted"].tolist()
    assert account["direction"] == 0


def test_the_instruments_of_these_tests_have_the_lots_that_they_say():
    trader = Trader()
    assert trader.desk.legs["lots_per_unit"].tolist() == [100.0, 1000.0]
    assert (trader.desk.symbols, LOT) == ((Y, X), {"y": 0.01, "x": 0.001})
