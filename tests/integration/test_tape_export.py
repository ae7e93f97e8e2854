"""`hft tape export` where there is nothing to be had: one sentence each, and nothing is left."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from serving.adapters.kafka_bus import HEADER, KafkaBus
from serving.adapters.kafka_snapshots import Snapshots
from serving.adapters.kafka_topics import topic_of
from serving.runtime.chain import Outgoing
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened
from tests.builders import quote, story_config
from tests.cli.conftest import HFT, ROOT, Answer
from tests.integration.conftest import free_ports

pytestmark = pytest.mark.slow

LIVE_FEED = FeedOpened(tape="", tape_sha256="", start_ns=1, symbols=("ETH/USDT",))
Export = Callable[..., Answer]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """The verb in a process of its own, against the servers that are named."""

    def run(servers: str, out: Path) -> Answer:
        done = subprocess.run(
            [*HFT, "tape", "export", "--out", str(out), "--json"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": servers},
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def fed(servers: str) -> None:
    """A live line that is open, and three quotes in its inbox, among them what is none of its."""
    keeper = Snapshots(servers, "test")
    keeper.put(FEED, LIVE_FEED)
    keeper.put(LINE, LineOpened(config=story_config(), sets=()))
    bus = KafkaBus(servers, "test")
    bus.read("ingestion", lambda fact: None)
    bus.open()
    inlet, producer = bus.edge(FEED, "ingestion"), Producer({"bootstrap.servers": servers})
    for number in range(1, 4):
        inlet.write(quote("ETH/USDT", number * 1_000_000_000, 100.0))
        bus.flush()
        stranger = Outgoing("stranger").header("ingestion", "", b"x")
        for header in (stranger, b"no header"):
            producer.produce(topic_of("ingestion"), b"x", b"", 0, headers=[(HEADER, header)])
        producer.flush()
    bus.close()


def test_a_line_that_is_none_or_no_live_one_is_refused(
    servers: str, export: Export, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    none = export(servers, out)
    assert (none.code, none.sentence) == (
        2,
        f"hft: {servers} holds no line: nothing was ever fed",
    )
    tape = FeedOpened(tape="/t", tape_sha256="ab" * 32, start_ns=1, symbols=("ETH/USDT",))
    Snapshots(servers, "test").put(FEED, tape)
    of_tape = export(servers, out)
    assert (of_tape.code, of_tape.sentence) == (
        2,
        f"hft: the line on {servers} is no live one, it is fed by the tape abababababab (/t): "
        "that is its tape",
    )
    Snapshots(servers, "test").put(FEED, LIVE_FEED)
    unopened = export(servers, out)
    assert unopened.code == 2 and "is not open yet" in unopened.sentence
    assert not list(tmp_path.iterdir())


def test_a_log_whose_start_is_gone_is_refused_and_a_whole_one_written_over_nothing(
    servers: str, export: Export, tmp_path: Path
) -> None:
    fed(servers)
    out = tmp_path / "out"
    whole = export(servers, out)
    assert whole.code == 0, whole.err
    assert (whole.json["rows"], whole.json["symbols"]) == (3, ["ETH/USDT"])
    assert whole.json["given"] == 0, "strangers are passed over"
    taken = export(servers, out)
    assert (taken.code, taken.sentence) == (
        2,
        f"hft: {out} exists already: name another place for the tape",
    )
    place = TopicPartition(topic_of("ingestion"), 0, 2)
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_records([place])[place].result(30)
    cut = export(servers, tmp_path / "cut")
    assert (cut.code, cut.sentence) == (
        2,
        "hft: ingestion must be kept from its start on, its first 2 messages are gone: inboxes "
        "are kept for a week, export the tape of a line within it",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_where_no_broker_answers_that_is_said(export: Export, tmp_path: Path) -> None:
    servers = f"127.0.0.1:{free_ports(1)[0]}"
    away = export(servers, tmp_path / "out")
    assert away.code == 1 and f"no broker answers at {servers}" in away.sentence
    assert not list(tmp_path.iterdir())
