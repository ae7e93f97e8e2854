"""Snapshots in one compacted topic of Kafka: the last value of a key is kept."""

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from serving.adapters.kafka_bus import KafkaBus, watermarks
from serving.adapters.kafka_client import ANSWER_S_MAX, client_config, meet
from serving.adapters.kafka_topics import MESSAGE_BYTES_MAX, SNAPSHOTS
from serving.runtime.chained import Away, BusError
from serving.runtime.snapshots import SnapshotKeeper

PUT_S_MAX = 4.0  # some megabytes, over a connection that may be new


class KafkaStore:
    """Values by key in the topic of snapshots, for one process named `name`."""

    def __init__(self, servers: str, name: str) -> None:
        self._servers = servers
        self._name = name
        self._producer = Producer(
            {
                **client_config(servers),
                "client.id": f"{name}-snapshots",
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": MESSAGE_BYTES_MAX,
            }
        )

    def put(self, key: str, value: bytes) -> None:
        """Keep a value in place of the last one of `key`: the broker has it when this returns."""
        if len(value) > MESSAGE_BYTES_MAX:
            raise BusError(f"{key} must have at most {MESSAGE_BYTES_MAX} bytes, had {len(value)}")
        self._send(key, value)

    def drop(self, key: str) -> None:
        """Keep no value of `key` any more."""
        self._send(key, None)

    def _send(self, key: str, value: bytes | None) -> None:
        failed: list[KafkaError] = []

        def hear(error: KafkaError | None, _message: Message) -> None:
            failed.extend([error] if error is not None else [])

        meet(self._producer, SNAPSHOTS)
        self._producer.produce(SNAPSHOTS, value, key.encode(), 0, on_delivery=hear)
        if self._producer.flush(PUT_S_MAX):
            raise Away(f"the broker must take {key} in {PUT_S_MAX} s, and did not")
        if failed:
            raise BusError(f"the broker did not take {key} of {SNAPSHOTS}: {failed[0].str()}")

    def values(self) -> Iterator[tuple[str, bytes | None]]:
        """Every key and value that the topic holds now, in order; None where a key was dropped."""
        reader = Consumer(
            {
                **client_config(self._servers),
                "group.id": f"hft.{self._name}.snapshots",
                "enable.auto.commit": False,
                "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
            }
        )
        try:
            low, high = watermarks(reader, SNAPSHOTS)
            reader.assign([TopicPartition(SNAPSHOTS, 0, low)])
            while reader.position([TopicPartition(SNAPSHOTS, 0)])[0].offset < high > low:
                message = reader.poll(ANSWER_S_MAX)
                if message is None or message.error() is not None:
                    raise Away(f"{SNAPSHOTS} cannot be read: {message and message.error()}")
                yield (message.key() or b"").decode("utf-8", "replace"), message.value()
        finally:
            reader.close()


class Snapshots(SnapshotKeeper):
    """The topic of snapshots, for one process named `name`."""

    def __init__(self, servers: str, name: str) -> None:
        super().__init__(KafkaStore(servers, name), name)


class Kafka:
    """A broker, as a service asks for its parts."""

    def __init__(self, servers: str) -> None:
        self._servers = servers

    def snapshots(self, name: str) -> Snapshots:
        """The snapshots of the process `name`."""
        return Snapshots(self._servers, name)

    def bus(self, name: str, epoch: int) -> KafkaBus:
        """The logs, for the process `name`."""
        return KafkaBus(self._servers, name, epoch)
