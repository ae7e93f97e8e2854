"""Back-up and restore for real: a line on Kafka and PostgreSQL is backed up while it trades,
everything is wiped, put back on other servers, and the line goes on to the replay's orders.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import func, select

from hft_lib.events import TimePassed
from serving.adapters.kafka_bus import KafkaBus
from serving.adapters.kafka_topics import SNAPSHOTS, topic_of
from serving.backup import BackupError, log
from serving.ledger.database import open_database
from serving.ledger.tables import FILLS, LINES, ORDERS
from tests.integration import faults
from tests.integration.conftest import Broker, RedisServer, free_ports
from tests.integration.postgresql import Postgresql, running
from tests.integration.six import Played, SixProcesses, recorded
from tests.integration.test_six_services import is_through

pytestmark = pytest.mark.slow
BACKUP = (sys.executable, "-m", "serving.backup")
SPEED = 100_000.0
# The orchestrator speaks at a day's end: here in 40 s, for a copy must fit in between.
SAVED_AT_SPEED = 2_000.0
READ_MIN = 1000
REFUSED = 3


@pytest.fixture
def postgresql() -> Iterator[Postgresql]:
    with running() as server:
        yield server


@pytest.fixture
def other(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A new broker that holds nothing, named as the first one."""
    folder = tmp_path / "other-kafka"
    folder.mkdir()
    monkeypatch.setenv("KAFKA_CLUSTER_ID", log.cluster_id(broker.servers))
    made = Broker(folder, free_ports(2)[0])
    made.start()
    yield made
    made.stop()


@pytest.mark.no_cover
def test_a_line_that_was_wiped_goes_on_from_its_backup_to_the_replays_orders(
    six: SixProcesses,
    played: Played,
    other: Broker,
    redis_server: RedisServer,
    postgresql: Postgresql,
    tmp_path: Path,
):
    home, backup = tmp_path / "home", tmp_path / "backup"
    before = kept_at(home, played)
    six.environment["DATABASE_URL"] = postgresql.new_database()
    six.options["ingestion"] = ("--tape", home / "tapes" / "line")
    six.speed = SPEED
    six.start()
    six.await_ready()
    six.wait_for("trading", lambda: six.state("execution").get("read", 0) > READ_MIN)
    assert six.stop_one("ingestion") == 0
    six.speed = SAVED_AT_SPEED
    six.start("ingestion")
    six.await_ready("ingestion")
    saved = six.run(*BACKUP, "save", backup)
    assert saved.code == 0, saved.err
    at_work = six.run(*BACKUP, "restore", backup, "--yes")
    assert at_work.code == REFUSED and "the line must not run" in at_work.err
    six.end()
    redis_server.kill()
    shutil.rmtree(home)
    with wiped(six, tmp_path, other, postgresql) as again:
        restored = again.run(*BACKUP, "restore", backup, "--yes", "--latch")
        assert restored.code == 0, restored.err
        assert digests(home) == before
        held = faults.check_feed(again.servers, home / "tapes" / "line")
        assert READ_MIN < held < played.replay["events"]
        again.start()
        again.await_ready()
        again.wait_for("through", lambda: is_through(again, played), 300.0)
        the_orders_are_the_replays(again, played)


def kept_at(home: Path, played: Played) -> dict[str, str]:
    """A home with the registry that the demo filled and the tape; the digest of each file."""
    demo = played.params.parents[1] / "home"
    shutil.copytree(demo, home, ignore=shutil.ignore_patterns("*.db-*"))
    shutil.copytree(played.tape, home / "tapes" / "line")
    found = digests(home)
    assert any("artifacts" in name for name in found) and "mlflow.db" in found
    return found


