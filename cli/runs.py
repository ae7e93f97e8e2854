"""Runs of the embedded line, a folder each under HFT_HOME.

In it are the journal, snapshots, the parameters, and what was made of them.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cli import interrupt
from cli.errors import BadInput
from hft_lib.backtest.tally import Tally
from hft_lib.events import Event, Registered
from serving.runtime import run_folder as folders
from serving.runtime.embedded import EmbeddedLine, states_at_end
from serving.runtime.host import Sink
from serving.runtime.journal import RECORDS, Header, read
from serving.runtime.journal import read_header as journal_header
from serving.runtime.run_folder import JOURNAL, SNAPSHOT
from serving.runtime.settings import Settings


def new_folder(settings: Settings, kind: str, out: Path | None) -> Path:
    """A new folder for one run: `out`, or one under HFT_HOME named by kind and time.

    Raises BadInput where `out` is taken.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadInput(f"--out {out} is not an empty folder: name a new one")
        out.mkdir(parents=True, exist_ok=True)
        return out.resolve()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):  # two runs of one second
        folder = settings.hft_home / f"{kind}-{stamp}{f'-{attempt}' if attempt else ''}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise BadInput(f"no free name for a run in {settings.hft_home}")


@contextmanager
def run_folder(settings: Settings, kind: str, out: Path | None) -> Iterator[Path]:
    """`new_folder`, gone again where the block fails before anything is in it."""
    folder = new_folder(settings, kind, out)
    try:
        yield folder
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise


def read_header(path: Path) -> Header:
    """What a journal says of its run; BadInput where another version of the code wrote it."""
    try:
        return journal_header(path)
    except msgspec.MsgspecError as error:
        raise _another_version(path, error) from error


def read_facts(path: Path, logs: tuple[str, ...] | None = None) -> Iterator[tuple[str, Event]]:
    """Each fact of a journal with its log; BadInput where another version of the code wrote it."""
    try:
        yield from read(path, logs)
    except msgspec.MsgspecError as error:
        raise _another_version(path, error) from error


def _another_version(path: Path, error: msgspec.MsgspecError) -> BadInput:
    return BadInput(
        f"journal {path} was written by another version of this program: "
        f"read it with that one ({error})"
    )


def journals(settings: Settings) -> list[Path]:
    """Every journal under HFT_HOME, newest first."""
    found = list(settings.hft_home.glob(f"*/{JOURNAL}")) + _noted(settings)
    whole = {path.resolve(): path.stat().st_mtime_ns for path in found if path.is_file()}
    return sorted(whole, key=lambda path: (whole[path], path), reverse=True)


def latest_journal(settings: Settings) -> Path:
    """The newest run's journal; BadInput where nothing has run yet."""
    found = journals(settings)
    if not found:
        raise BadInput(f"no run under {settings.hft_home} yet: `hft demo` makes one")
    return found[0]


def note_journal(settings: Settings, journal: Path) -> None:
    """Remember a journal that lies outside HFT_HOME, so that `trace` and `evop` find it."""
    if journal.parent.parent == settings.hft_home:
        return
    settings.hft_home.mkdir(parents=True, exist_ok=True)
    with (settings.hft_home / "journals").open("a", encoding="utf-8") as notes:
        notes.write(f"{journal}{os.linesep}")


def _noted(settings: Settings) -> list[Path]:
    notes = settings.hft_home / "journals"
    if not notes.is_file():
        return []
    return [Path(line) for line in notes.read_text("utf-8").splitlines() if line.strip()]


class _TallySink:
    """Counts what leaves the line."""

    logs: tuple[str, ...] = (RECORDS,)

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def take(self, log: str, fact: Event) -> None:
        """Count one fact."""
        self._tally.take(fact)


@contextmanager
def open_line(
    folder: Path,
    header: Header,
    sets: Iterable[Registered],
    tally: Tally,
    sinks: tuple[Sink, ...] = (),
) -> Iterator[EmbeddedLine]:
    """A new run in `folder`: its six stages hosted, its sets registered, its facts counted."""
    with folders.open_line(folder, header, sets, (_TallySink(tally), *sinks)) as line:
        yield line


def recomputed(journal: Path) -> dict[str, Any]:
    """Every stage's state where a run's journal ends, from its last snapshot on."""
    header, folder = read_header(journal), journal.absolute().parent
    try:
        return states_at_end(header.config, folder / SNAPSHOT, read_facts(journal))
    except msgspec.MsgspecError as error:
        raise _no_snapshot(folder, error) from error


def _no_snapshot(folder: Path, error: msgspec.MsgspecError) -> BadInput:
    return BadInput(
        f"{folder / SNAPSHOT} cannot be read: delete it, the journal alone is enough ({error})"
    )


def run_feed(line: EmbeddedLine, events: Iterable[Event], advance: Callable[[int], None]) -> None:
    """Feed every event to quiescence, and end with a snapshot."""
    for count, event in enumerate(events, start=1):
        interrupt.check()
        line.feed(event)
        if count % 4096 == 0:
            advance(4096)
    line.save()


def journal_tally(journal: Path) -> Tally:
    """What a whole journal comes to, from its first record on."""
    tally = Tally()
    for _, fact in read_facts(journal, (RECORDS,)):
        tally.take(fact)
    return tally
