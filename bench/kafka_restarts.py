"""How many of our Kafka clients find a broker again that was stopped and started.

    python bench/kafka_restarts.py [--rounds 8] [--clients 50] [--json]

The machine is kept busy meanwhile: a broker that starts slowly is what some clients do not survive.
Run it before confluent-kafka is pinned to another version: a client that stays without a broker
stays so for good, and its service stands (docs/decisions/0016). Exit code 1 where one did.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.kafka_hops import broker, start_broker, stop_broker  # noqa: E402
from serving.adapters.kafka_bus import KafkaClient  # noqa: E402
from serving.adapters.kafka_topics import topic_of  # noqa: E402

LOG = "bench.restarts"
AWAY_S, BACK_S_MAX, SEEN_S = 12.0, 60.0, 2.0


def measure(folder: Path, rounds: int, count: int) -> list[dict[str, Any]]:
    """A row a round: of `count` clients those that were without the broker `BACK_S_MAX` later."""
    with ExitStack() as stack:
        servers = stack.enter_context(broker(folder))
        created = AdminClient({"bootstrap.servers": servers})
        for _ in range(2 * (os.cpu_count() or 1)):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.kill)
        for answer in created.create_topics([NewTopic(topic_of(LOG), 1, 1)]).values():
            answer.result()
        clients = [KafkaClient(servers, f"restarts-{number}") for number in range(count)]
        for client in clients:
            client.assign({LOG: 0})
            stack.callback(client.close)
        _serve(clients, SEEN_S)
        return [_round(folder, clients, number) for number in range(rounds)]


def _round(folder: Path, clients: Sequence[KafkaClient], number: int) -> dict[str, Any]:
    """Stop the broker, start it again, and wait for every client."""
    stop_broker(folder)
    _serve(clients, AWAY_S)
    start_broker(folder)
    began = time.monotonic()
    _serve(clients, SEEN_S)  # what it says of the second before is gone
    while (left := sum(not client.is_there for client in clients)) and (
        time.monotonic() - began < BACK_S_MAX
    ):
        _serve(clients, 0.5)
    row = {
        "name": f"restart {number + 1}",
        "clients": len(clients),
        "without_a_broker": left,
        "after_s": round(time.monotonic() - began, 1),
    }
    print(row, file=sys.stderr, flush=True)
    return row


def _serve(clients: Sequence[KafkaClient], for_s: float) -> None:
    """Let each client say how it is, for so long."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        for client in clients:
            for _ in client.receive(0.01):
                pass
            client.append(LOG, "", b"", b"x")


def main() -> int:
    """Print the rows of all rounds; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options.rounds, options.clients)
    lost = sum(row["without_a_broker"] for row in rows)
    if options.json:
        print(json.dumps(rows))
    else:
        version, asked = confluent_kafka.version()[0], options.rounds * options.clients
        print(f"confluent-kafka {version}: {asked - lost} of {asked} found the broker again")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
