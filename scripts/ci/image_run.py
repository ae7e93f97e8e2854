"""Run an image as the cluster would, alone, and hold it to the rules.

A service runs on the memory bus, MLflow over SQLite, the pipelines' image does a step's work. As
nobody, on a read-only root, without a capability: it must answer that it is ready, be able to write
nothing but what is given, hold no installer, and end with 0 when it is told to. The figures are one
JSON object on stdout; exit code 1 where a rule is broken, with a line for each. Docker must be here
(DOCKER names another command); the network is the host's, so PORT must be free.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.ci.image_kinds import KINDS, Kind
    from scripts.ci.image_look import LOOK, LOOK_SH
else:
    from image_kinds import KINDS, Kind
    from image_look import LOOK, LOOK_SH

PORT = 8000
READY_S_MAX = 180.0
# The cluster gives it thirty; a service has stopped within ten.
STOP_S_MAX = 10
# Nothing in them may be written; those that an image lacks cannot be.
FOLDERS = ("/", "/app", "/opt/venv", "/etc", "/usr")
CONTAINED = (
    "--read-only",
    "--tmpfs=/tmp:size=64m,mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=512",
)


class Failed(Exception):
    """The image could not be run, or what it runs did not answer."""


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


def logged(container: str) -> str:
    """The last of what a container wrote."""
    said = called("logs", container)
    return (said.stdout + said.stderr)[-2000:]


def seconds_until(url: str, container: str, begun: float) -> float:
    """How long after `begun` the address answered 200."""
    while time.monotonic() - begun < READY_S_MAX:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return round(time.monotonic() - begun, 2)
        except (urllib.error.URLError, OSError):
            if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
                raise Failed(f"it has ended: {logged(container)}") from None
            time.sleep(0.1)
    raise Failed(f"{url} must answer within {READY_S_MAX:.0f} s, did not")


def broken(seen: dict[str, Any], kind: Kind) -> list[str]:
    """The rules that what was seen breaks."""
    rules = {
        f"it must run as {kind.uid}, ran as {seen['uids']}": set(seen["uids"]) == {str(kind.uid)},
        f"it must have no capability, had {seen['capabilities']}": all(
            int(value, 16) == 0 for value in seen["capabilities"]
        ),
        "it must not gain privileges, could": seen["no_new_privileges"] == "1",
        f"nothing of the image may be written, could be {seen['writable']}": not seen["writable"],
        f"{kind.home} must be writable, was not": seen["home"],
        f"no tool of a thief's may be there, were {seen['tools']}": not seen["tools"],
        f"no program may raise its caller's rights, may {seen['raising']}": not seen["raising"],
        f"{kind.first} must be the first process, was {seen['first']}": (
            kind.first in seen["first"]
        ),
        f"it must end with 0, did with {seen['exit_code']}": seen["exit_code"] == 0,
        f"it must end within {STOP_S_MAX} s, took {seen.get('stopped_s')}": (
            seen.get("stopped_s", 0.0) < STOP_S_MAX
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def contained(kind: Kind, network: str, port: int = PORT) -> tuple[str, ...]:
    """The words by which Docker is told how it runs."""
    home = f"--tmpfs={kind.home}:size=256m,mode=0750,uid={kind.uid},gid={kind.uid}"
    variables = (f"--env={variable.format(port=port)}" for variable in kind.variables)
    return (*CONTAINED, home, f"--memory={kind.memory}", f"--network={network}", *variables)


def look(kind: Kind, *words: str) -> dict[str, Any]:
    """What is seen inside by a program that `docker WORDS` starts there."""
    if kind.first == "python":
        seen: dict[str, Any] = json.loads(
            docker(*words, "python3", "-c", LOOK, kind.home, *FOLDERS)
        )
        return seen
    lines = docker(*words, "sh", "-c", LOOK_SH, "sh", kind.home, *FOLDERS).splitlines()
    said = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "uids": said["Uid"],
        "capabilities": [said[key][0] for key in ("CapEff", "CapPrm", "CapBnd")],
        "no_new_privileges": said["NoNewPrivs"][0],
        "first": said["First"][0],
        "writable": said["Writable"],
        "home": bool(said["Home"]),
        "tools": [],
        "raising": [],
    }


def serve(image: str, kind: Kind, port: int) -> dict[str, Any]:
    """Start what answers, look, stop it; what was seen."""
    words = [word.format(port=port) for word in kind.words]
    begun = time.monotonic()
    container = docker("run", "--detach", *contained(kind, "host", port), image, *words)
    try:
        seen: dict[str, Any] = {}
        for name, page in (("alive_s", kind.alive), ("ready_s", kind.ready)):
            seen[name] = seconds_until(f"http://127.0.0.1:{port}/{page}", container, begun)
        seen |= look(kind, "exec", container)
        stats = ("stats", "--no-stream", "--format", "{{.MemUsage}}", container)
        seen["memory"] = docker(*stats).partition(" /")[0]
        stopped = time.monotonic()
        docker("stop", "--time", str(STOP_S_MAX), container)
        seen["stopped_s"] = round(time.monotonic() - stopped, 2)
        code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
        return seen | {"exit_code": int(code)}
    finally:
        docker("rm", "--force", container)


def work(image: str, kind: Kind) -> dict[str, Any]:
    """Look from a process in its place, then let it do its work; what was seen."""
    how = ("run", "--rm", *contained(kind, "none"))
    seen = look(kind, *how, image)
    begun = time.monotonic()
    done = called(*how, image, *kind.words)
    if done.returncode != 0:
        raise Failed(f"it must end with 0, did with {done.returncode}: {done.stderr[-2000:]}")
    return seen | {"done_s": round(time.monotonic() - begun, 2), "exit_code": 0}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("port", nargs="?", type=int, default=PORT)
    parser.add_argument("--as", dest="kind", choices=KINDS, default="ingestion", help="which it is")
    return parser.parse_args()


def main() -> int:
    """Say what was seen and which rules it breaks."""
    given = arguments()
    kind = KINDS[given.kind]
    try:
        seen = {"image": given.image}
        seen |= serve(given.image, kind, given.port) if kind.alive else work(given.image, kind)
        seen["bytes"] = int(docker("image", "inspect", "--format", "{{.Size}}", given.image))
    except Failed as error:
        sys.stderr.write(f"image-run: {error}\n")
        return 1
    sys.stdout.write(json.dumps(seen) + "\n")
    rules = broken(seen, kind)
    for rule in rules:
        sys.stderr.write(f"image-run: {rule}\n")
    return 1 if rules else 0


if __name__ == "__main__":
    sys.exit(main())
