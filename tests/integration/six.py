"""Six services as processes of their own, which a test may kill."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hft_lib.backtest.tally import Tally
from hft_lib.events import Event
from hft_lib.market import synthetic
from serving.adapters.kafka_bus import KafkaBus
from serving.services import SERVICES
from tests.cli.conftest import HFT, ROOT, Answer
from tests.integration.conftest import Outside, free_ports

# Of a file whose tests look at six processes. No tracer sees those, and reading and replaying their
# logs, which other tests cover, takes three times as long under one.
MARKS = [pytest.mark.slow, pytest.mark.no_cover]
ANSWER_S_MAX = 2.0
READY_S_MAX = 120.0
NAMES = tuple(service.name for service in SERVICES)
# Quotes ten minutes apart: some months with a promotion in them, in a minute.
MARKET = synthetic.SyntheticMarket(days=140.0, step_s=600.0, break_at_fraction=0.97)


class Played:
    """A tape with a promotion in it, a parameter file for it, and what a replay makes of both.

    What another process of the tests made in the folder is taken as it is.
    """

    def __init__(self, folder: Path, outside: Outside) -> None:
        self.tape = folder / "tape"
        self.params = folder / "demo" / "parameters.json"
        answer = folder / "replay.json"
        if not answer.is_file():
            self._make(folder, outside, answer)
        self.replay: dict[str, Any] = json.loads(answer.read_bytes())

    def _make(self, folder: Path, outside: Outside, answer: Path) -> None:
        synthetic.write(7, self.tape, MARKET)
        demo = outside("demo", "--tape", self.tape, "--out", folder / "demo", "--json")
        assert demo.code == 0, demo.err
        assert "promote" in {decision["kind"] for decision in demo.json["decisions"]}
        replay = outside("replay", "--tape", self.tape, "--params", self.params, "--json")
        assert replay.code == 0, replay.err
        answer.write_text(json.dumps(replay.json))


class SixProcesses:
    """The services of one line on two servers, fed by `tape`, opened with `params`."""

    def __init__(
        self, servers: str, redis_url: str, folder: Path, tape: Path, params: Path
    ) -> None:
        self.servers = servers
        self.redis_url = redis_url
        self.speed: float | None = None  # times the tape's pace, None for as fast as it goes
        self.environment: dict[str, str] = {}  # beside what every line needs
        self.logins: dict[str, str] = {}  # the broker as a service reaches it, where each is a user
        self._folder = folder
        self._ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.options: dict[str, tuple[object, ...]] = {
            "ingestion": ("--tape", tape),
            "orchestrator": ("--params", params),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start the services; all where none is named."""
        for name in names or NAMES:
            with (self._folder / f"{name}.log").open("ab") as log:
                self._running[name] = self._begin(name, self._ports[name], log)

    def second(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service beside itself, by mistake."""
        return self._begin(name, free_ports(1)[0], subprocess.PIPE)

    def succeed(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service anew, on a port of its own as another machine would have it, and return
        the one that was: its end is the caller's.
        """
        before = self._running.pop(name)
        self._ports[name] = free_ports(1)[0]
        self.start(name)
        return before

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a service."""
        return self._running[name]

    def forget(self, name: str) -> int:
        """Wait for a service that ends by itself; its exit code."""
        return self._running.pop(name).wait(READY_S_MAX)

    def verb(self, *words: object) -> Answer:
        """Run a verb of hft against the same servers."""
        return self.run(*HFT, *words)

    def run(self, *words: object) -> Answer:
        """Run a program as a service would be: beside them, with what they are told."""
        done = subprocess.run(
            [*map(str, words)],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def _begin(self, name: str, port: int, out: Any) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "serving", name, "--port", str(port)]
        words += [str(word) for word in self.options.get(name, ())]
        if name == "ingestion" and self.speed is not None:
            words += ["--speed", str(self.speed)]
        return subprocess.Popen(
            words, cwd=self._folder, env=self._environment(name), stdout=out, stderr=out
        )

    def _environment(self, name: str = "") -> dict[str, str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": self.logins.get(name, self.servers),
            "REDIS_URL": self.redis_url,
            "HFT_HOME": str(self._folder / "home"),
            **self.environment,
        }
        environment.pop("COVERAGE_PROCESS_CONFIG", None)  # what is killed leaves half a file
        return environment

    def kill(self, name: str) -> None:
        """SIGKILL: nothing is flushed, nothing said."""
        self._running[name].kill()
        self._running.pop(name).wait()

    def stop_one(self, name: str) -> int:
        """SIGTERM to a service; its exit code."""
        self._running[name].send_signal(signal.SIGTERM)
        return self._running.pop(name).wait(10.0)

    def stop(self, timeout_s: float = 10.0) -> dict[str, int]:
        """SIGTERM to all; each one's exit code."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(timeout_s) for name, process in self._running.items()}
        self._running.clear()
        return codes

    def end(self) -> None:
        """Leave nothing running, whatever the test came to."""
        for name in list(self._running):
            self.kill(name)

    def port(self, name: str) -> int:
        """The port of a service's pages."""
        return self._ports[name]

    def url(self, name: str) -> str:
        """Where a service's pages are."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def page(self, name: str, path: str) -> tuple[int, str]:
        """Status and body of a page; 0 where nobody answers."""
        url = f"{self.url(name)}{path}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_S_MAX) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def state(self, name: str) -> dict[str, Any]:
        """What a service says of itself; empty where it does not answer."""
        status, body = self.page(name, "/state")
        return json.loads(body) if status == 200 else {}

    def log(self, name: str) -> str:
        """What a service wrote to its standard error."""
        return (self._folder / f"{name}.log").read_text()

    def await_ready(self, *names: str) -> None:
        """Wait until the services are ready."""
        for name in names or NAMES:
            self.wait_for(f"{name} ready", partial(self._is_ready, name))

    def _is_ready(self, name: str) -> bool:
        return self.page(name, "/readyz")[0] == 200

    def wait_for(self, what: str, holds: Callable[[], bool], s_max: float = READY_S_MAX) -> None:
        """Wait until `holds`; a service that ended by itself fails the test with its last words."""
        until = time.monotonic() + s_max
        while not holds():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended:\n{self.log(name)[-3000:]}")
            if time.monotonic() > until:
                said = {name: self.page(name, "/readyz")[1].strip() for name in NAMES}
                raise AssertionError(f"not {what} within {s_max} s: {said}")
            time.sleep(0.05)


def recorded(servers: str) -> Tally:
    """Every record that the line's log holds, counted."""
    tally = Tally()
    for fact in facts(servers, "hft.records"):
        tally.take(fact)
    return tally


def facts(servers: str, log: str) -> list[Event]:
    """Every fact that a log holds, each once."""
    found: list[Event] = []
    bus = KafkaBus(servers, "reader")
    bus.read(log, found.append)
    bus.open()
    while bus.behind:
        bus.pump(0.5)
    bus.close()
    return found
