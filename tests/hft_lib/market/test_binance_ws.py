"""Recorded WebSocket lines: what each message becomes, and how a book starts from its snapshot."""

import gzip
import json
from pathlib import Path

import pytest

from hft_lib.events import Depth, Funding, Mark, MarketEvent, Quote, Trade
from hft_lib.market import binance_ws
from hft_lib.market.binance_ws import websocket_source
from hft_lib.market.flaws import counts
from hft_lib.market.tape import DataError

T0 = 1_723_161_254_000_000_000
MS = 10**6

SPOT_QUOTE = {"u": 7, "s": "BTCUSDT", "b": "100.10000000", "B": "3.00", "a": "100.20", "A": "1.5"}
SPOT_TRADE = {
    "e": "trade",
    "E": 1001,
    "s": "BTCUSDT",
    "t": 9,
    "p": "100.2",
    "q": "0.25",
    "T": 1000,
    "m": True,
    "M": True,
}
PERP_QUOTE = {**SPOT_QUOTE, "e": "bookTicker", "T": 1000, "E": 1001}
PERP_TRADE = {**SPOT_TRADE, "X": "MARKET", "m": False}
del PERP_TRADE["M"]


def delta(first: int, last: int, previous: int | None = None) -> dict[str, object]:
    message: dict[str, object] = {"e": "depthUpdate", "E": 1001, "s": "BTCUSDT"}
    message |= {"U": first, "u": last, "b": [["100.1", "2"]], "a": []}
    return message if previous is None else {**message, "T": 1000, "pu": previous}


def snapshot(last: int) -> dict[str, object]:
    return {"lastUpdateId": last, "bids": [["100.1", "1"]], "asks": [["100.2", "0.5"]]}


def recording(path: Path, *messages: object) -> Path:
    """One line a millisecond; a dict is a message, anything else a line as it is."""
    lines = []
    for number, message in enumerate(messages):
        time_ns = T0 + number * MS
        if isinstance(message, dict):
            wrapped = message if "lastUpdateId" in message else {"stream": "s", "data": message}
            lines.append(f"{time_ns} {json.dumps(wrapped)}")
        else:
            lines.append(str(message))
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> tuple[list[MarketEvent], dict[str, int]]:
    source = websocket_source(path)
    events = list(source.events())
    return events, counts(source.flaws.runs())


def test_spot_messages_become_events(tmp_path: Path) -> None:
    events, flaws = read(recording(tmp_path / "a", SPOT_QUOTE, SPOT_TRADE))
    assert events == [
        Quote(T0, 0, "BTC/USDT", 100.1, 3.0, 100.2, 1.5, 7),
        Trade(T0 + MS, 1000 * MS, "BTC/USDT", 100.2, 0.25, "sell", 9),
    ]
    assert flaws == {}


def test_futures_messages_become_events(tmp_path: Path) -> None:
    path = recording(tmp_path / "a", snapshot(5), PERP_QUOTE, PERP_TRADE, delta(4, 8, 3))
    events, _ = read(path)
    symbol = "BTC/USDT:USDT"
    book, quote, trade, change = events
    assert book == Depth(T0, 0, symbol, True, 0, 5, 0, ((100.1, 1.0),), ((100.2, 0.5),))
    assert quote == Quote(T0 + MS, 1000 * MS, symbol, 100.1, 3.0, 100.2, 1.5, 7)
    assert trade == Trade(T0 + 2 * MS, 1000 * MS, symbol, 100.2, 0.25, "buy", 9)
    assert change == Depth(T0 + 3 * MS, 1000 * MS, symbol, False, 4, 8, 3, ((100.1, 2.0),), ())


def test_deltas_wait_for_the_snapshot_and_the_old_ones_are_dropped(tmp_path: Path) -> None:
    path = recording(tmp_path / "a", delta(1, 3), delta(4, 8), snapshot(5), delta(9, 9))
    events, flaws = read(path)
    assert [(e.snapshot, e.last_id) for e in events if isinstance(e, Depth)] == [
        (True, 5),
        (False, 8),
        (False, 9),
    ]
    assert [event.time_ns for event in events] == [T0 + 2 * MS, T0 + 2 * MS, T0 + 3 * MS]
    assert flaws == {"DEPTH_BEFORE_SNAPSHOT": 1}


def test_deltas_without_a_snapshot_are_counted_and_not_held_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binance_ws, "HELD_DELTAS_MAX", 3)
    path = recording(tmp_path / "a", SPOT_QUOTE, *[delta(n, n) for n in range(1, 11)])
    events, flaws = read(path)
    assert [type(event) for event in events] == [Quote]
    assert flaws == {"DEPTH_WITHOUT_SNAPSHOT": 10}


def test_broken_lines_are_counted_by_run_and_the_rest_is_read(tmp_path: Path) -> None:
    torn = f"{T0} " + json.dumps({"stream": "s", "data": SPOT_QUOTE})[:40]
    path = recording(
        tmp_path / "a",
        SPOT_QUOTE,
        torn,
        "no line",
        SPOT_TRADE,
        f"{T0} {{}}",
        {**SPOT_QUOTE, "b": "x"},
        {"e": "trade", "s": "WHAT", "p": "1", "q": "1", "M": True},
        "99999999999999999999 {}",
        snapshot(1) | {"bids": [["x", "1"]]},
        SPOT_TRADE,
    )
    source = websocket_source(path)
    events = list(source.events())
    assert [type(event) for event in events] == [Quote, Trade, Trade]
    runs = [(run.reason, run.count) for run in source.flaws.runs()]
    assert runs == [("BROKEN_LINE", 2), ("BROKEN_LINE", 4), ("UNREAD_MESSAGE", 1)]
    assert source.flaws.runs()[0].detail.startswith("line 2:")


