"""`hft run` on the live market: for as long as was asked, or until it is interrupted, which here is
an end like any other.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli import interrupt
from cli.console import progress
from cli.errors import BadInput
from cli.runs import journal_tally, open_line
from hft_lib.backtest.tally import Tally
from hft_lib.events import Registered
from hft_lib.market.tape import Tape, TapeError
from hft_lib.parameters import ParameterFile
from serving.lines import begun_at
from serving.live_market import live_feed, opened, write_tape
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import Header
from serving.runtime.kept_words import Kept
from serving.runtime.latch import Latch
from serving.runtime.latched import Rest, latched
from serving.runtime.model_words import Move
from serving.runtime.run_folder import JOURNAL, resume_line, write_parameters
from serving.runtime.settings import Settings

Operators = tuple[Latch, Kept[Move]]  # where their words are kept


def run(
    settings: Settings,
    header: Header,
    files: Sequence[ParameterFile],
    folder: Path,
    sets: Sequence[Registered],
    seconds: float | None,
    operators: Operators,
) -> tuple[EmbeddedLine, Tally, Tape]:
    """A new line on the live market, from now on; where it ended, what it did, and its tape."""
    write_parameters(folder, *files)
    tally = Tally()
    with open_line(folder, header, begun_at(sets, header.start_ns), tally) as line:
        _trade(settings, line, header, seconds, operators)
    return line, tally, _tape(folder)


def resume(
    settings: Settings,
    header: Header,
    folder: Path,
    seconds: float | None,
    operators: Operators,
) -> tuple[EmbeddedLine, Tally, Tape]:
    """Go on with the run in `folder`; what came while nobody listened is no part of it."""
    with resume_line(folder, header.config) as line:
        _trade(settings, line, header, seconds, operators)
    return line, journal_tally(folder / JOURNAL), _tape(folder)


def _trade(
    settings: Settings,
    line: EmbeddedLine,
    header: Header,
    seconds: float | None,
    operators: Operators,
) -> None:
    latch, moves = operators
    with (
        interrupt.deferred() as is_stopped,
        opened(settings, header) as live,
        latched(
            line,
            header,
            live_feed(live, line),
            header.start_ns,
            latch,
            _rest(is_stopped, seconds),
            moves,
        ) as events,
        progress("trading on the live market, with paper fills") as task,
    ):
        for event in events:
            line.feed(event)
            task.advance()
        line.save()


def _rest(is_stopped: Callable[[], bool], seconds: float | None) -> Rest:
    """A wait that says when to end: once that was asked for, or after `seconds`."""
    until_s = time.monotonic() + seconds if seconds is not None else math.inf

    def rest(wait_s: float) -> bool:
        if wait_s:
            time.sleep(wait_s)
        return is_stopped() or time.monotonic() >= until_s

    return rest


def _tape(folder: Path) -> Tape:
    try:
        return write_tape(folder / JOURNAL)
    except TapeError as error:
        raise BadInput(f"nothing came of the live market, so there is no tape: {error}") from error
