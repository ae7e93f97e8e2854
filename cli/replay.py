"""`hft replay`: the six stages over a tape, event by event, as research sees them.

Or, with `--verify`, against what a run journalled.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import typer

from cli import options
from cli.console import command, emit, progress, text
from cli.context import (
    Window,
    begin_of,
    files_of_line,
    iso,
    parse_time,
    window_of,
)
from cli.errors import BadInput, Failed
from cli.parameters import read_parameters
from cli.replay_line import verify_line
from cli.runs import read_facts, read_header
from hft_lib.backtest.tally import Tally
from hft_lib.events import Event, Rejected, TimePassed
from hft_lib.line import LineConfig, registry_words
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from hft_lib.stage import Line
from serving.line_log import is_line_log
from serving.lines import config_of, sets_of
from serving.runtime.identity import content_sha256, git_commit
from serving.runtime.journal import LIVE, Header, encode_fact
from serving.runtime.run_folder import legs_of_line, parameters_name, params_sha256
from serving.runtime.settings import Settings
from serving.services import INBOXES, stages


def replay(
    context: typer.Context,
    tape: options.TapeOption,
    params: options.ParamsOption = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            help="A run's journal, or the log of a line that `hft tape export` wrote: every fact "
            "must be the one that was made then."
        ),
    ] = None,
    pair: options.PairOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    borrow: options.BorrowOption = None,
    orders: options.OrdersOption = None,
    fills: options.FillsOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run the six stages over a tape, event by event, and say what came of it.

    One slot trades, or with challengers in the parameter file all of them, and EVOP decides.
    Several parameter files are several pairs of one line, in the order of PAIRS. The same tape and
    parameters always give the same orders.

    Example: hft replay --tape runs/tapes/synth-1-7 --params champion.json --orders orders.csv
    """
    settings: Settings = context.obj
    opened = Tape.open(tape)
    files: Sequence[ParameterFile] = [read_parameters(path) for path in params or ()]
    of_line = verify is not None and is_line_log(verify)
    if not params and not of_line:
        raise BadInput("--params must name the parameter file, it was missing")
    began = time.perf_counter()
    with contextlib.ExitStack() as written:
        tally = Tally(text_file(written, orders), text_file(written, fills))
        if verify is None:
            files = files_of_line(files, pair, settings, opened)
            config = config_of(settings, files, borrow)
            window = window_of(opened, start, end)
            document = run_over_tape(opened, files, config, window, tally)
        elif of_line:
            _refuse_with_line(
                {"--pair": pair, "--start": start, "--end": end, "--assume-borrow": borrow}
            )
            document = verify_line(opened, files, verify, tally)
        else:
            header = read_header(verify)
            _must_agree(header, pair, (parse_time(start), parse_time(end)), borrow)
            document = verify_over_tape(opened, _as_run(header, files), header, verify, tally)
    document["seconds"] = time.perf_counter() - began
    emit(document, as_json, lambda known: print_figures("Replay", known))


def _must_agree(header: Header, pair: str | None, window: Window, borrow: float | None) -> None:
    """A journal says itself what it was made with: an option may repeat it and not change it."""
    made_with = {
        "--pair": (pair, named(header.config)),
        "--start": (window[0], header.start_ns),
        "--end": (window[1], header.end_ns),
        "--assume-borrow": (borrow, header.config.assumptions.borrow_rate_annual),
    }
    for name, (given, journalled) in made_with.items():
        if given is not None and given != journalled:
            raise BadInput(f"{name} is not what the journal was made with: leave it out")


def _refuse_with_line(given: dict[str, Any]) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise BadInput(f"a line's log says what it was opened with: leave {', '.join(named)} out")


def _as_run(header: Header, files: Sequence[ParameterFile]) -> list[ParameterFile]:
    """The files in the order of the journal's pairs; any other pair's last."""
    place = {item.pair: number for number, item in enumerate(header.config.pairs)}
    return sorted(files, key=lambda file: place.get(file.pair, len(place)))


def named(config: LineConfig) -> str:
    """The pairs of a line, as PAIRS names them."""
    return ",".join(item.pair for item in config.pairs)


def text_file(files: contextlib.ExitStack, path: Path | None) -> IO[str] | None:
    """The file at `path`, if any is named, whole once `files` closes well."""
    return None if path is None else files.enter_context(_whole_text(path))


