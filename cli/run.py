"""`hft run`: the six services in one process, over a tape, the synthetic market or the live one.

Its journal survives a crash.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import interrupt, options, run_live
from cli.console import command, emit, near, print_rows, progress, stderr
from cli.context import Window, files_of_line, iso, resolve_pair, window_of
from cli.errors import BadInput
from cli.markets import synthetic_tape
from cli.parameters import read_parameters
from cli.replay import in_sample, named, print_figures, verify_command
from cli.run_live import Operators
from cli.runs import journal_tally, note_journal, open_line, read_header, run_feed, run_folder
from cli.tape_record import parse_duration
from hft_lib.backtest.tally import Tally
from hft_lib.events import Registered
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.adapters.redis_latch import latch_of, moves_of
from serving.lines import begun_at, config_of, sets_of
from serving.live_market import TAPE, LiveMarket
from serving.runtime import model_words
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import LIVE, Header
from serving.runtime.latch import opening
from serving.runtime.latched import feed_of_tape, latched
from serving.runtime.pair_words import newest_ns
from serving.runtime.run_folder import (
    JOURNAL,
    PARAMETERS,
    new_header,
    parameters_name,
    resume_line,
    start_of,
    write_parameters,
)
from serving.runtime.settings import Settings


def run(
    context: typer.Context,
    tape: options.OptionalTapeOption = None,
    params: Annotated[
        list[Path] | None,
        typer.Option(
            help="Parameter file, named again for each pair; by default the registry's champions."
        ),
    ] = None,
    pair: options.PairOption = None,
    speed: Annotated[
        str, typer.Option(help="Times the pace of the tape, or `max`: as fast as possible.")
    ] = "max",
    length: Annotated[
        str | None,
        typer.Option("--for", help="EXCHANGE=paper: how long, such as 90s, 10m, 8h or 2d."),
    ] = None,
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

    Without a tape the synthetic market is traded; with EXCHANGE=paper the live one, by paper fills,
    until it is interrupted or for as long as --for says. The journal, with every order and what led
    to it, is in a new folder under HFT_HOME, beside the parameters.

    Example: hft run --tape runs/tapes/synth-1-7 --params champion.json --speed max
    """
    settings: Settings = context.obj
    if settings.exchange == "binance":
        raise BadInput("EXCHANGE must be simulated or paper for hft run in this release")
    pace, seconds = parse_speed(speed), parse_duration(length) if length else None
    if settings.exchange == "paper":
        _refuse_live({"--tape": tape, "--start": start, "--end": end, "--speed": pace})
    elif seconds is not None:
        raise BadInput("--for is for EXCHANGE=paper: a run over a tape ends with it")
    latch, moves = latch_of(settings), moves_of(settings)
    began = time.perf_counter()
    if resume is not None:
        given: dict[str, Any] = {"--tape": tape, "--params": params, "--pair": pair, "--out": out}
        given |= {"--start": start, "--end": end, "--assume-borrow": borrow}
        _refuse_with_resume(given)
        folder = resume.absolute()
        document = _resume(settings, folder, pace, seconds, (latch, moves))
    else:
        market, window = _market(settings, tape, seed, (start, end))
        files, sets = _sets(settings, params, pair, market if isinstance(market, Tape) else None)
        config = config_of(settings, files, borrow)
        latch.open(opening("hft run", time.time_ns()))
        words_ns, moves_ns = newest_ns(latch.look().pairs), model_words.newest_ns(moves.read())
        with run_folder(settings, "run", out) as folder:
            stderr.print(_settings_line(settings), style="dim", markup=False, soft_wrap=True)
            said_ns = (words_ns, moves_ns)
            if isinstance(market, LiveMarket):
                market = LiveMarket(folder / TAPE, market.start_ns)
            header = new_header(market, files, config, folder.name, "hft run", window, *said_ns)
            # Noted first: it is asked about while it runs.
            note_journal(settings, folder / JOURNAL)
            try:
                document = _run(
                    settings, market, header, files, folder, sets, pace, seconds, (latch, moves)
                )
            except (KeyboardInterrupt, OSError):
                _say_how_to_go_on(folder)
                raise
    document["seconds"] = time.perf_counter() - began
    emit(document, as_json, _print)


def _refuse_live(given: dict[str, Any]) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise BadInput(f"EXCHANGE=paper trades on the live market: leave {', '.join(named)} out")


def _market(
    settings: Settings, tape: Path | None, seed: int, window: tuple[str | None, str | None]
) -> tuple[Tape | LiveMarket, Window]:
    """What is traded on, and the part of it."""
    if settings.exchange == "paper":
        live = LiveMarket(Path(), time.time_ns())
        return live, (live.start_ns, None)
    opened = synthetic_tape(settings, seed) if tape is None else Tape.open(tape)
    return opened, window_of(opened, *window)


def _refuse_with_resume(given: dict[str, Any]) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise BadInput(
            f"--resume goes on with what the run began with: leave {', '.join(named)} out"
        )


