"""One line of six processes through everything that can befall it, the latch pulled each time.

The tests go on with the line of the one before: each leaves it ready and let go, and one that fails
ends it. After each, what the services wrote is what a replay of their inboxes makes, with the
operator's words in them.
"""

import sqlite3
import time
from contextlib import closing
from functools import partial

import pytest

from serving.adapters.redis_client import connect
from serving.adapters.redis_latch import KEY
from serving.runtime.latch import HOST, UNREADABLE, WENT_BACK
from serving.services import INBOXES
from tests.integration import faults
from tests.integration.line import KILL_S_MAX, Line
from tests.integration.six import MARKS, NAMES, Played
from tests.integration.test_six_services import is_through

pytestmark = MARKS
# The tape in twenty minutes: on a slow machine too there is some left for what comes last.
SPEED = 10_000.0
AWAY_S = 62.0
STOP_S_MAX = 10.0


def test_a_minute_without_a_broker_is_survived_by_every_process(line: Line):
    six = line.six
    processes = [six.process(name).pid for name in NAMES]
    line.broker.stop()
    began = time.monotonic()
    line.await_pages("waits for the broker", *NAMES)
    six.kill("garch_model")  # what is started meanwhile waits too
    six.start("garch_model")
    line.await_pages("the broker answers", "garch_model")
    time.sleep(AWAY_S - (time.monotonic() - began))
    line.pull("no broker")
    assert six.state("execution")["latch"]["may_send"] is False
    assert six.verb("status", "--json").json["latch"]["latch"] == "halt"
    line.broker.start()
    line.await_told("no broker")
    six.await_ready()
    now = [six.process(name).pid for name in NAMES]
    assert [a == b for a, b in zip(now, processes, strict=True)] == [
        name != "garch_model" for name in NAMES
    ]
    line.let_go()
    line.check()


def test_a_broker_that_is_frozen_is_waited_for_too(line: Line):
    with line.broker.frozen():
        line.await_pages("waits for the broker", *NAMES)
        line.pull("frozen")
        assert line.six.state("execution")["latch"]["may_send"] is False
    line.await_told("frozen")
    line.let_go()
    line.check()


def test_poison_in_every_inbox_is_buried_and_stops_nobody(line: Line):
    six, count = line.six, 0
    for name in (*NAMES, "hft.records"):
        count = faults.poison(six.servers, name)
    line.pull("poison")
    line.await_told("poison")
    for name in NAMES:
        six.wait_for("buried", partial(line.has_buried, name, count))
        # It is counted where it is sent, and is in the topic a moment later.
        six.wait_for("written", partial(line.has_written, name, count))
        assert len(faults.letters(six.servers, name)) == count
        assert six.page(name, "/readyz")[0] == 200
    line.let_go()
    line.check()


def test_snapshots_cut_in_half_leave_the_one_before_or_the_log(line: Line):
    six = line.six
    for name, count in (("garch_model", 1), ("execution", 2)):
        six.wait_for("saved", partial(line.has_saved, name, count))
        six.kill(name)
        faults.cut_snapshots(six.servers, name, count)
    line.pull("execution is down")
    # Until its last heartbeat has run out, what was killed counts as there.
    six.wait_for("missed", lambda: six.verb("status").code == 1)
    six.start("garch_model", "execution")
    six.await_ready("execution")
    line.await_told("execution is down")
    assert six.log("execution").count("a snapshot is cut or changed") >= 2
    assert "a snapshot is cut or changed" in six.log("garch_model")
    line.let_go()
    line.check()


def test_a_second_of_what_there_is_one_alone_refuses_and_says_who_it_is(line: Line):
    six = line.six
    names = ("execution", "orchestrator", "ingestion")
    epochs = [six.state(name)["epoch"] for name in names]
    seconds = [six.second(name) for name in names]
    line.pull("two of them")
    line.await_told("two of them")
    for name, second in zip(names, seconds, strict=True):
        _, told = second.communicate(timeout=60.0)
        assert second.returncode == 3
        assert f"there is one {name} alone: process {six.process(name).pid}" in told.decode()
    assert [six.state(name)["epoch"] for name in names] == epochs, "they took no epoch"
    line.let_go()
    line.check()


