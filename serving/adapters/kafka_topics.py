"""The topics of a line, as data: how they are kept, and that they are there.

One partition each: the order within a log is the agreed order. The inboxes are kept for a week,
longer than any snapshot is old; what is said for the record is kept for good. Snapshots are
compacted: the last of each key is enough.
"""

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from serving.adapters.kafka_client import ANSWER_S_MAX, administering
from serving.adapters.kafka_errors import is_forbidden, is_passing
from serving.runtime.chained import DEAD_LETTERS, Away
from serving.runtime.opening import NotThisLine
from serving.services import SERVICES

REGISTRY, RECORDS, VENUE = "hft.registry", "hft.records", "hft.venue"
SNAPSHOTS = "hft.snapshots"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_WEEK_MS = 7 * 86_400_000
_FOREVER = -1


class Topic(msgspec.Struct, frozen=True):
    """One topic: its partitions, and what Kafka calls its configuration."""

    name: str
    config: dict[str, str]
    partitions: int = 1


class TopicsError(NotThisLine):
    """The broker's topics are not those of a line."""


def topic_of(log: str) -> str:
    """The topic of a log: an inbox is named by its stage."""
    return log if log.startswith("hft.") else f"hft.{log}"


def _kept(name: str, retention_ms: int) -> Topic:
    return Topic(name, {"retention.ms": str(retention_ms), "cleanup.policy": "delete"})


TOPICS = (
    *(_kept(topic_of(service.name), _WEEK_MS) for service in SERVICES),
    _kept(VENUE, _FOREVER),
    _kept(REGISTRY, _FOREVER),
    _kept(RECORDS, _FOREVER),
    _kept(DEAD_LETTERS, _FOREVER),
    Topic(
        SNAPSHOTS,
        {
            "cleanup.policy": "compact",
            # A start reads the topic whole: closed segments are compacted to the last of each key.
            "segment.bytes": str(MESSAGE_BYTES_MAX + 1024 * 1024),
            "min.cleanable.dirty.ratio": "0.1",
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
        },
    ),
)


def ensure_topics(servers: str, replication: int = 1) -> None:
    """Create the topics that are missing.

    Raises TopicsError where a topic has other partitions, Away where the broker does not answer,
    refuses our login, or lets another user alone make topics.
    """
    with administering(servers) as admin:
        _ensure(admin, replication)


def _ensure(admin: AdminClient, replication: int) -> None:
    there = admin.list_topics(timeout=ANSWER_S_MAX).topics
    wanted = [
        NewTopic(topic.name, topic.partitions, replication, config=topic.config)
        for topic in TOPICS
        if topic.name not in there
    ]
    made = admin.create_topics(wanted, request_timeout=ANSWER_S_MAX) if wanted else {}
    for name, answer in made.items():
        try:
            answer.result(ANSWER_S_MAX)
        except KafkaException as error:
            if is_passing(error):
                raise
            if is_forbidden(error):
                raise Away(
                    f"the broker shows no topic {name}, and this user may not make it: "
                    "python -m serving.rights does"
                ) from error
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(f"topic {name} cannot be made: {error.args[0].str()}") from error
    _check_partitions(admin)


@retry(
    retry=retry_if_exception_type(TopicsError),
    stop=stop_after_delay(ANSWER_S_MAX),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _check_partitions(admin: AdminClient) -> None:
    """A topic that was just made is a moment later known to all."""
    there = admin.list_topics(timeout=ANSWER_S_MAX).topics
    for topic in TOPICS:
        partitions = len(there[topic.name].partitions) if topic.name in there else 0
        if partitions != topic.partitions:
            raise TopicsError(
                f"topic {topic.name} must have {topic.partitions} partition, had {partitions}"
            )
