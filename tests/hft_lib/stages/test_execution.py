"""Execution: what falls due, days, control, locks, the latch, what is carried."""

import math

import msgspec
import pytest

from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    Fill,
    Halted,
    HandedOver,
    Marked,
    Rejected,
    Resumed,
    ShadowOrder,
)
from hft_lib.exchange.account import NS_PER_YEAR
from hft_lib.parameters import Assumptions, Limits, parameter_sha256
from hft_lib.stages.execution import RECORDS, STAGE, lots_per_unit
from tests.builders import DAY_NS, HOUR_NS, PAIR, S_NS, START_NS, X
from tests.trading import SPREAD_SD, Trader

LATENCY = Assumptions(order_latency_ns=S_NS, response_latency_ns=S_NS)
MIDNIGHT_NS = (START_NS // DAY_NS + 1) * DAY_NS


def holding(**changes) -> Trader:
    """Both accounts long the spread, 50 units a leg."""
    trader = Trader(**changes)
    trader.tick(-2.0)
    trader.wait(10.0)
    return trader


# --- a decision becomes orders and fills ---


def test_below_the_entry_the_spread_is_bought_by_both_accounts():
    trader = holding()
    for name in ("slot-0", "capital"):
        y, x = trader.orders(name)
        assert (y.leg, y.side, x.leg, x.side) == ("y", "buy", "x", "sell")
        assert (y.quantity, x.quantity) == (50.0, 50.0)
        assert trader.held(name) == (50.0, -50.0) == trader.filled(name)
    assert trader.held("slot-1") == (0.0, 0.0)


def test_an_order_carries_what_explains_it():
    trader = holding()
    order = trader.orders("capital")[0]
    assert order.z == pytest.approx(-2.0)
    assert (order.spread_sd, order.hedge_ratio, order.purpose) == (SPREAD_SD, 1.0, "enter")
    assert order.parameters_sha256 == parameter_sha256(trader.params)
    assert (order.slot, order.generation, order.limits_version) == (0, 1, 1)
    assert order.expires_ns > order.time_ns


def test_a_fill_comes_when_order_and_answer_have_travelled():
    trader = Trader(assumptions=LATENCY)
    sent_ns = START_NS + 60 * S_NS
    trader.tick(-2.0)
    assert trader.wait(1.9) == []
    fills = trader.wait(0.1)
    assert {fill.time_ns for fill in fills} == {sent_ns + 2 * S_NS}
    assert {fill.account for fill in fills} == {"slot-0", "capital"}


def test_an_order_takes_the_top_that_was_there_when_it_arrived():
    trader = Trader(assumptions=LATENCY)
    trader.tick(-2.0, y=100.0)
    trader.tick(-2.0, dt_s=0.5, y=101.0)  # before the arrival: this top is taken
    trader.tick(-2.0, dt_s=0.6, y=102.0)  # after it
    trader.wait(10.0)
    (fill,) = [fill for fill in trader.of(Fill, "capital") if fill.leg == "y"]
    assert fill.price == pytest.approx(101.0 * 1.0001)
    assert fill.slippage_quote == pytest.approx((101.0 * 1.0001 - 100.0) * 50.0)


def test_an_event_of_an_unfinished_moment_decides_nothing():
    trader = Trader()
    assert trader.tick(-2.0, more=True) == []
    assert trader.tick(-2.0, dt_s=0.0) != []


def test_a_grid_point_is_marked_and_no_other_tick():
    trader = holding()
    assert not [f for f in trader.tick(-2.0, grid_steps=0) if isinstance(f, Marked)]
    (marked,) = [f for f in trader.tick(-2.0, grid_steps=3) if isinstance(f, Marked)]
    assert (marked.capital_slot, marked.y_mid, marked.warm) == (0, 100.0, True)
    assert marked.spread == pytest.approx(-2.0 * SPREAD_SD)
    assert marked.equities_quote[-1] == float(trader.capital["equity"])
    assert len(marked.equities_quote) == trader.config.slots + 1


def test_a_warming_slot_is_marked_and_does_not_trade():
    trader = Trader(strategy={"warmup_s": 600.0})
    trader.tick(-2.0)
    assert not trader.orders("slot-0")
    marked = trader.of(Marked)[-1]
    assert marked.spread == pytest.approx(-2.0 * SPREAD_SD) and not marked.warm
    trader.tick(-2.0, dt_s=540.0)
    assert trader.orders("slot-0")


@pytest.mark.parametrize("spread_sd", [0.0, -1.0, math.nan, math.inf])
def test_without_a_volatility_nothing_is_decided(spread_sd: float):
    trader = Trader()
    trader.tick(-2.0, spread_sd=spread_sd)
    assert not trader.of(ShadowOrder)


@pytest.mark.parametrize("field", ["intercept", "hedge_ratio"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_forecast_that_is_no_number_decides_nothing(field: str, value: float):
    trader = Trader()
    tick = trader.tick
    trader.hedges["hedge_ratio"] = value if field == "hedge_ratio" else 1.0
    if field == "intercept":
        tick(value)
    else:
        tick(-2.0)
    assert not trader.of(ShadowOrder) and not trader.of(CapitalOrder)
    assert float(trader.account("slot-0")["direction"]) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_size_that_is_no_number_opens_nothing(value: float):
    trader = Trader()
    trader.tick(-2.0, size=value)
    assert value == math.inf or not trader.of(ShadowOrder)
    assert all(math.isfinite(order.quantity) for order in trader.of(ShadowOrder))
    trader.tick(-2.0, size=1.0)
    assert trader.orders("slot-0"), "the next good forecast trades"


def test_an_alarm_closes_and_keeps_closed():
    trader = holding()
    trader.tick(-2.0, alarm=1)
    trader.wait(10.0)
    assert trader.orders("slot-0")[-1].purpose == "break"
    trader.tick(-2.0, alarm=1)
    assert trader.held("slot-0") == trader.held("capital") == (0.0, 0.0)
    assert len(trader.orders("slot-0")) == 4


# --- days ---


@pytest.mark.parametrize("late_s", [0.0, 1.0, 7200.0])
def test_a_day_ends_before_the_first_event_at_or_past_it_at_its_own_time(late_s: float):
    trader = holding()
    to_midnight_s = (MIDNIGHT_NS - trader.now_ns) / S_NS
    before = trader.tick(-2.0, dt_s=to_midnight_s - 1e-3)
    assert not any(isinstance(fact, BlockClosed) for fact in before)
    closed, *_ = trader.tick(-2.0, dt_s=1e-3 + late_s, y=150.0)
    assert isinstance(closed, BlockClosed)
    assert closed.time_ns == closed.end_ns == MIDNIGHT_NS
    # Marked to the mids before the event, which has another price.
    assert abs(closed.accounts[-1].equity_quote) < 100.0
    assert (closed.start_ns, closed.capital_slot, closed.pair) == (START_NS, 0, PAIR)
    assert [account.account for account in closed.accounts] == ["slot-0", "slot-1", "capital"]
    assert not any(account.whole for account in closed.accounts)  # it began within the day


def test_every_day_of_a_long_silence_is_closed_in_order():
    trader = holding()
    trader.wait(3 * 86_400.0)
    blocks = trader.of(BlockClosed)
    assert [block.end_ns - block.start_ns for block in blocks[1:]] == [DAY_NS, DAY_NS]
    assert [block.start_ns for block in blocks[1:]] == [block.end_ns for block in blocks[:-1]]
    assert [block.flagged for block in blocks] == [True, True, True]  # nothing came: marks are old


def test_a_blocks_figures_are_what_the_accounts_did_in_it():
    trader = holding()
    for _ in range(3):
        trader.tick(-2.0, dt_s=86_400.0, y=101.0)
        trader.tick(0.0, y=102.0)
        trader.wait(60.0)
        trader.tick(-2.0)
        trader.wait(60.0)
    trader.wait(86_400.0)
    for row, name in ((0, "slot-0"), (2, "capital")):
        blocks = [block.accounts[row] for block in trader.of(BlockClosed)]
        assert [block.account for block in blocks] == [name] * len(blocks)
        held = trader.account(name)
        assert sum(b.equity_change_quote for b in blocks) == pytest.approx(float(held["equity"]))
        assert sum(b.fees_quote for b in blocks) == pytest.approx(float(held["fees"]))
        assert sum(b.turnover_quote for b in blocks) == pytest.approx(float(held["turnover"]))
        assert sum(b.borrow_quote for b in blocks) == pytest.approx(float(held["borrow"]))
        assert blocks[-1].equity_quote == pytest.approx(float(held["equity"]))


def test_a_block_is_whole_once_a_generation_ran_warm_from_its_start():
    trader = holding()
    trader.wait(86_400.0)
    trader.wait(86_400.0)
    assert all(account.whole for account in trader.of(BlockClosed)[1].accounts)
    trader.assign(1, generation=2)
    trader.wait(86_400.0)
    whole = {account.account: account.whole for account in trader.of(BlockClosed)[2].accounts}
    assert whole == {"slot-0": True, "slot-1": False, "capital": True}
    assert trader.of(BlockClosed)[2].accounts[1].generation == 2


# --- control ---


def test_control_runs_what_fell_due_before_it():
    # Without it a slot that starts over would lose an order that was answered before, or not,
    # by whether time was said to have passed.
    def run(waits: bool) -> list[bytes]:
        trader = Trader(assumptions=LATENCY)
        trader.tick(-2.0, -2.0)
        if waits:
            trader.wait(5.0)
        else:
            trader.now_ns += 5 * S_NS
        trader.assign(1, generation=2)
        trader.wait(10.0)
        return [msgspec.msgpack.encode(fact) for fact in trader.of(Fill)]

    assert len(run(True)) == 6
    assert run(False) == run(True)


def test_a_pointer_that_moves_runs_what_fell_due_before_it():
    def run(waits: bool) -> list[bytes]:
        trader = Trader(assumptions=LATENCY)
        trader.tick(-2.0)
        if waits:
            trader.wait(86_400.0)
        else:
            trader.now_ns += DAY_NS
        trader.point(1)
        trader.tick(-2.0)
        kinds = (Fill, BlockClosed, HandedOver)
        return [msgspec.msgpack.encode(fact) for kind in kinds for fact in trader.of(kind)]

    assert run(False) == run(True)


def test_a_slot_that_starts_over_is_flat_and_its_order_under_way_is_gone():
    trader = Trader(assumptions=LATENCY)
    trader.tick(0.0, -2.0)
    trader.assign(1, generation=2)
    trader.wait(10.0)
    assert trader.held("slot-1") == (0.0, 0.0) and not trader.of(Fill, "slot-1")
    trader.tick(0.0, -2.0)
    assert trader.orders("slot-1")[-1].generation == 2


def test_a_promotion_of_what_is_gone_is_refused_and_moves_nothing():
    trader = holding()
    trader.point(1, generation=9)
    trader.tick(-2.0, 2.0)
    assert "PROMOTION_GONE" in trader.reasons()
    assert int(trader.desk.desk[0]["capital_slot"]) == 0
    assert "SLOTS_VERSION" not in trader.reasons()


def test_a_tick_of_another_slot_table_halts_the_pair_and_says_so_once():
    trader = holding()
    for _ in range(3):
        assert not [f for f in trader.tick(0.0, version=99) if isinstance(f, CapitalOrder)]
    assert trader.reasons().count("SLOTS_VERSION") == 1
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "looked at"))
    trader.tick(0.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0)


# --- limits of losses ---


def test_a_daily_loss_closes_and_locks_until_the_day_ends():
    trader = holding(limits=Limits(daily_loss_max=0.02))
    trader.tick(-2.0, y=95.0)  # 50 units fall by 5: 2.5 % of the capital
    trader.wait(10.0)
    assert trader.orders("capital")[-1].purpose == "loss"
    trader.tick(-2.0, y=95.0)
    assert trader.held("capital") == trader.held("slot-0") == (0.0, 0.0)
    count = len(trader.of(ShadowOrder))
    trader.tick(-2.0, y=95.0, dt_s=3600.0)
    assert len(trader.of(ShadowOrder)) == count
    trader.tick(-2.0, y=95.0, dt_s=86_400.0)
    assert len(trader.of(ShadowOrder)) > count


def test_capital_that_was_locked_alone_opens_with_the_next_entry_and_not_in_between():
    trader = holding(limits=Limits(daily_loss_max=0.02))
    trader.capital["block_equity"] += 190.0  # it lost this more today than its twin
    trader.tick(-2.0, y=99.5)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0) and trader.held("slot-0") == (50.0, -50.0)
    trader.tick(-2.0, y=99.5, dt_s=86_400.0)  # the lock ended with its day
    trader.wait(10.0)
    assert int(trader.capital["locked"]) == 0 and trader.held("capital") == (0.0, 0.0)
    trader.tick(0.0)
    trader.wait(10.0)
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("capital") == trader.held("slot-0") != (0.0, 0.0)


