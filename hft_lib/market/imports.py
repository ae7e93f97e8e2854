"""From files of any form to one tape: each is a source of events, and the sources are merged."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hft_lib.events import Instrument, MarketEvent
from hft_lib.market.flaws import FlawRun, FlawTally
from hft_lib.market.merge import merge
from hft_lib.market.tape import Tape, TapeWriter


class Source(msgspec.Struct):
    """One file: its instruments at its first time, its events, read anew at each call, its flaws.

    `flaws` is complete once `events` has run to its end.
    """

    path: Path
    instruments: list[Instrument]
    first_ns: int
    events: Callable[[], Iterator[MarketEvent]]
    flaws: FlawTally


def import_sources(
    sources: Sequence[Source],
    out: Path | str,
    note: dict[str, Any],
    progress: Callable[[int], None] | None = None,
    replace: bool = False,
) -> tuple[Tape, list[FlawRun]]:
    """Write the events of `sources`, merged, as a tape at `out`; also tells the files' flaws.

    The order of `sources` does not matter. `note` goes into the manifest; `progress` is told the
    rows written.
    """
    ordered = sorted(sources, key=_place)
    with TapeWriter(out, note, replace) as tape:
        tape.write(_opening(ordered))
        tape.write(merge(source.events() for source in ordered), progress)
    flaws = [flaw for source in ordered for flaw in source.flaws.runs()]
    return Tape.open(out), flaws


def _place(source: Source) -> tuple[str, int, str]:
    """What decides between events of one symbol and one time in two files."""
    return source.instruments[0].symbol, source.first_ns, str(source.path)


def _opening(sources: Sequence[Source]) -> list[Instrument]:
    """One instrument a symbol, its first, all at the tape's start."""
    start_ns = min(source.first_ns for source in sources)
    by_symbol: dict[str, Instrument] = {}
    for source in sources:
        for instrument in source.instruments:
            by_symbol.setdefault(instrument.symbol, instrument)
    return [
        msgspec.structs.replace(instrument, time_ns=start_ns)
        for _, instrument in sorted(by_symbol.items())
    ]


def instrument_of(
    symbol: str, time_ns: int, price_tick: float, quantity_step: float, cadence_ns: int
) -> Instrument:
    """An instrument with Binance's ordinary fees; only a perpetual can be shorted.

    Files of market data say nothing of fees or filters; regular users pay 0.1 % on spot, and 0.02 %
    as maker and 0.05 % as taker on USDT-margined perpetuals.
    """
    perpetual = ":" in symbol
    return Instrument(
        time_ns=time_ns,
        symbol=symbol,
        kind="perp" if perpetual else "spot",
        short="perp" if perpetual else "none",
        borrow_rate_annual=0.0,
        taker_fee_rate=0.0005 if perpetual else 0.001,
        maker_fee_rate=0.0002 if perpetual else 0.001,
        price_tick=price_tick,
        quantity_step=quantity_step,
        notional_min_quote=5.0,
        cadence_ns=cadence_ns,
    )
