"""Recorded frames of two markets through the live state: everything once, nothing refused."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from hft_lib.events import Depth, Quote, Rejected, Trade
from hft_lib.market.live import binance
from hft_lib.market.live.items import Answer, Closing
from hft_lib.market.live.sequence import Sequencer
from hft_lib.market.live.symbol import SymbolFeed


@pytest.mark.parametrize(
    ("file", "symbol"),
    [("usdm_btcusdt", "BTC/USDT:USDT"), ("spot_btcusdt", "BTC/USDT")],
)
def test_recorded_frames_are_all_taken_in_one_order(market_data: Path, file: str, symbol: str):
    path = market_data / "ticks_hftbacktest_20240808" / f"{file}_20240808.gz"
    feed, sequencer = SymbolFeed(symbol), Sequencer()
    told, sent = Counter[str](), Counter[str]()
    trades: list[int] = []
    last_ns = last_depth = before = 0
    with gzip.open(path) as lines:
        for line in lines:
            time, _, frame = line.partition(b" ")
            if b'"lastUpdateId"' in frame[:80]:
                snapshot = json.loads(frame)
                taken = feed.book.restore(binance.snapshot(snapshot, int(time), symbol))
                before = snapshot["lastUpdateId"]
                sent["Depth"] += 1
            else:
                item = binance.parse(frame, int(time), {"BTCUSDT": symbol})
                assert not isinstance(item, Answer | Closing)
                sent[type(item).__name__] += 1
                taken = feed.take(item)
            for event in sequencer.stamp(taken):
                assert not isinstance(event, Rejected), event
                assert event.time_ns > last_ns
                last_ns = event.time_ns
                told[type(event).__name__] += 1
                if isinstance(event, Trade):
                    trades.append(event.trade_id)
                elif isinstance(event, Depth):
                    assert event.snapshot or event.previous_id <= last_depth < event.last_id
                    last_depth = event.last_id
    assert trades == list(range(trades[0], trades[0] + sent["Trade"]))
    assert told[Quote.__name__] == sent["Quote"] > 20_000
    assert feed.book.is_synced and last_depth > before
    # Only the changes that the snapshot already holds are left out.
    assert 0 <= sent["Depth"] - told["Depth"] < 60
