"""The tape of a live line on Kafka, made of its log while the line runs or after it.

Every message that ingestion's inbox took of the feed is a row, with both its times, and what the
feed refused is beside the rows. With the file of `line_log` the tape replays to the same facts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from hft_lib.events import Event, MarketEvent, Rejected, TimePassed
from hft_lib.market.tape import Tape, TapeWriter
from hft_lib.market.tape_writer import require_free
from serving.adapters.kafka_log import Cluster, Fact, KafkaLog, cluster_of
from serving.adapters.kafka_snapshots import Snapshots
from serving.adapters.kafka_topics import RECORDS, SNAPSHOTS, topic_of
from serving.line_log import FILE, LOGS, UPSTREAM, End, Ends, Given, LineHeader, LineLogWriter
from serving.runtime.addresses import masked
from serving.runtime.identity import content_sha256, git_commit
from serving.runtime.journal import LIVE
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened

REFUSED = "rejected.jsonl"


class NoLine(Exception):
    """The broker holds no log of which a live tape can be made; the text is one sentence."""


class Exported(msgspec.Struct):
    """What was found in the log."""

    line: str
    given: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    logic: set[int] = msgspec.field(default_factory=set)


def export(
    servers: str,
    out: Path,
    replace: bool,
    begin: Callable[[int], Callable[[int], object]],
) -> tuple[Tape, Exported]:
    """Write the tape of the live line on `servers` to `out`: whole, or not at all.

    `begin` is told how many messages there are, and gives whom to tell of those read. Raises
    NoLine, TapeError where `out` is taken, Away where no broker answers.
    """
    require_free(out, replace)
    cluster = cluster_of(servers)
    feed, opened = _opened(servers, cluster)
    found = Exported(f"kafka-{cluster.name}")  # as the ledger calls it
    with ExitStack() as open_logs:
        logs = {log: KafkaLog(servers, log) for log in (RECORDS, *reversed(LOGS))}
        for log in logs.values():
            open_logs.callback(log.close)
        for log in logs.values():  # what came of a log is marked before it
            log.mark()
            _must_be_whole(log)
        tell = begin(sum(log.high - log.low for log in logs.values()))
        source = {"kind": "live", "line": found.line, "code": git_commit()}
        header = _header(found.line, feed, opened)
        with TapeWriter(out, source, replace) as tape, closing(_Writing(tape, header, found)) as to:
            to.all_of(logs, tell)
    return Tape.open(out), found


class _Writing:
    """A tape and the log beside it, on their way to disk."""

    def __init__(self, tape: TapeWriter, header: LineHeader, found: Exported) -> None:
        self._tape = tape
        self._log = LineLogWriter(tape.directory / FILE, header)
        self._found = found
        self._refused = (tape.directory / REFUSED).open("wb")

    def all_of(self, logs: dict[str, KafkaLog], tell: Callable[[int], object]) -> None:
        """Write all that `logs` hold."""
        self._tape.write(self._fed(logs[LOGS[0]].facts(tell)))
        for log in LOGS[1:]:
            self._keep(log, logs[log].facts(tell))
        for _ in logs[RECORDS].facts(tell):
            pass  # its chains are followed to their ends, and those are kept
        ends = tuple(end for log in logs.values() for end in _ends(log))
        self._log.end(Ends(ends, tuple(sorted(self._found.logic))))

    def close(self) -> None:
        """End, whole or not."""
        self._refused.close()
        self._log.close()

    def _fed(self, facts: Iterator[Fact]) -> Iterator[MarketEvent | TimePassed]:
        """What the feed brought for the tape; all else of ingestion's inbox is given."""
        fed = 0
        for one in facts:
            self._found.logic.add(one.header.logic)
            if one.header.writer == FEED and isinstance(one.fact, MarketEvent | TimePassed):
                fed += 1
                yield one.fact
                continue
            self._give(LOGS[0], fed, one.header.writer, one.fact)
            if one.header.writer == FEED and isinstance(one.fact, Rejected):
                self._found.rejected[one.fact.reason] += one.fact.count
                self._refused.write(msgspec.json.encode(one.fact) + b"\n")

    def _keep(self, log: str, facts: Iterator[Fact]) -> None:
        heard = 0
        for one in facts:
            self._found.logic.add(one.header.logic)
            if one.header.writer == UPSTREAM[log]:
                heard += 1
            else:
                self._give(log, heard, one.header.writer, one.fact)

    def _give(self, log: str, after: int, writer: str, fact: Event) -> None:
        self._found.given += 1
        self._log.give(Given(log, after, writer, fact))


def _opened(servers: str, cluster: Cluster) -> tuple[FeedOpened, LineOpened]:
    """How the live line was opened; raises NoLine where there is none."""
    where = masked(servers)
    for topic in (SNAPSHOTS, RECORDS, *map(topic_of, LOGS)):
        if topic not in cluster.topics:
            raise NoLine(f"{where} holds no line: it has no topic {topic}")
    snapshots = Snapshots(servers, "export")
    feed = snapshots.read(FEED, FeedOpened)
    if feed is None:
        raise NoLine(f"{where} holds no line: nothing was ever fed")
    if feed.tape_sha256 != LIVE:
        raise NoLine(
            f"the line on {where} is no live one, it is fed by the tape "
            f"{feed.tape_sha256[:12]} ({feed.tape}): that is its tape"
        )
    opened = snapshots.read(LINE, LineOpened)
    if opened is None:
        raise NoLine(f"the line on {where} is not open yet: nothing has come of the market")
    return feed, opened


def _must_be_whole(log: KafkaLog) -> None:
    if log.low:
        raise NoLine(
            f"{log.log} must be kept from its start on, its first {log.low} messages are gone: "
            "inboxes are kept for a week, export the tape of a line within it"
        )


def _header(line: str, feed: FeedOpened, opened: LineOpened) -> LineHeader:
    return LineHeader(
        line=line,
        config=opened.config,
        config_sha256=content_sha256(opened.config),
        sets=opened.sets,
        start_ns=feed.start_ns,
        git_commit=opened.git_commit,
    )


def _ends(log: KafkaLog) -> Iterator[End]:
    for name, mark in log.incoming.marks.items():
        writer, _, key = name.partition("\n")
        if mark.number:
            yield End(log.log, writer, key, mark.number, mark.digest)
