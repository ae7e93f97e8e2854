"""What the workflow's tests start beside Python is installed, the same as on any other machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "ci" / "packages.sh"
# What a runner of GitHub brings, or an action.
BROUGHT = {"make", "git", "python3.11", "python3.11-venv"}
APT = """#!/bin/sh
echo "$*" >>"$CALLS"
"""


def installed(folder: Path) -> set[str]:
    """What the script asks for on a machine that has nothing but a shell."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "env", "id"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    for name in ("apt-get", "sudo"):
        (programs / name).write_text(APT)
        (programs / name).chmod(0o755)
    environ = {"PATH": str(programs), "CALLS": str(folder / "calls")}
    done = subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().splitlines()
    (install,) = (call.split() for call in calls if "install" in call.split())
    return {word for word in install[install.index("install") + 1 :] if not word.startswith("-")}


def test_the_workflow_has_what_the_tests_have_elsewhere(tmp_path: Path) -> None:
    elsewhere = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    wanted = set(re.findall(r"^needs ([\w.-]+) ", elsewhere, re.MULTILINE)) - BROUGHT
    # PostgreSQL's programs are looked for where a distribution puts them, whatever PATH is.
    found = installed(tmp_path) | {"postgresql"}
    assert {"prometheus", "redis-server"} <= wanted and wanted <= found


def test_where_nothing_is_missing_nothing_is_installed(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    needed = ("java", "mvn", "postgres", "redis-server", "promtool", "amtool", "chromium")
    for name in (*needed, "apt-get"):
        (programs / name).write_text("#!/bin/sh\nexit 9\n")
        (programs / name).chmod(0o755)
    environ = {"PATH": os.pathsep.join((str(programs), os.environ["PATH"]))}
    assert subprocess.run([SCRIPT], env=environ, timeout=30, check=False).returncode == 0
