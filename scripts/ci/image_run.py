"""Run a service's image as the cluster would, alone on the memory bus, and hold it to the rules.

    python scripts/ci/image_run.py IMAGE [PORT]

As nobody, on a read-only root, without a capability: it must answer `/readyz`, be able to write
nothing but what is given, hold no installer, and end with 0 when it is told to. The figures are one
JSON object on stdout; exit code 1 where a rule is broken, with a line for each. Docker must be here
(DOCKER names another command); the network is the host's, so PORT must be free.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

UID = 10001
PORT = 8000
READY_S_MAX = 180.0
# The cluster gives it thirty; a service has stopped within ten.
STOP_S_MAX = 10
LIMITS = ("--memory=512m", "--pids-limit=512")
CONTAINED = (
    "--read-only",
    "--tmpfs=/tmp:size=64m,mode=1777",
    f"--tmpfs=/var/lib/hft:size=256m,mode=0750,uid={UID},gid={UID}",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
# Run inside: what the kernel says of the service's process, and what a thief of it could do.
LOOK = """
import importlib.util, json, os, pathlib, shutil
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
said = dict(line.split(":", 1) for line in lines)
def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError:
        return False
    return True
tools = ("pip", "pip3", "gcc", "cc", "curl", "wget", "git")
print(json.dumps({
    "uids": said["Uid"].split(),
    "capabilities": [said[key].strip() for key in ("CapEff", "CapPrm", "CapBnd")],
    "no_new_privileges": said["NoNewPrivs"].strip(),
    "first": pathlib.Path("/proc/1/cmdline").read_bytes().split(bytes(1))[0].decode(),
    "writable": [path for path in ("/", "/app", "/opt/venv", "/etc", "/usr") if writable(path)],
    "home": writable(os.environ["HFT_HOME"]),
    "tools": [tool for tool in tools if shutil.which(tool)]
    + ["pip"] * (importlib.util.find_spec("pip") is not None),
}))
"""


class Failed(Exception):
    """The image could not be run, or its service did not answer."""


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """Docker, when it has ended."""
    command = (os.environ.get("DOCKER", "docker"), *words)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def docker(*words: str) -> str:
    """What Docker says."""
    done = called(*words)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()


def seconds_until(url: str, container: str, begun: float) -> float:
    """How long after `begun` the address answered 200."""
    while time.monotonic() - begun < READY_S_MAX:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return round(time.monotonic() - begun, 2)
        except (urllib.error.URLError, OSError):
            if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
                said = called("logs", container)
                raise Failed(f"it has ended: {(said.stdout + said.stderr)[-2000:]}") from None
            time.sleep(0.1)
    raise Failed(f"{url} must answer within {READY_S_MAX:.0f} s, did not")


def broken(seen: dict[str, Any]) -> list[str]:
    """The rules that what was seen breaks."""
    rules = {
        f"it must run as {UID}, ran as {seen['uids']}": set(seen["uids"]) == {str(UID)},
        f"it must have no capability, had {seen['capabilities']}": all(
            int(value, 16) == 0 for value in seen["capabilities"]
        ),
        "it must not gain privileges, could": seen["no_new_privileges"] == "1",
        f"nothing of the image may be written, could be {seen['writable']}": not seen["writable"],
        "HFT_HOME must be writable, was not": seen["home"],
        f"no tool of a thief's may be there, were {seen['tools']}": not seen["tools"],
        f"python must be the first process, was {seen['first']}": "python" in seen["first"],
        f"it must end with 0, did with {seen['exit_code']}": seen["exit_code"] == 0,
        f"it must end within {STOP_S_MAX} s, took {seen['stopped_s']}": (
            seen["stopped_s"] < STOP_S_MAX
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def run(image: str, port: int) -> dict[str, Any]:
    """Start it, look, stop it; what was seen."""
    words = ("run", "--detach", "--network=host", *CONTAINED, *LIMITS, "--env", f"PORT={port}")
    begun = time.monotonic()
    container = docker(*words, image, "--bus", "memory")
    try:
        seen: dict[str, Any] = {"image": image}
        for name, page in (("alive_s", "healthz"), ("ready_s", "readyz")):
            url = f"http://127.0.0.1:{port}/{page}"
            seen[name] = seconds_until(url, container, begun)
        seen |= json.loads(docker("exec", container, "python3", "-c", LOOK))
        stats = ("stats", "--no-stream", "--format", "{{.MemUsage}}", container)
        seen["memory"] = docker(*stats).partition(" /")[0]
        stopped = time.monotonic()
        docker("stop", "--time", str(STOP_S_MAX), container)
        seen["stopped_s"] = round(time.monotonic() - stopped, 2)
        code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
        seen["exit_code"] = int(code)
        seen["bytes"] = int(docker("image", "inspect", "--format", "{{.Size}}", image))
        return seen
    finally:
        docker("rm", "--force", container)


def main() -> int:
    """Say what was seen and which rules it breaks."""
    words = sys.argv[1:]
    if not 1 <= len(words) <= 2 or words[0].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        seen = run(words[0], int(words[1]) if len(words) == 2 else PORT)
    except Failed as error:
        sys.stderr.write(f"image-run: {error}\n")
        return 1
    sys.stdout.write(json.dumps(seen) + "\n")
    rules = broken(seen)
    for rule in rules:
        sys.stderr.write(f"image-run: {rule}\n")
    return 1 if rules else 0


if __name__ == "__main__":
    sys.exit(main())
