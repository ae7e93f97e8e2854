"""An image that breaks a rule of how it runs is refused by that rule; one that breaks none passes.

Docker is stood for by a script whose container is an HTTP server; the real images are built and run
by tests/docker/test_built_images.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.ci.image_look import LOOK, LOOK_SH
from tests.integration.conftest import free_ports

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "ci" / "image_run.py"
DOCKER = f"""#!/bin/sh
echo "$*" >> "$GIVEN/calls"
case "$1 $2" in
  "run --rm")
    case "$*" in *importlib*) cat "$GIVEN/inside" ;; *) exit "$(cat "$GIVEN/code")" ;; esac ;;
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
        self.send_response(200 if self.path in {pages} else 404)
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
    "raising": [],
}


class World:
    """A folder with the stand-in in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        self.answers("/healthz", "/readyz")
        self.is_seen()

    def answers(self, *pages: str) -> None:
        """Which pages there are."""
        text = SERVER.format(port=self.port, pages=pages)
        (self.folder / "server.py").write_text(text)

    def is_seen(self, code: int = 0, **inside: Any) -> None:
        """What a look inside brings, and how the service ends."""
        (self.folder / "inside").write_text(json.dumps(WELL | inside))
        (self.folder / "code").write_text(str(code))

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        """The script."""
        given = {"GIVEN": str(self.folder), "DOCKER": str(self.folder / "docker")}
        words = (sys.executable, str(SCRIPT), "made:up", str(self.port), *more)
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
    assert world.calls[-2:] == ["rm --force one", "image inspect --format {{.Size}} made:up"]


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ({"uids": ["0"] * 4}, "must run as 10001"),
        ({"capabilities": ["0", "0", "00000000a80425fb"]}, "must have no capability"),
        ({"no_new_privileges": "0"}, "must not gain privileges"),
        ({"writable": ["/app"]}, "nothing of the image may be written, could be ['/app']"),
        ({"home": False}, "/var/lib/hft must be writable, was not"),
        ({"tools": ["gcc"]}, "no tool of a thief's may be there, were ['gcc']"),
        (
            {"raising": ["/usr/bin/su"]},
            "no program may raise its caller's rights, may ['/usr/bin/su",
        ),
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


def test_mlflow_is_asked_for_its_own_page(world: World) -> None:
    world.answers("/health")
    done = world.run("--as", "mlflow")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--port={world.port} --workers=1" in world.calls[0]
    assert "--tmpfs=/var/lib/mlflow:" in world.calls[0]


@pytest.mark.parametrize(
    ("kind", "pages", "uid"),
    [
        ("prometheus", ("/-/healthy", "/-/ready"), 65534),
        ("alertmanager", ("/-/healthy", "/-/ready"), 65534),
        ("grafana", ("/api/health",), 472),
    ],
)
def test_an_image_without_python_is_looked_at_by_its_shell(
    world: World, kind: str, pages: tuple[str, ...], uid: int
) -> None:
    world.answers(*pages)
    status = f"Uid: {uid} {uid} {uid} {uid}\nNoNewPrivs: 1\n"
    status += "".join(f"Cap{which}: 0000000000000000\n" for which in ("Eff", "Prm", "Bnd"))
    (world.folder / "inside").write_text(f"{status}First: /bin/{kind}\nWritable:\nHome: yes\n")
    done = world.run("--as", kind)
    assert (done.returncode, done.stderr) == (0, "")
    (world.folder / "inside").write_text(f"{status}First: sh\nWritable: /etc\nHome:\n")
    told = world.run("--as", kind).stderr
    assert f"{kind} must be the first process, was sh" in told
    assert "could be ['/etc']" in told and "must be writable, was not" in told


@pytest.mark.parametrize("program", [("sh", "-c", LOOK_SH, "sh"), (sys.executable, "-c", LOOK)])
def test_what_looks_inside_tells_what_can_be_written(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    def told(*folders: Path) -> str:
        words = (*program, *map(str, folders))
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    there, missing = tmp_path, tmp_path / "none"
    assert ("Home: yes" in told(there)) or ('"home": true' in told(there))
    one, other = told(missing, missing, there), told(missing, missing)
    assert f"Writable: {there}\n" in one or f'"writable": ["{there}"]' in one
    assert "Home:\n" in one or '"home": false' in one
    assert "Writable:\n" in other or '"writable": []' in other
    # The first process is the machine's here, whatever it is.
    assert "CapBnd: " in other.replace("\t", " ") or '"capabilities": ["' in other


def test_what_looks_inside_finds_a_program_that_raises_its_callers_rights(tmp_path: Path) -> None:
    def found() -> list[str]:
        environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        words = (sys.executable, "-c", LOOK, str(tmp_path))
        done = subprocess.run(words, capture_output=True, check=True, timeout=60, env=environ)
        return [path for path in json.loads(done.stdout)["raising"] if str(tmp_path) in path]

    (tmp_path / "plain").touch(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "raising")
    assert found() == []
    (tmp_path / "raising").touch()
    (tmp_path / "raising").chmod(0o4755)
    assert found() == [str(tmp_path / "raising")]


def test_a_step_of_a_pipeline_does_its_work_and_ends(world: World) -> None:
    done = world.run("--as", "pipelines")
    assert (done.returncode, done.stderr) == (0, "")
    assert "done_s" in json.loads(done.stdout) and "ready_s" not in json.loads(done.stdout)
    looked, worked = (line for line in world.calls if line.startswith("run --rm "))
    assert "--network=none" in looked and "--read-only" in worked
    assert worked.endswith(
        "made:up hft tape synth --seed=1 --days=0.1 --out=/var/lib/hft/tapes/line"
    )
    world.is_seen(code=1)
    done = world.run("--as", "pipelines")
    assert done.returncode == 1 and "must end with 0, did with 1" in done.stderr
