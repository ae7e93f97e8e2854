"""What a verb prints: one JSON object on stdout, or text; progress and logs always on stderr."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
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

from cli import interrupt

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


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print label and value in columns; a value is never broken, so that it can be copied."""
    console = text()
    for label, value in rows:
        console.print(f"{label:<8}{value}", markup=False, soft_wrap=True)


def command(*words: str | Path) -> str:
    """A command line that can be copied: paths below the current folder short, all of it quoted."""
    return " ".join(shlex.quote(near(word) if isinstance(word, Path) else word) for word in words)


def near(path: Path) -> str:
    """A path as it is named from the current folder, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


class Task:
    """One line of progress; a no-op where stderr is no terminal."""

    def __init__(self, bars: Progress | None, total: float | None, description: str) -> None:
        self._bars = bars
        self._id = bars.add_task(description, total=total) if bars else None

    def advance(self, count: float = 1) -> None:
        """Add `count` to what is done."""
        interrupt.check()
        if self._bars and self._id is not None:
            self._bars.advance(self._id, count)

    def describe(self, description: str) -> None:
        """Say what is being done now."""
        if self._bars and self._id is not None:
            self._bars.update(self._id, description=description)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Task]:
    """Show a bar with what, how many and time left while the block runs.

    Silent where stderr is no terminal.
    """
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
