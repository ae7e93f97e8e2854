"""The cluster's broker as it is set up there: it keeps its log and knows who reads and writes."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from hft_lib.events import Event, TimePassed
from serving.adapters.kafka_bus import KafkaBus, KafkaClient, watermarks
from serving.adapters.kafka_client import client_config
from serving.adapters.kafka_errors import FORBIDDEN
from serving.adapters.kafka_rights import ADMIN, BROKER, USERS, give_rights, require_rights
from serving.adapters.kafka_snapshots import KafkaStore
from serving.adapters.kafka_topics import TOPICS, ensure_topics
from serving.runtime.chained import Away, BusError
from serving.services import SERVICES
from tests.builders import START_NS
from tests.cli.conftest import ROOT
from tests.k8s.servers import CONFIG, KAFKA_USERS, KafkaServer

pytestmark = pytest.mark.slow
FACT = TimePassed(time_ns=START_NS)
S_MAX = 30.0
NAMES = [topic.name for topic in TOPICS]
# Who writes where and who reads what, in words of its own: whatever is not here is refused.
SHARED = {"hft.snapshots", "hft.dead-letter"}
WRITES = {
    "ingestion": {"hft.ingestion", "hft.kalman_filter", "hft.records", *SHARED},
    "kalman_filter": {"hft.garch_model", *SHARED},
    "garch_model": {"hft.risk_manager", *SHARED},
    "risk_manager": {"hft.execution", *SHARED},
    "execution": {"hft.execution", "hft.orchestrator", "hft.records", *SHARED},
    "orchestrator": {
        *("hft.orchestrator", "hft.ingestion", "hft.registry", "hft.records"),
        *SHARED,
    },
    "viewer": set(),
    "backup": set(),
}
READS = {
    **{service.name: {f"hft.{service.name}", "hft.snapshots"} for service in SERVICES},
    "viewer": set(NAMES),
    "backup": set(NAMES),
}
READS["orchestrator"] |= {"hft.records", "hft.registry", "hft.dead-letter"}
RULED = sorted(WRITES)
SERVICE = {service.name: service for service in SERVICES}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The broker with topics and rights, in its second life: its log is formatted once."""
    made, clusters = KafkaServer(tmp_path_factory.mktemp("kafka")), []
    with made.running():
        ensure_topics(made.of(ADMIN))
        assert give_rights(made.of(ADMIN))[0] > 0
        clusters.append(AdminClient(client_config(made.of(ADMIN))).list_topics().cluster_id)
    with made.running():
        there = AdminClient(client_config(made.of(ADMIN))).list_topics(timeout=10)
        assert set(NAMES) <= there.topics.keys() and [there.cluster_id] == clusters
        yield made


def admin(server: KafkaServer, user: str = ADMIN) -> AdminClient:
    return AdminClient(client_config(server.of(user)))


def last_record(servers: str) -> Event:
    """What was said last for the record."""
    reader = Consumer({**client_config(servers), "group.id": "hft.test"})
    place = TopicPartition("hft.records", 0)
    try:
        place.offset = watermarks(reader, place.topic)[1] - 1
        reader.assign([place])
        message = reader.poll(S_MAX)
        assert message is not None and message.error() is None, message
        return msgspec.msgpack.decode(message.value() or b"", type=Event)
    finally:
        reader.close()


# --- the table ---


def written(servers: str, *topics: str) -> dict[str, KafkaError | None]:
    """What the broker says to a message for each topic; None where it takes it."""
    said: dict[str, KafkaError | None] = {}

    def hear(error: KafkaError | None, message: Message) -> None:
        said[message.topic() or ""] = error

    producer = Producer(client_config(servers))
    for topic in topics:
        producer.produce(topic, b"anything", b"key", 0, on_delivery=hear)
    assert producer.flush(S_MAX) == 0 and set(said) == set(topics)
    return said


def read(servers: str, topic: str) -> KafkaError | None:
    """What the broker says to somebody who reads a topic; None where it lets it."""
    reader = Consumer(
        {**client_config(servers), "group.id": "hft.test", "enable.partition.eof": True}
    )
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        message = reader.poll(S_MAX)
        assert message is not None, "the broker says nothing"
        error = message.error()
        return None if error is None or error.code() == KafkaError._PARTITION_EOF else error
    finally:
        reader.close()


@pytest.mark.parametrize("user", RULED)
def test_a_user_writes_where_it_must_and_nowhere_else(server: KafkaServer, user: str) -> None:
    said = written(server.of(user), *NAMES)
    assert {topic for topic, error in said.items() if error is None} == WRITES[user]
    refused = {error.code() for error in said.values() if error is not None}
    assert refused == {KafkaError.TOPIC_AUTHORIZATION_FAILED}


@pytest.mark.parametrize("user", RULED)
def test_a_user_reads_what_it_must_and_nothing_else(server: KafkaServer, user: str) -> None:
    said = {topic: read(server.of(user), topic) for topic in NAMES}
    assert {topic for topic, error in said.items() if error is None} == READS[user]
    refused = {error.code() for error in said.values() if error is not None}
    assert refused <= {KafkaError.TOPIC_AUTHORIZATION_FAILED}


def must_be_refused(answers: dict[Any, Any]) -> None:
    """What was asked of the broker is none of this user's to ask."""
    (answer,) = answers.values()
    with pytest.raises(KafkaException) as told:
        answer.result(S_MAX)
    assert told.value.args[0].code() in FORBIDDEN


