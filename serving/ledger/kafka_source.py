"""The ledger of a line on Kafka: a sink that follows the topic of records, beside the line.

It can be late and it can fail: nothing of the line waits for it. Whatever fails is said once and
tried again, ever less often up to half a minute: a database that is away or was thrown away, a
broker that restarts. A log that diverged stands there until somebody looks.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog
from confluent_kafka import KafkaException
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from hft_lib.events import Event
from serving.adapters.kafka_bus import KafkaBus, continue_letters
from serving.adapters.kafka_client import ANSWER_S_MAX, administering
from serving.adapters.kafka_topics import RECORDS
from serving.ledger.database import FILE, LedgerError, drop_remains, open_database, upgrade
from serving.ledger.writer import Moved, Writer, throw_away
from serving.runtime.chain import Diverged
from serving.runtime.chained import BusError, Position
from serving.runtime.host import connect
from serving.runtime.opening import NotThisLine
from serving.runtime.settings import Settings

SOURCE = "kafka"
PUMP_S = 0.2  # a fifth of what a record may wait for its batch
# Between tries: soon after a restart of the other side, and no storm where it stays away.
WAIT_S_MIN, WAIT_S_MAX = 0.5, 30.0
# A batch under way is written; a database that answers later than this is not waited for.
STOP_S_MAX = 3.0
# What mends by itself; anything else wants a person.
AWAY = (OperationalError, InterfaceError, BusError, KafkaException, OSError, Moved)
_log = structlog.get_logger(__name__)


def url_of(settings: Settings) -> str:
    """The database of a line on Kafka: the one that is named, else a file under HFT_HOME."""
    return settings.database_url or f"sqlite:///{settings.hft_home / FILE}"


def line_of(servers: str) -> str:
    """The name of the line on a broker: a cluster holds one. Raises Away where none answers."""
    with administering(servers) as admin:
        return f"kafka-{admin.list_topics(timeout=ANSWER_S_MAX).cluster_id}"


@contextmanager
def followed(settings: Settings, servers: str) -> Iterator["Following"]:
    """The ledger follows the line, on a thread of its own, while the block runs."""
    following, stop = Following(servers, url_of(settings)), threading.Event()
    thread = threading.Thread(target=following.run, args=(stop,), name="ledger", daemon=True)
    thread.start()
    try:
        yield following
    finally:
        stop.set()
        thread.join(STOP_S_MAX)


class Shown:
    """What the pages show of a follower: the line is ready whatever becomes of its ledger."""

    def __init__(self, following: "Following") -> None:
        self._following = following

    def why(self) -> str:
        """Nothing: the line does not wait for its ledger."""
        return ""

    def document(self) -> dict[str, Any]:
        """How far behind it is, and why it stands if it does."""
        return {"ledger": {"lag": self._following.lag, "why": self._following.why}}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        stands = float(bool(self._following.why))
        return {
            "hft_ledger_lag": ("records that are no rows yet", float(self._following.lag)),
            "hft_ledger_stands": ("1 while the ledger does not follow", stands),
        }


class _Sink:
    """The records into a writer, each with the offset at which it stands."""

    logs: tuple[str, ...] = (RECORDS,)

    def __init__(self, writer: Writer, bus: KafkaBus) -> None:
        self._writer = writer
        self._bus = bus

    def take(self, log: str, fact: Event) -> None:
        """Project one record."""
        self._writer.take(self._bus.offset(log) - 1, fact)


class Following:
    """The ledger at `url` behind the records on `servers`; a thread may read its few figures."""

    def __init__(self, servers: str, url: str) -> None:
        # Records that the log was known to have and that are no rows yet; why nothing goes on.
        self.lag = 0
        self.why = "starts"
        self._turns = 0
        self._servers = servers
        self._engine: Engine = open_database(url)

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop`, whatever fails meanwhile."""
        wait_s = WAIT_S_MIN
        while not stop.is_set():
            turns = self._turns
            try:
                self.to_end(stop, then=stop.is_set)
            # Whatever it was, the line goes on: what mends is found mended at a later try.
            except Exception as error:
                self._say(error)
                wait_s = WAIT_S_MIN if self._turns > turns else min(2.0 * wait_s, WAIT_S_MAX)
                stop.wait(wait_s)

    def to_end(self, stop: threading.Event, then: Callable[[], bool] = lambda: True) -> str:
        """Project what the log held at the call, and what comes until `then`; the line's name.

        Raises Diverged, LedgerError, and what the database or the broker raises where it is away.
        """
        line = line_of(self._servers)
        upgrade(self._engine)
        bus = KafkaBus(self._servers, "ledger")
        try:
            writer = Writer(self._engine, line, SOURCE)
            connect(_Sink(writer, bus), bus)
            bus.open(msgspec.msgpack.decode(writer.mark, type=Position) if writer.mark else None)
            continue_letters(self._servers, bus, RECORDS)
            while not stop.is_set() and not (bus.behind == 0 and then()):
                bus.pump(PUMP_S)
                self._commit(writer, bus, writer.due)
            self._commit(writer, bus, bus.offset(RECORDS) > writer.read)
        finally:
            bus.close()
        return line

    def rebuild(self, stop: threading.Event) -> str:
        """Throw the ledger of the line away and build it again, as far as the log went."""
        line = line_of(self._servers)
        drop_remains(self._engine)
        upgrade(self._engine)
        throw_away(self._engine, line)
        while True:
            try:
                return self.to_end(stop)
            except Moved:  # the line's own follower builds it too: the two take turns
                continue

    def _commit(self, writer: Writer, bus: KafkaBus, due: bool) -> None:
        if due:
            bus.flush()
            writer.commit(bus.offset(RECORDS), msgspec.msgpack.encode(bus.position()))
        self.lag = bus.lag.get(RECORDS, 0) + writer.waiting
        if due or (bus.behind == 0 and not writer.waiting):  # a try alone is no success
            self.why = ""
            self._turns += 1

    def _say(self, error: Exception) -> None:
        why = self.sentence_of(error)
        if why == self.why:
            return  # it was said; the lag grows meanwhile
        self.why = why
        if isinstance(error, AWAY):
            _log.warning("the ledger waits, the line goes on", why=why)
            return
        known = isinstance(error, LedgerError | Diverged | NotThisLine)
        unknown = error if not known else None
        _log.critical("the ledger stands, the line goes on", why=why, exc_info=unknown)

    @staticmethod
    def sentence_of(error: Exception) -> str:
        """What went wrong, without the statement and the links that a database adds to it."""
        if isinstance(error, KafkaException):
            return str(error.args[0].str())
        sentence = str(error).partition("[SQL:")[0].partition("(Background on")[0]
        return " ".join(sentence.split()) or type(error).__name__
