"""Six processes and a real broker, killed at will: the orders are the replay's, bit for bit."""

import random
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hft_lib.events import CapitalOrder
from serving.ledger.database import open_database
from serving.ledger.tables import FILLS, ORDERS
from serving.runtime.identity import git_commit
from serving.services import SERVICES
from tests.integration.conftest import Broker, RedisServer
from tests.integration.six import MARKS, NAMES, Played, SixProcesses, facts, recorded

pytestmark = MARKS
KILLS = 24
REST_S = 2.5  # longer than a service's look at how far behind it is


def is_through(six: SixProcesses, played: Played) -> bool:
    """The whole tape has come out at the end of the line, and nothing is under way."""
    states = [six.state(name) for name in NAMES]
    if not all(states) or states[0]["read"] < played.replay["events"]:
        return False
    time.sleep(REST_S)
    later = [six.state(name) for name in NAMES]
    at_rest = [state.get("read") for state in later] == [state["read"] for state in states]
    return at_rest and all(set(state["lag"].values()) == {0} for state in later)


def ledger_counts(folder: Path) -> tuple[int, int]:
    """Orders and fills in the ledger that the orchestrator's process keeps."""
    with open_database(f"sqlite:///{folder / 'ledger.db'}").connect() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (ORDERS, FILLS)
        ]
    return counts[0], counts[1]


def traced_commit(six: SixProcesses) -> str | None:
    """The commit to which the line's last order is traced."""
    orders = [f for f in facts(six.servers, "hft.records") if isinstance(f, CapitalOrder)]
    known = six.verb("trace", orders[-1].client_order_id, "--json").json
    assert known["unknown"] == {} and known["line"]
    commit: str | None = known["git_commit"]
    return commit


def test_orders_equal_the_replays_though_every_service_broker_and_redis_are_killed(
    six: SixProcesses,
    played: Played,
    broker: Broker,
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    dice = random.Random(20261127)
    victims = [*NAMES * (KILLS // len(NAMES))]
    dice.shuffle(victims)
    six.start()
    six.await_ready()
    for number, victim in enumerate(victims):
        time.sleep(dice.uniform(0.05, 0.6))
        six.kill(victim)
        if number == KILLS // 2:
            broker.stop()
            broker.start()
        if number == KILLS // 3:
            redis_server.kill()
            time.sleep(1.0)
            redis_server.start()
        six.start(victim)
        six.await_ready(victim)
    six.wait_for("through", lambda: is_through(six, played), 300.0)
    told = recorded(six.servers)
    assert (told.orders, told.fills) == (played.replay["orders"], played.replay["fills"])
    assert told.orders_sha256() == played.replay["orders_sha256"]
    assert told.rejected == played.replay["rejected"]
    six.wait_for("in the ledger", lambda: ledger_counts(tmp_path) == (told.orders, told.fills))
    assert traced_commit(six) == git_commit()
    began = time.monotonic()
    assert six.stop() == dict.fromkeys(NAMES, 0)
    assert time.monotonic() - began < 10.0


def test_pages_say_why_a_service_is_not_ready(six: SixProcesses):
    six.start("execution")
    six.wait_for("alive", lambda: six.page("execution", "/healthz")[0] == 200)
    six.wait_for("waiting", lambda: "the line is opened" in six.page("execution", "/readyz")[1])
    assert six.page("execution", "/readyz")[0] == 503
    assert "hft_ready 0.0" in six.page("execution", "/metrics")[1]


def test_every_service_has_a_port_of_its_own():
    assert len({service.port for service in SERVICES}) == len(SERVICES)
