"""What execution holds, as documents."""

from typing import Any

import msgspec
import pytest

from hft_lib.events import Halted, Resumed
from hft_lib.parameters import Assumptions
from hft_lib.stages.execution import BY_MISMATCH, ExecutionState
from serving.adapters.redis_directory import DOCUMENT_BYTES_MAX
from serving.runtime.shown import ExecutionShown, document, held_back, holdings, under_way
from tests.builders import PAIR, S_NS
from tests.trading import Trader

LATENCY = Assumptions(order_latency_ns=S_NS, response_latency_ns=S_NS)


@pytest.fixture
def trader() -> Trader:
    """Both accounts long the spread, 50 units a leg."""
    trader = Trader()
    trader.tick(-2.0)
    trader.wait(10.0)
    return trader


def test_holdings_are_those_of_the_accounts_and_count_the_pairs_fills(trader: Trader):
    rows = holdings(trader.state)
    assert [row["account"] for row in rows] == ["capital", "slot-0", "slot-1"]
    capital, first, second = rows
    assert (capital["pair"], capital["slot"], capital["generation"]) == (PAIR, -1, 1)
    assert (capital["y"], capital["x"]) == (first["y"], first["x"]) == (50.0, -50.0)
    assert (second["y"], second["x"], second["generation"]) == (0.0, 0.0, 1)
    assert {row["fills"] for row in rows} == {4}
    assert capital["equity_quote"] == float(trader.capital["equity"])


def test_who_holds_a_pair_back_is_told_by_name(trader: Trader):
    assert held_back(trader.state) == [
        {"pair": PAIR, "held_by": [], "flatten": False, "locked": "", "word_ns": 0}
    ]
    trader.post(Halted(trader.now_ns, PAIR, True, "ada", "drill", 7))
    trader.post(Halted(trader.now_ns, "", False, "ada", "drill"))
    trader.capital["locked"] = 2
    (row,) = held_back(trader.state)
    assert row["held_by"] == ["latch", "operator"] and row["flatten"]
    assert (row["locked"], row["word_ns"]) == ("drawdown", 7)
    trader.post(Resumed(trader.now_ns, PAIR, "ada", "over", 8))
    (row,) = held_back(trader.state)
    assert (row["held_by"], row["flatten"], row["locked"]) == (["latch"], False, "")


def test_an_order_is_under_way_until_its_answer_and_unknown_after_it_fell_due():
    trader = Trader(assumptions=LATENCY)
    trader.tick(-2.0)
    rows = under_way(trader.state)
    assert [(row["account"], row["leg"]) for row in rows] == [
        (account, leg) for account in ("slot-0", "capital") for leg in "yx"
    ]
    ids = {order.client_order_id for order in trader.orders("capital")}
    assert {row["client_order_id"] for row in rows if row["account"] == "capital"} == ids
    assert not any(row["unknown"] for row in rows)
    trader.desk.legs["time_ns"] += 3 * S_NS  # the line went on, and no answer was booked
    assert all(row["unknown"] for row in under_way(trader.state))
    trader.wait(10.0)
    assert under_way(trader.state) == []


def test_a_line_of_many_pairs_fits_the_directory_and_says_what_it_leaves_out():
    trader = Trader(assumptions=LATENCY)
    trader.tick(-2.0)
    trader.capital["position"] = -0.1234567890123456
    many = ExecutionState(dict.fromkeys((f"{i}" for i in range(500)), trader.desk))
    shown = document(many)
    assert len(msgspec.json.encode(shown)) < 0.9 * DOCUMENT_BYTES_MAX
    accounts = [row["account"] for row in shown["holdings"]]
    assert accounts[:500] == ["capital"] * 500 and "capital" not in accounts[500:]
    for name in ("pairs", "holdings", "under_way"):
        assert len(shown[name]) + shown["left_out"][name] >= 500


def test_the_pages_look_again_after_a_while_alone(trader: Trader):
    now_s: list[float] = [10.0]
    shown = ExecutionShown(lambda: trader.state, lambda: now_s[0])
    assert shown.document() == {} and shown.why() == ""
    assert shown.turn() == 0
    before: dict[str, Any] = shown.document()
    trader.post(Halted(trader.now_ns, PAIR, False, "ada", "drill", 7))
    shown.turn()
    assert shown.document() is before
    now_s[0] += 1.0
    shown.turn()
    assert shown.document()["pairs"][0]["held_by"] == ["operator"]
    assert shown.figures()["hft_pairs_halted"][1] == 1.0


def test_the_figures_count_what_an_operator_must_know_of_capital():
    trader = Trader(assumptions=LATENCY)
    trader.tick(-2.0)
    shown = ExecutionShown(lambda: trader.state, iter(range(10, 100, 10)).__next__)

    def figures() -> dict[str, float]:
        shown.turn()
        return {name: value for name, (_, value) in shown.figures().items()}

    line_s = int(trader.desk.legs["time_ns"].max()) / 1e9
    calm = {"hft_pairs_halted": 0.0, "hft_pairs_mismatched": 0.0, "hft_pairs_locked": 0.0}
    calm |= {"hft_pairs_locked_day": 0.0, "hft_orders_under_way": 2.0, "hft_orders_unknown": 0.0}
    assert figures() == calm | {"hft_line_timestamp_seconds": line_s}
    trader.desk.legs["time_ns"] += 3 * S_NS  # the line went on, and no answer was booked
    trader.capital["locked"] = 1
    trader.desk.desk["halted"] |= BY_MISMATCH
    late = {"hft_orders_unknown": 2.0, "hft_pairs_locked_day": 1.0, "hft_pairs_mismatched": 1.0}
    assert figures() == calm | late | {"hft_line_timestamp_seconds": line_s + 3.0}
    trader.capital["locked"] = 2
    now = figures()
    assert (now["hft_pairs_locked"], now["hft_pairs_locked_day"]) == (1.0, 0.0)