def digests(home: Path) -> dict[str, str]:
    """The digest of every file but databases, of which their content is what matters."""
    return {
        str(path.relative_to(home)): (
            "" if path.suffix == ".db" else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@contextmanager
def wiped(
    six: SixProcesses, folder: Path, broker: Broker, postgresql: Postgresql
) -> Iterator[SixProcesses]:
    """The line on servers that hold nothing: another broker, another Redis, another database."""
    place = folder / "other-redis"
    place.mkdir()
    redis = RedisServer(place, free_ports(1)[0])
    again = SixProcesses(broker.servers, redis.url, folder, Path(), Path())
    again.options = dict(six.options)
    again.environment["DATABASE_URL"] = postgresql.new_database()
    redis.start()
    try:
        yield again
    finally:
        again.end()
        redis.kill()


def the_orders_are_the_replays(six: SixProcesses, played: Played) -> None:
    """In the log and in the ledger, each once; what the stages wrote is their replay."""
    told = recorded(six.servers)
    assert (told.orders, told.fills) == (played.replay["orders"], played.replay["fills"])
    assert told.orders_sha256() == played.replay["orders_sha256"]
    assert faults.check_replay(six.servers, is_through=True) > 0
    url = six.environment["DATABASE_URL"]
    six.wait_for("in the ledger", lambda: ledger(url) == (1, told.orders, told.fills))


def ledger(url: str) -> tuple[int, ...]:
    """How many lines, orders and fills a ledger holds."""
    with open_database(url).connect() as connection:
        return tuple(
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (LINES, ORDERS, FILLS)
        )


# --- the log alone ---


def tell(servers: str, writer: str, into: str, count: int) -> None:
    """Facts into a log."""
    bus = KafkaBus(servers, writer)
    for number in range(count):
        bus.write(into, TimePassed(time_ns=number))
    bus.flush(30.0)
    bus.close()


def content(servers: str, topic: str) -> list[tuple[Any, ...]]:
    """Every message that a topic holds, with its place."""
    found = []
    low, high = log._bounds(servers, topic)
    for message in log._messages(servers, topic, low, high):
        place = message.offset() if topic != SNAPSHOTS else None
        found.append((place, message.key(), message.value(), message.headers()))
    return found


def test_every_message_is_put_back_at_its_place_though_the_first_are_not_kept_any_more(
    servers: str, tmp_path: Path
):
    topic = topic_of("garch_model")
    tell(servers, "kalman_filter", "garch_model", 500)
    admin, place = AdminClient({"bootstrap.servers": servers}), TopicPartition(topic, 0, 120)
    admin.delete_records([place])[place].result(30)
    faults.drop(servers, "execution/1/1")
    before = {topic: content(servers, topic) for topic in log.ORDER}
    log.save(servers, tmp_path)
    tell(servers, "stranger", "execution", 3)
    counts = log.restore(servers, tmp_path)
    assert {topic: content(servers, topic) for topic in log.ORDER} == before
    assert counts[topic] == 380 and before[topic][0][0] == 120


def test_a_copy_during_which_the_orchestrator_spoke_is_made_again(
    servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = log._save
    told: list[str] = []

    def save(where: str, topic: str, folder: Path) -> int:
        if topic == topic_of("orchestrator") and len(told) < 1:
            told.append(topic)
            tell(servers, "orchestrator", "ingestion", 1)
        return made(where, topic, folder)

    monkeypatch.setattr(log, "_save", save)
    monkeypatch.setattr(log, "TRIES", 1)
    with pytest.raises(BackupError, match="must be silent"):
        log.save(servers, tmp_path)
    told.clear()
    monkeypatch.setattr(log, "TRIES", 2)
    tell(servers, "feed", "ingestion", 2)
    assert log.save(servers, tmp_path)[topic_of("ingestion")] >= 3


def test_a_folder_without_a_topic_is_not_restored_and_the_log_stays(servers: str, tmp_path: Path):
    tell(servers, "kalman_filter", "garch_model", 5)
    log.save(servers, tmp_path)
    (tmp_path / "hft.execution.log.gz").unlink()
    with pytest.raises(BackupError, match=r"it lacks hft\.execution\.log\.gz"):
        log.restore(servers, tmp_path)
    assert len(content(servers, topic_of("garch_model"))) == 5
