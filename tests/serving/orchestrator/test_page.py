"""The page as HTML: its figures are those of their sources; it runs its own script alone."""

import base64
import hashlib
import json
import re

import msgspec
import pytest

from hft_lib.evop.guards import differences
from hft_lib.evop.record import judge
from hft_lib.plots.words import minute, money, number, percent, second
from serving.orchestrator.decisions import Latest
from serving.orchestrator.document import HEADERS, document
from serving.orchestrator.gathering import Gatherer
from serving.orchestrator.sections import sections, slot_state
from serving.orchestrator.seen import look
from tests.hft_lib.evop.world import PAIR, World, config, per_set
from tests.serving.orchestrator.board import (
    HALT,
    RUN,
    SINCE_NS,
    Board,
    holding,
    judged,
    world_with_test,
)


def page(board: Board) -> str:
    now = board.gathered()
    return document(now, sections(now))


def part(board: Board, name: str) -> str:
    return sections(board.gathered())[name]


def rows(content: str) -> list[list[str]]:
    """The cells of every row of a body, as text."""
    return [
        [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", content)
        if 'scope="row"' in row
    ]


# --- figures ---


def test_positions_and_pnl_are_those_that_execution_told():
    board = Board()
    found = rows(part(board, "positions"))
    told = board.execution["holdings"]
    assert len(found) == len(told) == 3
    for cells, row in zip(found, told, strict=True):
        assert cells[0] == row["account"]
        assert cells[1] == money(row["equity_quote"], "USDT")
        assert cells[2:4] == ["2.5", "−0.25"]
        assert cells[4] == money(row["drawdown_max_quote"], "USDT")
    assert [cells[5] for cells in found] == [
        "the money",
        "shadow, champion, capital follows it",
        "shadow, under test",
    ]
    now = part(board, "now")
    assert money(1234.56, "USDT") in now and money(210.25, "USDT") in now and "6 of 6" in now
    assert f"capital of 1 pair, line time {minute(board.execution['line_ns'])}" in now


def test_an_account_whose_set_was_dropped_says_so():
    made = world_with_test()
    made.state.pairs[0].slots[2].role = "free"
    board = Board(made)
    board.execution["holdings"].append(holding("slot-2", 2))
    assert rows(part(board, "positions"))[3][5] == "shadow, its set has no role any more"
    assert [cells[0] for cells in rows(part(board, "slots"))] == ["0", "1"]


def test_the_capital_of_all_pairs_is_summed_by_currency():
    board = Board(world_with_test())
    other = board.execution["holdings"][0] | {"pair": "SOL/USDT~BTC/USDT", "equity_quote": -34.56}
    euro = other | {"pair": "SOL/EUR~BTC/EUR", "equity_quote": 5.0}
    board.execution["holdings"] += [other, euro]
    said = part(board, "now")
    assert f"{money(1200.0, 'USDT')}, {money(5.0, 'EUR')}" in said
    assert "capital of 3 pairs" in said


def test_evidence_is_that_of_the_decision():
    board = Board()
    test = board.world.state.pairs[0].test
    assert test is not None
    said = re.sub(r"<[^>]*>", "", part(board, "evidence"))
    case = look(board.state).pairs[0].test.case  # type: ignore[union-attr]
    e, v = number(test.e, 3), differences(case)
    assert f"continues, 13 whole blocks of at least 20, e = {e}, threshold 120." in said
    assert f"e of {e} after 13 whole days, 13 of them with a difference" in said
    assert "e of 120, and every guard passed" in said and "e of 0.15" in said
    assert f"{number(sum(v) / len(v) * 1e4, 3)} bp of the capital a day" in said
    assert f"13 days of 90, since {minute(test.began_ns)}; test 1 of at most 6 a year" in said
    assert ", ".join(judge(case).failing) in said
    assert "charged 0.00833 of the 0.05" in said


def test_the_chance_of_a_set_that_is_no_better_is_one_over_the_highest_e():
    board = Board(world_with_test(40))
    test = board.world.state.pairs[0].test
    assert test is not None and test.e > 10.0
    highest = max(
        judge(msgspec.structs.replace(case, blocks=case.blocks[:count])).e
        for case in [look(board.state).pairs[0].test.case]  # type: ignore[union-attr]
        for count in range(1, len(case.blocks) + 1)
    )
    assert f"a chance of at most {percent(1.0 / highest)}" in part(board, "evidence")


def test_slots_and_decisions_are_those_of_the_state():
    board = Board()
    seen = board.gathered().seen
    assert seen is not None
    found = rows(part(board, "slots"))
    assert [cells[0] for cells in found] == ["0", "1", "2"]
    assert [cells[1] for cells in found] == [
        "champion, capital follows it",
        "under test",
        "explorer",
    ]
    for cells, slot in zip(found, seen.pairs[0].slots, strict=True):
        state, since = cells[2:4]
        assert (state, since) == ("TRADING", minute(slot.effective_ns))
        assert cells[4:] == [slot.name, slot.apart, str(slot.generation)]
    decided = rows(part(board, "decisions"))
    assert [cells[0] for cells in decided] == ["2", "1"]
    assert [cells[2] for cells in decided] == ["test", "start"]
    assert decided[0][-1] == "hft evop explain 2" and decided[0][-2] == "the test slot was free"


def test_a_slot_is_assigned_then_warms_then_trades():
    slot = look(world_with_test().state).pairs[0].slots[0]
    assert slot_state(slot, slot.effective_ns - 1) == "ASSIGNED"
    assert slot_state(slot, slot.effective_ns) == f"WARMING until {minute(slot.warm_ns)}"
    assert slot_state(slot, slot.warm_ns) == "TRADING"


def test_services_say_what_hft_status_says():
    board = Board()
    board.missing["garch_model"] = "catches up, 12 facts behind"
    found = {cells[0]: cells for cells in rows(part(board, "services"))}
    assert found["ingestion"][1:5] == ["ready", "3", "1,234", "0"]
    assert found["ingestion"][6:] == [second(SINCE_NS), "box:8000"]
    assert found["garch_model"][1] == "catches up, 12 facts behind"


# --- the latch ---


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (RUN, "RUNNING"),
        (HALT, "HALTED"),
        (msgspec.structs.replace(HALT, flatten=True), "HALTED, closing what is held"),
    ],
)
def test_the_latch_is_said_with_who_why_and_since(word, says: str):
    board = Board()
    board.word = word
    board.execution["latch"] = {"halted": not word.run}
    said = part(board, "now")
    assert f'<p class="word">{says}</p>' in said
    assert f"By {word.operator} at {second(word.time_ns)}: {word.reason}." in said
    assert "not told yet" not in said


