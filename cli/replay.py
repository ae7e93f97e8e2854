"""`hft replay`: the six stages over a tape, event by event, as research sees them; or against what a run journalled."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from cli import options
from cli.console import emit, progress, text
from cli.context import content_sha256, iso, line_config, parse_time, read_parameters, resolve_pair
from cli.errors import BadInput, Failed
from cli.runs import registrations
from hft_lib.backtest.tally import Tally
from hft_lib.events import Event
from hft_lib.line import LineConfig
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from hft_lib.stage import Line
from serving.runtime.journal import Header, encode_fact, read, read_header
from serving.runtime.settings import Settings
from serving.services import INBOXES, STAGES


def replay(
    context: typer.Context,
    tape: options.TapeOption,
    params: options.ParamsOption,
    verify: Annotated[
        Path | None,
        typer.Option(help="A run's journal: every fact must be the one that the run made."),
    ] = None,
    pair: options.PairOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    borrow: options.BorrowOption = None,
    orders: Annotated[Path | None, typer.Option(help="Write the approved orders as CSV.")] = None,
    fills: Annotated[Path | None, typer.Option(help="Write the fills as CSV.")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run the six stages over a tape, event by event, and say what came of it.

    One slot trades, or with challengers in the parameter file all of them, and EVOP decides. The
    same tape and parameters always give the same orders.

    Example: hft replay --tape runs/tapes/synth-7 --params champion.json --orders orders.csv
    """
    settings: Settings = context.obj
    opened, file = Tape.open(tape), read_parameters(params)
    began = time.perf_counter()
    with contextlib.ExitStack() as files:
        tally = Tally(_text_file(files, orders), _text_file(files, fills))
        if verify is None:
            name = resolve_pair(pair, file, settings, opened)
            if name != file.pair:
                raise BadInput(f"--params is of pair {file.pair}, not of {name}")
            config = line_config(settings, name, file.params.grid_ms, file.evop, borrow)
            window = (parse_time(start), parse_time(end))
            document = run_over_tape(opened, file, config, window, tally)
        else:
            document = verify_over_tape(opened, file, read_header(verify), verify, tally)
    document["seconds"] = time.perf_counter() - began
    emit(document, as_json, lambda known: print_figures("Replay", known))


def _text_file(files: contextlib.ExitStack, path: Path | None) -> IO[str] | None:
    if path is None:
        return None
    try:
        return files.enter_context(path.open("w", encoding="utf-8", newline=""))
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error


def run_over_tape(
    tape: Tape,
    file: ParameterFile,
    config: LineConfig,
    window: tuple[int | None, int | None],
    tally: Tally,
) -> dict[str, Any]:
    """Replay `tape` with the sets of `file` from empty state; the contract's keys but `seconds`."""
    line = Line(STAGES, config)
    start_ns = tape.start_ns if window[0] is None else max(window[0], tape.start_ns)
    for registered in registrations(file, start_ns):
        for _, fact in line.post("orchestrator", registered):
            tally.take(fact)
    legs = file.pair.split("~")
    with progress("replaying", tape.rows) as task:
        for event in feed_events(tape, window[0], window[1], legs):
            tally.events += 1
            for _, fact in line.post("ingestion", event):
                tally.take(fact)
            if tally.events % 4096 == 0:
                task.advance(4096)
    return {
        "pair": file.pair,
        "start": iso(start_ns),
        "end": iso(min(window[1] or tape.end_ns, tape.end_ns)),
        **tally.document(line.states["execution"]),
        "in_sample": in_sample(tape, file, start_ns, window[1]),
        "tape_sha256": tape.sha256,
        "config_sha256": content_sha256(config),
    }


def in_sample(tape: Tape, file: ParameterFile, start_ns: int, end_ns: int | None) -> bool:
    """Whether the run overlaps the window that the parameters were fitted on."""
    known = file.provenance
    if known.tape_sha256 != tape.sha256 or not known.end:
        return False
    fitted = (parse_time(known.start) or 0, parse_time(known.end) or 0)
    return start_ns < fitted[1] and (end_ns or tape.end_ns) > fitted[0]


class _Verifier:
    """Holds what a run journalled against what the line makes of the same facts."""

    def __init__(self, tape: Tape, header: Header, journal: Path) -> None:
        legs = [leg for item in header.config.pairs for leg in (item.y, item.x)]
        window = (header.start_ns or None, header.end_ns or None)
        self.frames = 0
        self._events = feed_events(tape, *window, legs)
        self._journal = journal

    def next_event(self, journalled: Event) -> Event:
        """The tape's next fact, which must be the journalled one."""
        event = next(self._events, None)
        if event is None or encode_fact(event) != encode_fact(journalled):
            raise self.diverged(f"the tape brings {event} where the journal has {journalled}")
        return event

    def diverged(self, what: str) -> Failed:
        """The failure that names the place."""
        return Failed(f"Diverged at frame {self.frames} of {self._journal}: {what}")

    @property
    def complete(self) -> bool:
        """Whether the journal reaches to the end of its window."""
        return next(self._events, None) is None


def verify_over_tape(
    tape: Tape, file: ParameterFile, header: Header, journal: Path, tally: Tally
) -> dict[str, Any]:
    """Replay what a run was given, the feed from the tape, and compare every fact; Failed at the first other one."""
    if header.tape_sha256 != tape.sha256:
        raise BadInput(f"the journal is of tape {header.tape_sha256}, --tape is {tape.sha256}")
    if header.params_sha256 != content_sha256(file):
        raise BadInput("the journal was made with another parameter file than --params")
    verifier = _Verifier(tape, header, journal)
    line = Line(STAGES, header.config)
    made: Iterator[tuple[str, Event]] = iter(())
    with progress("verifying", tape.rows) as task:
        for log, fact in read(journal):
            verifier.frames += 1
            if log in INBOXES:
                _must_be_done(made, verifier)
                given = verifier.next_event(fact) if log == "ingestion" else fact
                made = iter(line.post(log, given))
                tally.events += log == "ingestion"
                task.advance(1)
                continue
            ours = next(made, None)
            if ours is None or encode_fact(ours) != encode_fact((log, fact)):
                raise verifier.diverged(f"replay makes {ours} where the journal has {(log, fact)}")
            tally.take(ours[1])
    _must_be_done(made, verifier)
    return {
        "pair": file.pair,
        **tally.document(line.states["execution"]),
        "in_sample": in_sample(tape, file, header.start_ns or tape.start_ns, header.end_ns or None),
        "tape_sha256": tape.sha256,
        "config_sha256": header.config_sha256,
        "verified": True,
        "frames": verifier.frames,
        "complete": verifier.complete,
    }


def _must_be_done(made: Iterator[tuple[str, Event]], verifier: _Verifier) -> None:
    extra = next(made, None)
    if extra is not None:
        raise verifier.diverged(f"replay makes {extra} where the journal has nothing")


def print_figures(title: str, known: dict[str, Any]) -> None:
    """The figures of a run, for people."""
    console = text()
    console.print(f"[bold]{title}[/bold] of {known.get('pair', '')}")
    for label, key, form in _FIGURES:
        value = known.get(key)
        if value is not None:
            console.print(f"  {label:<28}{form(value)}")
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in known["rejected"].items())
    console.print(f"  {'refused':<28}{rejected or 'nothing'}")
    if known.get("verified"):
        console.print(
            f"  every one of {known['frames']:,} facts is the one that the run journalled"
        )


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
