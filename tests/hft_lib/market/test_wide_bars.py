"""Closes of many symbols side by side become one tape."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_lib.events import Quote
from hft_lib.market.tape import DataError
from hft_lib.market.wide_bars import is_wide, wide_source

HOUR_MS = 3_600_000
START_MS = 1_699_999_200_000


def wide_file(path: Path, **columns: object) -> Path:
    times = [START_MS + n * HOUR_MS for n in range(3)]
    table = columns or {"WBETH": [20.0, None, 22.0], "BTC": [100.0, 101.5, float("nan")]}
    pq.write_table(pa.table({"ts": times, **table}), path)
    return path


def test_each_close_is_a_quote_at_the_end_of_its_bar(tmp_path: Path) -> None:
    source = wide_source(wide_file(tmp_path / "closes.parquet"), spread_bps=4.0)
    quotes = [event for event in source.events() if isinstance(event, Quote)]
    close_ns = (START_MS + HOUR_MS) * 10**6
    assert quotes[0] == Quote(
        close_ns, close_ns, "BTC/USDT", 100.0 - 100.0 * 2e-4, 0.0, 100.0 + 100.0 * 2e-4, 0.0
    )
    told = [(quote.time_ns, quote.symbol) for quote in quotes]
    step_ns = HOUR_MS * 10**6
    assert told == [
        (close_ns, "BTC/USDT"),
        (close_ns, "WBETH/USDT"),
        (close_ns + step_ns, "BTC/USDT"),
        (close_ns + 2 * step_ns, "WBETH/USDT"),
    ]
    assert [one.symbol for one in source.instruments] == ["BTC/USDT", "WBETH/USDT"]
    assert [one.price_tick for one in source.instruments] == [0.1, 1.0]
    assert source.instruments[0].cadence_ns == step_ns and source.first_ns == close_ns


def test_columns_that_are_all_pairs_keep_their_names(tmp_path: Path) -> None:
    closes = [1.0, 2.0, 3.0]
    file = wide_file(tmp_path / "a.parquet", BTCUSDT_PERP=closes, BTCUSDT=closes)
    named = {"BTC/USDC": closes, "ETHUSDT": closes, "__index_level_0__": [0, 1, 2]}
    file_of_names = wide_file(tmp_path / "b.parquet", **named)
    symbols = [
        [one.symbol for one in wide_source(f, 2.0).instruments] for f in (file, file_of_names)
    ]
    assert symbols == [["BTC/USDT", "BTC/USDT:USDT"], ["BTC/USDC", "ETH/USDT"]]


def test_only_a_file_without_a_symbols_own_bars_is_wide(tmp_path: Path) -> None:
    closes = [1.0, 2.0, 3.0]
    assert is_wide(wide_file(tmp_path / "wide.parquet"))
    assert not is_wide(wide_file(tmp_path / "bars.parquet", close=closes, volume=closes))
    assert not is_wide(wide_file(tmp_path / "one.parquet", BTC=closes))
    (tmp_path / "text").write_text("no Parquet")
    assert not is_wide(tmp_path / "text") and not is_wide(tmp_path / "nothing")


def test_what_is_no_table_of_closes_is_refused(tmp_path: Path) -> None:
    words = wide_file(tmp_path / "words.parquet", BTC=["a", "b", "c"], ETH=[1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="no numbers in column BTC"):
        wide_source(words, 2.0)
    table = pq.read_table(wide_file(tmp_path / "closes.parquet"))
    pq.write_table(table.take(np.array([2, 1, 0])), tmp_path / "back.parquet")
    with pytest.raises(DataError, match="in the order of time"):
        wide_source(tmp_path / "back.parquet", 2.0)