def test_a_latch_without_a_word_is_halted():
    board = Board()
    board.word = None
    assert "the latch is absent, which means halted" in part(board, "now")
    board.unreadable = "redis://here: refused"
    said = part(board, "now")
    assert "HALTED" in said and "the latch cannot be read: redis://here: refused" in said


def test_what_execution_was_not_told_yet_is_said():
    board = Board()
    board.word = HALT
    assert "Execution is still running: it was not told yet." in part(board, "now")
    board.silent.add("execution")
    assert "What execution was told is not known: it is silent." in part(board, "now")


def test_a_latch_that_lets_go_is_not_said_to_run_where_execution_does_not():
    board = Board()
    assert '<p class="word">RUNNING</p>' in part(board, "now")
    board.missing["execution"] = "waits for the broker"
    silent, held = Board(), Board()
    silent.silent.add("execution")
    held.execution["latch"] = {"halted": True}
    for broken in (board, silent, held):
        said = part(broken, "now")
        assert '<div class="latch halted"><p class="word">NOT RUNNING</p>' in said
        assert "The latch lets it go, and execution does not run." in said


# --- what is missing ---


def test_what_a_silent_execution_told_is_grey_with_its_time():
    board = Board()
    assert 'class="stale"' not in page(board)
    board.silent.add("execution")
    said = part(board, "positions")
    assert said.startswith('<div class="stale">') and "Execution is silent since 2030" in said
    assert part(board, "now").count('<div class="stale">') == 2, "PnL and drawdown"


def test_a_line_that_has_not_begun_says_so_and_why():
    board = Board(World(config(PAIR), per_set({})))
    board.execution = {"holdings": []}
    assert f"{PAIR}: no set." in part(board, "slots")
    assert "No set is under test." in part(board, "evidence")
    assert "No decision yet." in part(board, "decisions")
    assert "Execution has told of no account yet." in part(board, "positions")
    now = msgspec.structs.replace(board.gathered(), seen=None, why_not_ready="waits for the feed")
    assert "Not known yet: the orchestrator waits for the feed." in sections(now)["slots"]


# --- the models ---


