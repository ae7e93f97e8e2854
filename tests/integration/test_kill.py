"""The operator's kill, Redis and the leases under six real processes."""

from typing import Any

import pytest

from hft_lib.events import Halted, Resumed
from serving.adapters.redis_client import connect
from serving.adapters.redis_latch import KEY
from serving.runtime.latch import ABSENT, HOLD_S_MAX, HOST, UNREADABLE
from tests.integration.conftest import Broker, RedisServer
from tests.integration.six import NAMES, SixProcesses, facts

pytestmark = pytest.mark.slow
KILL_S_MAX = 10.0  # a second on a machine that is ours, whose bounds test_latch.py adds up
SPEED = 60_000.0  # the tape's months in minutes: the line is busy and never at its end


@pytest.fixture
def busy(six: SixProcesses) -> SixProcesses:
    """All six, ready, with the tape coming in."""
    six.speed = SPEED
    six.start()
    six.await_ready()
    return six


def latched(six: SixProcesses) -> dict[str, Any]:
    """What execution's page says of the latch."""
    found: dict[str, Any] = six.state("execution").get("latch", {})
    return found


def told(six: SixProcesses) -> list[Halted | Resumed]:
    """What execution's inbox holds of the latch."""
    return [f for f in facts(six.servers, "execution") if isinstance(f, Halted | Resumed)]


def test_a_kill_is_in_the_inbox_soon_and_survives_everything(
    busy: SixProcesses, redis_server: RedisServer, broker: Broker
):
    answer = busy.verb("kill", "--flatten", "--operator", "ada", "--reason", "drill", "--json")
    assert answer.code == 0 and answer.json["latch"] == "halt"
    busy.wait_for("halted", lambda: bool(latched(busy).get("halted")), KILL_S_MAX)
    status = busy.verb("status", "--json").json
    assert status["latch"]["operator"] == "ada" and len(status["services"]) == len(NAMES)
    for name in NAMES:
        busy.kill(name)
    redis_server.kill()
    broker.stop()
    redis_server.start()
    broker.start()
    busy.start()
    busy.await_ready()
    assert latched(busy)["halted"] and latched(busy)["flatten"]
    assert [fact.reason for fact in told(busy)] == ["drill"], "it is told once"
    assert busy.verb("reset-kill", "--operator", "bob", "--reason", "over").code == 0
    busy.wait_for("resumed", lambda: latched(busy).get("halted") is False)
    said = told(busy)
    assert [type(fact) for fact in said] == [Halted, Resumed]
    assert said[1].operator == "bob" and 0 < said[0].time_ns <= said[1].time_ns


def test_a_kill_works_while_kafka_is_down(busy: SixProcesses, broker: Broker):
    broker.stop()
    try:
        assert busy.verb("kill", "--operator", "ada", "--reason", "drill").code == 0
        shown = busy.verb("status", "--json")
        assert shown.json["latch"]["latch"] == "halt"
    finally:
        broker.start()
    busy.wait_for("halted", lambda: bool(latched(busy).get("halted")))
    assert [fact.operator for fact in told(busy)] == ["ada"]


def test_a_redis_that_stays_away_halts_and_one_that_is_back_lets_go(
    busy: SixProcesses, redis_server: RedisServer
):
    redis_server.kill()
    busy.wait_for("halted", lambda: bool(latched(busy).get("halted")), 3 * HOLD_S_MAX)
    assert UNREADABLE in busy.page("execution", "/readyz")[1]
    assert busy.verb("kill").code == 1 and busy.verb("status").code == 1
    redis_server.start()
    busy.wait_for("resumed", lambda: latched(busy).get("halted") is False)
    busy.await_ready()
    said = told(busy)
    assert [fact.operator for fact in said] == [HOST, HOST]
    assert said[0].reason == UNREADABLE and isinstance(said[1], Resumed)


def test_a_latch_that_was_deleted_halts(busy: SixProcesses, redis_server: RedisServer):
    connect(redis_server.url).delete(KEY)
    busy.wait_for("halted", lambda: bool(latched(busy).get("halted")))
    assert [fact.reason for fact in told(busy)] == [ABSENT]


def test_a_second_execution_refuses_and_says_who_it_is(busy: SixProcesses):
    pid = busy.process("execution").pid
    second = busy.second("execution")
    _, said = second.communicate(timeout=60.0)
    assert second.returncode == 3
    assert f"there is one execution alone: process {pid} on" in said.decode()
    assert busy.page("execution", "/readyz")[0] == 200
    assert busy.state("execution")["epoch"] == 1, "it took no epoch"


def test_a_process_whose_lease_another_took_ends_at_once(
    busy: SixProcesses, redis_server: RedisServer
):
    client = connect(redis_server.url)
    held = client.get("hft:lease:orchestrator")
    client.set("hft:lease:orchestrator", held.replace(b'"host":"', b'"host":"not-'))
    assert busy.forget("orchestrator") == 3
    assert "another process took the lease" in busy.log("orchestrator")
    assert busy.page("orchestrator", "/healthz")[0] == 0


def test_execution_waits_for_a_redis_that_is_not_there(
    six: SixProcesses, redis_server: RedisServer
):
    redis_server.kill()
    six.start("execution")
    six.wait_for("waiting", lambda: "the lease can be had" in six.page("execution", "/readyz")[1])
    redis_server.start()
    six.wait_for("waiting", lambda: "the line is opened" in six.page("execution", "/readyz")[1])
    assert six.stop() == {"execution": 0}
    assert connect(redis_server.url).get("hft:lease:execution") is None, "it gave the lease back"


def test_execution_and_orchestrator_need_a_redis_and_others_do_not(six: SixProcesses):
    six.redis_url = ""
    for name in ("execution", "orchestrator"):
        refused = six.second(name)
        _, said = refused.communicate(timeout=60.0)
        assert refused.returncode == 2 and b"needs REDIS_URL" in said
    six.start("kalman_filter")
    six.wait_for("waiting", lambda: "is opened" in six.page("kalman_filter", "/readyz")[1])
