"""What the archive's files hold, as events: with a header or without, in either unit of time."""

import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_lib.events import Funding, Mark, MarketEvent, Quote, Trade
from hft_lib.market.archive import ArchiveFile, Kind, Wanted, plan
from hft_lib.market.archive_rows import Fetched, sources
from hft_lib.market.bars import bar_source
from hft_lib.market.flaws import counts
from hft_lib.market.imports import Source, import_sources
from hft_lib.market.tape import DataError
from tests.archive_world import HEADERS, klines, start_ms, zipped

DAY = date(2024, 8, 8)
T0 = start_ms(DAY)
MS = 10**6
PERPETUAL = "BTC/USDT:USDT"


def file_of(kind: Kind, symbol: str = PERPETUAL) -> ArchiveFile:
    return plan(Wanted(symbol, kind, "1m" if "lines" in kind.value else ""), DAY, DAY)[0]


def put(folder: Path, file: ArchiveFile, rows: list[str], header: bool = False) -> Fetched:
    path = folder / file.name
    name = file.name.removesuffix(".zip") + ".csv"
    path.write_bytes(zipped(name, rows, HEADERS[file.kind] if header else ""))
    return Fetched(file, path)


def source(fetched: Fetched, spread_bps: float = 2.0) -> Source:
    file = fetched.file
    one = Wanted(file.symbol, file.kind, file.step)
    return sources([(one, [fetched])], DAY, DAY, spread_bps)[0]


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("unit", [1, 1000])
def test_bars_make_the_tape_that_the_same_bars_in_parquet_make(
    tmp_path: Path, header: bool, unit: int
) -> None:
    rows = klines(DAY, 300, unit)
    held = source(put(tmp_path, file_of(Kind.KLINES), rows, header), 4.0)
    tape, flaws = import_sources([held], tmp_path / "a", {})
    columns = list(zip(*(row.split(",")[:6] for row in klines(DAY, 300))))
    names = ("ts", "open", "high", "low", "close", "volume")
    values = [pa.array(map(int, columns[0])), *(pa.array(map(float, c)) for c in columns[1:])]
    pq.write_table(pa.table(values, names), tmp_path / "BTCUSDT_PERP.parquet")
    same, _ = import_sources(
        [bar_source(tmp_path / "BTCUSDT_PERP.parquet", None, 4.0)], tmp_path / "b", {}
    )
    assert (tape.rows, flaws) == (301, [])
    assert tape.sha256 == same.sha256


def test_a_bar_is_one_quote_at_its_close(tmp_path: Path) -> None:
    row = f"{T0},1,9,1,100.0,7.5,{T0 + 59_999},0,0,0,0,0"
    (quote,) = source(put(tmp_path, file_of(Kind.KLINES), [row]), 20.0).events()
    close_ns = (T0 + 60_000) * MS
    assert quote == Quote(close_ns, close_ns, PERPETUAL, 99.9, 7.5, 100.1, 7.5)


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("word", ["true", "True"])
def test_trades_become_trades_with_the_takers_side(tmp_path: Path, header: bool, word: str) -> None:
    other = {"true": "false", "True": "False"}[word]
    rows = [f"7,60000.1,0.25,15000,{T0},{word}", f"8,60000.2,0.5,30000,{T0 + 3},{other}"]
    events = list(source(put(tmp_path, file_of(Kind.TRADES), rows, header)).events())
    assert events == [
        Trade(T0 * MS, T0 * MS, PERPETUAL, 60000.1, 0.25, "sell", 7),
        Trade((T0 + 3) * MS, (T0 + 3) * MS, PERPETUAL, 60000.2, 0.5, "buy", 8),
    ]


def test_spot_trades_in_microseconds_with_a_further_column_are_read(tmp_path: Path) -> None:
    rows = [f"7,60000.1,0.25,15000,{T0 * 1000 + 5},False,True"]
    (trade,) = source(put(tmp_path, file_of(Kind.TRADES, "BTC/USDT"), rows)).events()
    own_ns = T0 * MS + 5000
    assert trade == Trade(own_ns, own_ns, "BTC/USDT", 60000.1, 0.25, "buy", 7)