@contextlib.contextmanager
def _whole_text(path: Path) -> Iterator[IO[str]]:
    """A text file that takes its name when the block ends well; until then a hidden one beside it.

    A pipe or a device is written as it is.
    """
    if path.is_dir():
        raise BadInput(f"cannot write {path}: it is a folder")
    plain = path.is_file() or not path.exists()
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp") if plain else path
    try:
        file = partial.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            yield file
        os.replace(partial, path)
    finally:
        if plain:
            partial.unlink(missing_ok=True)


def run_over_tape(
    tape: Tape,
    files: Sequence[ParameterFile],
    config: LineConfig,
    window: Window,
    tally: Tally,
) -> dict[str, Any]:
    """Replay `tape` with `files` from empty state; the contract's keys but `seconds`."""
    line = Line(stages(), config)
    start_ns = begin_of(tape, window)
    for said in registry_words(sets_of(files, start_ns)):
        for _, fact in line.post("orchestrator", said):
            tally.take(fact)
    legs = legs_of_line(config)
    with progress("replaying", tape.rows) as task:
        for event in feed_events(tape, window[0], window[1], legs):
            tally.events += 1
            for _, fact in line.post("ingestion", event):
                tally.take(fact)
            if tally.events % 4096 == 0:
                task.advance(4096)
    return document_of(tape, files, config, window, tally.document(line.states["execution"]))


def document_of(
    tape: Tape,
    files: Sequence[ParameterFile],
    config: LineConfig,
    window: Window,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """The figures of a run over a tape, with what it was a run of."""
    start_ns = begin_of(tape, window)
    return {
        "pair": named(config),
        "start": iso(start_ns),
        "end": iso(min(window[1] or tape.end_ns, tape.end_ns)),
        **figures,
        "in_sample": any(in_sample(tape, file, start_ns, window[1]) for file in files),
        "tape_sha256": tape.sha256,
        "config_sha256": content_sha256(config),
    }


def in_sample(tape: Tape, file: ParameterFile, start_ns: int, end_ns: int | None) -> bool:
    """Whether the run overlaps the window that the parameters were fitted on.

    Time decides, not the tape's hash: a longer import of the same market has another one. Only a
    made-up market is another market at the same time.
    """
    known = file.provenance
    if not known.end or ("synthetic" in tape.manifest.source and known.tape_sha256 != tape.sha256):
        return False
    fitted = (parse_time(known.start or None) or 0, parse_time(known.end) or 0)
    return start_ns <= fitted[1] and (end_ns or tape.end_ns + 1) > fitted[0]


class _Verifier:
    """Holds what a run journalled against what the line makes of the same facts."""

    def __init__(self, tape: Tape, header: Header, journal: Path) -> None:
        legs = legs_of_line(header.config)
        window = (header.start_ns or None, header.end_ns or None)
        self.frames = 0
        self._commit = header.git_commit
        self._is_live = header.tape_sha256 == LIVE
        self._events = feed_events(tape, *window, legs)
        self._journal = journal

    def next_event(self, journalled: Event) -> Event:
        """The tape's next fact, which must be the journalled one."""
        event = next(self._events, None)
        if event is None or encode_fact(event) != encode_fact(journalled):
            raise self.diverged("the tape brings", event, journalled)
        return event

    def diverged(self, who: str, ours: Event | None, journalled: Event | None) -> Failed:
        """The failure that names the place, and the first thing that differs there."""
        commit = git_commit()
        by = (
            ""
            if self._commit == commit
            else f"; code {self._commit[:12]} wrote it, this is {commit[:12]}"
        )
        return Failed(
            f"Diverged at frame {self.frames} of {self._journal}: "
            f"{who} {_told(ours, journalled)} where the journal has {_told(journalled, ours)}{by}"
        )

    @property
    def complete(self) -> bool:
        """Whether the journal reaches to the end of its window.

        A live run ends without the word that time has passed until then, with which a tape ends.
        """
        left = next(self._events, None)
        if self._is_live and isinstance(left, TimePassed):
            left = next(self._events, None)
        return left is None


def verify_over_tape(
    tape: Tape, files: Sequence[ParameterFile], header: Header, journal: Path, tally: Tally
) -> dict[str, Any]:
    """Replay what a run was given, the feed from the tape, and compare every fact.

    Raises Failed at the first other one.
    """
    # A live run's tape is made of its journal, and compared with it event by event.
    if header.tape_sha256 not in (tape.sha256, LIVE):
        raise BadInput(
            f"the journal is of tape {header.tape_sha256[:12]}, --tape is {tape.sha256[:12]}: "
            f"name the tape of the run, it was {header.tape}"
        )
    if header.params_sha256 != params_sha256(files):
        own = [parameters_name(place) for place in range(len(header.config.pairs))]
        raise BadInput(
            "the journal was made with other parameters than --params: name the run's own, "
            + " and ".join(str(journal.parent / name) for name in own)
        )
    verifier = _Verifier(tape, header, journal)
    line = Line(stages(), header.config)
    made: Iterator[tuple[str, Event]] = iter(())
    with progress("verifying", tape.rows) as task:
        for log, fact in read_facts(journal):
            verifier.frames += 1
            if log in INBOXES:
                _must_be_done(made, verifier)
                # What a live feed refused is on no tape.
                is_fed = log == "ingestion" and not isinstance(fact, Rejected)
                given = verifier.next_event(fact) if is_fed else fact
                made = iter(line.post(log, given))
                tally.events += is_fed
                task.advance(1)
                continue
            ours = next(made, None)
            if ours is None or encode_fact(ours) != encode_fact((log, fact)):
                raise verifier.diverged("replay makes", ours[1] if ours else None, fact)
            tally.take(ours[1])
    start_ns = header.start_ns or tape.start_ns
    # The last fact of a run that a crash cut off may have led to more than its journal still holds.
    complete = verifier.complete
    if complete:
        _must_be_done(made, verifier)
    return {
        "pair": named(header.config),
        **tally.document(line.states["execution"]),
        "in_sample": any(in_sample(tape, file, start_ns, header.end_ns or None) for file in files),
        "tape_sha256": tape.sha256,
        "config_sha256": header.config_sha256,
        "verified": True,
        "frames": verifier.frames,
        "complete": complete,
    }


def _must_be_done(made: Iterator[tuple[str, Event]], verifier: _Verifier) -> None:
    extra = next(made, None)
    if extra is not None:
        raise verifier.diverged("replay makes", extra[1], None)


def _told(fact: Event | None, other: Event | None) -> str:
    """A fact by its type and time, and the first of its fields that `other` has differently."""
    if fact is None:
        return "nothing"
    time_ns = getattr(fact, "time_ns", None)
    told = type(fact).__name__ + (f" at {iso(time_ns)}" if time_ns is not None else "")
    if type(fact) is not type(other):
        return told
    for name in fact.__struct_fields__:
        ours, theirs = (msgspec.json.encode(getattr(each, name)).decode() for each in (fact, other))
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), 0)
            return f"{told} with {name} {ours[max(at - 20, 0) : at + 40]}"
    return told


