"""What a run says of itself: the hash of what it was started with, the commit of its code."""

import hashlib
import subprocess  # nosec B404: it asks git, with fixed words
from pathlib import Path

import msgspec

_ROOT = Path(__file__).resolve().parents[2]
# An image has no git, and its build writes the commit here.
_COMMIT = _ROOT / "COMMIT"


def content_sha256(value: object) -> str:
    """Hash of a struct's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def git_commit() -> str:
    """The commit of the code that runs, with `+` where files differ from it.

    In an image, the commit that it was made of. Empty where neither is known.
    """
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return _COMMIT.read_text(encoding="ascii").strip() if _COMMIT.is_file() else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(  # nosec B603 B607: a fixed command
        ("git", *arguments), cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