def test_aggregated_trades_quotes_marks_and_fundings_are_read(tmp_path: Path) -> None:
    rows = {
        Kind.AGG_TRADES: f"3,60000.1,0.25,7,8,{T0},true",
        Kind.BOOK_TICKER: f"11,60000.1,2,60000.2,3,{T0},{T0 + 4}",
        Kind.MARK_PRICE_KLINES: f"{T0},1,9,1,60000.15,0,{T0 + 59_999},0,60,0,0,0",
        Kind.FUNDING_RATE: f"{T0 + 8},8,-0.0001",
    }
    made: list[MarketEvent] = []
    for kind, row in rows.items():
        made += source(put(tmp_path, file_of(kind), [row], header=True)).events()
    at_ns, close_ns, due_ns = T0 * MS, (T0 + 60_000) * MS, (T0 + 8) * MS
    assert made == [
        Trade(at_ns, at_ns, PERPETUAL, 60000.1, 0.25, "sell", 3),
        Quote(at_ns, at_ns, PERPETUAL, 60000.1, 2.0, 60000.2, 3.0, 11),
        Mark(close_ns, close_ns, PERPETUAL, 60000.15),
        Funding(due_ns, due_ns, PERPETUAL, -0.0001),
    ]


def test_of_a_month_of_fundings_only_the_days_asked_for_come(tmp_path: Path) -> None:
    hours = [f"{T0 + 3_600_000 * hour},8,0.0001" for hour in (-8, 0, 8, 16, 24)]
    events = list(source(put(tmp_path, file_of(Kind.FUNDING_RATE), hours)).events())
    assert [event.time_ns // MS - T0 for event in events] == [0, 28_800_000, 57_600_000]


def test_time_never_goes_back_and_the_rows_own_time_stays(tmp_path: Path) -> None:
    rows = [f"{n},1.5,1,1,{T0 + at},true" for n, at in ((1, 5), (2, 3), (3, 6))]
    events = list(source(put(tmp_path, file_of(Kind.TRADES), rows)).events())
    assert [event.time_ns // MS - T0 for event in events] == [5, 5, 6]
    assert [event.exchange_time_ns // MS - T0 for event in events if isinstance(event, Trade)] == [
        5,
        3,
        6,
    ]


def test_a_broken_line_is_counted_and_the_rest_kept(tmp_path: Path) -> None:
    rows = [f"{n},1.5,1,1,{T0 + n},true" for n in range(5)]
    rows[2:2] = ["9,1.5"]
    held = source(put(tmp_path, file_of(Kind.TRADES), rows))
    assert len(list(held.events())) == 5
    assert counts(held.flaws.runs()) == {"BROKEN_LINE": 1}


def test_a_symbols_instrument_takes_its_cadence_from_the_quotes(tmp_path: Path) -> None:
    bars = put(tmp_path, file_of(Kind.KLINES), klines(DAY, 5))
    trades = put(tmp_path, file_of(Kind.TRADES), [f"1,60000.1,0.001,1,{T0},true"])
    streams = [
        (Wanted(PERPETUAL, Kind.TRADES), [trades]),
        (Wanted(PERPETUAL, Kind.KLINES, "1m"), [bars]),
    ]
    for one in sources(streams, DAY, DAY, 2.0):
        (instrument,) = one.instruments
        assert instrument.cadence_ns == 60 * 10**9
        assert (instrument.price_tick, instrument.quantity_step) == (0.1, 0.001)


def test_a_zip_that_holds_anything_else_is_refused_and_nothing_is_unpacked(tmp_path: Path) -> None:
    file = file_of(Kind.TRADES)
    rows = [f"1,1.5,1,1,{T0},true"]
    name = file.name.removesuffix(".zip") + ".csv"
    for inside in ("../" + name, "/etc/" + name, "other.csv"):
        path = tmp_path / file.name
        path.write_bytes(zipped(inside, rows))
        with pytest.raises(DataError, match="alone, holds"):
            source(Fetched(file, path))
    assert [p.name for p in tmp_path.rglob("*")] == [file.name]


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = file_of(Kind.TRADES)
    path = tmp_path / file.name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(file.name.removesuffix(".zip") + ".csv", b"1" * 20_000_000)
    with pytest.raises(DataError, match="times as large"):
        source(Fetched(file, path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no zip at all", "no whole zip"),
        (zipped("BTCUSDT-trades-2024-08-08.csv", ["1,2"]), "must have a column"),
        (zipped("BTCUSDT-trades-2024-08-08.csv", ["1,x,1,1,5,true"]), "not as it should be"),
        (zipped("BTCUSDT-trades-2024-08-08.csv", ["1,1,1,1,-5,true"]), "a time that is none"),
        (
            zipped(
                "BTCUSDT-trades-2024-08-08.csv",
                [f"1,1,1,1,{T0},true", f"2,1,1,1,{T0 * 1000},true"],
            ),
            "a time that is none",
        ),
        (zipped("BTCUSDT-trades-2024-08-08.csv", []), "no rows"),
        (zipped("BTCUSDT-trades-2024-08-08.csv", [], HEADERS[Kind.TRADES]), "no rows"),
    ],
)
def test_what_is_no_file_of_the_archive_is_told_in_a_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = file_of(Kind.TRADES)
    (tmp_path / file.name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        source(Fetched(file, tmp_path / file.name))
