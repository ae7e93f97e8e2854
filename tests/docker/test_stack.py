"""`docker compose up` brings the whole stack up, trades on it, and ends it without a loss.

It needs a Docker daemon with Compose, the images of tests/docker/test_built_images.py and those of
Kafka, Redis and PostgreSQL, and the ports of compose.yaml; where one is missing it skips and says
so. What watches the line and is waited for by nothing may be missing alone: the rest is brought up,
and the test of its page skips with the reason.
"""

import base64
import json
import re
import secrets
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.docker.test_built_images import TAG, Built, called, daemon, had, stands_on, why_absent
from tests.docker.test_compose import IMAGES, ONCE, RUN, STAGES, WAITED_FOR
from tests.docker.test_images import ROOT

__all__ = ["daemon"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PROJECT = "hft-held-by-tests"
# What Java says when it was told to end, and has, and Go where a program does not listen for that.
ENDED = {"kafka": 143, "disks": 2}
FED_S_MAX, SEEN_S_MAX = 300, 120
# What watches the line.
WATCHES = sorted(set(RUN) - set(STAGES) - ONCE - WAITED_FOR)


class Stack:
    """The project as Compose knows it, without what is `absent`, by name with the reason."""

    def __init__(self, folder: Path, absent: dict[str, str]) -> None:
        text = (ROOT / ".env.example").read_text()
        made = re.sub(
            "_PASSWORD=$", lambda _: f"_PASSWORD={secrets.token_hex(24)}", text, flags=re.M
        )
        (folder / "env").write_text(made)
        self.passwords = dotenv_values(folder / "env")
        self.absent = absent
        self.names = sorted(set(RUN) - set(absent))
        env_file = ("--env-file", str(folder / "env"))
        self._words = ("docker", "compose", "--project-name", PROJECT, *env_file)

    def __call__(self, *words: str) -> str:
        """What Compose says; a failure is one of the test."""
        done = called(*self._words, *words, TAG=TAG)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def up(self) -> dict[str, int]:
        """Bring it up; how many facts each of the six has read once the market came to them."""
        self("up", "--detach", "--no-build", *self.names)
        return self.fed()

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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, not started yet."""
    if called("docker", "compose", "version").returncode != 0:
        pytest.skip("docker compose is not installed")
    for service in RUN.values():
        for port in service.get("ports", ()):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", int(port.split(":")[1]))) == 0:
                    pytest.skip(f"somebody listens at {port}")
    theirs = {name: RUN[name]["image"] for name in set(RUN) - set(IMAGES)}
    for name in set(theirs) - set(WATCHES):
        had(theirs[name])
    reasons = {name: why_absent(theirs.get(name) or stands_on(name)) for name in WATCHES}
    absent = {name: why for name, why in reasons.items() if why}
    images = Built()
    for name in sorted({image for service, image in IMAGES.items() if service not in absent}):
        images.image(name)
    made = Stack(tmp_path_factory.mktemp("stack"), absent)
    yield made
    made("down", "--volumes", "--timeout", "60")
    images.forget()


@pytest.fixture(scope="module")
def fed(stack: Stack) -> dict[str, int]:
    """The stack is up; how many facts each of the six had read when the market had come."""
    return stack.up()


def test_the_stack_comes_up_and_trades(stack: Stack, fed: dict[str, int]) -> None:
    assert set(fed) == {service.name for service in STAGES.values()}
    states = stack.states()
    assert set(states) == set(stack.names)
    for name in set(stack.names) - ONCE:
        assert (states[name]["State"], states[name]["Health"]) == ("running", "healthy"), name


def page(name: str, path: str, login: str = "") -> Any:
    """What a service's page answers."""
    port = RUN[name]["ports"][0].split(":")[1]
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def prometheus_reads_all_six_and_knows_whom_to_tell(_: Stack) -> bool:
    rows = page("prometheus", "/api/v1/query?query=up%7Bjob%3D%22hft%22%7D")["data"]["result"]
    up = {row["metric"]["service"] for row in rows if row["value"][1] == "1"}
    told = page("prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    return up == {service.name for service in STAGES.values()} and len(told) == 1


def alertmanager_has_the_routes(_: Stack) -> bool:
    names = {one["name"] for one in page("alertmanager", "/api/v2/receivers")}
    return len(names) > 1


def grafana_shows_the_dashboards_and_reads_prometheus(stack: Stack) -> bool:
    login = f"admin:{stack.passwords['STACK_GRAFANA_PASSWORD']}"
    found = page("grafana", "/api/search?type=dash-db", login)
    source = page("grafana", "/api/datasources/uid/prometheus/health", login)
    kept = list((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    return len(found) == len(kept) and source["status"] == "OK"


def disks_are_told_of_every_volume_but_the_market_s(_: Stack) -> bool:
    rows = page("prometheus", "/api/v1/query?query=node_filesystem_avail_bytes")["data"]["result"]
    volumes = {volume.partition(":")[0] for volume in RUN["disks"]["volumes"]}
    return {row["metric"]["service"] for row in rows} == volumes


SHOWN: dict[str, Callable[[Stack], bool]] = {
    "disks": disks_are_told_of_every_volume_but_the_market_s,
    "prometheus": prometheus_reads_all_six_and_knows_whom_to_tell,
    "alertmanager": alertmanager_has_the_routes,
    "grafana": grafana_shows_the_dashboards_and_reads_prometheus,
}


@pytest.mark.parametrize("name", WATCHES)
def test_what_watches_the_line_sees_it(stack: Stack, fed: dict[str, int], name: str) -> None:
    if name in stack.absent:
        pytest.skip(stack.absent[name])
    until = time.monotonic() + SEEN_S_MAX
    while not SHOWN[name](stack):
        assert time.monotonic() < until, stack("logs", "--tail", "50", name)
        time.sleep(2.0)


def test_it_goes_on_after_a_stop_where_it_was(stack: Stack, fed: dict[str, int]) -> None:
    before = stack.fed()
    stack("stop")
    for name, state in stack.states().items():
        assert state["ExitCode"] == ENDED.get(name, 0), name
    # The log is kept, so the line goes on where it was.
    after = stack.up()
    assert after["ingestion"] > 0 and after["kalman_filter"] >= before["kalman_filter"] > 0
    assert stack.states()["calibration"]["ExitCode"] == 0
