"""`hft tape record`: a live market into a tape."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import console, interrupt
from cli.context import check_pair, iso
from cli.errors import BadInput, Failed
from cli.tape_text import render_live
from serving.runtime.settings import Settings

SECONDS_MAX = 31 * 86_400.0
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_SYMBOL = re.compile(r"[A-Z0-9]+/[A-Z0-9]+(:[A-Z0-9]+)?")


def record(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory of the tape.")],
    duration: Annotated[str, typer.Option("--for", help="How long: 45s, 10m, 1h30m, 2d.")],
    pair: Annotated[
        str | None, typer.Option(help="Y~X: both its legs. PAIRS where nothing is named.")
    ] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option(help="BTC/USDT is spot, BTC/USDT:USDT the perpetual; named again for more."),
    ] = None,
    venue: Annotated[str, typer.Option(help="binance, or kraken: spot alone.")] = "binance",
    replace: Annotated[bool, typer.Option(help="Replace the tape that is at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Record a venue's live public market data, no key needed; Ctrl-C ends it with a whole tape.

    What was refused, such as a corrupt frame, is in `rejected.jsonl` beside the rows.

    Example: hft tape record --pair BTC/USDT:USDT~BTC/USDT --for 10m --out btc
    """
    settings: Settings = context.obj
    seconds = parse_duration(duration)
    symbols = _symbols(settings, pair, symbol or [])
    document = _record(settings, venue, symbols, seconds, out, replace)
    console.emit(document, as_json, _render)
    if document["ended"] == "disk":
        raise Failed(f"the disk of {out} is nearly full: the recording ended, its tape is whole")


def parse_duration(text: str) -> float:
    """The seconds of `1h30m` and its like."""
    if not _DURATION.fullmatch(text):
        raise BadInput(f"--for must be a time such as 45s, 10m, 1h30m or 2d, was {text!r}")
    parts = re.findall(r"([\d.]+)([dhms])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0.0 < seconds <= SECONDS_MAX:
        raise BadInput(f"--for must be more than 0 and at most 31d, was {text!r}")
    return seconds


def _symbols(settings: Settings, pair: str | None, named: list[str]) -> list[str]:
    if pair is not None and named:
        raise BadInput("--pair and --symbol exclude one another")
    if named:
        wrong = [symbol for symbol in named if not _SYMBOL.fullmatch(symbol)]
        if wrong:
            raise BadInput(f"--symbol must be BASE/QUOTE or BASE/QUOTE:QUOTE, was {wrong[0]}")
        return list(dict.fromkeys(named))
    pairs = settings.pairs if pair is None else (pair,)
    if not pairs:
        raise BadInput("which market? Name --pair Y~X, such as BTC/USDT:USDT~BTC/USDT, or --symbol")
    return list(dict.fromkeys(leg for one in pairs for leg in check_pair(one)))


def _record(
    settings: Settings, venue: str, symbols: list[str], seconds: float, out: Path, replace: bool
) -> dict[str, Any]:
    from hft_lib.market.live.items import Unreadable
    from hft_lib.market.tape import Tape, TapeWriter
    from serving.adapters.live import recording
    from serving.adapters.live.feed import LiveFeed, NotListed
    from serving.adapters.live.venues import VENUES

    if venue not in VENUES:
        raise BadInput(f"--venue must be one of {', '.join(VENUES)}, was {venue!r}")
    note = {"format": "live", "venue": venue, "symbols": sorted(symbols)}
    try:
        with (
            interrupt.deferred() as is_stopped,
            TapeWriter(out, note, replace) as writer,
            LiveFeed(settings, symbols, venue) as feed,
            console.progress("recording", seconds) as task,
        ):
            recorded = recording.record(feed, writer, seconds, is_stopped, _teller(task))
    except recording.NoMarket as error:
        raise Failed(f"{error}: is there a network?") from error
    except (NotListed, Unreadable) as error:
        raise BadInput(str(error)) from error
    tape = Tape.open(out)
    return {
        "rows": tape.rows,
        "symbols": tape.symbols,
        "tape_sha256": tape.sha256,
        "out": str(out),
        "start": iso(tape.start_ns),
        "end": iso(tape.end_ns),
        "rejected": dict(sorted(recorded.rejected.items())),
        "reconnects": sum(feed.figures.reconnects.values()),
        "backfilled_trades": sum(feed.figures.backfilled.values()),
        "ended": recorded.ended,
        "seconds": round(recorded.seconds, 3),
    }


def _teller(task: console.Task) -> Callable[[Any, Any], None]:
    """What moves the line of progress on, and says how the market is."""
    done_s = 0.0
    told_s = 0.0

    def tell(recorded: Any, status: Any) -> None:
        nonlocal done_s, told_s
        task.advance(recorded.seconds - done_s)
        done_s = recorded.seconds
        if time.monotonic() - told_s < 0.5:
            return
        told_s = time.monotonic()
        how = status.problem or f"{recorded.rejected.total():,} refused"
        task.describe(f"{recorded.rows:,} rows, {how}")

    return tell


def _render(document: dict[str, Any]) -> None:
    render_live(document)
    console.text().print(
        f"{document['backfilled_trades']:,} trades filled in, "
        f"{document['reconnects']:,} connections made again"
    )
