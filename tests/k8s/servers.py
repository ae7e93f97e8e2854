"""Real servers that run as the manifests say, on ports and in folders of a test."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from serving.adapters.kafka_client import client_config
from serving.adapters.kafka_rights import ADMIN, USERS
from tests.integration.conftest import KAFKA, free_ports, needs
from tests.k8s import rendered
from tests.k8s.rendered import replaced

CONFIG = rendered.MANIFESTS / "base" / "config"
START_S_MAX = 180.0
KAFKA_USERS = {name: f"made-up-for-{name}" for name in USERS}


@contextmanager
def running(words: list[str], log: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """A server while the block runs; it must answer within `START_S_MAX`."""
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + START_S_MAX
        while not answers():
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(START_S_MAX)


class KafkaServer:
    """The cluster's broker, with its own settings, script and users."""

    def __init__(self, folder: Path) -> None:
        needs("java")
        subprocess.run([KAFKA, "fetch"], check=True)
        clients, controller = free_ports(2)
        self.address = f"127.0.0.1:{clients}"
        self._folder = folder
        for name, password in KAFKA_USERS.items():
            self.let_in(name, password)
        text = (CONFIG / "server.properties").read_text()
        (folder / "server.properties").write_text(
            replaced(
                text,
                {
                    "CLIENTS://:9092": f"CLIENTS://:{clients}",
                    "CLIENTS://kafka:9092": f"CLIENTS://{self.address}",
                    "localhost:9093": f"localhost:{controller}",
                    "/etc/hft-kafka-users": str(folder),
                    "/var/lib/kafka": str(folder),
                },
            )
        )

    @property
    def places(self) -> dict[str, str]:
        """Programs and folders of the container, and which they are here."""
        java = f"java -Xmx256m -cp '{KAFKA.parents[1]}/build/kafka/jars/*'"
        return {
            "/opt/kafka/bin/kafka-storage.sh": f"{java} kafka.tools.StorageTool",
            "/opt/kafka/bin/kafka-server-start.sh": f"{java} kafka.Kafka",
            "/etc/hft-kafka": str(self._folder),
            "/var/lib/kafka": str(self._folder),
        }

    def let_in(self, user: str, password: str) -> None:
        """What the broker knows a user by, from its next start on."""
        (self._folder / user).write_text(password)

    def of(self, user: str, password: str = "") -> str:
        """Its address for one of its users."""
        return f"{user}:{password or KAFKA_USERS[user]}@{self.address}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """It answers while the block runs."""
        words = ["bash", "-ec", self._script()]
        with running(words, self._folder / "log", self._answers):
            yield

    def _script(self) -> str:
        """The container's own, with the programs and folders of this machine."""
        item = rendered.named("staging", "StatefulSet", "kafka")
        (container,) = rendered.servers(item)[-1:]
        (script,) = container["args"]
        return replaced(script, self.places)

    def _answers(self) -> bool:
        try:
            client = AdminClient(client_config(self.of(ADMIN)))
            return bool(client.list_topics(timeout=1).brokers)
        except Exception as error:  # librdkafka's own kind is no subclass of anything narrower
            said = str(error).lower()
            assert "transport failure" in said or "timed out" in said
            return False
