"""A worker whose broker goes away: it waits, says so, and goes on as if nothing had been."""

import threading

import numpy as np
import pytest
from structlog.testing import capture_logs

from hft_lib.events import TimePassed
from serving.runtime import service
from serving.runtime.chain import LOGIC_VERSION
from serving.runtime.chained import Away, BusError, ChainedBus
from serving.runtime.opening import OtherVersion
from serving.runtime.service import SNAPSHOT_AGE_S_MAX, Worker
from serving.runtime.snapshots import SnapshotKeeper
from serving.services import SERVICES
from tests.builders import PAIR, START_NS, story_config
from tests.serving.runtime.test_chained import Logs, MemoryClient
from tests.serving.runtime.test_snapshots import MemoryStore

EXECUTION = next(item for item in SERVICES if item.name == "execution")


class Client(MemoryClient):
    """Logs on a broker that is away when the test says so, or that took nothing for good."""

    refusal: BusError | None = None

    def flush(self, timeout_s: float) -> None:
        if self.refusal is not None:
            raise self.refusal


class Broker:
    """Logs and snapshots in memory, and a clock."""

    def __init__(self) -> None:
        self.logs: Logs = {}
        self.store = MemoryStore()
        self.client = Client(self.logs)
        self.edge = ChainedBus(MemoryClient(self.logs), "risk_manager")
        self.now_s = 0.0

    def snapshots(self, name: str) -> SnapshotKeeper:
        return SnapshotKeeper(self.store, name)

    def bus(self, name: str, epoch: int) -> ChainedBus:
        return ChainedBus(self.client, name, epoch)

    def worker(self) -> Worker:
        config = story_config()
        return Worker(self, EXECUTION, config, True, ("host",), lambda: self.now_s)

    def tell(self, count: int) -> None:
        for number in range(count):
            self.edge.write("execution", TimePassed(START_NS + number))


@pytest.fixture
def broker() -> Broker:
    return Broker()


def nothing() -> int:
    return 0


def test_a_snapshot_that_cannot_be_taken_is_put_off_and_the_process_stays(broker: Broker):
    worker = broker.worker()
    broker.tell(3)
    broker.client.refusal = Away("not there")
    broker.now_s = 2 * SNAPSHOT_AGE_S_MAX
    kept = len(broker.store.kept)
    for _ in range(3):
        worker.turn(nothing)
    assert worker.host.read == 3, "what came is stepped on"
    assert worker.away == "not there" and len(broker.store.kept) == kept
    broker.client.refusal = None
    worker.turn(nothing)
    assert worker.away == "" and len(broker.store.kept) == kept + 1


def test_an_edge_that_the_broker_does_not_take_is_asked_again(broker: Broker):
    worker = broker.worker()
    worker.turn(nothing)
    assert worker.ready
    asked: list[int] = []

    def edge() -> int:
        asked.append(1)
        if len(asked) < 3:
            raise Away("not there")
        return 0

    for away in ("not there", "not there", ""):
        worker.turn(edge)
        assert worker.away == away


def test_a_stop_while_the_broker_is_away_leaves_the_snapshot_before(broker: Broker):
    worker = broker.worker()
    broker.tell(3)
    worker.turn(nothing)
    broker.client.refusal = Away("not there")
    kept = list(broker.store.kept)
    stop = threading.Event()
    stop.set()
    worker.run(stop)
    assert broker.store.kept == kept
    broker.client.refusal = None
    again = broker.worker()
    again.turn(nothing)
    assert again.host.read == 3


def test_what_no_time_mends_ends_the_process(broker: Broker):
    worker = broker.worker()
    broker.tell(1)
    broker.client.refusal = BusError("refused for good")
    broker.now_s = 2 * SNAPSHOT_AGE_S_MAX
    with pytest.raises(BusError, match="for good"):
        worker.turn(nothing)


def test_a_snapshot_of_another_logic_is_gone_on_from_and_that_is_said(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
):
    worker = broker.worker()
    broker.tell(3)
    worker.turn(nothing)
    worker.save()
    monkeypatch.setattr(service, "LOGIC_VERSION", LOGIC_VERSION + 1)
    with capture_logs() as said:
        assert broker.worker().host.read == 3
    assert "another logic goes on from here" in [one["event"] for one in said]


def test_a_state_of_another_layout_is_refused(broker: Broker, monkeypatch: pytest.MonkeyPatch):
    worker = broker.worker()
    worker.host.state.pairs[PAIR].sheet = np.zeros(3)
    worker.save()
    with pytest.raises(OtherVersion, match="PairDesk.sheet must be laid out"):
        broker.worker()
