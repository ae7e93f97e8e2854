"""`hft tape download`: days of Binance's public archive as a tape."""

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import console, tape_text
from cli.errors import BadInput, Failed
from hft_lib.market.archive import STEPS_S, Kind, plan, wanted
from serving.runtime.settings import Settings

if TYPE_CHECKING:
    from hft_lib.market.archive import ArchiveFile, Wanted
    from hft_lib.market.archive_rows import Fetched
    from serving.adapters.binance_archive import Progress

MISSING_NAMED = 5

Streams = list[tuple["Wanted", list["ArchiveFile"]]]


def download(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory of the tape.")],
    symbol: Annotated[
        list[str],
        typer.Option(metavar="SYMBOL", help="BTC/USDT is spot, BTC/USDT:USDT its perpetual."),
    ],
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, in UTC.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included.")],
    kind: Annotated[
        list[Kind] | None,
        typer.Option(help="What of them (default klines); may be given more than once."),
    ] = None,
    step: Annotated[str, typer.Option(help=f"Bars: {', '.join(STEPS_S)}.")] = "1m",
    spread_bps: Annotated[
        float, typer.Option(help="Bars: the full spread around the close, in basis points.")
    ] = 2.0,
    allow_missing: Annotated[
        bool, typer.Option(help="Make the tape without the days that the archive does not have.")
    ] = False,
    replace: Annotated[bool, typer.Option(help="Replace the tape that is at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write days of Binance's public archive as a tape; the address is BINANCE_DATA_URL's.

    Each file is checked against its checksum and kept below HFT_HOME: nothing is fetched twice, and
    a download that was cut off goes on where it stopped. bookTicker, markPriceKlines and
    fundingRate are there of perpetuals alone, and left out for spot.

    Example: hft tape download --symbol BTC/USDT --from 2024-08-01 --to 2024-08-08 --out btc
    """
    from hft_lib.market.archive_rows import sources
    from hft_lib.market.imports import import_sources
    from hft_lib.market.tape_writer import require_free

    if not 0.0 <= spread_bps < 10_000.0:
        raise BadInput(f"--spread-bps must be from 0 to 10000, was {spread_bps}")
    days = _day("--from", first), _day("--to", last)
    kinds = kind or [Kind.KLINES]
    planned = [(one, plan(one, *days)) for one in wanted(symbol, kinds, step)]
    require_free(out, replace)
    started_s = time.perf_counter()
    fetched, missing, did = _fetch(context.obj, planned)
    if missing and not allow_missing:
        raise Failed(_missing(missing))
    streams = [(one, [f for f in fetched if _of(one, f.file)]) for one, _ in planned]
    streams = [(one, files) for one, files in streams if files]
    if not streams:
        raise Failed(_missing(missing))
    note: dict[str, Any] = {
        "format": "binance-archive",
        "files": sorted(file.file.path for file in fetched),
        "kinds": sorted(one.value for one in set(kinds)),
        "first_day": first,
        "last_day": last,
        "missing": sorted(file.path for file in missing),
    }
    if Kind.KLINES in kinds:
        note |= {"spread_bps": spread_bps, "step": step}
    with console.progress("writing rows") as task:
        read = sources(streams, *days, spread_bps)
        tape, flaws = import_sources(read, out, note, task.advance, replace)
    document = {
        "rows": tape.rows,
        "symbols": tape.symbols,
        "tape_sha256": tape.sha256,
        "out": str(out),
        "flaws": flaws,
        "files": len(fetched),
        "fetched": did.fetched,
        "from_cache": did.from_cache,
        "bytes_received": did.bytes_received,
        "missing": [file.name for file in missing],
        "seconds": round(time.perf_counter() - started_s, 3),
    }
    console.emit(document, as_json, _render)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} must be a day such as 2024-08-08, was {text!r}") from error


def _of(one: "Wanted", file: "ArchiveFile") -> bool:
    return (one.symbol, one.kind) == (file.symbol, file.kind)


def _fetch(
    settings: Settings, planned: Streams
) -> tuple[list["Fetched"], list["ArchiveFile"], "Progress"]:
    from serving.adapters.binance_archive import URL, Archive, ArchiveError

    files = [file for _, files in planned for file in files]
    with console.progress("downloading", total=len(files)) as task:
        done = 0

        def told(file: "ArchiveFile", progress: "Progress") -> None:
            nonlocal done
            whole = progress.fetched + progress.from_cache
            task.advance(whole - done)
            done = whole
            task.describe(f"{file.name}, {progress.bytes_received / 1e6:,.1f} MB in all")

        archive = Archive(settings.hft_home, settings.binance_data_url or URL, told)
        try:
            fetched, missing = archive.fetch(files)
        except ArchiveError as error:
            raise Failed(str(error)) from error
    return fetched, missing, archive.progress


def _missing(missing: Sequence["ArchiveFile"]) -> str:
    names = [file.name for file in missing[:MISSING_NAMED]]
    more = f" and {len(missing) - len(names)} more" if len(missing) > len(names) else ""
    return (
        f"the archive does not have {', '.join(names)}{more}, or not the CHECKSUM beside it "
        "(404): a day is published on the "
        "next day, and some symbols and kinds were not there then; --allow-missing goes without"
    )


def _render(document: dict[str, Any]) -> None:
    tape_text.render_tape(document)
    out = console.text()
    received = f"{document['bytes_received'] / 1e6:,.1f} MB received"
    out.print(f"{document['files']} files, {document['from_cache']} were here, {received}")
    if document["missing"]:
        out.print(f"without {', '.join(document['missing'])}", markup=False, soft_wrap=True)
