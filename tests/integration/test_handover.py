"""One alone: a service is replaced while ticks flow, in order and in the ugliest way.

A roll-out of a singleton (`Recreate` in k8s) ends the old process before the new one begins, and
the log keeps what comes meanwhile. A process that hangs is replaced once its lease has run out;
when it wakes it is refused by the epoch of the new one, though it cannot ask for its lease. Either
way no tick is missed and no order is sent twice: the orders are the replay's.

Beside this: that a second one refuses is in `test_faults.py`, that a process ends at once when
another took its lease in `test_kill.py`, and kills at will in `test_six_services.py`.
"""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer

from hft_lib.events import CapitalOrder, ShadowOrder
from serving.adapters.kafka_bus import header_of, watermarks
from serving.adapters.kafka_topics import RECORDS, topic_of
from serving.runtime.chain import Header, read_header
from serving.runtime.lease import TTL_S
from tests.integration import faults
from tests.integration.conftest import RedisServer
from tests.integration.relay import Relay
from tests.integration.six import MARKS, NAMES, Played, SixProcesses, facts, recorded
from tests.integration.test_six_services import is_through

pytestmark = MARKS
# A day in nine seconds: at its end the feed waits for the line's answer, so what is handed over is
# handed over at its beginning, and the log is given ticks meanwhile.
SPEED = 10_000.0
# What an inbox must be given meanwhile: the orchestrator's has a message a day of the market.
BUFFERED_MIN = {"execution": 20, "orchestrator": 1}
FENCED = 3


@pytest.fixture
def relay(redis_server: RedisServer) -> Iterator[Relay]:
    made = Relay(redis_server.port)
    yield made
    made.close()


def test_a_singleton_is_handed_over_in_order_and_its_frozen_predecessor_is_not_heard(
    six: SixProcesses, played: Played, redis_server: RedisServer, relay: Relay
):
    six.speed = SPEED
    six.start(*(name for name in NAMES if name != "execution"))
    through_the_relay = redis_server.url.replace(str(redis_server.port), str(relay.port))
    six.environment["REDIS_URL"] = through_the_relay
    six.start("execution")
    del six.environment["REDIS_URL"]
    six.await_ready()
    for name in ("orchestrator", "execution"):
        if name == "execution":
            the_frozen_one_is_not_heard(six, relay)
        the_log_buffers_while_one_alone_is_replaced(six, name)
    six.speed = None
    assert six.stop_one("ingestion") == 0
    six.start("ingestion")
    six.await_ready("ingestion")
    six.wait_for("through", lambda: is_through(six, played), 300.0)
    every_tick_and_order_is_there_once(six, played)
    assert six.stop() == dict.fromkeys(NAMES, 0)


def the_log_buffers_while_one_alone_is_replaced(six: SixProcesses, name: str) -> None:
    """SIGTERM, then the new one: what a roll-out of the strategy `Recreate` does."""
    a_day_begins(six)
    before = six.state(name)
    assert six.stop_one(name) == 0
    end = end_of(six, name)
    six.wait_for("the log buffers", lambda: end_of(six, name) >= end + BUFFERED_MIN[name])
    six.start(name)
    six.await_ready(name)
    after = six.state(name)
    assert after["epoch"] == before["epoch"] + 1
    assert after["read"] >= before["read"] + BUFFERED_MIN[name]


def the_frozen_one_is_not_heard(six: SixProcesses, relay: Relay) -> None:
    """It hangs longer than its lease lasts and wakes where Redis does not answer: it has the log
    alone to tell it that another one is execution now.
    """
    a_day_begins(six)
    six.process("execution").send_signal(signal.SIGSTOP)
    epoch = read_epoch(six)
    end = end_of(six, "execution")
    frozen = six.succeed("execution")
    try:
        six.await_ready("execution")
        assert six.state("execution")["epoch"] == epoch + 1
        least = end + BUFFERED_MIN["execution"]
        six.wait_for("the log buffers", lambda: end_of(six, "execution") >= least)
        relay.block()
        frozen.send_signal(signal.SIGCONT)
        assert frozen.wait(10 * TTL_S) == FENCED
    finally:
        frozen.kill()
        frozen.wait()
    assert f"execution runs elsewhere under epoch {epoch + 1}" in six.log("execution")


def a_day_begins(six: SixProcesses) -> None:
    """Return when the orchestrator has just been told of the end of a day."""
    end = end_of(six, "orchestrator")
    six.wait_for("a day's end", lambda: end_of(six, "orchestrator") > end)


def read_epoch(six: SixProcesses) -> int:
    """The epoch that execution runs under, of its announcements: frozen it answers nothing."""
    stamps = headers(six.servers, topic_of("execution"))
    return max(stamp.epoch for stamp in stamps if stamp.writer == "execution")


def end_of(six: SixProcesses, log: str) -> int:
    """How many messages a log has been given, read or not."""
    reader = Consumer({"bootstrap.servers": six.servers, "group.id": "handover"})
    _, end = watermarks(reader, topic_of(log))
    reader.close()
    return end


def headers(servers: str, topic: str) -> Iterator[Header]:
    """What travels beside each message of a topic, whether a reader would take it or not."""
    return (read_header(header_of(message)) for message in faults.messages(servers, topic))


def every_tick_and_order_is_there_once(six: SixProcesses, played: Played) -> None:
    told = recorded(six.servers)
    assert (told.orders, told.fills) == (played.replay["orders"], played.replay["fills"])
    assert told.orders_sha256() == played.replay["orders_sha256"]
    orders = [
        fact for fact in facts(six.servers, RECORDS) if isinstance(fact, CapitalOrder | ShadowOrder)
    ]
    names = Counter(order.client_order_id for order in orders)
    assert set(names.values()) == {1}
    assert faults.check_feed(six.servers, played.tape) == played.replay["events"]
    assert faults.check_replay(six.servers, is_through=True) > 0
