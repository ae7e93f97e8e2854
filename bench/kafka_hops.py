"""Five hops of Kafka at a steady pace: our bus and bare confluent-kafka, in turn on one broker.

    python bench/kafka_hops.py relay ours|bare SERVERS FROM TO     one hop, as the bench starts it

A hop reads a message, and writes it on. Ours decodes the fact, numbers it, chains it, encodes it
and checks all of it at the reader, as between two stages; bare passes the bytes on.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hft_lib.events import Event, Mark  # noqa: E402
from serving.adapters.kafka_bus import KafkaBus  # noqa: E402
from serving.adapters.kafka_topics import topic_of  # noqa: E402

PORT = 9794
KAFKA = ("bash", str(ROOT / "scripts" / "kafka.sh"))
HOPS = 5
A_SECOND = 200
MESSAGES = 4_000
WARM = 400  # not counted
ANSWER_S_MAX = 60.0
RATIO_P50, RATIO_P99 = 1.5, 2.0  # what is aimed at
ROUNDS = 3  # each side is measured so often, in turn


def rows(folder: Path) -> list[dict[str, Any]]:
    """One row: both sides' milliseconds over five hops, and their ratios."""
    found: dict[str, list[Any]] = {"bare": [], "ours": []}
    with broker(folder / "kafka") as servers:
        for turn in range(ROUNDS):
            for side, known in found.items():
                known.append(np.percentile(_measure(servers, side, turn), (50, 99)))
                print(f"{side}: p50 and p99 in ms {known[-1]}", file=sys.stderr, flush=True)
    (bare_p50, bare_p99), (ours_p50, ours_p99) = (np.min(known, 0) for known in found.values())
    return [
        {
            "name": f"{HOPS} hops of Kafka at {A_SECOND} a second",
            "ours_p50_ms": round(float(ours_p50), 2),
            "ours_p99_ms": round(float(ours_p99), 2),
            "bare_p50_ms": round(float(bare_p50), 2),
            "bare_p99_ms": round(float(bare_p99), 2),
            "ratio_p50": round(float(ours_p50 / bare_p50), 2),
            "ratio_p99": round(float(ours_p99 / bare_p99), 2),
            "target_ratio_p50": RATIO_P50,
            "target_ratio_p99": RATIO_P99,
        }
    ]


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A broker of its own; yields its address."""
    start_broker(folder)
    try:
        yield f"127.0.0.1:{PORT}"
    finally:
        stop_broker(folder)


def start_broker(folder: Path) -> None:
    """Start the broker of `folder`; returns once it answers."""
    subprocess.run([*KAFKA, "start", str(folder), str(PORT)], check=True, stdout=sys.stderr)


def stop_broker(folder: Path) -> None:
    """End the broker of `folder` as a shutdown would."""
    subprocess.run([*KAFKA, "stop", str(folder)], check=True, stdout=sys.stderr)


def _measure(servers: str, side: str, turn: int) -> list[float]:
    """Milliseconds from the first producer to the last consumer, a figure a message."""
    logs = [f"bench.{side}.{turn}.{place}" for place in range(HOPS + 1)]
    admin = AdminClient({"bootstrap.servers": servers})
    for answer in admin.create_topics([NewTopic(topic_of(log), 1, 1) for log in logs]).values():
        answer.result()
    words = [sys.executable, __file__, "relay", side, servers]
    relays = [
        subprocess.Popen([*words, before, after])
        for before, after in zip(logs[:-1], logs[1:], strict=True)
    ]
    try:
        return _paced(servers, side, logs)
    finally:
        for relay in relays:
            relay.kill()
            relay.wait()


def _paced(servers: str, side: str, logs: list[str]) -> list[float]:
    took: list[float] = []
    first, last = ENDS[side](servers, logs[0], logs[-1], took)
    _warm(first, last, took)
    due_s = time.perf_counter()
    sent, until_s = 0, due_s + MESSAGES / A_SECOND + ANSWER_S_MAX
    while len(took) < MESSAGES:
        now_s = time.perf_counter()
        if now_s > until_s:
            raise TimeoutError(f"{len(took)} of {MESSAGES} messages came")
        if sent < MESSAGES and now_s >= due_s:
            first(time.perf_counter_ns())
            sent, due_s = sent + 1, due_s + 1 / A_SECOND
        last(max(0.0, min(0.002, due_s - time.perf_counter())) if sent < MESSAGES else 0.01)
    return took[WARM:]


def _warm(first: Callable[[int], None], last: Callable[[float], int], took: list[float]) -> None:
    """Wait until the whole chain has answered once."""
    first(time.perf_counter_ns())
    until_s = time.perf_counter() + ANSWER_S_MAX
    while not took:
        last(0.1)
        if time.perf_counter() > until_s:
            raise TimeoutError(f"the chain did not answer in {ANSWER_S_MAX} s")
    took.clear()


# --- the two sides: what ends a chain, and a hop ---


def _ours_ends(
    servers: str, before: str, after: str, took: list[float]
) -> tuple[Callable[[int], None], Callable[[float], int]]:
    bus = KafkaBus(servers, "feed")

    def arrived(fact: Event) -> None:
        assert isinstance(fact, Mark)
        took.append((time.perf_counter_ns() - fact.time_ns) / 1e6)

    bus.read(after, arrived)
    bus.open()

    def send(now_ns: int) -> None:
        bus.write(before, _message(now_ns))

    return send, bus.pump


def _bare_ends(
    servers: str, before: str, after: str, took: list[float]
) -> tuple[Callable[[int], None], Callable[[float], int]]:
    producer, consumer = _bare(servers, after)
    filling = b"." * 100

    def send(now_ns: int) -> None:
        producer.produce(topic_of(before), b"%019d" % now_ns + filling, partition=0)
        producer.poll(0)

    def receive(timeout_s: float) -> int:
        count = 0
        message = consumer.poll(timeout_s)
        while message is not None and not message.error():
            took.append((time.perf_counter_ns() - int((message.value() or b"")[:19])) / 1e6)
            count, message = count + 1, consumer.poll(0)
        return count

    return send, receive


ENDS = {"ours": _ours_ends, "bare": _bare_ends}


def _message(now_ns: int) -> Event:
    return Mark(now_ns, now_ns, "SYN/USDT:USDT", 100.0)


def _bare(servers: str, log: str) -> tuple[Producer, Consumer]:
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 0,
            "acks": "all",
            "enable.idempotence": True,
        }
    )
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bench-{log}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic_of(log), 0, 0)])
    return producer, consumer


def _relay_ours(servers: str, before: str, after: str) -> None:
    bus = KafkaBus(servers, "host")  # readers bury what no writer of a line says
    bus.read(before, lambda fact: bus.write(after, fact))
    bus.open()
    while True:
        bus.pump(0.05)


def _relay_bare(servers: str, before: str, after: str) -> None:
    producer, consumer = _bare(servers, before)
    while True:
        message = consumer.poll(0.05)
        while message is not None and not message.error():
            producer.produce(topic_of(after), message.value(), partition=0)
            message = consumer.poll(0)
        producer.poll(0)


if __name__ == "__main__":
    {"ours": _relay_ours, "bare": _relay_bare}[sys.argv[2]](*sys.argv[3:6])
