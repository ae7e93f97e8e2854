"""How a step ends a pipeline by a rule, and how its files are read and written."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Refused(Exception):
    """A rule of the pipeline forbids to go on: the text is the rule and the value."""


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON; equal values give equal bytes."""
    content = msgspec.json.encode(value, order="deterministic")
    Path(path).write_bytes(msgspec.json.format(content) + b"\n")


def read_json(path: Path | str, kind: type[T]) -> T:
    """What `write_json` wrote; raises ValueError for a file that is none of these."""
    return msgspec.json.decode(Path(path).read_bytes(), type=kind)
