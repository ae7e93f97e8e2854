"""Real servers for the tests: each is started once, on a port of its own, and ended after."""

import gc
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka.admin import AdminClient

from serving.adapters.kafka_topics import ensure_topics
from tests.cli.conftest import HFT, ROOT, Answer
from tests.conftest import shared

Outside = Callable[..., Answer]
KAFKA = ROOT / "scripts" / "kafka.sh"
START_S_MAX = 180
PORTS = (12_000, 32_000)
PASSED = pytest.StashKey[bool]()
# A broker of a test lives for minutes: what the second compiler makes of its code is not paid back.
JAVA_OF_TESTS = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}


@pytest.fixture(autouse=True)
def no_client_is_left() -> Iterator[None]:
    """A bus and its host are a circle: what a test forgot ends here, and speaks to no broker whose
    topics the next test takes away.
    """
    yield
    gc.collect()


def needs(*commands: str) -> None:
    """Skip, with the reason, where a command is not there; in CI that is a failure."""
    missing = [name for name in commands if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def free_ports(count: int) -> list[int]:
    """Ports next to one another that nobody listens on.

    Below those from which the system gives a client its own: one that asks a port there, while its
    server is down, may be connected to itself.
    """
    while True:
        first = random.randrange(*PORTS)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
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

    @property
    def pid(self) -> int:
        """Its process."""
        return int((self.folder / "pid").read_text())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers none."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(KAFKA), *words],
            env={**os.environ, **JAVA_OF_TESTS},
            capture_output=True,
            text=True,
            timeout=START_S_MAX,
            check=False,
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


@pytest.fixture
def servers(broker: Broker) -> str:
    """The broker with the topics of a line, all empty."""
    return emptied(broker)


def emptied(broker: Broker) -> str:
    """The broker's address, once it holds the topics of a line, all empty."""
    admin = AdminClient({"bootstrap.servers": broker.servers})
    there = [name for name in admin.list_topics(timeout=10).topics if name.startswith("hft.")]
    for answer in admin.delete_topics(there, operation_timeout=30).values() if there else ():
        answer.result(30)
    while any(name.startswith("hft.") for name in admin.list_topics(timeout=10).topics):
        time.sleep(0.05)
    ensure_topics(broker.servers)
    return broker.servers


class RedisServer:
    """A Redis with an append-only file, which a test may kill and start again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*words, "--save", ""], stdout=log, stderr=log)
        client, until = redis.Redis(port=self.port), time.monotonic() + START_S_MAX
        while True:
            try:
                client.ping()
                break
            except redis.exceptions.RedisError:
                assert time.monotonic() < until and self._process.poll() is None
                time.sleep(0.02)
        client.close()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def wait(self) -> None:
        """Return when it has ended by itself."""
        assert self._process is not None
        self._process.wait(START_S_MAX)
        self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, empty, running."""
    needs("redis-server")
    made = RedisServer(tmp_path_factory.mktemp("redis"), free_ports(1)[0])
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def outside_of() -> Callable[[Path], Outside]:
    """Run verbs in processes of their own, in a folder that holds HFT_HOME, empty at first."""

    def in_folder(folder: Path) -> Outside:
        def run(*arguments: object) -> Answer:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HFT_HOME": str(folder / "home")}
            # A million events under a tracer take minutes; other tests cover the same lines.
            environment.pop("COVERAGE_PROCESS_CONFIG", None)
            words = [*HFT, *map(str, arguments)]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            return Answer(done.returncode, done.stdout, done.stderr)

        return run

    return in_folder


@pytest.fixture
def outside(tmp_path: Path, outside_of: Callable[[Path], Outside]) -> Outside:
    """Run a verb in a process of its own, in a folder that is this test's."""
    return outside_of(tmp_path)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, outside_of: Callable[[Path], Outside]) -> Any:
    """A tape, its parameters, and what a replay makes of them (`six.Played`)."""
    from tests.integration.six import Played

    with shared(tmp_path_factory, "played") as folder:
        return Played(folder, outside_of(folder))


@pytest.fixture
def six(servers: str, redis_server: RedisServer, tmp_path: Path, played: Any) -> Iterator[Any]:
    """Six processes on real servers, none started yet (`six.SixProcesses`)."""
    from tests.integration.six import SixProcesses

    made = SixProcesses(servers, redis_server.url, tmp_path, played.tape, played.params)
    yield made
    made.end()


@pytest.fixture(scope="module")
def standing(
    request: pytest.FixtureRequest,
    broker: Broker,
    played: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """Where a file's line stands from one test to the next, at its `SPEED` (`line.Standing`)."""
    from tests.integration.line import Standing

    made = Standing(broker, played, tmp_path_factory, request.module.SPEED)
    yield made
    made.end()


@pytest.fixture
def line(request: pytest.FixtureRequest, standing: Any, broker: Broker) -> Iterator[Any]:
    """Six processes that trade, with which a file's tests go on (`line.Line`); after one that
    failed the next has others.
    """
    yield standing.line()
    if not request.node.stash.get(PASSED, False):
        standing.end()
        broker.stop()
        broker.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave with each test whether it passed, for the end of its fixtures."""
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report
