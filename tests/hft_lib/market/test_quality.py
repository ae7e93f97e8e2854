"""Data quality: every planted flaw is named, and clean data have none."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_lib.events import Instrument, MarketEvent, Quote, TimePassed, Trade
from hft_lib.market.flaws import counts
from hft_lib.market.quality import Report, check
from hft_lib.market.tape import DataError, TapeWriter
from hft_lib.market.tape_manifest import MANIFEST

MINUTE_MS = 60_000
START_MS = 1_700_000_040_000
Row = list[float | None]


def bars(count: int = 30) -> list[Row]:
    """Clean bars: time in ms, open, high, low, close, volume."""
    return [[START_MS + n * MINUTE_MS, 10.0, 12.0, 9.0, 11.0, 5.0] for n in range(count)]


def parquet(path: Path, rows: list[Row]) -> Path:
    names = ["ts", "open", "high", "low", "close", "volume"]
    columns = [pa.array(list(column)) for column in zip(*rows)]
    pq.write_table(pa.table(dict(zip(names, columns))), path)
    return path


def csv(path: Path, rows: list[Row], header: str = "ts,open,high,low,close,volume") -> Path:
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    path.write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    return path


def freqtrade(path: Path, rows: list[Row]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def found(report: Report) -> dict[str, int]:
    return counts(report.flaws)


@pytest.mark.parametrize(
    ("write", "name"),
    [(parquet, "BTCUSDT.parquet"), (csv, "BTCUSDT.csv.gz"), (freqtrade, "BTC_USDT-1m.json")],
)
def test_clean_bars_of_any_form_have_no_flaw(
    tmp_path: Path, write: Callable[[Path, list[Row]], Path], name: str
) -> None:
    report = check(write(tmp_path / name, bars()))
    assert (report.kind, report.rows, report.flaws) == ("bars", 30, [])
    assert report.start == "2023-11-14T22:14:00Z"


def with_rows(changed: dict[int, Row]) -> list[Row]:
    return [changed.get(number, row) for number, row in enumerate(bars())]


def row(number: float, *values: float | None) -> Row:
    return [START_MS + number * MINUTE_MS, *values]


FLAWED: dict[str, tuple[list[Row], dict[str, int]]] = {
    "one missing": (bars()[:10] + bars()[11:], {"GAP": 1}),
    "gap": (bars()[:10] + bars()[13:], {"GAP": 3}),
    "duplicate": (bars()[:10] + bars()[9:], {"DUPLICATE": 1}),
    "disorder": (bars()[:10] + [bars()[11], bars()[10]] + bars()[12:], {"DISORDER": 1}),
    "newest first": (bars()[::-1], {"NEWEST_FIRST": 30}),
    "newest first with a gap": (
        (bars()[:10] + bars()[12:])[::-1],
        {"NEWEST_FIRST": 28, "GAP": 2},
    ),
    "null": (with_rows({4: row(4, 10.0, 12.0, 9.0, None, 5.0)}), {"NAN": 1}),
    "no price": (with_rows({4: row(4, 0.0, 12.0, 0.0, 11.0, 5.0)}), {"PRICE": 1}),
    "high below low": (with_rows({4: row(4, 10.0, 9.0, 12.0, 10.0, 5.0)}), {"RANGE": 1}),
    "close above high": (with_rows({4: row(4, 10.0, 12.0, 9.0, 13.0, 5.0)}), {"RANGE": 1}),
    "no volume": (
        with_rows({n: row(n, 10.0, 12.0, 9.0, 11.0, 0.0) for n in (4, 5, 9)}),
        {"ZERO_VOLUME": 3},
    ),
    "negative volume": (with_rows({4: row(4, 10.0, 12.0, 9.0, 11.0, -1.0)}), {"VOLUME": 1}),
    "off the grid": (with_rows({4: row(4.5, 10.0, 12.0, 9.0, 11.0, 5.0)})[:5], {"OFF_GRID": 1}),
    "rounded": (
        [[int(one[0] or 0) // 600_000 * 600_000, *one[1:]] for one in bars()],
        {"ROUNDED_TIME": 26},
    ),
}


@pytest.mark.parametrize("flaw", FLAWED)
@pytest.mark.parametrize("write", [parquet, csv, freqtrade])
def test_a_planted_flaw_is_named_and_counted(tmp_path: Path, write, flaw: str) -> None:
    rows, expected = FLAWED[flaw]
    report = check(write(tmp_path / "BTCUSDT", rows))
    assert found(report) == expected
    assert {one.symbol for one in report.flaws} == {"BTC/USDT"}


def test_a_gap_says_what_is_missing_and_runs_are_joined(tmp_path: Path) -> None:
    (gap,) = check(parquet(tmp_path / "BTCUSDT", FLAWED["gap"][0])).flaws
    assert (gap.start, gap.end) == ("2023-11-14T22:24:00Z", "2023-11-14T22:26:00Z")
    runs = check(parquet(tmp_path / "BTCUSDT", FLAWED["no volume"][0])).flaws
    assert [run.count for run in runs] == [2, 1]


def test_a_duplicate_says_whether_it_is_the_same_bar(tmp_path: Path) -> None:
    (same,) = check(parquet(tmp_path / "BTCUSDT", bars()[:10] + bars()[9:])).flaws
    changed = bars()[:10] + [row(9, 10.0, 12.0, 9.0, 10.5, 5.0)] + bars()[10:]
    (other,) = check(parquet(tmp_path / "BTCUSDT", changed)).flaws
    assert (same.detail, other.detail) == ("the same bar again", "another bar of the same time")


def test_a_name_that_the_rows_deny_is_mislabelled(tmp_path: Path) -> None:
    assert "300 s" in check(csv(tmp_path / "BTCUSDT-5m.csv", bars())).flaws[0].detail
    header = "Unix Timestamp,open,high,low,close,volume"
    assert "holds ms" in check(csv(tmp_path / "a.csv", bars(), header)).flaws[0].detail
    header = "ts,open,high,low,close,volume,symbol"
    rows = [[*one, "ETHUSDT"] for one in bars()]
    report = check(csv(tmp_path / "BTCUSDT.csv", rows, header))  # type: ignore[arg-type]
    assert [flaw.reason for flaw in report.flaws] == ["MISLABELLED"]
    assert report.flaws[0].detail == "the name says BTC/USDT, the rows say ETHUSDT"


def test_both_flawed_recordings_are_seen_through(market_data: Path) -> None:
    folder = market_data / "flaws"
    report = check(folder / "freqtrade_UNITTEST_BTC-1m.json.gz")
    assert (report.rows, found(report)) == (13_681, {"GAP": 717})
    report = check(folder / "gemini_BTCUSD_mislabelled_1min.csv.gz")
    assert report.rows == 50_500
    assert found(report) == {
        "GAP": 7,
        "MISLABELLED": 50_500,
        "NEWEST_FIRST": 50_500,
        "ROUNDED_TIME": 50_196,
        "ZERO_VOLUME": 264,
    }
    assert {flaw.symbol for flaw in report.flaws} == {"BTC/USD"}


def test_an_outage_is_one_gap_of_a_real_file(market_data: Path) -> None:
    path = market_data / "binance_spot_1m_20210420_20210520_crash" / "BTCUSDT.parquet"
    (gap,) = check(path).flaws
    assert (gap.reason, gap.count, gap.start) == ("GAP", 284, "2021-04-25T04:01:00Z")


def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    whole = csv(tmp_path / "whole.csv.gz", bars(1000)).read_bytes()
    contents = {
        "empty": (b"", "is empty"),
        "half.csv.gz": (whole[: len(whole) // 2], "damaged or cut short"),
        "half.parquet": (b"PAR1 and no more", "no whole Parquet file"),
        "a.json": (b'{"a": 1}', "no list of"),
        "none.json": (b"[]", "has no rows"),
        "a.md": (b"a text, with\nsome, commas", "no column of times"),
        "b.md": (b"a text\nwith, some, commas\nand some", "no CSV file"),
        "a.csv": (b"ts,open,high,low,close\n1,2,3,4,5\n", "no column volume"),
        "b.csv": (b"ts,open,high,low,close,volume\n", "has no rows"),
        "c.csv": (b"date,open,high,low,close,volume\nsoon,1,1,1,1,1\n", "no date known here"),
    }
    for name, (content, sentence) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=sentence) as caught:
            check(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="not a file"):
        check(tmp_path / "nothing")


# --- tapes ---

SECOND = 10**9
INSTRUMENT = Instrument(0, "A", "spot", "none", 0.0, 0.001, 0.001, 0.01, 1e-8, 5.0, SECOND)


def quote(second: int, **changes: float) -> Quote:
    time_ns = second * SECOND
    plain = Quote(time_ns, time_ns, "A", 10.0, 1.0, 11.0, 1.0, second)
    return msgspec.structs.replace(plain, **changes)


def test_a_tape_is_judged_as_ingestion_does(tmp_path: Path) -> None:
    nan = float("nan")
    stream: list[MarketEvent | TimePassed] = [
        INSTRUMENT,
        *[quote(second) for second in range(1, 5)],
        quote(5, bid=12.0),
        quote(6, bid=nan),
        quote(7, bid=nan),
        TimePassed(8 * SECOND),
        quote(9),
        quote(10, update_id=9),
        Trade(10 * SECOND, 0, "A", 10.0, 1.0, "buy", 4),
        Trade(10 * SECOND, 0, "A", 10.0, 1.0, "buy", 9),
        quote(11, exchange_time_ns=2 * SECOND, update_id=11),
    ]
    with TapeWriter(tmp_path / "tape") as tape:
        tape.write(stream)
    report = check(tmp_path / "tape")
    assert (report.kind, report.rows) == ("tape", len(stream))
    assert found(report) == {
        "CROSSED": 1,
        "NAN": 2,
        "GAP": 5,
        "DUPLICATE": 1,
        "CLOCK_JUMP": 1,
    }
    # Quotes 5 to 8 are missing, and a run of trades; the two that are no numbers are one run.
    runs = [(run.reason, run.start, run.count) for run in report.flaws]
    assert ("GAP", "1970-01-01T00:00:04Z", 4) in runs
    assert ("NAN", "1970-01-01T00:00:06Z", 2) in runs


def test_a_tape_whose_rows_are_not_those_hashed_is_told(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape") as tape:
        tape.write([INSTRUMENT, quote(1)])
    manifest = tmp_path / "tape" / MANIFEST
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"tape_sha256": "0" * 64}))
    assert found(check(tmp_path / "tape")) == {"HASH": 2}


def test_a_symbol_without_an_instrument_is_told(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape") as tape:
        tape.write([quote(1), quote(2)])
    assert found(check(tmp_path / "tape")) == {"NO_INSTRUMENT": 1}