def test_a_full_disk_of_the_broker_stops_the_line_until_there_is_room(line: Line):
    faults.fill_disk_of(line.broker.pid)
    line.await_pages("waits for the broker", *NAMES)
    line.pull("disk full")
    line.broker.stop()
    line.broker.start()
    line.await_told("disk full")
    line.let_go()
    line.check()


def test_a_full_disk_of_redis_fails_the_kill_and_the_line_halts_by_itself(line: Line):
    six = line.six
    faults.fill_disk_of(line.redis.pid)
    answer = six.verb("kill", "--operator", "ada", "--reason", "disk full")
    assert answer.code == 1 and "halts by itself" in " ".join(answer.err.split())
    line.redis.wait()
    six.wait_for("halted", lambda: line.is_halted)
    assert UNREADABLE in six.page("execution", "/readyz")[1]
    assert six.verb("kill").code == 1 and six.verb("status").code == 1
    line.redis.start()
    six.wait_for("let go", lambda: not line.is_halted)
    halted, resumed = line.heard()
    assert (halted.operator, halted.reason, resumed.operator) == (HOST, UNREADABLE, HOST)
    line.pull("room again")
    six.wait_for("halted", lambda: line.is_halted, KILL_S_MAX)
    line.let_go()
    line.check()


@pytest.mark.parametrize("name", ["execution", "risk_manager"])
def test_a_snapshot_of_another_schema_refuses_the_start_and_says_both(line: Line, name: str):
    six = line.six
    assert six.stop_one(name) == 0
    key = faults.put_of_another_schema(six.servers, name)
    why = f"newest snapshot of {name} must be 1, was 2"
    six.start(name)
    line.await_pages(why, name)
    line.pull("another schema")
    assert six.forget(name) == 3
    assert why in six.log(name)
    if name != "execution":
        line.await_told("another schema")
    faults.drop(six.servers, key)
    six.start(name)
    six.await_ready(name)
    line.await_told("another schema")
    line.let_go()
    line.check()


def test_a_latch_that_went_back_in_time_lets_nothing_go(line: Line):
    six, client = line.six, connect(line.redis.url)
    before = client.get(KEY)
    line.pull("before the loss")
    line.await_told("before the loss")
    client.set(KEY, before)  # a server that came back with what it had a minute ago
    line.await_pages(WENT_BACK, "execution")
    assert line.is_halted
    six.kill("execution")
    six.start("execution")
    line.await_pages(WENT_BACK, "execution")
    assert line.is_halted and six.state("execution")["latch"]["may_send"] is False
    line.let_go()
    line.check()


def test_a_stop_under_full_load_ends_in_time_and_drops_nothing(line: Line, played: Played):
    six = line.six
    six.speed = None
    assert six.stop_one("ingestion") == 0
    read = six.state("execution")["read"]
    six.start("ingestion")
    six.wait_for("under load", lambda: six.state("execution").get("read", 0) > read + 500)
    began = time.monotonic()
    assert six.stop(2 * STOP_S_MAX) == dict.fromkeys(NAMES, 0)
    assert time.monotonic() - began < STOP_S_MAX
    line.pull("all are down")
    six.start()
    six.await_ready("execution")
    line.await_told("all are down")
    line.let_go()
    six.wait_for("through", lambda: is_through(six, played), 300.0)
    assert faults.check_feed(six.servers, line.tape) == played.replay["events"]
    assert faults.check_replay(six.servers, is_through=True) > 0


def test_a_ledger_that_is_dropped_is_rebuilt_to_the_same_rows(line: Line):
    six = line.six
    buried = faults.poison(six.servers, "hft.records")
    line.pull("the ledger is dropped")
    first = six.verb("ledger", "rebuild", "--json")
    line.await_told("the ledger is dropped")
    with closing(sqlite3.connect(first.json["database"].removeprefix("sqlite:///"))) as ledger:
        ledger.execute("DROP TABLE fills")
    again = six.verb("ledger", "rebuild", "--json")
    assert first.code == again.code == 0, first.err + again.err
    assert first.json["rows"] == again.json["rows"] and first.json["rows"]["orders"] > 0
    letters = faults.letters(six.servers, "hft.records")
    assert len(letters) == len(set(letters)) >= buried
    line.let_go()
    assert INBOXES == set(NAMES)
