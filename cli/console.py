"""What a verb prints: one JSON object on stdout, or text; progress and logs always on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

WIDTH_MAX = 100
stderr = Console(stderr=True, highlight=False)


def text() -> Console:
    """The console of a verb's text output, at most 100 columns wide."""
    console = Console(highlight=False)
    if console.width > WIDTH_MAX or not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_MAX)
    return console


def emit(document: dict[str, Any], as_json: bool, render: Callable[[dict[str, Any]], None]) -> None:
    """Print `document` as one JSON object, or let `render` print it for people."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
        sys.stdout.flush()
    else:
        render(document)


class Task:
    """One line of progress; a no-op where stderr is no terminal."""

    def __init__(self, bars: Progress | None, total: float | None, description: str) -> None:
        self._bars = bars
        self._id = bars.add_task(description, total=total) if bars else None

    def advance(self, count: float = 1) -> None:
        """Add `count` to what is done."""
        if self._bars and self._id is not None:
            self._bars.advance(self._id, count)

    def describe(self, description: str) -> None:
        """Say what is being done now."""
        if self._bars and self._id is not None:
            self._bars.update(self._id, description=description)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Task]:
    """Show a bar with what, how many and time left while the block runs; silent where stderr is no terminal."""
    if not stderr.is_terminal:
        yield Task(None, total, description)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bars:
        yield Task(bars, total, description)
