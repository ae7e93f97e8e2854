"""What is wrong with market data at rest: a tape, or a bar file (Parquet, CSV or freqtrade's JSON).

A tape is judged event by event with the rules by which ingestion rejects. A bar file is judged as a
whole; its flaws:

    NEWEST_FIRST DISORDER DUPLICATE GAP OFF_GRID   the order and completeness of its times
    ROUNDED_TIME MISLABELLED                       times too coarse; a name or unit that is untrue
    NAN PRICE RANGE VOLUME ZERO_VOLUME             values that cannot be; no trade behind a bar

A wide file, closes of many symbols side by side, has `wide_quality`'s flaws of each of them.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from hft_lib.events import Instrument, MarketEvent, Quote, TimePassed
from hft_lib.market import bar_files, bar_quality, cleaning, tape_columns, wide_quality
from hft_lib.market.flaws import FlawRun, FlawTally, iso
from hft_lib.market.tape import Tape
from hft_lib.market.tape_manifest import RowHash
from hft_lib.market.wide_bars import is_wide


class Report(msgspec.Struct, frozen=True):
    """Rows read, and every flaw of them by reason, symbol and time.

    `kind` is `tape`, `bars`, or `wide bars` of many symbols.
    """

    kind: str
    rows: int
    start: str
    end: str
    flaws: list[FlawRun]


def check(path: Path | str) -> Report:
    """Find what is wrong with the tape or bar file at `path`; raises DataError if unreadable."""
    path = Path(path)
    if path.is_dir():
        return check_tape(Tape.open(path))
    return check_wide(path) if path.is_file() and is_wide(path) else check_bars(path)


def check_bars(path: Path) -> Report:
    """Find what is wrong with a bar file."""
    file = bar_files.read(path)
    tally = FlawTally()
    bar_quality.inspect(file, tally)
    start_ns, end_ns = int(file.bars.open_ns.min()), int(file.bars.open_ns.max())
    return Report("bars", len(file.bars.open_ns), iso(start_ns), iso(end_ns), tally.runs())


def check_wide(path: Path) -> Report:
    """Find what is wrong with a file of closes, a column a symbol."""
    tally = FlawTally()
    times = wide_quality.inspect(path, tally).open_ns
    start, end = iso(int(times.min())), iso(int(times.max()))
    return Report("wide bars", len(times), start, end, tally.runs())


def check_tape(tape: Tape) -> Report:
    """Find what ingestion would reject or tell of a tape, and whether its rows are those hashed."""
    tally = FlawTally()
    measured = RowHash()
    instruments = tape.instruments()
    for event, flaws, last_quote_ns, repeated in _inspected(tape, measured):
        for flaw in flaws:
            if flaw.reason == "GAP" and isinstance(event, Quote):
                terms = tape.instruments(event.time_ns).get(event.symbol)
                _add_gap(tally, event, last_quote_ns, terms)
            else:
                again = flaw.reason in repeated
                symbol, detail = event.symbol, flaw.detail
                tally.add(flaw.reason, symbol, event.time_ns, detail=detail, continues=again)
    for symbol in sorted(set(tape.symbols) - set(instruments)):
        tally.add("NO_INSTRUMENT", symbol, tape.start_ns, tape.end_ns)
    if measured.hexdigest() != tape.sha256:
        detail = f"the rows hash to {measured.hexdigest()}, the manifest says {tape.sha256}"
        tally.add("HASH", "~".join(tape.symbols), tape.start_ns, tape.end_ns, tape.rows, detail)
    return Report("tape", tape.rows, iso(tape.start_ns), iso(tape.end_ns), tally.runs())


def _inspected(
    tape: Tape, measured: RowHash
) -> Iterator[tuple[MarketEvent, tuple[cleaning.Flaw, ...], int, set[str]]]:
    """Each flawed event, its flaws, its symbol's last quote time and the reasons just before.

    Every event of the tape is given to `measured`.
    """
    states = {symbol: cleaning.SymbolState(symbol) for symbol in tape.symbols}
    before: dict[str, set[str]] = {symbol: set() for symbol in tape.symbols}
    for event in _measured(tape, measured):
        if isinstance(event, TimePassed):
            continue
        symbol = event.symbol
        state = states[symbol]
        last_quote_ns = state.quote_ns
        flaws = cleaning.inspect(state, event)
        if flaws:
            yield event, flaws, last_quote_ns, before[symbol]
            before[symbol] = {flaw.reason for flaw in flaws}
        elif before[symbol]:
            before[symbol] = set()


def _measured(tape: Tape, measured: RowHash) -> Iterator[MarketEvent | TimePassed]:
    for batch in tape.batches():
        events = tape_columns.to_events(batch)
        measured.update(events)
        yield from events


def _add_gap(
    tally: FlawTally, quote: Quote, last_quote_ns: int, instrument: Instrument | None
) -> None:
    """A silence of a regular series is so many missing quotes; of an irregular one, one silence."""
    silence_ns = quote.time_ns - last_quote_ns
    missing = 1
    if instrument is not None and instrument.cadence_ns >= cleaning.REGULAR_CADENCE_NS:
        missing = max(round(silence_ns / instrument.cadence_ns) - 1, 1)
    detail = f"{silence_ns / 1e9:.3f} s without a quote"
    tally.add("GAP", quote.symbol, last_quote_ns, quote.time_ns, missing, detail)
