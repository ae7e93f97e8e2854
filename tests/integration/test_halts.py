"""The operator's words about pairs, and the reconciliation, under six real processes."""

from typing import Any

import pytest

from hft_lib.events import CapitalOrder, Event, Halted, Resumed
from serving.adapters.redis_client import connect
from serving.adapters.redis_latch import PAIRS_KEY
from tests.integration.line import KILL_S_MAX, Line
from tests.integration.six import MARKS, SixProcesses, facts

pytestmark = MARKS
SPEED = 30_000.0  # capital trades now and then


@pytest.fixture
def busy(line: Line) -> SixProcesses:
    """The line with capital at work; what it is told counts from here."""
    count = len(capital_orders(line.six))
    line.six.wait_for("capital trading", lambda: len(capital_orders(line.six)) > count)
    line.listen()
    return line.six


def records(six: SixProcesses) -> list[Event]:
    return facts(six.servers, "hft.records")


def capital_orders(six: SixProcesses) -> list[CapitalOrder]:
    return [fact for fact in records(six) if isinstance(fact, CapitalOrder)]


def pair_of(six: SixProcesses) -> dict[str, Any]:
    """What execution's page says of its only pair."""
    rows = six.state("execution").get("pairs", [])
    found: dict[str, Any] = rows[0] if rows else {}
    return found


def is_halted(six: SixProcesses) -> bool:
    return "operator" in pair_of(six).get("held_by", ())


def resume(six: SixProcesses) -> None:
    """Let the pair go."""
    back = ("pair", "resume", pair_of(six)["pair"], "--operator", "bob", "--reason", "over")
    assert six.verb(*back, "--json").json["latch"] == "run"
    six.wait_for("resumed", lambda: pair_of(six).get("held_by") == [])


def test_a_pair_that_is_flattened_opens_nothing_until_it_is_resumed(busy: SixProcesses, line: Line):
    pair = pair_of(busy)["pair"]
    answer = busy.verb("flatten", pair, "--operator", "ada", "--reason", "drill", "--json")
    assert answer.code == 0 and answer.json["flatten"] and answer.err == ""
    busy.wait_for("halted", lambda: is_halted(busy), KILL_S_MAX)
    line.restart()
    assert is_halted(busy) and pair_of(busy)["flatten"]
    assert [(fact.pair, fact.operator) for fact in line.heard()] == [(pair, "ada")], "told once"
    (row,) = busy.verb("status", "--json").json["pairs"]
    assert (row["word"], row["operator"], row["held_by"]) == ("halt", "ada", ["operator"])
    before = busy.state("execution")["read"]
    busy.wait_for("going on", lambda: busy.state("execution").get("read", 0) > before + 500)
    capital = next(r for r in busy.state("execution")["holdings"] if r["account"] == "capital")
    assert (capital["y"], capital["x"]) == (0.0, 0.0)
    resume(busy)
    count = len(capital_orders(busy))
    busy.wait_for("capital trading again", lambda: len(capital_orders(busy)) > count)
    said = records(busy)
    halted, resumed = (
        next(at for at, fact in enumerate(said) if isinstance(fact, kind))
        for kind in (Halted, Resumed)
    )
    held = [fact for fact in said[halted:resumed] if isinstance(fact, CapitalOrder)]
    assert all(order.reduce_only for order in held)
    later = [fact for fact in said[resumed:] if isinstance(fact, CapitalOrder)]
    assert later and not later[0].reduce_only
    inbox = facts(busy.servers, "orchestrator")
    assert [f.operator for f in inbox if isinstance(f, Resumed)] == ["bob"], "it may thaw a freeze"


def test_all_pairs_are_flattened_and_a_slip_of_the_keyboard_halts_none(
    busy: SixProcesses, line: Line
):
    wrong = busy.verb("pair", "halt", "A/USDT:USDT~A/USDT")
    assert wrong.code == 2 and "the line has no pair A/USDT:USDT~A/USDT" in wrong.sentence
    assert busy.verb("flatten", "--reason", "drill").code == 0
    busy.wait_for("halted", lambda: is_halted(busy), KILL_S_MAX)
    assert [fact.flatten for fact in line.heard() if isinstance(fact, Halted)] == [True]
    resume(busy)


def test_words_that_are_lost_let_nothing_go(busy: SixProcesses, line: Line):
    pair = pair_of(busy)["pair"]
    busy.verb("pair", "halt", pair, "--operator", "ada", "--reason", "drill")
    busy.wait_for("halted", lambda: is_halted(busy), KILL_S_MAX)
    connect(line.redis.url).delete(PAIRS_KEY)
    busy.kill("execution")
    busy.start("execution")
    busy.await_ready("execution")
    busy.wait_for("shown", lambda: bool(pair_of(busy)))
    assert is_halted(busy) and len(line.heard()) == 1
    resume(busy)


def test_the_books_reconcile_while_the_line_trades_and_not_without_execution(busy: SixProcesses):
    for _ in range(3):
        answer = busy.verb("reconcile", "--json")
        assert answer.code == 0, answer.err
        assert answer.json["reconciled"] and answer.json["fills"] > 0
    busy.kill("execution")
    busy.wait_for("gone", lambda: busy.verb("reconcile").code == 1)
    assert "execution does not say what it holds" in busy.verb("reconcile").sentence
