"""An image that breaks a rule of how it runs is refused by that rule; one that breaks none passes.

Docker is stood for by a script whose container is an HTTP server; with a daemon, and an image named
in IMAGE_TO_RUN, the last test runs that image.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import free_ports

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "ci" / "image_run.py"
DOCKER = f"""#!/bin/sh
echo "$*" >> "$GIVEN/calls"
case "$1 $2" in
  "run "*) {sys.executable} "$GIVEN/server.py" >/dev/null 2>&1 & echo $! > "$GIVEN/pid"; echo one ;;
  "exec "*) cat "$GIVEN/inside" ;;
  "stop "*) kill "$(cat "$GIVEN/pid")" ;;
  "rm "*) kill "$(cat "$GIVEN/pid")" 2>/dev/null; true ;;
  "stats "*) echo "100MiB / 512MiB" ;;
  "image inspect") echo 900000000 ;;
  "inspect --format")
    case "$3" in
      *ExitCode*) cat "$GIVEN/code" ;;
      *) kill -0 "$(cat "$GIVEN/pid")" 2>/dev/null && echo true || echo false ;;
    esac ;;
  "logs "*) echo "it said why" >&2 ;;
esac
"""
SERVER = """
import http.server, os, sys
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/healthz", "/readyz") else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Pages).serve_forever()
"""
WELL = {
    "uids": ["10001"] * 4,
    "capabilities": ["0000000000000000"] * 3,
    "no_new_privileges": "1",
    "first": "python3",
    "writable": [],
    "home": True,
    "tools": [],
}


class World:
    """A folder with the stand-in in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        (folder / "server.py").write_text(SERVER.format(port=self.port))
        self.is_seen()

    def is_seen(self, code: int = 0, **inside: Any) -> None:
        """What a look inside brings, and how the service ends."""
        (self.folder / "inside").write_text(json.dumps(WELL | inside))
        (self.folder / "code").write_text(str(code))

    def run(self) -> subprocess.CompletedProcess[str]:
        """The script."""
        given = {"GIVEN": str(self.folder), "DOCKER": str(self.folder / "docker")}
        words = (sys.executable, str(SCRIPT), "made:up", str(self.port))
        environment = {**os.environ, **given}
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    @property
    def calls(self) -> list[str]:
        """How Docker was called."""
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A Docker whose image breaks no rule."""
    return World(tmp_path)


def test_an_image_that_keeps_the_rules_passes_and_its_figures_are_said(world: World) -> None:
    done = world.run()
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (seen["exit_code"], seen["memory"], seen["bytes"]) == (0, "100MiB", 900_000_000)
    assert 0 < seen["alive_s"] <= seen["ready_s"]
    assert "--read-only" in world.calls[0] and "--cap-drop=ALL" in world.calls[0]
    assert world.calls[-1] == "rm --force one"


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ({"uids": ["0"] * 4}, "must run as 10001"),
        ({"capabilities": ["0", "0", "00000000a80425fb"]}, "must have no capability"),
        ({"no_new_privileges": "0"}, "must not gain privileges"),
        ({"writable": ["/app"]}, "nothing of the image may be written, could be ['/app']"),
        ({"home": False}, "HFT_HOME must be writable"),
        ({"tools": ["gcc"]}, "no tool of a thief's may be there, were ['gcc']"),
        ({"first": "sh"}, "python must be the first process, was sh"),
        ({"code": 143}, "must end with 0, did with 143"),
    ],
)
def test_a_rule_that_is_broken_is_told(world: World, inside: dict[str, Any], told: str) -> None:
    world.is_seen(**inside)
    done = world.run()
    assert done.returncode == 1 and told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_service_that_ends_by_itself_is_told_with_what_it_said(world: World) -> None:
    (world.folder / "server.py").write_text("raise SystemExit(1)")
    done = world.run()
    assert done.returncode == 1 and "it has ended: it said why" in done.stderr
    assert world.calls[-1] == "rm --force one"


def test_a_real_image_keeps_the_rules() -> None:
    image = os.environ.get("IMAGE_TO_RUN")
    if not image:
        pytest.skip("needs a Docker daemon and an image that was built, named in IMAGE_TO_RUN")
    words = (sys.executable, str(SCRIPT), image, str(free_ports(1)[0]))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
