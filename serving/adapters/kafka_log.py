"""A log on a broker read as its stage reads it, and by nobody whom the line would notice."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from hft_lib.events import Event
from serving.adapters.kafka_bus import BATCH_MAX, header_of, watermarks
from serving.adapters.kafka_client import ANSWER_S_MAX, administering, client_config
from serving.adapters.kafka_topics import topic_of
from serving.runtime.chain import Header, Incoming, Undecodable, Verdict, read_fact, read_header
from serving.runtime.chained import Away, must_be_of_the_line

SILENT_S_MAX = 10.0  # of a broker that has more to give


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A fact of a log, with the header that it came under."""

    header: Header
    fact: Event


class KafkaLog:
    """The log `log` up to where it ended at the call of `mark`; `incoming` says how far its chains
    came.
    """

    def __init__(self, servers: str, log: str) -> None:
        self.log = log
        self.incoming = Incoming(log)
        self.low = self.high = 0
        self._topic = topic_of(log)
        self._consumer = Consumer(
            {
                **client_config(servers),
                "group.id": "hft.reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
            }
        )

    def mark(self) -> None:
        """Read up to what the broker holds now; raises Away where it does not say."""
        self.low, self.high = watermarks(self._consumer, self._topic)

    def facts(self, tell: Callable[[int], Any]) -> Iterator[Fact]:
        """Every fact that a reader of the log takes, from its start to the mark; `tell` is told of
        messages read. Raises Diverged where a chain is broken, Away where the broker falls silent.
        """
        for message in self._messages(tell):
            content = message.value() or b""
            try:
                header = read_header(header_of(message))
                must_be_of_the_line(header)
                key = (message.key() or b"").decode()
                if self.incoming.judge(header, key, content) is Verdict.TAKE:
                    yield Fact(header, read_fact(header, content))
            except (Undecodable, UnicodeDecodeError):
                continue  # its reader buried it as a dead letter

    def close(self) -> None:
        """Read nothing more."""
        self._consumer.close()

    def _messages(self, tell: Callable[[int], Any]) -> Iterator[Message]:
        if self.low >= self.high:
            return
        self._consumer.assign([TopicPartition(self._topic, 0, self.low)])
        while self._position() < self.high:
            messages = self._consumer.consume(BATCH_MAX, SILENT_S_MAX)
            if not messages:
                raise Away(f"the broker must go on with {self._topic} in {SILENT_S_MAX} s")
            for message in messages:
                error = message.error()
                if error is not None:
                    raise Away(f"{self._topic} cannot be read: {error.str()}")
                if (message.offset() or 0) < self.high:
                    yield message
            tell(len(messages))

    def _position(self) -> int:
        place = TopicPartition(self._topic, 0)
        return max(int(self._consumer.position([place])[0].offset), self.low)


class Cluster(msgspec.Struct, frozen=True):
    """A broker's own name for itself, and the topics that it has."""

    name: str
    topics: frozenset[str]


def cluster_of(servers: str) -> Cluster:
    """What is there; raises Away where nobody answers, or our login is refused."""
    with administering(servers) as admin:
        found = admin.list_topics(timeout=ANSWER_S_MAX)
    return Cluster(str(found.cluster_id), frozenset(found.topics))
