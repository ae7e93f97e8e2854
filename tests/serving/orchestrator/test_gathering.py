"""What the page is made of, put together."""

from hft_lib.events import Event
from hft_lib.stages.orchestrator import STAGE
from serving.adapters.memory_bus import MemoryBus
from serving.orchestrator.decisions import Latest
from serving.orchestrator.gathering import Gatherer
from serving.runtime.host import serve
from serving.services import INBOXES
from tests.serving.orchestrator.board import HALT, NOW_NS, RUN, Board


def test_all_that_is_known_is_of_its_source():
    board = Board()
    now = board.gathered()
    assert (now.word, now.word_why, now.where) == (RUN, "", board.where)
    assert [row["ready"] for row in now.services] == [True] * 6
    assert now.execution["holdings"] == board.execution["holdings"]
    assert (now.execution_ns, now.execution_silent) == (NOW_NS, False)
    assert now.seen is not None and now.seen.decisions == len(now.decisions) == 2
    assert now.line_ns == board.execution["line_ns"]


def test_a_silent_execution_leaves_what_it_told_last_and_its_time():
    board = Board()
    board.gathered()
    board.silent.add("execution")
    now = board.gathered()
    assert now.execution_silent and now.execution_ns == NOW_NS
    assert now.execution["holdings"] == board.execution["holdings"]
    row = next(row for row in now.services if row["service"] == "execution")
    assert (row["ready"], row["why_not_ready"]) == (False, "no heartbeat")


def test_without_redis_the_last_rows_are_kept_and_the_latch_is_not_known():
    board = Board()
    before = board.gathered()
    board.away, board.unreadable = "redis://here: refused", "redis://here: refused"
    now = board.gathered()
    assert now.services == before.services and now.services_why == "redis://here: refused"
    assert (now.word, now.word_why) == (None, "redis://here: refused")
    assert now.execution_silent and now.execution == before.execution
    board.away, board.unreadable, board.word = "", "", HALT
    assert board.gathered().word == HALT


def test_the_state_is_looked_at_once_a_second_and_only_where_it_was_stepped_on():
    board, clock = Board(), [100.0]
    gatherer = Gatherer(board, board, board.latest, now_s=lambda: clock[0])

    def looked() -> bool:
        before = gatherer.gathered().seen
        assert gatherer.turn() == 0
        return gatherer.gathered().seen is not before

    assert not looked(), "nothing is followed yet"
    gatherer.follow(board)
    assert looked()
    clock[0] += 5.0
    assert not looked(), "it was not stepped on"
    board.read += 1
    assert looked()
    board.read += 1
    clock[0] += 0.9
    assert not looked(), "a second has not passed"
    clock[0] += 0.1
    assert looked()


def test_what_the_stage_makes_is_heard_after_whom_it_told_before():
    board = Board()
    told: list[Event] = []
    host = serve(STAGE, board.world.line, MemoryBus(INBOXES, lambda log, fact: None))
    host.on_made = told.append
    board.latest = Latest()
    gatherer = Gatherer(board, board, board.latest)
    gatherer.follow(host)
    for fact in board.world.inbox:
        host.take(fact)
    gatherer.turn()
    assert told == board.world.facts
    assert [line["number"] for line in gatherer.gathered().decisions] == [2, 1]