def test_a_drawdown_closes_and_locks_until_an_operator_resumes():
    trader = holding(limits=Limits(daily_loss_max=0.5, drawdown_max=0.03))
    trader.tick(-2.0, y=93.0)
    trader.wait(10.0)
    trader.tick(-2.0, y=93.0)
    assert trader.held("capital") == (0.0, 0.0)
    orders = len(trader.orders("capital"))
    for _ in range(3):
        trader.tick(-2.0, y=93.0, dt_s=86_400.0)
        trader.tick(0.0, y=93.0)
    assert len(trader.orders("capital")) == orders
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "looked at"))
    assert int(trader.capital["locked"]) == 0
    assert float(trader.capital["equity_peak"]) == float(trader.capital["equity"])


# --- the latch ---


def test_a_halt_lets_no_capital_open_and_leaves_the_shadows_alone():
    trader = Trader()
    trader.post(Halted(trader.now_ns, PAIR, False, "ada", "drill"))
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0) and trader.held("slot-0") == (50.0, -50.0)
    assert trader.reasons("capital") == ["HALT"]


def test_a_halt_lets_the_capital_close():
    trader = holding()
    trader.post(Halted(trader.now_ns, "", False, "ada", "drill"))
    trader.tick(-2.0)
    assert trader.held("capital") == (50.0, -50.0)  # hedged: held
    trader.tick(0.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0)
    assert all(order.reduce_only for order in trader.orders("capital")[-2:])


