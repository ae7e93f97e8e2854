"""`hft tape`: import market data into a tape, check data of any form, make a market up."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import console, tape_download, tape_text
from cli.errors import BadInput
from cli.tape_export import export
from cli.tape_record import record

if TYPE_CHECKING:
    from hft_lib.market.synthetic import SyntheticMarket

TICKS_MAX = 20_000_000  # the whole market is made in memory before it is written
DAYS_MAX = 3_650.0

app = typer.Typer(no_args_is_help=True, help="The market data store.")
app.command("record")(record)
app.command("export")(export)


class Format(StrEnum):
    """What `tape import` reads."""

    BINANCE_WS = "binance-ws"
    BARS = "bars"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[Path, typer.Option(help="Directory of the tape.")]
Replace = Annotated[bool, typer.Option(help="Replace the tape that is at --out.")]


@app.command("import")
def import_(
    out: Out,
    format: Annotated[Format, typer.Option(help="What the files are.")],
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...")] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option(metavar="SYMBOL=FILE", help="A file whose name does not say its symbol."),
    ] = None,
    spread_bps: Annotated[
        float, typer.Option(help="Bars: the full spread around the close, in basis points.")
    ] = 2.0,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Write WebSocket recordings or Parquet bars as a tape; what came is kept, flaws and all.

    A Parquet file of bars is of one symbol (ts, open, high, low, close, volume), or wide: ts and
    the closes of each symbol in a column of its name.

    Example: hft tape import --format bars BTCUSDT.parquet BTCUSDT_PERP.parquet --out btc
    """
    from hft_lib.market.imports import import_sources

    if not 0.0 <= spread_bps < 10_000.0:
        raise BadInput(f"--spread-bps must be from 0 to 10000, was {spread_bps}")
    started_s = time.perf_counter()
    with console.progress("importing rows") as task:
        named = _named_files(files or [], symbol or [])
        sources = [_source(format, path, name, spread_bps) for path, name in named.items()]
        note: dict[str, Any] = {
            "format": format.value,
            "files": sorted(path.name for path in named),
        }
        if format is Format.BARS:
            note["spread_bps"] = spread_bps
        tape, flaws = import_sources(sources, out, note, task.advance, replace)
    document = {
        "rows": tape.rows,
        "symbols": tape.symbols,
        "tape_sha256": tape.sha256,
        "out": str(out),
        "flaws": flaws,
        "seconds": round(time.perf_counter() - started_s, 3),
    }
    console.emit(document, as_json, tape_text.render_tape)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A tape, or a Parquet, CSV or freqtrade file.")],
    as_json: AsJson = False,
) -> None:
    """Tell every flaw of a tape or a bar file, of one symbol or wide; exit 0 when it is readable.

    Example: hft tape check BTCUSDT.parquet --json
    """
    from hft_lib.market import quality

    report = quality.check(path)
    document = {
        "path": str(path),
        "kind": report.kind,
        "rows": report.rows,
        "start": report.start,
        "end": report.end,
        "flaws": report.flaws,
    }
    console.emit(document, as_json, _render_report)


@app.command("synth")
def synth(
    out: Out,
    seed: Annotated[int, typer.Option(help="One seed gives one market.")],
    days: Annotated[float | None, typer.Option(help="Length of the market.")] = None,
    ticks: Annotated[
        int | None, typer.Option(help="Instead: about so many irregular quotes.")
    ] = None,
    quotes_per_s: Annotated[float, typer.Option(help="With --ticks: quotes a second.")] = 200.0,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Make a market up and write it as a tape, with its truth beside the rows.

    Example: hft tape synth --seed 7 --days 30 --out market
    """
    from hft_lib.market import synthetic

    market = _market(days, ticks, quotes_per_s)
    if seed < 0:
        raise BadInput(f"--seed must be at least 0, was {seed}")
    started_s = time.perf_counter()
    with console.progress("making rows up", _rows_expected(market)) as task:
        tape = synthetic.write(seed, out, market, task.advance, replace)
    document = {
        "rows": tape.rows,
        "symbols": tape.symbols,
        "tape_sha256": tape.sha256,
        "out": str(out),
        "truth": str(out / synthetic.TRUTH),
        "seconds": round(time.perf_counter() - started_s, 3),
    }
    console.emit(document, as_json, tape_text.render_tape)


app.command("download")(tape_download.download)


def _market(days: float | None, ticks: int | None, quotes_per_s: float) -> "SyntheticMarket":
    from hft_lib.market import synthetic

    if ticks is None:
        if days is None:
            return synthetic.SyntheticMarket()
        if not 0.01 <= days <= DAYS_MAX:
            raise BadInput(f"--days must be from 0.01 to {DAYS_MAX:g}, was {days}")
        return synthetic.SyntheticMarket(days=days)
    if days is not None:
        raise BadInput("--ticks and --days exclude one another")
    if not 2 <= ticks <= TICKS_MAX:
        raise BadInput(f"--ticks must be from 2 to {TICKS_MAX}, was {ticks}")
    if not 0.001 <= quotes_per_s <= 1e6:
        raise BadInput(f"--quotes-per-s must be from 0.001 to 1000000, was {quotes_per_s}")
    return synthetic.ticks(ticks, quotes_per_s)


def _rows_expected(market: "SyntheticMarket") -> int:
    legs = 1 if market.irregular else 2
    return round(legs * market.days * 86_400.0 / market.step_s)


def _named_files(files: list[Path], overrides: list[str]) -> dict[Path, str | None]:
    """Each file with the symbol that `SYMBOL=FILE` gives it; it need not be listed again."""
    named: dict[Path, str | None] = dict.fromkeys(files)
    for override in overrides:
        symbol, found, file = override.partition("=")
        base, _, quote = symbol.partition("/")
        if not (found and file and base and quote):
            raise BadInput(
                f"--symbol must be SYMBOL=FILE such as BTC/USDT=btc.parquet, was {override}"
            )
        named[_listed(Path(file), files)] = symbol
    if not named:
        raise BadInput("no FILE was given")
    return named


def _listed(file: Path, files: list[Path]) -> Path:
    """The listed file that `file` means: by its path, else by its name alone."""
    alike = [one for one in files if one == file or one.resolve() == file.resolve()]
    alike = alike or [one for one in files if one.name == str(file)]
    return alike[0] if alike else file


def _source(format: Format, path: Path, symbol: str | None, spread_bps: float) -> Any:
    from hft_lib.market.bars import bar_source
    from hft_lib.market.binance_ws import websocket_source
    from hft_lib.market.wide_bars import is_wide, wide_source

    if format is not Format.BARS:
        return websocket_source(path, symbol)
    if not is_wide(path):
        return bar_source(path, symbol, spread_bps)
    if symbol is not None:
        raise BadInput(f"{path.name} has a column a symbol, so --symbol {symbol} cannot name it")
    return wide_source(path, spread_bps)


def _render_report(document: dict[str, Any]) -> None:
    out = console.text()
    span = f"{document['start']} to {document['end']}"
    out.print(f"{document['rows']:,} rows of {document['kind']}, {span}")
    tape_text.render_flaws(document["flaws"])
    if not document["flaws"]:
        out.print("no flaw found")