def _say_how_to_go_on(folder: Path) -> None:
    if (folder / JOURNAL).is_file():
        stderr.print(f"go on: {command('hft', 'run', '--resume', folder)}", soft_wrap=True)


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


def _settings_line(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.printable().items() if value)


def _sets(
    settings: Settings, params: Sequence[Path] | None, pair: str | None, tape: Tape | None
) -> tuple[tuple[ParameterFile, ...], list[Registered]]:
    """The files and sets to start with: those of `params`, or of each pair the champion and the
    challengers that the registry holds.
    """
    if params:
        files = files_of_line([read_parameters(path) for path in params], pair, settings, tape)
        return files, sets_of(files, 0)
    from cli.registry import registered_sets

    several = settings.pairs if pair is None and len(settings.pairs) > 1 else (pair,)
    found = [
        registered_sets(settings, resolve_pair(name, None, settings, tape)) for name in several
    ]
    files = files_of_line([file for file, _ in found], None, settings, tape)
    return files, [item for _, sets in found for item in sets]


def _run(
    settings: Settings,
    market: Tape | LiveMarket,
    header: Header,
    files: Sequence[ParameterFile],
    folder: Path,
    sets: list[Registered],
    pace: float | None,
    seconds: float | None,
    operators: Operators,
) -> dict[str, Any]:
    if isinstance(market, LiveMarket):
        live = run_live.run(settings, header, files, folder, sets, seconds, operators)
        return _document(*live, header, folder, files)
    tally = Tally()
    write_parameters(folder, *files)
    with open_line(folder, header, begun_at(sets, start_of(header, market)), tally) as line:
        _feed(line, market, header, pace, operators)
        return _document(line, tally, market, header, folder, files)


def _resume(
    settings: Settings,
    folder: Path,
    pace: float | None,
    seconds: float | None,
    operators: Operators,
) -> dict[str, Any]:
    if not (folder / JOURNAL).is_file():
        raise BadInput(f"{folder} holds no run that has begun: it has no {JOURNAL}")
    header = read_header(folder / JOURNAL)
    if header.command != "hft run":
        raise BadInput(
            f"{folder} is a run of `{header.command}`, which does not resume: begin it again"
        )
    was = "paper" if header.tape_sha256 == LIVE else "simulated"
    if settings.exchange != was:
        raise BadInput(f"EXCHANGE must be that of the run, {was}, was {settings.exchange}")
    files = [read_parameters(path) for path in _parameters(folder, header)]
    if was == "paper":
        live = run_live.resume(settings, header, folder, seconds, operators)
        return _document(*live, header, folder, files)
    tape = Tape.open(header.tape)
    if tape.sha256 != header.tape_sha256:
        raise BadInput(f"{header.tape} is no longer the tape that {folder} ran over")
    with resume_line(folder, header.config) as line:
        _feed(line, tape, header, pace, operators)
        # The last snapshot holds no counts: they are taken from the journal, from its start.
        tally = journal_tally(folder / JOURNAL)
        return _document(line, tally, tape, header, folder, files)


def _parameters(folder: Path, header: Header) -> list[Path]:
    """Where a run keeps the parameters of its pairs, in their order."""
    return [folder / parameters_name(place) for place in range(len(header.config.pairs))]


def _feed(
    line: EmbeddedLine, tape: Tape, header: Header, pace: float | None, operators: Operators
) -> None:
    feed, begins_ns = feed_of_tape(tape, header, pace, line), start_of(header, tape)
    latch, moves = operators
    with (
        latched(line, header, feed, begins_ns, latch, _rest, moves) as events,
        progress("running the six services", tape.rows - line.fed) as task,
    ):
        run_feed(line, events, task.advance)


def _rest(seconds: float) -> bool:
    interrupt.sleep(seconds)
    return False


def _document(
    line: EmbeddedLine,
    tally: Tally,
    tape: Tape,
    header: Header,
    folder: Path,
    files: Sequence[ParameterFile],
) -> dict[str, Any]:
    tally.events = line.fed
    start_ns = start_of(header, tape)
    return {
        "pair": named(header.config),
        "start": iso(start_ns),
        "end": iso(min(header.end_ns or tape.end_ns, tape.end_ns)),
        **tally.document(line.hosts["execution"].state),
        "in_sample": any(in_sample(tape, file, start_ns, header.end_ns or None) for file in files),
        "tape": header.tape,
        "tape_sha256": tape.sha256,
        "config_sha256": header.config_sha256,
        "params_file": str(folder / PARAMETERS),
        "params_files": [str(path) for path in _parameters(folder, header)],
        "journal": str(folder / JOURNAL),
    }


def _print(known: dict[str, Any]) -> None:
    print_figures("Run", known)
    journal = Path(known["journal"])
    print_rows(
        (
            ("journal", near(journal)),
            ("next", command("hft", "evop", "status", "--journal", journal)),
            ("", verify_command(known)),
        )
    )