def test_flatten_closes_capital_and_openings_wait_for_the_next_entry():
    trader = holding()
    trader.post(Halted(trader.now_ns, PAIR, True, "ada", "drill"))
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0) and trader.held("slot-0") == (50.0, -50.0)
    assert trader.orders("capital")[-1].purpose == "flatten"
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "over"))
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0)
    trader.tick(0.0)
    trader.wait(10.0)
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (50.0, -50.0)


def test_a_halt_of_another_pair_is_none_of_this_one():
    trader = Trader()
    trader.post(Halted(trader.now_ns, "A~B", True, "ada", "drill"))
    trader.tick(-2.0)
    assert trader.orders("capital")


def test_the_latch_let_go_lifts_no_halt_of_a_pair_and_no_drawdown():
    trader = Trader()
    trader.post(Halted(trader.now_ns, PAIR, False, "ada", "drill"))
    trader.post(Halted(trader.now_ns, "", True, "host", "the latch cannot be read"))
    assert (trader.state.latched, trader.state.flattening) == (True, True)
    trader.capital["locked"] = 2
    trader.post(Resumed(trader.now_ns, "", "host", "the latch says run"))
    assert [trader.state.latched, trader.state.flattening] == [False, False]
    assert int(trader.capital["locked"]) == 2
    trader.capital["locked"] = 0
    trader.tick(-2.0)
    assert not trader.orders("capital") and int(trader.desk.desk[0]["flatten"]) == 0


