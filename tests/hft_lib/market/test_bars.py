"""Bars: a bar is one quote at its close, whatever the types of a stranger's file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_lib.events import Quote
from hft_lib.market.bars import bar_source, grid_of, symbol_of
from hft_lib.market.tape import DataError

MINUTE = 60 * 10**9
START_MS = 1_700_000_040_000


def bar_file(path: Path, **columns: object) -> Path:
    """A file of four one-minute bars; `columns` replaces columns, None leaves one out."""
    table: dict[str, object] = {
        "ts": [START_MS + n * 60_000 for n in range(4)],
        "open": [100.0, 101.0, 102.0, 103.0],
        "high": [110.0] * 4,
        "low": [90.0] * 4,
        "close": [101.0, 102.0, 103.5, 104.0],
        "volume": [1.5, 2.0, 0.0, 4.25],
        **columns,
    }
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path)
    return path


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("BTCUSDT_PERP", "BTC/USDT:USDT"),
        ("FDUSDUSDT", "FDUSD/USDT"),
        ("BTCFDUSD", "BTC/FDUSD"),
        ("USDCUSDT", "USDC/USDT"),
        ("1000PEPEUSDT_PERP", "1000PEPE/USDT:USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("BTCEUR", "BTC/EUR"),
        ("USDT", None),
        ("binance_btcusdt", None),
        ("close_wide", None),
    ],
)
def test_a_name_tells_its_symbol_or_nothing(name: str, symbol: str | None) -> None:
    assert symbol_of(name) == symbol


def test_a_bar_is_one_quote_at_its_close(tmp_path: Path) -> None:
    source = bar_source(bar_file(tmp_path / "BTCUSDT.parquet"), spread_bps=4.0)
    quotes = list(source.events())
    close_ns = START_MS * 10**6 + MINUTE
    assert quotes[0] == Quote(
        close_ns, close_ns, "BTC/USDT", 101.0 - 101.0 * 2e-4, 1.5, 101.0 + 101.0 * 2e-4, 1.5
    )
    assert [quote.time_ns for quote in quotes] == [close_ns + n * MINUTE for n in range(4)]
    assert [getattr(quote, "bid_size") for quote in quotes] == [1.5, 2.0, 0.0, 4.25]
    assert source.first_ns == close_ns


def test_the_default_spread_is_two_basis_points(tmp_path: Path) -> None:
    quote = next(bar_source(bar_file(tmp_path / "BTCUSDT.parquet")).events())
    assert isinstance(quote, Quote)
    assert (quote.ask - quote.bid) / 101.0 == pytest.approx(2e-4, rel=1e-9)


def test_the_instrument_follows_the_name_and_the_data(tmp_path: Path) -> None:
    (spot,) = bar_source(bar_file(tmp_path / "BTCUSDT.parquet")).instruments
    (perp,) = bar_source(bar_file(tmp_path / "BTCUSDT_PERP.parquet")).instruments
    assert (spot.kind, spot.short, spot.taker_fee_rate) == ("spot", "none", 0.001)
    assert (perp.kind, perp.short, perp.taker_fee_rate) == ("perp", "perp", 0.0005)
    assert (spot.price_tick, spot.quantity_step, spot.cadence_ns) == (0.1, 0.01, MINUTE)


def test_the_step_is_the_commonest_one(tmp_path: Path) -> None:
    minutes = [0, 1, 2, 9]
    path = bar_file(tmp_path / "BTCUSDT.parquet", ts=[START_MS + n * 60_000 for n in minutes])
    quotes = list(bar_source(path).events())
    assert [(q.time_ns // 10**6 - START_MS) // 60_000 for q in quotes] == [1, 2, 3, 10]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([START_MS // 1000 + n * 60 for n in range(4)], pa.int32()),
        pa.array([START_MS // 1000 + n * 60 for n in range(4)], pa.uint64()),
        pa.array([(START_MS + n * 60_000) * 1000 for n in range(4)], pa.int64()),
        pa.array([(START_MS + n * 60_000) * 10**6 for n in range(4)], pa.int64()),
        pa.array([float(START_MS + n * 60_000) for n in range(4)], pa.float64()),
        pa.array([START_MS / 1000 + n * 60 for n in range(4)], pa.float64()),
        pa.array([START_MS // 1000 + n * 60 for n in range(4)], pa.timestamp("s", "UTC")),
        pa.array([START_MS + n * 60_000 for n in range(4)], pa.timestamp("ms")),
        pa.array([(START_MS + n * 60_000) * 10**6 for n in range(4)], pa.timestamp("ns")),
    ],
    ids=str,
)
def test_times_of_any_type_mean_the_same(tmp_path: Path, times: pa.Array) -> None:
    plain = list(bar_source(bar_file(tmp_path / "BTCUSDT.parquet")).events())
    other = bar_file(tmp_path / "other.parquet", ts=times)
    assert list(bar_source(other, "BTC/USDT").events()) == plain


def test_other_names_and_types_of_columns_are_read(tmp_path: Path) -> None:
    plain = list(bar_source(bar_file(tmp_path / "BTCUSDT.parquet")).events())
    other = bar_file(
        tmp_path / "other.parquet",
        ts=None,
        close=None,
        volume=None,
        Timestamp=[START_MS + n * 60_000 for n in range(4)],
        Close=pa.array([101.0, 102.0, 103.5, 104.0], pa.float32()),
        Volume=pa.array(["1.5", "2.0", "0.0", "4.25"]),
    )
    assert list(bar_source(other, "BTC/USDT").events()) == plain


def test_disorder_keeps_its_own_time_beside_one_that_never_goes_back(tmp_path: Path) -> None:
    minutes = [0, 3, 1, 2]
    path = bar_file(tmp_path / "BTCUSDT.parquet", ts=[START_MS + n * 60_000 for n in minutes])
    quotes = list(bar_source(path).events())
    assert [(q.time_ns // 10**6 - START_MS) // 60_000 for q in quotes] == [1, 4, 4, 4]
    own = [(getattr(q, "exchange_time_ns") // 10**6 - START_MS) // 60_000 for q in quotes]
    assert own == [1, 4, 2, 3]


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    path = bar_file(tmp_path / "BTCUSDT.parquet", close=[101.0, None, float("nan"), 104.0])
    bids = [getattr(quote, "bid") for quote in bar_source(path).events()]
    assert np.isnan(bids).tolist() == [False, True, True, False]


@pytest.mark.parametrize("missing", ["ts", "open", "high", "low", "close", "volume"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    path = bar_file(tmp_path / "BTCUSDT.parquet", **{missing: None})
    with pytest.raises(DataError, match="column of times" if missing == "ts" else missing):
        bar_source(path)


def test_what_is_no_bar_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    whole = bar_file(tmp_path / "BTCUSDT.parquet").read_bytes()
    inputs = {
        "half": (whole[: len(whole) // 2], "no whole Parquet file"),
        "empty": (b"", "no whole Parquet file"),
        "text": (b"ts,open\n1,2\n", "no whole Parquet file"),
    }
    for name, (content, sentence) in inputs.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(DataError, match=sentence) as caught:
            bar_source(path, "BTC/USDT")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="not a file"):
        bar_source(tmp_path / "nothing.parquet", "BTC/USDT")
    with pytest.raises(DataError, match="does not name its symbol"):
        bar_source(bar_file(tmp_path / "half_way.parquet"))
    with pytest.raises(DataError, match="no two different times"):
        bar_source(bar_file(tmp_path / "BTCUSDT.parquet", ts=[START_MS] * 4))
    with pytest.raises(DataError, match="no numbers in column close"):
        bar_source(bar_file(tmp_path / "BTCUSDT.parquet", close=["a", "b", "c", "d"]))
    with pytest.raises(DataError, match="without a time"):
        bar_source(bar_file(tmp_path / "BTCUSDT.parquet", ts=[None, 1, 2, 3]))


@pytest.mark.parametrize(
    ("values", "grid"),
    [([100.0, 2.0], 1.0), ([0.1, 61837.6], 0.1), ([1e-8, 3e-7], 1e-8), ([1 / 3], 1e-8)],
)
def test_the_grid_is_what_all_values_lie_on(values: list[float], grid: float) -> None:
    assert grid_of(np.array(values)) == grid


def test_a_real_file_becomes_its_rows(market_data: Path) -> None:
    path = market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet"
    source = bar_source(path)
    closes = pq.read_table(path, columns=["close"]).column(0).to_pylist()
    quotes = [event for event in source.events() if isinstance(event, Quote)]
    assert len(quotes) == 43_199
    mids = [(quote.bid + quote.ask) / 2 for quote in quotes]
    np.testing.assert_allclose(mids, closes, rtol=1e-12)
    assert source.instruments[0].price_tick == 0.1
