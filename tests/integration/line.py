"""A line of six processes with its own Redis, and what its operator does: tests go on with it, each
leaves it ready and let go.
"""

from functools import partial
from pathlib import Path

import pytest

from hft_lib.events import Halted, Resumed
from tests.integration import faults
from tests.integration.conftest import Broker, RedisServer, emptied, free_ports, needs
from tests.integration.six import NAMES, Played, SixProcesses

# Within a second on a machine that is ours: `bench/services.py --part kill` measures it.
KILL_S_MAX = 60.0


class Line:
    """The six, their servers, and what their operator does."""

    def __init__(self, six: SixProcesses, broker: Broker, redis: RedisServer, tape: Path) -> None:
        self.six = six
        self.broker = broker
        self.redis = redis
        self.tape = tape
        self._told = 0

    def pull(self, reason: str) -> None:
        """`hft kill`."""
        answer = self.six.verb("kill", "--operator", "ada", "--reason", reason, "--json")
        assert answer.code == 0, answer.err

    @property
    def is_halted(self) -> bool:
        """Whether execution says that it was told of a halt and has stepped on it."""
        return bool(self.six.state("execution").get("latch", {}).get("halted"))

    def heard(self) -> list[Halted | Resumed]:
        """What execution was told since the line was let go, in order."""
        return faults.words(self.six.servers)[self._told :]

    def await_told(self, reason: str) -> None:
        """The kill arrives soon, once, and before anything else that execution is told."""
        self.six.wait_for("halted", lambda: self.is_halted, KILL_S_MAX)
        assert [word.reason for word in self.heard()] == [reason]
        assert self.six.state("execution")["latch"]["may_send"] is False

    def let_go(self) -> None:
        """`hft reset-kill`; the line is ready and goes on."""
        assert self.six.verb("reset-kill", "--operator", "bob", "--reason", "over").code == 0
        self.six.wait_for("let go", lambda: not self.is_halted)
        self.six.await_ready()
        self.listen()

    def listen(self) -> None:
        """What execution is told from now on is what was `heard`."""
        self._told = len(faults.words(self.six.servers))

    def restart(self) -> None:
        """SIGKILL to the six and to Redis, another broker over the same logs; then all again."""
        for name in NAMES:
            self.six.kill(name)
        self.redis.kill()
        self.broker.stop()
        self.redis.start()
        self.broker.start()
        self.six.start()
        self.six.await_ready()

    def check(self) -> None:
        """What was fed is the tape, what execution wrote is its replay."""
        assert faults.check_feed(self.six.servers, self.tape) > 0
        assert faults.check_replay(self.six.servers, "execution") > 0

    def await_pages(self, text: str, *names: str) -> None:
        """Wait until the services say `text` where they say why they are not ready."""
        for name in names:
            self.six.wait_for(f"{name}: {text}", partial(self._says, name, text))

    def has_buried(self, name: str, count: int) -> bool:
        """Whether a service has buried so many messages."""
        return self.six.state(name).get("dead_letters") == count

    def has_written(self, name: str, count: int) -> bool:
        """Whether so many of a log's messages are named in the topic of dead letters."""
        return len(faults.letters(self.six.servers, name)) >= count

    def has_saved(self, name: str, count: int) -> bool:
        """Whether a service has so many snapshots."""
        return len(faults.snapshots(self.six.servers, name)) >= count

    def _says(self, name: str, text: str) -> bool:
        status, body = self.six.page(name, "/readyz")
        return status == 503 and text in body


class Standing:
    """A line that is there as soon as it is asked for, ready, with the tape coming in at `speed`
    times its pace.
    """

    def __init__(
        self, broker: Broker, played: Played, folders: pytest.TempPathFactory, speed: float
    ) -> None:
        self._broker = broker
        self._played = played
        self._folders = folders
        self._speed = speed
        self._line: Line | None = None

    def line(self) -> Line:
        """The line, begun where there is none."""
        if self._line is None:
            self._line = self._begin()
            self._line.six.await_ready()
        return self._line

    def end(self) -> None:
        """End it, whatever was done to it; the next that is asked for is a new one."""
        if self._line is not None:
            self._line.six.end()
            self._line.redis.kill()
            self._line = None

    def _begin(self) -> Line:
        needs("redis-server")
        folder = self._folders.mktemp("line")
        redis = RedisServer(self._folders.mktemp("redis"), free_ports(1)[0])
        redis.start()
        played = self._played
        six = SixProcesses(emptied(self._broker), redis.url, folder, played.tape, played.params)
        six.environment["DATABASE_URL"] = f"sqlite:///{folder / 'ledger.db'}"
        six.speed = self._speed
        six.start()
        return Line(six, self._broker, redis, played.tape)
