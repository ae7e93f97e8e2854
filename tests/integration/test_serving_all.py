"""`python -m serving all --bus kafka`: the six as its children; it ends when one of them does."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.services import SERVICES
from tests.cli.conftest import ROOT
from tests.integration.conftest import RedisServer, free_ports
from tests.integration.six import Played

pytestmark = pytest.mark.slow
READY_S_MAX = 120.0
PAGES = ("/healthz", "/readyz", "/metrics", "/state")


class All:
    """One process of `all`, its pages from `port` on."""

    def __init__(self, folder: Path, servers: str, redis_url: str, played: Played) -> None:
        self.port = free_ports(len(SERVICES))[0]
        self._log = folder / "log"
        words = [sys.executable, "-m", "serving", "all", "--port", str(self.port)]
        words += ["--tape", str(played.tape), "--params", str(played.params)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HFT_HOME": str(folder / "home")}
        environment |= {"KAFKA_BOOTSTRAP_SERVERS": servers, "REDIS_URL": redis_url}
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def await_ready(self) -> None:
        """Wait until all six are ready."""
        until = time.monotonic() + READY_S_MAX
        while any(self.status(at, "/readyz") != 200 for at in range(len(SERVICES))):
            assert self.process.poll() is None and time.monotonic() < until, self._log.read_text()
            time.sleep(0.1)

    def status(self, place: int, path: str) -> int:
        """Of a page of the service at `place`; 0 where nobody answers."""
        try:
            url = f"http://127.0.0.1:{self.port + place}{path}"
            with urllib.request.urlopen(url, timeout=5.0) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def children(self) -> list[int]:
        """The processes of the services, in their order."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in task.read_text().split()]


@pytest.fixture
def running(
    servers: str, redis_server: RedisServer, tmp_path: Path, played: Played
) -> Iterator[All]:
    made = All(tmp_path, servers, redis_server.url, played)
    yield made
    try:
        os.killpg(made.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        assert made.process.poll() is not None
    made.process.wait()


def test_all_pages_answer_and_a_signal_ends_all_in_order(running: All) -> None:
    running.await_ready()
    for place in range(len(SERVICES)):
        assert [running.status(place, path) for path in PAGES] == [200] * len(PAGES)
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert time.monotonic() - began < 10.0
    assert {running.status(place, "/healthz") for place in range(len(SERVICES))} == {0}


def test_one_that_ends_ends_the_others_with_a_failure(running: All) -> None:
    running.await_ready()
    children = running.children()
    assert len(children) == len(SERVICES)
    os.kill(children[2], signal.SIGKILL)
    assert running.process.wait(30) != 0
    assert {running.status(place, "/healthz") for place in range(len(SERVICES))} == {0}


def test_one_that_is_killed_leaves_no_service_behind(running: All) -> None:
    running.await_ready()
    running.process.kill()
    running.process.wait()
    until = time.monotonic() + 30.0
    while any(running.status(place, "/healthz") for place in range(len(SERVICES))):
        assert time.monotonic() < until
        time.sleep(0.1)
