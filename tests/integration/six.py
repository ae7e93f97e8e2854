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

from hft_lib.backtest.tally import Tally
from serving.adapters.kafka_bus import KafkaBus
from serving.services import SERVICES
from tests.cli.conftest import ROOT
from tests.integration.conftest import free_ports

ANSWER_S_MAX = 2.0
READY_S_MAX = 120.0
NAMES = tuple(service.name for service in SERVICES)


class SixProcesses:
    """The services of one line on `servers` and `redis_url`, fed by `tape`, opened with `params`."""

    def __init__(
        self, servers: str, redis_url: str, folder: Path, tape: Path, params: Path
    ) -> None:
        self.servers = servers
        self.redis_url = redis_url
        self._folder = folder
        self._ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self._options = {"ingestion": ("--tape", tape), "orchestrator": ("--params", params)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start the services; all where none is named."""
        for name in names or NAMES:
            words = [sys.executable, "-m", "serving", name, "--port", str(self._ports[name])]
            words += [str(word) for word in self._options.get(name, ())]
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "KAFKA_BOOTSTRAP_SERVERS": self.servers,
                "REDIS_URL": self.redis_url,
                "HFT_HOME": str(self._folder / "home"),
            }
            environment.pop("COVERAGE_PROCESS_CONFIG", None)  # what is killed leaves half a file
            with (self._folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    words, cwd=self._folder, env=environment, stdout=log, stderr=log
                )

    def kill(self, name: str) -> None:
        """SIGKILL: nothing is flushed, nothing said."""
        self._running[name].kill()
        self._running.pop(name).wait()

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

    def page(self, name: str, path: str) -> tuple[int, str]:
        """Status and body of a page; 0 where nobody answers."""
        url = f"http://127.0.0.1:{self._ports[name]}{path}"
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
    bus = KafkaBus(servers, "reader-of-records")
    bus.read("hft.records", tally.take)
    bus.open()
    while bus.behind:
        bus.pump(0.5)
    bus.close()
    return tally
