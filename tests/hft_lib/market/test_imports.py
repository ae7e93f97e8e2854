"""Files to one tape, whatever their order."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.events import Depth, Instrument, Quote, TimePassed
from hft_lib.market import cleaning
from hft_lib.market.bars import bar_source
from hft_lib.market.binance_ws import websocket_source
from hft_lib.market.flaws import counts
from hft_lib.market.imports import import_sources


def test_two_recordings_make_one_tape_in_either_order(market_data: Path, tmp_path: Path) -> None:
    folder = market_data / "ticks_hftbacktest_20240808"
    files = [folder / "spot_btcusdt_20240808.gz", folder / "usdm_btcusdt_20240808.gz"]
    tape, flaws = import_sources([websocket_source(f) for f in files], tmp_path / "a", {})
    again, _ = import_sources([websocket_source(f) for f in files[::-1]], tmp_path / "b", {})
    assert tape.sha256 == again.sha256
    kinds = tape.manifest.rows_by_kind
    assert kinds["Quote"] + kinds["Trade"] == 125_199
    assert kinds["Instrument"] == 2
    assert counts(flaws) == {"DEPTH_BEFORE_SNAPSHOT": 6}
    assert tape.symbols == ["BTC/USDT", "BTC/USDT:USDT"]

    # The recording is clean, as its catalogue says; so must the events be, books included.
    states = {symbol: cleaning.SymbolState(symbol) for symbol in tape.symbols}
    found: Counter[str] = Counter()
    books: list[Depth] = []
    for event in tape.events():
        assert event.time_ns >= tape.start_ns
        if isinstance(event, Depth) and event.snapshot:
            books.append(event)
        if not isinstance(event, TimePassed):
            state = states[event.symbol]
            found.update(flaw.reason for flaw in cleaning.inspect(state, event))
    assert found == {}
    assert len(books) == 2 and min(len(book.bids) for book in books) >= 500


def test_bars_of_different_steps_make_one_tape_in_either_order(
    market_data: Path, tmp_path: Path
) -> None:
    perp = market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet"
    spot = market_data / "binance_spot_5m_202501_202506_pegged" / "BTCUSDT.parquet"
    tape, _ = import_sources([bar_source(perp), bar_source(spot)], tmp_path / "a", {"format": "x"})
    again, _ = import_sources([bar_source(spot), bar_source(perp)], tmp_path / "b", {})
    assert tape.sha256 == again.sha256
    assert tape.rows == 43_199 + 48_491 + 2
    first = list(tape.events(end_ns=tape.start_ns + 1))
    assert [type(event) for event in first] == [Instrument, Instrument, Quote]
    assert tape.manifest.source == {"format": "x"}


def test_equal_times_of_one_symbol_come_in_the_same_order_from_either_order_of_files(
    tmp_path: Path,
) -> None:
    files = []
    for number in range(3):
        times = [1_700_000_040_000 + n * 60_000 for n in range(3)]
        prices = {name: [10.0 + number] * 3 for name in ("open", "high", "low", "close")}
        files.append(tmp_path / f"{number}.parquet")
        pq.write_table(pa.table({"ts": times, **prices, "volume": [1.0] * 3}), files[-1])
    tapes = []
    for name, order in (("a", files), ("b", files[::-1])):
        sources = [bar_source(file, "X/USDT") for file in order]
        tapes.append(import_sources(sources, tmp_path / name, {})[0])
    assert list(tapes[0].events()) == list(tapes[1].events())