def print_figures(title: str, known: dict[str, Any]) -> None:
    """The figures of a run, for people."""
    console = text()
    console.print(f"[bold]{title}[/bold] of {known.get('pair', '')}")
    for label, key, form in _FIGURES:
        value = known.get(key)
        if value is not None:
            console.print(f"  {label:<28}{form(value)}", soft_wrap=True)
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in known["rejected"].items())
    console.print(f"  {'refused':<28}{rejected or 'nothing'}")
    if known["rejected"].get("NO_BORROW"):
        console.print(
            "  a spot leg is never sold short: --assume-borrow RATE assumes that it can be"
        )
    if known.get("verified"):
        console.print(
            f"  every one of {known['frames']:,} facts is the one that the run journalled"
        )
        if not known["complete"]:
            console.print("  it ends before its tape does: the run was cut off")


def verify_command(known: dict[str, Any], kind: Callable[[str], str | Path] = Path) -> str:
    """The line that holds a run's journal against a replay; of `str` it runs from anywhere."""
    params = [
        ("--params", kind(path)) for path in known.get("params_files", [known["params_file"]])
    ]
    options = (("--tape", kind(known["tape"])), *params, ("--verify", kind(known["journal"])))
    return command("hft", "replay", *(word for option in options for word in option))


def _money(value: float) -> str:
    return f"{value:,.2f}".replace("-", "−")


_FIGURES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("events", "events", "{:,}".format),
    ("orders, all accounts", "orders", "{:,}".format),
    ("fills, all accounts", "fills", "{:,}".format),
    ("capital: PnL after costs", "pnl_quote", _money),
    ("  fees", "fees_quote", _money),
    ("  spread and slippage", "slippage_quote", _money),
    ("  funding", "funding_quote", _money),
    ("  borrowing", "borrow_quote", _money),
    ("  turnover", "turnover_quote", _money),
    ("  Sharpe ratio, a year", "sharpe_annual", lambda value: f"{value:.2f}".replace("-", "−")),
    ("  largest drawdown", "max_drawdown_quote", _money),
    ("in sample", "in_sample", lambda value: "yes: the fit saw this window" if value else "no"),
    ("orders sha256", "orders_sha256", str),
    ("seconds", "seconds", "{:.1f}".format),
)
