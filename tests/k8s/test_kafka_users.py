"""The cluster's broker as it is set up there: it keeps its log and knows who reads and writes."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from hft_lib.events import Event, TimePassed
from serving.adapters.kafka_bus import KafkaBus, KafkaClient
from serving.adapters.kafka_client import client_config
from serving.adapters.kafka_topics import TOPICS, TopicsError, ensure_topics
from serving.runtime.chained import Away, BusError
from tests.builders import START_NS
from tests.k8s.servers import KAFKA_USERS, KafkaServer

pytestmark = pytest.mark.slow
FACT = TimePassed(time_ns=START_NS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The broker with the topics of a line, in its second life: its log is formatted once."""
    made, clusters = KafkaServer(tmp_path_factory.mktemp("kafka")), []
    for _ in range(2):
        with made.running():
            ensure_topics(made.of("services"))
            there = AdminClient(client_config(made.of("services"))).list_topics(timeout=10)
            assert {topic.name for topic in TOPICS} <= there.topics.keys()
            clusters.append(there.cluster_id)
            if len(clusters) == 2:
                assert clusters[0] == clusters[1]
                yield made


def heard(servers: str) -> list[Event]:
    """What is read of the log of records."""
    facts: list[Event] = []
    bus = KafkaBus(servers, "reader")
    bus.read("hft.records", facts.append)
    bus.open()
    while not bus.pump(5.0):
        assert not bus.away
    bus.close()
    return facts


def test_services_write_and_the_viewer_reads(server: KafkaServer) -> None:
    writer = KafkaBus(server.of("services"), "execution")
    writer.write("hft.records", FACT)
    writer.flush()
    assert heard(server.of("services"))[-1] == heard(server.of("viewer"))[-1] == FACT


def test_the_viewer_writes_nothing(server: KafkaServer) -> None:
    stranger = KafkaBus(server.of("viewer"), "risk_manager")
    stranger.write("hft.execution", FACT)
    with pytest.raises(BusError, match="authorization"):
        stranger.flush()
    with pytest.raises(TopicsError, match="Authorization failed"):
        ensure_topics(server.of("viewer"))
    admin = AdminClient(client_config(server.of("viewer")))
    with pytest.raises(KafkaException, match="authorization"):
        admin.delete_topics(["hft.execution"])["hft.execution"].result(10.0)
    services = Consumer(client_config(server.of("services")) | {"group.id": "hft.test"})
    assert services.get_watermark_offsets(TopicPartition("hft.execution", 0)) == (0, 0)
    services.close()


def test_a_wrong_password_is_said_and_shown_nowhere(server: KafkaServer) -> None:
    wrong = server.of("services", "of-somebody-else")
    with pytest.raises(Away, match="the broker refuses the login: .*Authentication failed") as told:
        ensure_topics(wrong)
    assert "of-somebody-else" not in str(told.value)
    client = KafkaClient(wrong, "execution")
    client.assign({"execution": 0})
    while client.is_there or not client.refused:
        assert list(client.receive(0.1)) == []
    assert "Authentication failed" in client.refused


def test_without_a_login_and_as_the_broker_itself_nothing_is_read(server: KafkaServer) -> None:
    with pytest.raises(Away):
        ensure_topics(server.address)
    with pytest.raises(Away, match="refuses the login"):
        ensure_topics(server.of("broker", KAFKA_USERS["viewer"]))