def test_model_health_is_what_the_volatility_service_told_by_slot_and_role():
    board = Board()
    board.health[1] = judged(1, board.health[1]["generation"], scale=1.6)
    body = part(board, "health")
    named = [line for line in rows(body) if len(line) == 9]
    assert [cells[0] for cells in named] == [
        f"{slot.slot}, {slot.role}" for slot in look(board.state).pairs[0].slots
    ]
    for cells, row in zip(named, board.health, strict=True):
        assert cells[4] == number(row["variance"], 3) and cells[8] == "250"
        assert cells[5:8] == [percent(share) for share in row["covered"]]
    assert named[0][1:4] == ["white", "calibrated", "as at calibration"]
    assert named[1][2] == "off: too narrow"
    assert "1 off" in body and "health-off" in body
    assert "0.0001 (the red zone of the Basel Committee" in body


def test_the_figures_behind_the_words_are_there():
    board = Board()
    body = part(board, "health")
    figures = body[body.index("The figures behind the words") :]
    for row in board.health:
        assert number(row["white_p"], 2) in figures
        assert number(row["shifts"]["gap_s"]["psi"], 3) in figures


def test_models_that_were_not_told_of_are_said_to_be_not_known():
    board = Board()
    board.health = []
    assert "has told of no slot yet" in part(board, "health")


def test_what_a_silent_volatility_service_told_is_grey_with_its_time():
    board = Board()
    before = part(board, "health")
    board.silent.add("garch_model")
    after = part(board, "health")
    assert '<div class="stale">' in after and '<div class="stale">' not in before
    assert "garch_model is silent since" in after


def test_a_generation_that_evop_does_not_know_has_no_role_and_a_row_without_one_is_left_out():
    board = Board()
    shown = len(board.health)
    board.health[1] = judged(1, generation=77)
    board.health.append(judged(3))
    named = [line for line in rows(part(board, "health")) if len(line) == 9]
    assert named[1][0] == "1" and len(named) == shown


# --- safety ---

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&`</p>`'


def hostile_board() -> Board:
    """Every text that comes from outside is one that would run."""
    made = world_with_test()
    pair = made.state.pairs[0]
    pair.pair = pair.decision_id = HOSTILE
    pair.slots[1].alias = pair.slots[1].model_version = HOSTILE
    board = Board(made)
    board.word = msgspec.structs.replace(RUN, operator=HOSTILE, reason=HOSTILE)
    board.pairs = {HOSTILE: msgspec.structs.replace(HALT, operator=HOSTILE, reason=HOSTILE)}
    board.execution["pairs"] = [
        {"pair": HOSTILE, "held_by": ["operator"], "flatten": False, "locked": HOSTILE}
    ]
    capital = board.execution["holdings"][0]
    board.execution["holdings"].append(capital | {"pair": HOSTILE, "x": 0.0})
    board.execution["holdings"].append(capital | {"account": HOSTILE})
    board.missing["ingestion"], board.where = HOSTILE, HOSTILE
    off = {"state": "off", "words": HOSTILE}
    board.health = [board.health[0] | {"pair": HOSTILE, "state": "off", "drift": off}]
    last = made.records()[-1]
    record = msgspec.json.decode(last.record)
    record |= {"reason": HOSTILE, "operator": HOSTILE, "kind": HOSTILE, "pair": HOSTILE}
    record["challenger"]["alias"] = HOSTILE
    board.latest = Latest()
    for fact in (made.records()[0], msgspec.structs.replace(last, record=json.dumps(record))):
        board.latest.made(fact)
    board.gatherer = Gatherer(board, board, board.latest)
    board.gatherer.follow(board)
    board.gatherer.turn()
    return board


def test_hostile_text_is_shown_and_never_run():
    bodies = sections(hostile_board().gathered())
    for name, body in bodies.items():
        assert "<script" not in body and "<img" not in body, name
        assert 'onerror="' not in body, name
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body, f"{name} shows the text"
    made = document(hostile_board().gathered(), bodies)
    assert made.count("<script") == 1 and "<img" not in made


def test_the_page_allows_its_own_style_and_script_alone():
    made = page(Board())
    policy = HEADERS["Content-Security-Policy"]
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.findall(r'\s(?:style|on[a-z]+)="', made), "no attribute that the policy forbids"


def test_the_page_loads_nothing_and_sends_nothing():
    made = page(Board())
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", made)
    assert "http://" not in made and "https://" not in made
    assert not re.findall(r"<(?:form|button|input|iframe|link(?! rel=\"icon\"))", made)


def test_a_page_of_many_pairs_is_bounded_and_says_what_it_leaves_out():
    board = Board()
    first = board.world.state.pairs[0]
    board.world.state.pairs = [
        msgspec.structs.replace(first, pair=f"C{number}/USDT~BTC/USDT") for number in range(120)
    ]
    many = Board(board.world)
    made = page(many)
    assert "70 pairs more are not shown here." in made
    assert len(made) < 1_000_000
