"""What a fit ran in: the interpreter, the machine, and every installed distribution."""

import hashlib
import platform
from importlib import metadata


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
