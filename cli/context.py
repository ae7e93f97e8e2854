"""What several verbs need: the pair in question, the line's configuration, the run's identity."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.errors import BadInput
from hft_lib.market.pairs import legs_of, possible_pairs
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.lines import in_order
from serving.runtime.opening import NotThisLine
from serving.runtime.settings import Settings

Window = tuple[int | None, int | None]


def resolve_pair(
    wanted: str | None, file: ParameterFile | None, settings: Settings, tape: Tape | None
) -> str:
    """The pair that a verb works on.

    The one asked for, else the file's, the settings', the tape's only possible one.
    """
    pair = wanted or (file.pair if file else None)
    for possible in (settings.pairs, possible_pairs(tape.symbols) if tape else ()):
        if pair is None and len(possible) == 1:
            pair = possible[0]
    if pair is None:
        has = f"; the tape has {', '.join(tape.symbols)}" if tape else ""
        raise BadInput(f"which pair? Name it with --pair Y~X, such as BTC/USDT:USDT~BTC/USDT{has}")
    legs = check_pair(pair)
    if file is not None and pair != file.pair:
        raise BadInput(
            f"the parameter file is of pair {file.pair}, not of {pair}: leave --pair out, or fit "
            "that pair with `hft calibrate`"
        )
    missing = [leg for leg in legs if tape is not None and leg not in tape.symbols]
    if tape is not None and missing:
        raise BadInput(
            f"the tape lacks {' and '.join(missing)} of pair {pair}: "
            f"it has {', '.join(tape.symbols)}"
        )
    return pair


def check_pair(pair: str) -> list[str]:
    """The two legs of `Y~X`; BadInput for anything else."""
    try:
        return list(legs_of(pair))
    except ValueError as error:
        raise BadInput(str(error)) from error


def files_of_line(
    named: Sequence[ParameterFile], pair: str | None, settings: Settings, tape: Tape | None
) -> tuple[ParameterFile, ...]:
    """The parameter files of a line in the order of its pairs, one a pair, each checked as
    `resolve_pair` does.
    """
    if len(named) > 1 and pair is not None:
        raise BadInput(f"--pair names one pair, there are {len(named)} parameter files")
    for file in named:
        resolve_pair(pair, file, settings, tape)
    if len(named) == 1:
        return tuple(named)
    try:
        return in_order(settings, named)
    except NotThisLine as error:
        raise BadInput(str(error)) from error


def common_span(tape: Tape, pair: str) -> tuple[int, int]:
    """First and last time at which both legs of `pair` have been quoted, and still are.

    Raises BadInput where one ends before the other begins.
    """
    spans, legs = tape.quote_spans(), pair.split("~")
    known = [spans[leg] for leg in legs if leg in spans]
    start_ns = max((first for first, _ in known), default=0)
    end_ns = min((last for _, last in known), default=0)
    if len(known) < 2 or start_ns >= end_ns:
        told = [f"{leg} {_span(spans.get(leg))}" for leg in legs]
        raise BadInput(f"the legs must be quoted at the same time, was {' and '.join(told)}")
    return start_ns, end_ns


def _span(span: tuple[int, int] | None) -> str:
    return f"from {iso(span[0])} to {iso(span[1])}" if span else "never"


def iso(time_ns: int) -> str:
    """A time in ISO 8601 UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str | None) -> int | None:
    """Nanoseconds of an ISO 8601 time, UTC where it names no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"a time must be ISO 8601, such as 2024-08-08T23:55:00Z, was {text!r}"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    time_ns = round(moment.timestamp() * 1_000_000) * 1000
    if not 0 <= time_ns < 2**63:
        raise BadInput(f"a time must be from 1970 to 2262, was {text!r}")
    return time_ns


def window_of(tape: Tape, start: str | None, end: str | None) -> Window:
    """The part start <= time < end of the tape in nanoseconds, None where it is open.

    Raises BadInput where it is empty.
    """
    window = (parse_time(start), parse_time(end))
    if window[0] is not None and window[0] > tape.end_ns:
        raise BadInput(f"--start must not be after the tape's end, {iso(tape.end_ns)}, was {start}")
    if window[1] is not None and window[1] <= tape.start_ns:
        raise BadInput(f"--end must be after the tape's start, {iso(tape.start_ns)}, was {end}")
    if window[0] is not None and window[1] is not None and window[0] >= window[1]:
        raise BadInput(f"--start must be before --end, was {start} and {end}")
    return window


def begin_of(tape: Tape, window: Window) -> int:
    """When a run over that part of the tape begins, in nanoseconds."""
    return tape.start_ns if window[0] is None else max(window[0], tape.start_ns)