def test_a_pair_resumed_stays_held_by_the_latch():
    trader = Trader()
    trader.post(Halted(trader.now_ns, "", False, "ada", "drill"))
    trader.post(Halted(trader.now_ns, PAIR, False, "ada", "drill"))
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "over"))
    trader.tick(-2.0)
    assert not trader.orders("capital")
    trader.post(Resumed(trader.now_ns, "", "ada", "over"))
    trader.tick(0.0)
    trader.wait(10.0)
    trader.tick(-2.0)
    assert trader.orders("capital")


def test_what_it_was_told_goes_on_and_the_last_word_of_a_pair_is_kept():
    trader = Trader()
    said: list[Halted | Resumed] = [
        Halted(trader.now_ns, PAIR, True, "ada", "drill", 7),
        Resumed(trader.now_ns, PAIR, "ada", "over", 9),
        Halted(trader.now_ns, "", False, "ada", "drill"),
    ]
    assert [trader.post(fact) for fact in said] == [[fact] for fact in said]
    assert trader.desk.word_ns == 9, "the latch's word is none of a pair's"
    assert STAGE.routes[Resumed] == ("orchestrator", RECORDS)


# --- what is carried ---


def test_a_short_that_may_not_be_is_clipped_to_nothing_on_both_legs():
    trader = Trader()
    trader.terms(symbol=X, short="none")
    trader.tick(-2.0)
    assert not trader.of(ShadowOrder)
    assert trader.reasons("slot-0") == ["NO_BORROW"]
    assert [f.subject[-1] for f in trader.of(Rejected) if "slot-0" in f.subject] == ["x"]
    trader.tick(0.0)
    trader.tick(2.0)
    assert trader.orders("slot-0"), "the other direction shorts y, a perpetual"


