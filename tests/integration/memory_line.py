"""`python -m serving` on memory as a process of its own, which a test may kill."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.services import SERVICES
from tests.cli.conftest import ROOT
from tests.integration.conftest import free_ports

NAMES = tuple(service.name for service in SERVICES)
PAGES = ("/healthz", "/readyz", "/metrics", "/state")
WAIT_S_MAX = 120.0


class Serving:
    """`python -m serving NAME --bus memory` in `folder`, its pages from `port` on."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(len(NAMES))[0]
        self.home = folder / "home"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *words: object, **environment: str) -> None:
        """Start it, with these words after `--port`."""
        name, *more = map(str, words)
        known = [sys.executable, "-m", "serving", name, "--bus", "memory"]
        known += ["--port", str(self.port)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HFT_HOME": str(self.home), **environment}
        env.pop("COVERAGE_PROCESS_CONFIG", None)  # what is killed leaves half a file
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*known, *more], cwd=self._folder, env=env, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        """What it wrote to its standard error."""
        return (self._folder / "log").read_text()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing said."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it in order; its exit code and how long that took, in seconds."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(number)
        return self.ended(), time.monotonic() - began

    def ended(self) -> int:
        """The exit code once it has ended."""
        assert self._process is not None
        code = self._process.wait(WAIT_S_MAX)
        self._process = None
        return code

    def page(self, place: int, path: str) -> tuple[int, str]:
        """Status and body of a page of the service at `place`; 0 where nobody answers."""
        url = f"http://127.0.0.1:{self.port + place}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def state(self, name: str) -> dict[str, Any]:
        """What a service says of itself; empty where it does not answer."""
        status, body = self.page(NAMES.index(name), "/state")
        return json.loads(body) if status == 200 else {}

    def wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until `holds`; a process that ended by itself fails the test with its last words."""
        until = time.monotonic() + WAIT_S_MAX
        while not holds():
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"it ended:\n{self.log[-3000:]}")
            assert time.monotonic() < until, f"not {what}:\n{self.log[-3000:]}"
            time.sleep(0.02)

    def await_ready(self) -> None:
        """Wait until all six are ready."""
        self.wait_for(
            "ready", lambda: all(self.page(at, "/readyz")[0] == 200 for at in range(len(NAMES)))
        )