def test_a_message_that_is_not_read_is_counted(tmp_path: Path) -> None:
    events, flaws = read(recording(tmp_path / "a", SPOT_QUOTE, {"e": "kline", "s": "BTCUSDT"}))
    assert len(events) == 1
    assert flaws == {"UNREAD_MESSAGE": 1}


def test_funding_falls_due_when_the_announced_time_moves_on(tmp_path: Path) -> None:
    def mark(rate: str, due_ms: int) -> dict[str, object]:
        message = {"e": "markPriceUpdate", "E": 1001, "s": "BTCUSDT", "p": "100.5"}
        return {**message, "r": rate, "T": due_ms}

    path = recording(tmp_path / "a", mark("0.0001", 500), mark("0.0002", 500), mark("0.0003", 900))
    events, flaws = read(path)
    symbol = "BTC/USDT:USDT"
    marks = [Mark(T0 + number * MS, 1001 * MS, symbol, 100.5) for number in range(3)]
    funding = Funding(T0 + 2 * MS, 500 * MS, symbol, 0.0002)
    assert events == [marks[0], marks[1], funding, marks[2]]
    assert flaws == {}


def test_time_never_goes_back(tmp_path: Path) -> None:
    late = f"{T0 - 5} " + json.dumps({"stream": "s", "data": SPOT_QUOTE})
    events, _ = read(recording(tmp_path / "a", SPOT_QUOTE, SPOT_TRADE, late))
    assert [event.time_ns for event in events] == [T0, T0 + MS, T0 + MS]


def test_a_single_stream_and_two_symbols_are_read(tmp_path: Path) -> None:
    bare = f"{T0} " + json.dumps(SPOT_QUOTE)
    path = recording(tmp_path / "a", bare, {**SPOT_QUOTE, "s": "ETHUSDT"}, snapshot(3))
    source = websocket_source(path)
    assert [one.symbol for one in source.instruments] == ["BTC/USDT", "ETH/USDT"]
    assert [event.symbol for event in source.events()] == ["BTC/USDT", "ETH/USDT"]
    assert counts(source.flaws.runs()) == {"BROKEN_LINE": 1}  # whose snapshot is it?
    with pytest.raises(DataError, match="cannot all be"):
        websocket_source(path, "X/USDT")


def test_the_instrument_has_the_decimals_and_the_cadence_of_the_data(tmp_path: Path) -> None:
    quotes = [{**SPOT_QUOTE, "u": n, "b": "100.13", "B": "0.00100"} for n in range(5)]
    (instrument,) = websocket_source(recording(tmp_path / "a", *quotes)).instruments
    assert (instrument.price_tick, instrument.quantity_step) == (0.01, 0.001)
    assert instrument.cadence_ns == 100 * MS
    assert instrument.time_ns == T0


def test_coin_margined_contracts_are_refused(tmp_path: Path) -> None:
    coin = {**PERP_QUOTE, "s": "BTCUSD_PERP", "ps": "BTCUSD"}
    with pytest.raises(DataError, match="BTCUSD_PERP is a COIN-margined contract"):
        websocket_source(recording(tmp_path / "a", coin))


def test_what_is_no_recording_is_told_in_one_sentence(tmp_path: Path) -> None:
    whole = gzip.compress(recording(tmp_path / "a", SPOT_QUOTE, SPOT_TRADE).read_bytes() * 50)
    contents = {
        "empty": (b"", "no Binance message"),
        "text": (b"to be or\nnot to be\n", "no Binance message"),
        "bytes": (bytes(range(256)) * 9, "no Binance message"),
        "half.gz": (whole[: len(whole) // 2], "damaged or cut short"),
    }
    for name, (content, sentence) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=sentence) as caught:
            websocket_source(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="not a file"):
        websocket_source(tmp_path / "nothing")


def test_real_coin_margined_recordings_are_refused(market_data: Path) -> None:
    folder = market_data / "ticks_hftbacktest_20240808"
    for path in sorted(folder.glob("cm_*.gz")):
        with pytest.raises(DataError, match="COIN-margined"):
            websocket_source(path)


def test_a_line_that_is_nested_deeply_is_one_broken_line(tmp_path: Path) -> None:
    deep = f'{T0} {{"s":' + '{"a":' * 5_000 + "1" + "}" * 5_001
    events, flaws = read(recording(tmp_path / "a", SPOT_QUOTE, deep, SPOT_QUOTE))
    assert (len(events), flaws) == (2, {"BROKEN_LINE": 1})


def test_a_spot_trade_that_names_the_orders_is_read(tmp_path: Path) -> None:
    trade = {**SPOT_TRADE, "b": 88, "a": 50}  # as Binance sent it before 2023
    events, flaws = read(recording(tmp_path / "a", trade))
    assert events == [Trade(T0, 1000 * MS, "BTC/USDT", 100.2, 0.25, "sell", 9)]
    assert flaws == {}
