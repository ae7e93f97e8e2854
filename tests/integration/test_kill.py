"""The operator's kill, Redis and the leases under six real processes."""

from typing import Any

from hft_lib.events import Halted, Resumed
from serving.adapters.redis_client import connect
from serving.adapters.redis_latch import KEY
from serving.runtime.latch import ABSENT
from tests.integration.conftest import RedisServer
from tests.integration.line import Line
from tests.integration.six import MARKS, NAMES, SixProcesses

pytestmark = MARKS
SPEED = 10_000.0  # the tape in twenty minutes


def latched(six: SixProcesses) -> dict[str, Any]:
    """What execution's page says of the latch."""
    found: dict[str, Any] = six.state("execution").get("latch", {})
    return found


def test_a_kill_survives_everything_and_is_told_once(line: Line):
    six = line.six
    answer = six.verb("kill", "--flatten", "--operator", "ada", "--reason", "drill", "--json")
    assert answer.code == 0 and answer.json["latch"] == "halt"
    line.await_told("drill")
    status = six.verb("status", "--json").json
    assert status["latch"]["operator"] == "ada" and len(status["services"]) == len(NAMES)
    line.restart()
    assert latched(six)["halted"] and latched(six)["flatten"]
    assert [fact.reason for fact in line.heard()] == ["drill"]
    assert six.verb("reset-kill", "--operator", "bob", "--reason", "over").code == 0
    six.wait_for("resumed", lambda: latched(six).get("halted") is False)
    halted, resumed = line.heard()
    assert isinstance(halted, Halted) and isinstance(resumed, Resumed)
    assert resumed.operator == "bob" and 0 < halted.time_ns <= resumed.time_ns
    line.listen()


def test_a_latch_that_was_deleted_halts_until_it_is_written_again(line: Line):
    connect(line.redis.url).delete(KEY)
    line.six.wait_for("halted", lambda: line.is_halted)
    assert [fact.reason for fact in line.heard()] == [ABSENT]
    line.let_go()


def test_a_process_whose_lease_another_took_ends_at_once(line: Line):
    client = connect(line.redis.url)
    held = client.get("hft:lease:orchestrator")
    client.set("hft:lease:orchestrator", held.replace(b'"host":"', b'"host":"not-'))
    assert line.six.forget("orchestrator") == 3
    assert "another process took the lease" in line.six.log("orchestrator")
    assert line.six.page("orchestrator", "/healthz")[0] == 0


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