@pytest.mark.parametrize("user", RULED)
def test_nobody_makes_alters_or_takes_away_anything(server: KafkaServer, user: str) -> None:
    own, other = admin(server, user), f"hft.{user}-own"
    for_all = AclBinding(
        *(ResourceType.TOPIC, "hft.", ResourcePatternType.PREFIXED, f"User:{user}", "*"),
        *(AclOperation.ALL, AclPermissionType.ALLOW),
    )
    must_be_refused(own.create_topics([NewTopic(other, 1, 1)]))
    must_be_refused(own.create_acls([for_all]))
    for topic in NAMES:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        shorter = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        resource.add_incremental_config(shorter)
        must_be_refused(own.delete_topics([topic]))
        must_be_refused(own.create_partitions([NewPartitions(topic, 2)]))
        must_be_refused(own.delete_records([TopicPartition(topic, 0, 0)]))
        must_be_refused(own.incremental_alter_configs([resource]))
    there = admin(server).list_topics(timeout=10).topics
    assert other not in there and {len(there[name].partitions) for name in NAMES} == {1}


def test_every_user_is_in_the_table_and_known_to_the_broker() -> None:
    assert set(RULED) | {ADMIN, BROKER} == set(USERS)
    text = (CONFIG / "server.properties").read_text()
    assert {f'user_{user}="${{file:/etc/hft-kafka-users:{user}}}"' in text for user in USERS} == {
        True
    }
    assert f"super.users=User:{BROKER};User:{ADMIN}\n" in text
    assert "allow.everyone.if.no.acl.found=false" in text


# --- the rules ---


def test_rights_are_given_once_and_what_is_none_of_theirs_is_taken(server: KafkaServer) -> None:
    assert give_rights(server.of(ADMIN)) == (0, 0)
    stale = AclBinding(
        *(ResourceType.TOPIC, "hft.execution", ResourcePatternType.LITERAL, "User:garch_model"),
        *("*", AclOperation.WRITE, AclPermissionType.ALLOW),
    )
    its = admin(server)  # kept: its answers end with it
    (answer,) = its.create_acls([stale]).values()
    answer.result(S_MAX)
    assert written(server.of("garch_model"), "hft.execution") == {"hft.execution": None}
    assert give_rights(server.of(ADMIN)) == (0, 1)
    assert written(server.of("garch_model"), "hft.execution")["hft.execution"] is not None


def test_a_verb_makes_a_broker_ready_and_is_its_admins_alone(server: KafkaServer) -> None:
    def rights(user: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serving.rights"],
            env={"PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": server.of(user)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = rights(ADMIN)
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout) == {"topics": len(TOPICS), "given": 0, "taken": 0}


def test_a_service_is_told_what_it_lacks_and_goes_on_when_it_has_it(server: KafkaServer) -> None:
    execution = SERVICE["execution"]
    for service in SERVICES:
        require_rights(server.of(service.name), service)
    with pytest.raises(Away, match="execution read hft.execution, .*write hft.records: python -m"):
        require_rights(server.of("risk_manager"), execution)


# --- what is refused is said ---


def test_a_service_writes_and_the_viewer_reads(server: KafkaServer) -> None:
    writer = KafkaBus(server.of("execution"), "execution")
    writer.write("hft.records", FACT)
    writer.flush()
    assert last_record(server.of("orchestrator")) == last_record(server.of("viewer")) == FACT


def test_a_write_that_is_refused_says_where(server: KafkaServer) -> None:
    stranger = KafkaBus(server.of("garch_model"), "risk_manager")
    stranger.write("hft.execution", FACT)
    with pytest.raises(BusError, match="hft.execution .*authorization"):
        stranger.flush()
    store = KafkaStore(server.of("viewer"), "execution")
    with pytest.raises(BusError, match="execution/1/0 of hft.snapshots: .*authorization"):
        store.put("execution/1/0", b"anything")


def test_topics_that_are_not_there_are_waited_for_and_not_made(server: KafkaServer) -> None:
    its = admin(server)
    (gone,) = its.delete_topics(["hft.venue"], operation_timeout=10).values()
    gone.result(S_MAX)
    with pytest.raises(Away, match="no topic hft.venue, .* python -m serving.rights does"):
        ensure_topics(server.of("execution"))
    ensure_topics(server.of(ADMIN))
    ensure_topics(server.of("execution"))


def test_a_wrong_password_is_said_and_shown_nowhere(server: KafkaServer) -> None:
    wrong = server.of("execution", "of-somebody-else")
    with pytest.raises(Away, match="the broker refuses the login: .*Authentication failed") as told:
        ensure_topics(wrong)
    assert "of-somebody-else" not in str(told.value)
    client = KafkaClient(wrong, "execution")
    client.assign({"execution": 0})
    while client.is_there or not client.refused:
        assert list(client.receive(0.1)) == []
    assert "Authentication failed" in client.refused


def test_without_a_login_and_as_nobody_that_is_known_nothing_is_read(server: KafkaServer) -> None:
    with pytest.raises(Away):
        ensure_topics(server.address)
    for stranger in ("services", "nobody"):
        with pytest.raises(Away, match="refuses the login"):
            ensure_topics(server.of(stranger, KAFKA_USERS[ADMIN]))
    with pytest.raises(Away, match="refuses the login"):
        ensure_topics(server.of(BROKER, KAFKA_USERS["viewer"]))


def test_one_password_is_changed_and_the_others_stay(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = KafkaServer(tmp_path_factory.mktemp("rotated"))
    with server.running():
        ensure_topics(server.of(ADMIN))
        give_rights(server.of(ADMIN))
    server.let_in("execution", "made-up-anew")
    with server.running():
        with pytest.raises(Away, match="refuses the login"):
            require_rights(server.of("execution"), SERVICE["execution"])
        require_rights(server.of("execution", "made-up-anew"), SERVICE["execution"])
        require_rights(server.of("orchestrator"), SERVICE["orchestrator"])
