"""What a fit ran in: the commit of the code, the interpreter, the machine, and every installed
distribution.
"""

import hashlib
import platform
import subprocess  # nosec B404: it asks git, with fixed words
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def git_commit() -> str:
    """The commit of the code that runs, with `+` where files differ from it.

    Empty outside a checkout.
    """
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(  # nosec B603 B607: a fixed command
        ("git", *arguments), cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def environment_text() -> str:
    """One line a fact, sorted: `python 3.11.7`, `machine x86_64`, `numpy 2.4.6`."""
    found = {(item.metadata["Name"] or "").lower().replace("_", "-"): item for item in _installed()}
    lines = [f"{name} {item.version}" for name, item in found.items() if name]
    head = [f"python {platform.python_version()}", f"machine {platform.machine()}"]
    return "\n".join([*head, *sorted(lines)]) + "\n"


def environment_sha256(text: str) -> str:
    """Hash of an environment's text: equal environments have the same."""
    return hashlib.sha256(text.encode()).hexdigest()


def _installed() -> list[metadata.Distribution]:
    return list(metadata.distributions())
