"""Real servers for the tests: each is started once, on a port of its own, and ended after."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KAFKA = ROOT / "scripts" / "kafka.sh"
START_S_MAX = 180


def needs(*commands: str) -> None:
    """Skip, with the reason, where a command is not there; in CI that is a failure."""
    missing = [name for name in commands if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def free_ports(count: int) -> list[int]:
    """Ports next to one another that nobody listens on."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
        ports = list(range(port, port + count))
        if ports[-1] < 65536 and all(_is_free(other) for other in ports):
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Broker:
    """A Kafka broker that can be stopped and started again over the same logs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.servers = f"127.0.0.1:{port}"

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._run("start", str(self.folder), str(self.port))

    def stop(self) -> None:
        """End it as a shutdown would."""
        self._run("stop", str(self.folder))

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(KAFKA), *words], capture_output=True, text=True, timeout=START_S_MAX, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real broker for the tests of a process."""
    needs("java", "mvn", "setsid")
    made = Broker(tmp_path_factory.mktemp("kafka"), free_ports(2)[0])
    made.start()
    yield made
    made.stop()
