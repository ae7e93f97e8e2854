"""A run of the embedded line and its folder: the journal, the snapshot, the parameters."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from hft_lib.events import Registered
from hft_lib.line import LineConfig, registry_words
from hft_lib.parameters import ParameterFile
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.host import Sink
from serving.runtime.identity import content_sha256, git_commit
from serving.runtime.journal import Header, Journal, replace_file
from serving.runtime.opening import RunError

JOURNAL = "journal"
SNAPSHOT = "snapshot"
PARAMETERS = "parameters.json"


class Market(Protocol):
    """What a line runs on: a tape, or the live market, of which the tape is yet to be made."""

    @property
    def path(self) -> Path:
        """The folder of the tape."""

    @property
    def sha256(self) -> str:
        """The hash of the tape's rows; empty of a live market."""

    @property
    def start_ns(self) -> int:
        """When it begins."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The run in `folder` is ours alone while the block runs: two writers break a journal.

    Raises RunError where another process has it, or there is no such folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RunError(f"run folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RunError(f"the run in {folder} is under way in another process") from error
    finally:
        os.close(descriptor)


def parameters_name(place: int) -> str:
    """The file in which the parameters of a run's pair are kept, by the pair's place in the line.

    >>> parameters_name(0), parameters_name(1)
    ('parameters.json', 'parameters-1.json')
    """
    return f"parameters-{place}.json" if place else PARAMETERS


def write_parameters(folder: Path, *files: ParameterFile) -> None:
    """Put the parameter files of a run, one a pair, beside its journal."""
    for place, file in enumerate(files):
        content = msgspec.json.format(msgspec.json.encode(file)) + b"\n"
        replace_file(folder / parameters_name(place), content)


def params_sha256(files: Sequence[ParameterFile]) -> str:
    """Hash of what a run was started with: of the one file, or of all in the line's order."""
    return content_sha256(files[0] if len(files) == 1 else tuple(files))


def new_header(
    market: Market,
    files: Sequence[ParameterFile],
    config: LineConfig,
    run_id: str,
    command: str,
    window: tuple[int | None, int | None],
    words_ns: int = 0,
    moves_ns: int = 0,
) -> Header:
    """What the journal says of its run; `words_ns` and `moves_ns` as in `Header`."""
    return Header(
        run_id=run_id,
        config=config,
        config_sha256=content_sha256(config),
        git_commit=git_commit(),
        tape=str(market.path.absolute()),  # resumed from any folder
        tape_sha256=market.sha256,
        start_ns=window[0] or 0,
        end_ns=window[1] or 0,
        params_sha256=params_sha256(files),
        command=command,
        words_ns=words_ns,
        moves_ns=moves_ns,
    )


def _nothing(line: EmbeddedLine) -> None:
    """Nobody watches the line."""


@contextmanager
def open_line(
    folder: Path,
    header: Header,
    sets: Iterable[Registered],
    sinks: tuple[Sink, ...] = (),
    watch: Callable[[EmbeddedLine], None] = _nothing,
) -> Iterator[EmbeddedLine]:
    """A new run in `folder`: its six stages hosted, shown to `watch`, its sets registered.

    The journal takes its name when the sets are in it: what has it can be resumed.
    """
    unnamed = folder / f".{JOURNAL}"
    with held(folder):
        unnamed.unlink(missing_ok=True)  # of a start that was killed: nothing had begun
        with Journal(unnamed, header) as journal:
            line = EmbeddedLine(header.config, journal, folder / SNAPSHOT, sinks)
            watch(line)
            for said in registry_words(sets):
                line.post("orchestrator", said)
            journal.sync()
            journal.path = unnamed.rename(folder / JOURNAL)
            yield line


@contextmanager
def resume_line(
    folder: Path,
    config: LineConfig,
    watch: Callable[[EmbeddedLine], None] = _nothing,
    sinks: tuple[Sink, ...] = (),
) -> Iterator[EmbeddedLine]:
    """Go on with the run in `folder` from where its journal ends; `watch` sees the line before.

    Raises RunError where the snapshot cannot be read, Diverged where the journal is another's.
    """
    with held(folder), Journal.reopen(folder / JOURNAL) as journal:
        line = EmbeddedLine(config, journal, folder / SNAPSHOT, sinks)
        watch(line)
        try:
            line.recover()
        except msgspec.MsgspecError as error:
            raise RunError(
                f"{folder / SNAPSHOT} cannot be read: delete it, the journal alone is enough "
                f"({error})"
            ) from error
        yield line


def start_of(header: Header, market: Market) -> int:
    """The run's first moment."""
    return max(header.start_ns, market.start_ns)


def legs_of_line(config: LineConfig) -> list[str]:
    """The symbols that a line is fed with."""
    return [leg for item in config.pairs for leg in (item.y, item.x)]
