"""`hft run`: the six services in one process, over a tape or the synthetic market, with a journal that a crash survives."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cli import options
from cli.console import emit, progress, stderr
from cli.context import (
    content_sha256,
    git_commit,
    iso,
    line_config,
    parse_time,
    read_parameters,
    resolve_pair,
)
from cli.errors import BadInput
from cli.markets import synthetic_tape
from cli.replay import in_sample, print_figures
from cli.runs import (
    JOURNAL,
    new_folder,
    note_journal,
    open_line,
    registrations,
    resume_line,
    run_feed,
)
from hft_lib.backtest.tally import Tally
from hft_lib.events import Event, Registered
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.adapters.tape_feed import tape_feed
from serving.runtime.journal import Header, read_header
from serving.runtime.settings import Settings


def run(
    context: typer.Context,
    tape: options.OptionalTapeOption = None,
    params: Annotated[
        Path | None, typer.Option(help="Parameter file; by default the registry's champion.")
    ] = None,
    pair: options.PairOption = None,
    speed: Annotated[
        str, typer.Option(help="Times the pace of the tape, or `max`: as fast as possible.")
    ] = "max",
    seed: options.SeedOption = 7,
    start: options.StartOption = None,
    end: options.EndOption = None,
    borrow: options.BorrowOption = None,
    out: options.OutOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run's folder: go on from where its journal ends.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run the six services in one process until the tape ends; interrupt it and `--resume` goes on.

    Without a tape the synthetic market is traded. The journal, with every order and what led to
    it, is in a new folder under HFT_HOME.

    Example: hft run --tape runs/tapes/synth-7 --params champion.json --speed 3600
    """
    settings: Settings = context.obj
    if settings.exchange != "simulated":
        raise BadInput(
            f"hft run trades EXCHANGE=simulated in this release, was {settings.exchange}"
        )
    stderr.print(_settings_line(settings), style="dim", markup=False, soft_wrap=True)
    pace = parse_speed(speed)
    began = time.perf_counter()
    if resume is not None:
        folder, document = resume, _resume(resume, pace)
    else:
        opened = synthetic_tape(settings, seed) if tape is None else Tape.open(tape)
        file = read_parameters(params) if params else None
        name = resolve_pair(pair, file, settings, opened)
        file, sets = _sets(settings, file, name)
        config = line_config(settings, name, file.params.grid_ms, file.evop, borrow)
        folder = new_folder(settings, "run", out)
        header = new_header(
            opened, file, config, folder, "hft run", (parse_time(start), parse_time(end))
        )
        document = _run(opened, header, file, folder, sets, pace)
    document["seconds"] = time.perf_counter() - began
    note_journal(settings, (folder / JOURNAL).resolve())
    emit(document, as_json, lambda known: _print(known, folder))


def parse_speed(text: str) -> float | None:
    """A multiple of the tape's pace; None for `max`."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < 1e12:
        raise BadInput(f"--speed must be a positive number or max, was {text!r}")
    return speed


def new_header(
    tape: Tape,
    file: ParameterFile,
    config: Any,
    folder: Path,
    command: str,
    window: tuple[int | None, int | None],
) -> Header:
    """What the journal says of its run."""
    return Header(
        run_id=folder.name,
        config=config,
        config_sha256=content_sha256(config),
        git_commit=git_commit(),
        tape=str(tape.path),
        tape_sha256=tape.sha256,
        start_ns=window[0] or 0,
        end_ns=window[1] or 0,
        params_sha256=content_sha256(file),
        command=command,
    )


def _settings_line(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.printable().items() if value)


def _sets(
    settings: Settings, file: ParameterFile | None, pair: str
) -> tuple[ParameterFile, list[Registered]]:
    """The sets to start with: a file's, or the champion and challengers that the registry holds."""
    if file is not None:
        if file.pair != pair:
            raise BadInput(f"--params is of pair {file.pair}, not of {pair}")
        return file, registrations(file, 0)
    from cli.registry import registered_sets

    return registered_sets(settings, pair)


def _run(
    tape: Tape,
    header: Header,
    file: ParameterFile,
    folder: Path,
    sets: list[Registered],
    pace: float | None,
) -> dict[str, Any]:
    tally = Tally()
    start_ns = max(header.start_ns, tape.start_ns)
    with open_line(folder, header, header.config, tally) as line:
        for item in sets:
            line.post("orchestrator", msgspec.structs.replace(item, time_ns=start_ns))
        _feed(line, tally, tape, header, pace, 0)
        execution = line.hosts["execution"].state
    return {
        **_document(tape, header, folder, tally.document(execution)),
        "in_sample": in_sample(tape, file, start_ns, header.end_ns or None),
    }


def _resume(folder: Path, pace: float | None) -> dict[str, Any]:
    header = read_header(folder / JOURNAL)
    tape = Tape.open(header.tape)
    if tape.sha256 != header.tape_sha256:
        raise BadInput(f"{header.tape} is no longer the tape that {folder} ran over")
    tally = Tally()
    with resume_line(folder, header.config, tally) as line:
        _feed(line, tally, tape, header, pace, line.fed)
        execution = line.hosts["execution"].state
    return _document(tape, header, folder, tally.document(execution))


def _feed(
    line: Any, tally: Tally, tape: Tape, header: Header, pace: float | None, skip: int
) -> None:
    legs = [leg for item in header.config.pairs for leg in (item.y, item.x)]
    window = (header.start_ns or None, header.end_ns or None)
    events: Iterable[Event] = tape_feed(tape, legs, *window, pace, skip)
    with progress("running the six services", tape.rows - skip) as task:
        run_feed(line, tally, events, task.advance)


def _document(tape: Tape, header: Header, folder: Path, figures: dict[str, Any]) -> dict[str, Any]:
    start_ns = max(header.start_ns, tape.start_ns)
    return {
        "pair": header.config.pairs[0].pair,
        "start": iso(start_ns),
        "end": iso(min(header.end_ns or tape.end_ns, tape.end_ns)),
        **figures,
        "tape_sha256": tape.sha256,
        "config_sha256": header.config_sha256,
        "journal": str(folder / JOURNAL),
    }


def _print(known: dict[str, Any], folder: Path) -> None:
    print_figures("Run", known)
    stderr.print(f"journal: {folder / JOURNAL}", markup=False, soft_wrap=True)
    stderr.print("next: hft evop status, or hft trace ORDER_ID", markup=False, soft_wrap=True)