def test_a_run_that_assumes_borrowing_may_short_at_its_rate():
    trader = Trader(assumptions=Assumptions(borrow_rate_annual=0.3))
    trader.terms(symbol=X, short="none")
    trader.tick(-2.0)
    trader.wait(10.0)
    assert trader.held("slot-0") == (50.0, -50.0)
    assert float(trader.desk.legs[1]["borrow_rate_annual"]) == 0.3


def test_longs_pay_funding_at_the_mid_and_shorts_receive_it():
    trader = holding()
    cash = float(trader.capital["cash"])
    trader.fund(0.001)
    assert float(trader.capital["funding"]) == pytest.approx(50.0 * 100.0 * 0.001)
    assert float(trader.capital["cash"]) == pytest.approx(cash - 5.0, abs=0.01)


def test_a_borrowed_leg_pays_for_the_time_it_is_held():
    trader = holding()
    since_ns = trader.of(Fill, "capital")[-1].time_ns
    trader.wait(5 * 3600.0)
    trader.tick(-2.0, dt_s=0.0)
    years = (trader.now_ns - since_ns) / NS_PER_YEAR
    assert float(trader.capital["borrow"]) == pytest.approx(50.0 * 100.0 * 0.2 * years)
    assert HOUR_NS < trader.now_ns - since_ns


@pytest.mark.parametrize(
    "step, lots", [(0.001, 1000.0), (0.01, 100.0), (0.3, 1.0 / 0.3), (5.0, 0.2)]
)
def test_lots_are_whole_where_the_step_divides_one(step: float, lots: float):
    assert lots_per_unit(step) == lots
