"""The desk by hand: what falls due in order, marks, blocks, funding; and the hand-over."""

import numpy as np
import pytest

from hft_lib.events import BlockClosed, Fill, HandedOver, Resumed, ShadowOrder
from hft_lib.exchange import account as books
from hft_lib.parameters import Assumptions, Limits
from hft_lib.stages import desk
from hft_lib.stages.legs import FILLED, Outcome
from tests.builders import PAIR
from tests.trading import Trader

S = 1_000_000_000
LATENCY = Assumptions(order_latency_ns=S, response_latency_ns=S)


class Table:
    """Two slots and capital, tops at 100 and 50, no latency but what an order says."""

    def __init__(self) -> None:
        self.desk = np.zeros(1, desk.Desk)
        self.legs = np.zeros(2, books.Leg)
        for leg, price in zip(self.legs, (100.0, 50.0)):
            leg["bid"], leg["ask"], leg["lots_per_unit"] = price - 1.0, price + 1.0, 10.0
            leg["bid_size"] = leg["ask_size"] = 5.0
            leg["taker_fee_rate"], leg["short"] = 0.001, books.SHORT_PERP
        self.accounts = np.zeros(3, books.Account)
        self.accounts["live"] = 1
        self.orders = np.zeros((3, 2), books.Order)
        self.out = np.zeros(24, Outcome)

    def send(self, a: int, i: int, arrives_s: int, quantity: float = 2.0) -> None:
        order = self.orders[a, i]
        order["state"], order["side"], order["quantity"] = books.SENT, 1.0, quantity
        order["mid"] = (100.0, 50.0)[i]
        self.accounts[a]["under_way"] += 1
        order["arrives_ns"], order["answered_ns"] = arrives_s * S, (arrives_s + 2) * S

    def settle(self, until_s: float) -> list[tuple[int, int, int]]:
        until_ns = int(until_s * S)
        count = desk.settle(self.desk, self.legs, self.accounts, self.orders, until_ns, self.out)
        rows = self.out[:count]
        assert all(row["kind"] == FILLED for row in rows)
        return [(int(row["time_ns"]) // S, int(row["account"]), int(row["leg"])) for row in rows]


def test_answers_come_in_order_of_time_then_account_then_leg():
    table = Table()
    table.send(2, 0, 1)
    table.send(0, 1, 3)
    table.send(0, 0, 3)
    table.send(1, 1, 2)
    assert table.settle(100.0) == [(3, 2, 0), (4, 1, 1), (5, 0, 0), (5, 0, 1)]
    assert not table.orders["state"].any()
    assert table.desk[0]["next_due_ns"] == desk.NEVER_NS


def test_nothing_happens_before_it_is_due_and_the_next_is_known():
    table = Table()
    table.send(0, 0, 1)
    assert table.settle(0.5) == []
    assert table.desk[0]["next_due_ns"] == 1 * S
    assert table.settle(1.0) == []
    assert table.orders[0, 0]["state"] == books.EXECUTED
    assert table.desk[0]["next_due_ns"] == 3 * S
    assert table.settle(3.0) == [(3, 0, 0)]


def test_the_top_is_taken_at_arrival_not_at_the_answer():
    table = Table()
    table.send(0, 0, 1)
    table.settle(2.0)
    table.legs[0]["ask"] = 200.0
    table.settle(3.0)
    assert table.out[0]["price"] == 101.0
    assert float(table.accounts[0]["cash"]) == pytest.approx(-202.0 * 1.001)
    assert float(table.out[0]["slippage"]) == pytest.approx(2.0)


def test_an_order_that_got_nothing_says_nothing():
    table = Table()
    table.legs[0]["ask_size"] = 0.0
    table.send(0, 0, 1)
    assert table.settle(9.0) == []
    assert table.orders[0, 0]["state"] == books.NONE


def test_funding_is_paid_by_every_account_that_holds_and_no_other():
    table = Table()
    table.accounts["position"][0] = (2.0, 0.0)
    table.accounts["position"][2] = (-1.0, 7.0)
    desk.settle_funding(table.legs, table.accounts, 0, 0.01)
    assert table.accounts["funding"].tolist() == pytest.approx([2.0, 0.0, -1.0])


def test_marks_leave_accounts_that_are_not_live_alone():
    table = Table()
    table.accounts["position"][:] = (1.0, 0.0)
    table.accounts[1]["live"] = 0
    desk.mark_all(table.desk, table.legs, table.accounts, 5 * S)
    assert table.accounts["equity"].tolist() == [100.0, 0.0, 100.0]
    assert table.accounts["accrued_at_ns"].tolist() == [5 * S, 0, 5 * S]


def test_a_new_block_ends_a_daily_lock_and_no_other():
    table = Table()
    table.accounts["locked"] = (1, 2, 1)
    desk.open_blocks(table.accounts)
    assert table.accounts["locked"].tolist() == [0, 2, 0]


def test_the_operator_unlocks_capital_alone():
    table = Table()
    table.accounts["locked"], table.accounts["equity_peak"] = 2, 9.0
    desk.unlock(table.desk, table.accounts)
    assert table.accounts["locked"].tolist() == [2, 2, 0]
    assert table.accounts["equity_peak"].tolist() == [9.0, 9.0, 0.0]


def test_a_round_trip_costs_fees_and_spreads_of_both_legs():
    table = Table()
    # y: 0.1 % and half a spread of 1 %; x the same with 2 %, of half the value
    assert desk.round_trip_cost(table.legs, -0.5) == pytest.approx(2.0 * (0.011 + 0.5 * 0.021))


@pytest.mark.parametrize("code, word", [(desk.HANDOVER, "hand-over"), (desk.LOSS, "loss")])
def test_purposes_have_their_words(code: int, word: str):
    assert desk.PURPOSES[code] == word


# --- hand-over ---


def test_the_position_is_cut_to_the_largest_multiple_and_follows_down():
    trader = Trader()
    trader.tick(-2.0, -2.0, size=0.25)  # both want 12.5... and the capital follows slot 0
    trader.wait(10.0)
    trader.tick(0.0, 0.0)
    trader.wait(10.0)
    trader.tick(-2.0, 0.0, size=0.5)  # slot 0 holds 25 of each leg
    trader.wait(10.0)
    trader.tick(-2.0, -2.0, size=1.0)  # slot 1 enters 50
    trader.wait(10.0)
    assert trader.held("capital") == (25.0, -25.0) and trader.held("slot-1") == (50.0, -50.0)
    trader.point(1)
    trader.tick(-2.0, -2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (25.0, -25.0)  # half of slot 1's position, nothing opened
    (over,) = trader.of(HandedOver)
    assert (over.slot, over.flattened, over.cost_quote) == (1, False, 0.0)
    trader.tick(0.0, 0.0)
    trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0)
    trader.tick(-2.0, -2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (50.0, -50.0)  # the next entry is followed whole
    assert len(trader.of(HandedOver)) == 1


def test_what_the_new_slot_holds_less_of_is_sold_and_costs():
    trader = Trader()
    trader.tick(0.0, -2.0, size=0.5)
    trader.wait(10.0)
    trader.tick(-2.0, -2.0, size=1.0)
    trader.wait(10.0)
    trader.point(1)
    trader.tick(-2.0, -2.0)
    trader.wait(10.0)
    trader.tick(-2.0, -2.0)
    assert trader.held("capital") == (25.0, -25.0)
    assert [order.purpose for order in trader.orders("capital")[-2:]] == ["hand-over"] * 2
    (over,) = trader.of(HandedOver)
    fills = trader.of(Fill, "capital")[-2:]
    cost = sum(fill.fee_quote + fill.slippage_quote for fill in fills)
    assert over.cost_quote == pytest.approx(cost) and cost > 0.0


def test_a_new_slot_of_the_other_side_is_handed_a_flat_account():
    trader = Trader()
    trader.tick(-2.0, 2.0)
    trader.wait(10.0)
    trader.point(1)
    for _ in range(3):
        trader.tick(-2.0, 2.0)
        trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0)
    assert len(trader.of(HandedOver)) == 1
    trader.tick(-2.0, 0.0)
    trader.tick(-2.0, 2.0)
    trader.wait(10.0)
    assert trader.held("capital") == (-50.0, 50.0)


def test_an_order_under_way_ends_before_the_hand_over_begins():
    trader = Trader(assumptions=LATENCY)
    trader.tick(-2.0, 0.0)
    trader.point(1)
    trader.tick(-2.0, 0.0, dt_s=1.0)
    assert not trader.of(HandedOver) and len(trader.orders("capital")) == 2
    trader.tick(-2.0, 0.0, dt_s=5.0)
    assert trader.orders("capital")[-1].purpose == "hand-over"


def test_a_hand_over_that_gets_there_in_time_is_not_flattened():
    trader = Trader(handover_s_max=3600.0)
    trader.tick(0.0, -2.0, size=0.5)
    trader.wait(10.0)
    trader.tick(-2.0, -2.0, size=1.0)
    trader.wait(10.0)
    trader.point(1)
    for _ in range(50):
        trader.tick(-2.0, -2.0, sizes=(0.0, 0.0))  # nobody trades with us
    assert not trader.of(HandedOver)
    for _ in range(6):
        trader.tick(-2.0, -2.0)
        trader.wait(10.0)
    (over,) = trader.of(HandedOver)
    assert not over.flattened and trader.held("capital") == (25.0, -25.0)


def test_an_illiquid_hand_over_ends_flat():
    trader = Trader(handover_s_max=3600.0)
    trader.tick(0.0, -2.0, size=0.5)
    trader.wait(10.0)
    trader.tick(-2.0, -2.0, size=1.0)
    trader.wait(10.0)
    trader.point(1)
    for _ in range(61):
        trader.tick(-2.0, -2.0, sizes=(0.0, 0.0))
    for _ in range(4):
        trader.tick(-2.0, -2.0)
        trader.wait(10.0)
    (over,) = trader.of(HandedOver)
    assert over.flattened and trader.held("capital") == (0.0, 0.0)


def test_the_first_promotion_hands_nothing_over():
    trader = Trader()
    trader.tick(-2.0)
    trader.wait(10.0)
    assert not trader.of(HandedOver)


def test_rolling_back_hands_over_like_a_promotion():
    trader = Trader()
    trader.point(1)
    trader.tick(0.0, 0.0)
    trader.point(0, back=True)
    trader.tick(0.0, 0.0)
    assert [over.slot for over in trader.of(HandedOver)] == [1, 0]


def test_capital_is_whole_again_from_the_block_after_it_followed_an_entry():
    trader = Trader()
    trader.wait(86_400.0)
    trader.point(1)
    for z in (0.0, 0.0, -2.0, -2.0, -2.0):  # slot 1 enters on the third day
        trader.tick(0.0, z)
        trader.wait(86_400.0)
    whole = [block.accounts[-1].whole for block in trader.of(BlockClosed)]
    assert whole == [False, False, False, False, True, True]


# --- the row that holds it all ---


@pytest.mark.parametrize("slots", (1, 2, 6, 17))
def test_the_compiled_code_finds_every_part_of_a_sheet(slots: int):
    kind = desk.sheet_type(slots)
    sheet = np.zeros(1, kind)
    sheet["rows"] = slots + 1
    parts = desk.parts(sheet.view(np.int64))
    names = ("desk", "legs", "limits", "forecasts", "strategies", "accounts", "orders", "out")
    assert set(names) == set(kind.names or ()) - {"rows"}
    for name, part in zip(names, parts, strict=True):
        ours = sheet[name][0]
        assert part.ctypes.data == ours.ctypes.data, name
        assert (part.dtype, part.shape) == (ours.dtype, ours.shape), name
        assert part.dtype.itemsize % 8 == 0, name


# --- accounts that hold nothing ---


def traded(seed: int, every_account: bool) -> Trader:
    """A trader after a walk of z and prices, with daily losses, drawdowns and words in between."""
    rng = np.random.default_rng(seed)
    trader = Trader(limits=Limits(daily_loss_max=0.01, drawdown_max=0.03))
    z, y = 0.0, 100.0
    for step in range(400):
        z = 0.8 * z + float(rng.normal(0.0, 0.9))
        y *= float(np.exp(rng.normal(0.0, 0.01)))
        if every_account:
            trader.desk.desk["watch_all"] = 1
        limits = None
        if step % 50 == 25:
            trader.limits = limits = trader.limited(drawdown_max=0.03 + 0.01 * (step % 3))
        trader.tick(z, -z, dt_s=float(rng.choice((2.0, 60.0, 9_000.0))), y=y, limits=limits)
        if step % 90 == 80:
            trader.post(Resumed(trader.now_ns, PAIR, "ada", "looked at"))
        if step % 120 == 110:
            trader.assign(1, generation=2 + step)
    return trader


@pytest.mark.parametrize("seed", range(6))
def test_an_idle_account_left_alone_is_as_if_it_were_watched(seed: int):
    ours, watched = (traded(seed, every_account) for every_account in (False, True))
    assert len(ours.of(Fill)) > 50 and {"loss"} < {order.purpose for order in ours.of(ShadowOrder)}
    assert ours.facts == watched.facts
    one, other = ours.desk.accounts.copy(), watched.desk.accounts.copy()
    one["accrued_at_ns"] = other["accrued_at_ns"] = 0
    assert one.tobytes() == other.tobytes()


def test_a_tick_of_a_flat_account_writes_nothing_of_it():
    trader = Trader()
    trader.tick(0.1)
    trader.tick(0.1)
    before = trader.desk.accounts.tobytes()
    trader.tick(0.2, y=101.0)
    assert trader.desk.accounts.tobytes() == before


def test_tighter_limits_lock_a_flat_account_at_the_next_moment():
    trader = Trader(limits=Limits(daily_loss_max=0.5, drawdown_max=0.4))
    trader.tick(-2.0)
    trader.wait(10.0)
    trader.tick(0.0, y=99.0)
    trader.wait(10.0)
    trader.tick(0.0, y=99.0)
    assert trader.held("slot-0") == trader.held("capital") == (0.0, 0.0)
    assert trader.desk.accounts["locked"].tolist()[-1] == 0
    trader.tick(0.0, y=99.0, limits=trader.limited(drawdown_max=0.001))
    assert [int(trader.account(name)["locked"]) for name in ("slot-0", "slot-1", "capital")] == [
        2,
        0,
        2,
    ]


def test_what_the_last_fill_of_a_day_cost_locks_on_the_next():
    trader = Trader(limits=Limits(daily_loss_max=0.5, drawdown_max=0.03))
    trader.tick(0.0)
    trader.account("slot-0")["cash"] -= 500.0  # 5 % of the capital, and no moment until midnight
    trader.wait(86_400.0)
    assert float(trader.account("slot-0")["equity"]) == -500.0, "the day's end marks"
    trader.tick(0.0)
    assert int(trader.account("slot-0")["locked"]) == 2


def test_capital_that_is_let_go_after_a_drawdown_still_waits_for_the_end_of_a_day_of_losses():
    trader = Trader(limits=Limits(daily_loss_max=0.02, drawdown_max=0.03))
    trader.tick(-2.0)
    trader.wait(10.0)
    for _ in range(3):
        trader.tick(-2.0, y=93.0)
        trader.wait(10.0)
    assert trader.held("capital") == (0.0, 0.0) and int(trader.capital["locked"]) == 2
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "looked at"))
    assert int(trader.capital["locked"]) == 0
    trader.tick(-2.0, y=93.0)
    assert int(trader.capital["locked"]) == 1
    trader.wait(86_400.0)
    trader.tick(0.0, y=93.0)
    assert int(trader.capital["locked"]) == 0
