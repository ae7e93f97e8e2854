"""`hft run` on the live market: for as long as was asked, or until it is interrupted, which here is
an end like any other.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli import interrupt
from cli.console import progress
from cli.errors import BadInput, Failed
from cli.runs import journal_tally, open_line
from hft_lib.backtest.tally import Tally
from hft_lib.events import Registered
from hft_lib.market.tape import Tape, TapeError
from hft_lib.parameters import ParameterFile
from serving.adapters.live.feed import LiveFeed
from serving.adapters.live.recording import FIRST_S_MAX, why_nothing
from serving.lines import begun_at
from serving.live_market import live_feed, opened, write_tape
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import Header
from serving.runtime.kept_words import Kept
from serving.runtime.latch import Latch
from serving.runtime.latched import Feed, latched
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
    with interrupt.deferred() as is_stopped, opened(settings, header, line) as live:
        feed, length = live_feed(live, line), _Length(line, live, is_stopped, seconds)
        _trade_until(line, header, feed, length, latch, moves)


def _trade_until(
    line: EmbeddedLine,
    header: Header,
    feed: Feed,
    length: "_Length",
    latch: Latch,
    moves: Kept[Move],
) -> None:
    with (
        latched(line, header, feed, header.start_ns, latch, length.rest, moves) as events,
        progress("trading on the live market, with paper fills") as task,
    ):
        for event in events:
            line.feed(event)
            task.advance()
        line.save()


class _Length:
    """When a live run ends: once that is asked for, or `seconds` after the first event."""

    def __init__(
        self,
        line: EmbeddedLine,
        live: LiveFeed,
        is_stopped: Callable[[], bool],
        seconds: float | None,
    ) -> None:
        self._line, self._live = line, live
        self._is_stopped = is_stopped
        self._seconds = math.inf if seconds is None else seconds
        self._fed = line.fed
        self._began_s: float | None = None
        self._silent_s: float | None = None

    def rest(self, wait_s: float) -> bool:
        """Wait; whether it is time to end. Raises Failed where no market is there at all."""
        if wait_s:
            time.sleep(wait_s)
        now_s = time.monotonic()
        if self._began_s is None:
            self._await_market(now_s)
        passed_s = 0.0 if self._began_s is None else now_s - self._began_s
        return self._is_stopped() or passed_s >= self._seconds

    def _await_market(self, now_s: float) -> None:
        if self._line.fed > self._fed:
            self._began_s = now_s
        elif (status := self._live.status()).host:
            self._silent_s = self._silent_s or now_s
            if now_s - self._silent_s > FIRST_S_MAX:
                raise Failed(f"{why_nothing(status)}: is there a network?")


def _tape(folder: Path) -> Tape:
    try:
        return write_tape(folder / JOURNAL)
    except TapeError as error:
        raise BadInput(f"nothing came of the live market, so there is no tape: {error}") from error
