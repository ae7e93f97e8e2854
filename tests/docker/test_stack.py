"""`docker compose up` brings the whole stack up, trades on it, and ends it without a loss.

It needs a Docker daemon with Compose, the images of tests/docker/test_built_images.py and those of
Kafka, Redis and PostgreSQL, and the ports of compose.yaml; where one is missing it skips and says
so.
"""

import json
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.test_built_images import TAG, Built, called, daemon, had
from tests.docker.test_compose import IMAGES, ONCE, RUN, STAGES
from tests.docker.test_images import ROOT

__all__ = ["daemon"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PROJECT = "hft-held-by-tests"
# What Java says when it was told to end, and has.
ENDED = {"kafka": 143}
FED_S_MAX = 300


class Stack:
    """The project as Compose knows it."""

    def __init__(self, folder: Path) -> None:
        text = (ROOT / ".env.example").read_text()
        made = re.sub(
            "_PASSWORD=$", lambda _: f"_PASSWORD={secrets.token_hex(24)}", text, flags=re.M
        )
        (folder / "env").write_text(made)
        env_file = ("--env-file", str(folder / "env"))
        self._words = ("docker", "compose", "--project-name", PROJECT, *env_file)

    def __call__(self, *words: str) -> str:
        """What Compose says; a failure is one of the test."""
        done = called(*self._words, *words, TAG=TAG)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def states(self) -> dict[str, dict[str, Any]]:
        """What is known of each container."""
        lines = self("ps", "--all", "--format", "json").splitlines()
        return {one["Service"]: one for one in map(json.loads, lines)}

    def read(self) -> dict[str, int]:
        """How many facts each of the six has read."""
        words = ("exec", "-T", "execution-service", "python", "-m", "cli.main", "status")
        said = called(*self._words, *words, TAG=TAG).stdout  # its code says whether all are ready
        rows = re.findall(r"^(\w+) +ready +\d+ +\d+ +(\d+)", said, re.MULTILINE)
        return {name: int(count) for name, count in rows}

    def fed(self) -> dict[str, int]:
        """The same, once all are ready and the market has come to the models."""
        until = time.monotonic() + FED_S_MAX
        while len(read := self.read()) < len(STAGES) or not read["kalman_filter"]:
            assert time.monotonic() < until, read
            time.sleep(2.0)
        return read


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """The stack, not started yet."""
    if called("docker", "compose", "version").returncode != 0:
        pytest.skip("docker compose is not installed")
    for service in RUN.values():
        for port in service.get("ports", ()):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", int(port.split(":")[1]))) == 0:
                    pytest.skip(f"somebody listens at {port}")
    for name in set(RUN) - set(IMAGES):
        had(RUN[name]["image"])
    images = Built()
    for name in sorted(set(IMAGES.values())):
        images.image(name)
    made = Stack(tmp_path)
    yield made
    made("down", "--volumes", "--timeout", "60")
    images.forget()


def test_the_stack_comes_up_trades_and_goes_on_after_a_stop(stack: Stack) -> None:
    stack("up", "--detach", "--no-build")
    first = stack.fed()
    states = stack.states()
    assert set(states) == set(RUN)
    for name in set(RUN) - ONCE:
        assert (states[name]["State"], states[name]["Health"]) == ("running", "healthy"), name
    stack("stop")
    for name, state in stack.states().items():
        assert state["ExitCode"] == ENDED.get(name, 0), name
    # The log is kept, so the line goes on where it was.
    stack("up", "--detach", "--no-build")
    second = stack.fed()
    assert second["ingestion"] > 0 and second["kalman_filter"] >= first["kalman_filter"] > 0
    assert stack.states()["calibration"]["ExitCode"] == 0
