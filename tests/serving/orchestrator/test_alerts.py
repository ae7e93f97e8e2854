"""What needs a hand or a look, and what it says."""

import msgspec

from serving.orchestrator.alerts import alerts
from tests.hft_lib.evop.world import PAIR
from tests.serving.orchestrator.board import HALT, Board, holding, judged, world_with_test


def said(board: Board) -> list[tuple[bool, str]]:
    return [(alert.urgent, alert.what) for alert in alerts(board.gathered())]


def test_a_calm_line_needs_nothing():
    assert said(Board()) == []


def test_services_that_are_not_ready_come_before_letters_that_are_dead():
    board = Board()
    board.silent.add("kalman_filter")
    board.missing["garch_model"] = "catches up, 12 facts behind"
    board.dead["ingestion"] = 2
    assert said(board) == [
        (True, "`kalman_filter` is not ready: no heartbeat"),
        (True, "`garch_model` is not ready: catches up, 12 facts behind"),
        (False, "`ingestion` put 2 messages aside that it could not read"),
    ]


def test_redis_that_is_away_is_said():
    board = Board()
    board.away = "redis://here: refused"
    assert said(board) == [(True, "Redis does not say who is there: redis://here: refused")]


def test_a_leg_alone_and_an_order_without_an_answer_are_said_of_capital_alone():
    board = Board()
    board.execution["holdings"] = [
        holding("capital", -1, x=0.0),
        holding("slot-0", 0, x=0.0),
    ]
    order = {"pair": PAIR, "account": "capital", "leg": "y", "side": "buy", "quantity": 0.25}
    order |= {"client_order_id": "h7", "answered_ns": 1, "unknown": True}
    shadow = order | {"account": "slot-0", "client_order_id": "h8"}
    open_one = order | {"client_order_id": "h9", "unknown": False}
    board.execution["under_way"] = [order, shadow, open_one]
    assert said(board) == [
        (True, f"order `h7` is UNKNOWN: buy 0.25 of leg y of `{PAIR}`, no answer came"),
        (True, f"`{PAIR}` holds one leg alone: y 2.5, x 0"),
    ]


def test_an_operators_halt_is_told_with_its_reason_and_a_lock_with_what_lifts_it():
    board = Board()
    board.pairs = {PAIR: msgspec.structs.replace(HALT, reason="a delisting")}
    row = board.execution["pairs"][0]
    row |= {"held_by": ["latch", "operator"], "flatten": True, "locked": "drawdown"}
    halted, locked = alerts(board.gathered())
    assert halted.what.startswith(f"`{PAIR}` is halted and closed, by ada at 2030-03-17")
    assert halted.what.endswith(": a delisting")
    assert halted.todo == locked.todo == f"`hft pair resume {PAIR}` lets it go"
    row |= {"held_by": [], "flatten": False, "locked": "day"}
    (locked,) = alerts(board.gathered())
    assert locked.todo == "" and "when the UTC day ends" in locked.what


def test_a_champion_whose_model_is_off_is_said_and_a_challenger_is_not():
    board = Board()
    champion = next(s for s in board.world.state.pairs[0].slots if s.role == "champion")
    spoiled = [judged(row["slot"], row["generation"], scale=1.6) for row in board.health]
    board.health = [row for row in spoiled if row["slot"] != champion.slot]
    assert said(board) == []
    board.health = spoiled
    what = "the champion's model is off: forecasts too narrow"
    assert said(board) == [(False, f"`{PAIR}`: {what}")]


def test_an_alarm_of_today_or_of_the_last_days_and_a_freeze_are_said():
    made = world_with_test(5)
    made.alarm = lambda day: day == 5
    board = Board(made.run(1))
    assert [urgent for urgent, _ in said(board)] == [False]
    assert said(board)[0][1].startswith(f"`{PAIR}`: its relation was held to break in the day")
    board.execution["alarms"] = [PAIR]
    assert said(board) == [(False, f"`{PAIR}`: its relation was held to break today")]
    board.execution["alarms"] = []
    quiet = Board(made.run(3))
    assert said(quiet) == []
    made.state.pairs[0].frozen = True
    assert [urgent for urgent, _ in said(Board(made))] == [True]
