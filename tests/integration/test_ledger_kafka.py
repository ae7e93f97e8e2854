"""The ledger of a line on a real broker: followers are killed, the rows are those of one go."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from sqlalchemy import inspect, select, text

from cli import trace_line
from cli.trace import print_trace
from hft_lib.events import CapitalOrder, Fill, Registered, ShadowOrder
from hft_lib.line import LineConfig
from serving.adapters.kafka_bus import KafkaBus, watermarks
from serving.adapters.kafka_snapshots import Snapshots
from serving.adapters.kafka_topics import RECORDS
from serving.ledger import kafka_source
from serving.ledger.database import VERSION_TABLE, open_database
from serving.ledger.kafka_source import Following, line_of
from serving.ledger.projection import Projection
from serving.ledger.tables import LINES, METADATA
from serving.runtime.chain import Diverged, Incoming, Verdict, read_header
from serving.runtime.chained import DEAD_LETTERS, DeadLetter
from serving.runtime.identity import content_sha256
from serving.runtime.opening import LINE, LineOpened
from serving.runtime.settings import Settings
from tests.builders import story_config, told
from tests.cli.conftest import HFT, ROOT
from tests.integration.conftest import Outside
from tests.integration.postgresql import Postgresql, running
from tests.ledger_world import Rows, database_at, rows_of

pytestmark = pytest.mark.slow
KILLS = 3
WAIT_S_MAX = 120.0
WRITERS = {"SlotAssigned": "orchestrator", "Promoted": "orchestrator", "Rejected": "ingestion"}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with running() as server:
        yield server


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database()


def records() -> list[Any]:
    return [fact for log, fact in told().leaving if log == RECORDS]


class Telling:
    """The records of the story into the log, by the services that say them."""

    def __init__(self, servers: str) -> None:
        names = {*WRITERS.values(), "execution"}
        self._buses = {name: KafkaBus(servers, name) for name in names}
        self._left = records()

    def tell(self, count: int) -> bool:
        """Write the next records; whether there are more."""
        for fact in self._left[:count]:
            name = WRITERS.get(type(fact).__name__, "execution")
            self._buses[name].write(RECORDS, fact)
            self._buses[name].flush()
        del self._left[:count]
        return bool(self._left)

    def close(self) -> None:
        for bus in self._buses.values():
            bus.close()


@pytest.fixture
def telling(servers: str) -> Iterator[Telling]:
    made = Telling(servers)
    yield made
    made.close()


def expected(line: str) -> dict[str, int]:
    """Rows by table, counted from the facts."""
    projection = Projection(line, (), ())
    for place, fact in enumerate(records()):
        projection.take(place, fact)
    return {table.name: len(rows) for table, rows in projection.drain().written.items()}


def begun(servers: str, url: str, home: Path) -> subprocess.Popen[bytes]:
    """`hft ledger follow` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HFT_HOME": str(home)}
    environment |= {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": servers}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # what is killed leaves half a file
    with (home / "follow.log").open("ab") as log:
        return subprocess.Popen(
            [*HFT, "ledger", "follow"], env=environment, cwd=home, stdout=log, stderr=log
        )


def read_of(url: str, line: str) -> int:
    """How far a ledger has come; 0 where there is none yet."""
    with open_database(url).connect() as connection:
        if not inspect(connection).has_table(LINES.name):
            return 0
        return int(connection.scalar(select(LINES.c.read).where(LINES.c.line == line)) or 0)


def await_read(url: str, line: str, offset: int) -> None:
    until = time.monotonic() + WAIT_S_MAX
    while read_of(url, line) < offset:
        assert time.monotonic() < until, f"not at {offset} within {WAIT_S_MAX} s"
        time.sleep(0.1)


def rebuilt(servers: str, url: str) -> Rows:
    return rows_of(database_at(url), Following(servers, url).rebuild(threading.Event()))


def test_followers_that_are_killed_leave_the_rows_of_a_rebuild(
    servers: str, url: str, tmp_path: Path, telling: Telling
):
    dice, line, said = random.Random(11), line_of(servers), len(records())
    told_count = 0
    for _ in range(KILLS):
        part = said // (2 * KILLS)
        telling.tell(part)
        process = begun(servers, url, tmp_path)
        await_read(url, line, told_count + 1)  # it is at work
        telling.tell(part)
        time.sleep(dice.uniform(0.0, 1.0))
        process.kill()
        process.wait()
        told_count = read_of(url, line)
    telling.tell(said)
    process = begun(servers, url, tmp_path)
    await_read(url, line, said)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0, (tmp_path / "follow.log").read_text()
    grown = rows_of(database_at(url), line)
    assert {name: len(grown[name]) for name in expected(line)} == expected(line)
    assert rebuilt(servers, url) == grown
    assert rebuilt(servers, f"sqlite:///{tmp_path / 'other.db'}") == grown


def test_two_followers_at_once_write_each_record_once(
    servers: str, url: str, telling: Telling, tmp_path: Path
):
    stop, line = threading.Event(), line_of(servers)
    threads = [threading.Thread(target=Following(servers, url).run, args=(stop,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while telling.tell(100):
        time.sleep(0.3)
    await_read(url, line, len(records()))
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    grown = rows_of(database_at(url), line)
    assert rebuilt(servers, f"sqlite:///{tmp_path / 'other.db'}") == grown


def test_a_database_that_is_away_is_waited_for(
    servers: str, postgresql: Postgresql, telling: Telling, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kafka_source, "WAIT_S_MAX", 1.0)
    url, line, stop = postgresql.new_database(), line_of(servers), threading.Event()
    following = Following(servers, url)
    thread = threading.Thread(target=following.run, args=(stop,))
    thread.start()
    telling.tell(200)
    await_read(url, line, 200)
    postgresql.kill()
    telling.tell(200)
    until = time.monotonic() + WAIT_S_MAX
    while not following.why:
        assert thread.is_alive() and time.monotonic() < until
        time.sleep(0.05)
    postgresql.start()
    await_read(url, line, 400)
    stop.set()
    thread.join(30)
    assert not thread.is_alive() and following.why == ""


def test_a_ledger_that_is_dropped_under_a_follower_is_built_again(
    servers: str, url: str, telling: Telling, tmp_path: Path
):
    line, stop = line_of(servers), threading.Event()
    following = Following(servers, url)
    thread = threading.Thread(target=following.run, args=(stop,))
    thread.start()
    telling.tell(300)
    await_read(url, line, 300)
    with open_database(url).begin() as connection:
        for table in (*METADATA.tables.values(), VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {table}"))
    telling.tell(len(records()))
    await_read(url, line, len(records()))
    stop.set()
    thread.join(30)
    assert rebuilt(servers, f"sqlite:///{tmp_path / 'other.db'}") == rows_of(database_at(url), line)


def test_a_verb_brings_the_ledger_up_to_date_and_reads_it_where_the_log_is_away(
    servers: str, telling: Telling, outside: Outside, monkeypatch: pytest.MonkeyPatch
):
    telling.tell(len(records()))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    known = outside("positions", "--json").json
    assert known["line"] == line_of(servers) and known["positions"]
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    answer = outside("positions", "--json")
    assert answer.json == known and "the ledger is as it was" in answer.err


class OpenedBefore(msgspec.Struct, kw_only=True):
    """What was kept of a line's opening before its commit was."""

    config: LineConfig
    sets: tuple[Registered, ...] = ()
    words_ns: int = 0
    moves_ns: int = 0


def test_an_order_is_traced_to_what_opened_the_line_and_what_nobody_knows_has_a_reason(
    servers: str, telling: Telling, tmp_path: Path
):
    telling.tell(len(records()))
    order = next(fact for fact in records() if isinstance(fact, CapitalOrder)).client_order_id
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = Settings(kafka_bootstrap_servers=servers, database_url=url, hft_home=tmp_path)
    config, snapshots = story_config(), Snapshots(servers, "test")

    def traced() -> dict[str, Any]:
        unread: list[str] = []
        known = trace_line.find(settings, order, unread)
        assert known is not None, unread
        print_trace(known)  # for people, too, nothing that is not known is in the way
        return known

    known = traced()
    assert (known["git_commit"], known["config_sha256"]) == (None, None)
    assert known["unknown"] == dict.fromkeys(trace_line.OPENED, "the line is not open")
    snapshots.put(LINE, OpenedBefore(config=config))
    known = traced()
    assert known["git_commit"] is None and known["config_sha256"] == content_sha256(config)
    assert known["unknown"] == {"git_commit": trace_line.NO_COMMIT}
    snapshots.put(LINE, LineOpened(config=config, sets=(), git_commit="c0ffee"))
    known = traced()
    assert (known["git_commit"], known["unknown"]) == ("c0ffee", {})


def test_what_is_none_of_ours_leaves_no_row_and_stops_nothing(
    servers: str, telling: Telling, tmp_path: Path
):
    telling.tell(100)
    poison = Producer({"bootstrap.servers": servers})
    poison.produce(RECORDS, b"\x00poison", partition=0)
    poison.flush(10)
    telling.tell(len(records()))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    line = Following(servers, url).to_end(threading.Event())
    grown = rows_of(database_at(url), line)
    assert {name: len(grown[name]) for name in expected(line)} == expected(line)
    assert read_of(url, line) == len(records()) + 1


def test_what_is_none_of_ours_is_buried_once_however_often_the_ledger_is_rebuilt(
    servers: str, telling: Telling, tmp_path: Path
):
    poison = Producer({"bootstrap.servers": servers})
    url, grown = f"sqlite:///{tmp_path / 'ledger.db'}", []
    for number in range(3):
        telling.tell(100)
        poison.produce(RECORDS, f"poison {number}".encode(), partition=0)
        poison.produce(DEAD_LETTERS, b"a letter that nobody wrote", partition=0)
        poison.flush(10)
        line = Following(servers, url).to_end(threading.Event())
        grown.append(rows_of(database_at(url), line))
        assert rebuilt(servers, url) == grown[-1]
        assert rebuilt(servers, f"sqlite:///{tmp_path / f'other{number}.db'}") == grown[-1]
    assert [letter.content for letter in letters(servers)] == [
        b"poison 0",
        b"poison 1",
        b"poison 2",
    ]


def letters(servers: str) -> list[DeadLetter]:
    """Every letter in the topic of dead letters, which must be one chain."""
    incoming, found = Incoming(DEAD_LETTERS), []
    reader = Consumer({"bootstrap.servers": servers, "group.id": "graves"})
    reader.assign([TopicPartition(DEAD_LETTERS, 0, 0)])
    for _ in range(watermarks(reader, DEAD_LETTERS)[1]):
        message = reader.poll(10)
        assert message is not None
        headers: Any = message.headers()
        if headers is None:
            continue  # a stranger's
        content = message.value() or b""
        assert incoming.judge(read_header(headers[0][1]), "", content) is Verdict.TAKE
        found.append(msgspec.msgpack.decode(content, type=DeadLetter))
    reader.close()
    return found


def test_a_ledger_that_takes_no_row_stands_until_it_does_however_often_it_is_tried(
    servers: str, telling: Telling, tmp_path: Path
):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Following(servers, url).to_end(threading.Event())
    refuse = "BEFORE INSERT ON orders BEGIN SELECT RAISE(ABORT, 'no room'); END"
    with open_database(url).begin() as connection:
        connection.execute(text(f"CREATE TRIGGER refuse {refuse}"))
    telling.tell(len(records()))
    following, stop = Following(servers, url), threading.Event()
    thread = threading.Thread(target=following.run, args=(stop,))
    thread.start()
    until = time.monotonic() + WAIT_S_MAX
    while "no room" not in following.why:
        assert time.monotonic() < until
        time.sleep(0.05)
    for _ in range(60):  # some tries long
        assert following.why and following.lag > 0
        time.sleep(0.05)
    with open_database(url).begin() as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    while following.why or following.lag:
        assert time.monotonic() < until
        time.sleep(0.05)
    stop.set()
    thread.join(10)
    assert read_of(url, line_of(servers)) == len(records())


def test_a_broken_chain_stops_the_ledger_and_it_says_so(
    servers: str, telling: Telling, tmp_path: Path
):
    telling.tell(50)
    other = KafkaBus(servers, "execution")  # as if what came first had been lost
    orders = [fact for fact in records() if isinstance(fact, CapitalOrder | ShadowOrder | Fill)]
    for fact in orders[-60:]:
        other.write(RECORDS, fact)
    other.flush()
    other.close()
    following = Following(servers, f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(Diverged):
        following.to_end(threading.Event())
    stop = threading.Event()
    thread = threading.Thread(target=following.run, args=(stop,))
    thread.start()
    until = time.monotonic() + WAIT_S_MAX
    while "digest" not in following.why and "must go on" not in following.why:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert thread.is_alive(), "the line's process must not end"
    stop.set()
    thread.join(10)
