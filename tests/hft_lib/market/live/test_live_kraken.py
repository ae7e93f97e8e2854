"""Kraken's frames and answers as items: what each becomes, and what follows from one of no use."""

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hft_lib.events import Depth, Quote, Trade
from hft_lib.market.kraken_ws import KrakenParser, symbol_of
from hft_lib.market.live import kraken
from hft_lib.market.live.items import (
    Alive,
    Answer,
    BookLost,
    Closing,
    Message,
    Say,
    TradesUnsure,
    Unreadable,
)
from hft_lib.market.live.symbol import SymbolFeed
from hft_lib.market.live.unnumbered import UnnumberedTrades
from tests.market.kraken import Pair

T0 = 1_700_000_000 * 10**9
S = 10**9
SYMBOL = "BTC/USD"
AT = "1700000000.000001"


def reader(parser: KrakenParser | None = None, heard: set[str] | None = None) -> kraken.Reader:
    known = KrakenParser([SYMBOL]) if parser is None else parser
    return kraken.Reader(known, [SYMBOL], set() if heard is None else heard)


def frame(*parts: Any, channel: str = "book-100", pair: str = "XBT/USD") -> str:
    return json.dumps([42, *parts, channel, pair])


def market() -> Pair:
    pair = Pair("XBT/USD", 100)
    pair.put(0, ["101.0", "1.0", AT])
    pair.put(1, ["100.0", "1.0", AT])
    return pair


def whole(pair: Pair) -> str:
    return frame({"as": pair.rows(0), "bs": pair.rows(1)})


def change(pair: Pair, checksum: str | None = None) -> str:
    row = ["100.0", f"{len(pair.trades) + 2}.0", AT]
    pair.trades.append(("", "", "", ""))  # so that each change is another
    pair.put(1, row)
    return frame({"b": [row], "c": checksum or pair.checksum()})


def synced(feed: SymbolFeed) -> bool:
    return feed.book.is_synced


def names(messages: Any) -> list[str]:
    return [type(one).__name__ for one in messages]


def test_a_book_is_told_whole_and_then_by_its_changes():
    pair, read = market(), reader()
    assert names(read(whole(pair), T0)) == ["Depth", "Quote"]
    assert names(read(change(pair), T0 + 1)) == ["Depth", "Quote"]


def test_a_wrong_checksum_loses_the_book_and_asks_for_it_anew():
    pair, read, feed = market(), reader(), SymbolFeed(SYMBOL)
    for item in (*read(whole(pair), T0), *read(change(pair), T0 + 1)):
        assert isinstance(item, Depth | Quote) and feed.take(item) == [item]
    assert synced(feed)
    error, unsure, lost, left, anew = read(change(pair, "1"), T0 + 2 * S)
    assert unsure == TradesUnsure(SYMBOL), "what was missed may have been trades too"
    assert isinstance(error, Unreadable) and (error.reason, error.symbol) == ("CHECKSUM", SYMBOL)
    assert isinstance(lost, BookLost) and feed.take(lost) == []
    assert not synced(feed) and not feed.book.wants_snapshot and feed.book.resyncs == 1
    asked = [json.loads(one.text) for one in (left, anew) if isinstance(one, Say)]
    assert [one["event"] for one in asked] == ["unsubscribe", "subscribe"]
    assert all(one["subscription"] == {"name": "book", "depth": 100} for one in asked)
    assert names(read(change(pair), T0 + 2 * S + 1)) == ["Unreadable", "BookLost"], "asked already"
    assert "Say" in names(read(change(pair), T0 + 3 * S)), "it never came: asked again"
    depth, quote = read(whole(pair), T0 + 4 * S)
    assert isinstance(depth, Depth) and feed.take(depth) == [depth] and synced(feed)
    assert isinstance(quote, Quote) and quote.update_id == depth.last_id
    after = read(change(pair), T0 + 4 * S + 1)[0]
    assert isinstance(after, Depth) and feed.take(after) == [after]


def test_trades_are_not_doubted_at_each_of_many_wrong_checksums():
    pair, read = market(), reader()
    found: list[list[str]] = []
    for second in (1, 3, 5):
        read(whole(pair), T0 + second * S)
        found.append(names(read(change(pair, "1"), T0 + (second + 1) * S)))
    assert ["TradesUnsure" in one for one in found] == [True, False, False]
    read(whole(pair), T0 + 7 * S)
    read(change(pair), T0 + 8 * S)
    assert "TradesUnsure" in names(read(change(pair, "1"), T0 + 9 * S)), "a right one came between"


def test_after_a_silence_without_heartbeats_trades_are_doubted():
    pair, read = market(), reader()
    read(whole(pair), T0)
    read('{"event": "heartbeat"}', T0 + 2 * S)
    assert names(read(change(pair), T0 + 4 * S)) == ["Depth", "Quote"]
    assert names(read(change(pair), T0 + 8 * S)) == ["TradesUnsure", "Depth", "Quote"]
    assert names(read('{"event', T0 + 12 * S)) == ["TradesUnsure", "Unreadable"]


@pytest.mark.parametrize("text", ["[42, {", "", "\x00", "[1,2]", '[42,[[1]],"trade","XBT/USD"]'])
def test_a_frame_that_cannot_be_read_may_have_been_a_change_or_a_trade(text: str):
    pair, read = market(), reader()
    read(whole(pair), T0)
    found = read(text, T0 + 2 * S)
    assert names(found) == ["Unreadable", "TradesUnsure", "BookLost", "Say", "Say"]
    assert names(read(change(pair), T0 + 2 * S + 1)) == ["Unreadable", "BookLost"]


def test_a_frame_of_another_symbol_costs_no_book():
    pair, read = market(), reader()
    read(whole(pair), T0)
    (error,) = read(frame({"as": [], "bs": []}, pair="ETH/USD"), T0 + 2 * S)
    assert isinstance(error, Unreadable) and error.reason == "UNKNOWN_SYMBOL"
    assert names(read(change(pair), T0 + 3 * S)) == ["Depth", "Quote"]


def test_a_new_connection_begins_its_book_anew_and_numbers_on():
    pair, parser = market(), KrakenParser([SYMBOL])
    first = reader(parser)(whole(pair), T0)[0]
    read = reader(parser)
    assert names(read(change(pair), T0 + 1)) == ["Unreadable", "BookLost"]
    again = read(whole(pair), T0 + 2)[0]
    assert isinstance(first, Depth) and isinstance(again, Depth)
    assert again.last_id == first.last_id + 1


def trades(*seconds: float) -> str:
    rows = [["100.0", "1.0", f"{1_700_000_000 + at:.6f}", "b", "m", ""] for at in seconds]
    return frame(rows, channel="trade")


def told(messages: Any) -> list[float]:
    return [(one.exchange_time_ns - T0) / 1e9 for one in messages if isinstance(one, Trade)]


def test_trades_before_the_first_subscription_are_not_of_this_recording():
    heard: set[str] = set()
    read = reader(heard=heard)
    assert told(read(trades(-60.0, -10.0, -1.0), T0)) == [-1.0]
    assert told(read(trades(-9.0), T0 + 1)) == [-9.0], "only what a subscription begins with"
    assert heard == {SYMBOL}
    assert told(reader(heard=heard)(trades(-60.0, 5.0), T0 + 6 * S)) == [-60.0, 5.0]


def test_a_frame_of_trades_that_comes_again_is_refused():
    read = reader()
    assert told(read(trades(0.0, 0.0), T0)) == [0.0, 0.0]
    assert told(read(trades(1.0), T0)) == [1.0]
    with pytest.raises(Unreadable, match="2 trades as they came before") as refused:
        read(trades(0.0, 0.0), T0)
    assert refused.value.reason == "DUPLICATE"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"event": "heartbeat"}, Alive()),
        ({"event": "pong", "reqid": 3}, Alive()),
        ({"event": "systemStatus", "status": "online"}, Alive()),
        ({"event": "subscriptionStatus", "status": "subscribed", "reqid": 2}, Answer(2)),
        ({"event": "subscriptionStatus", "status": "unsubscribed", "reqid": 9}, Answer(9)),
        (
            {"event": "subscriptionStatus", "status": "error", "reqid": 1, "errorMessage": "no"},
            Answer(1, "no"),
        ),
        (
            {"event": "subscriptionStatus", "status": "error", "reqid": 9, "errorMessage": "no"},
            Closing("no"),
        ),
        (
            {"event": "subscriptionStatus", "status": "unsubscribed", "pair": "XBT/USD"},
            Closing("unsubscribed XBT/USD"),
        ),
        ({"event": "error", "errorMessage": "Malformed request"}, Closing("Malformed request")),
    ],
)
def test_what_the_venue_says_of_the_connection(said: dict[str, Any], message: Message):
    assert list(reader()(json.dumps(said), T0)) == [message]


def test_what_the_venue_says_of_itself_is_told():
    (error,) = reader()('{"event": "systemStatus", "status": "maintenance"}', T0)
    assert isinstance(error, Unreadable) and str(error) == "maintenance"


@pytest.mark.parametrize("text", ["{", '{"event": 7}', '{"event": "news"}', "{}"])
def test_what_is_not_understood_is_refused(text: str):
    with pytest.raises(Unreadable):
        reader()(text, T0)


def test_mutated_frames_are_taken_or_refused(market_data: Path):
    path = market_data / "payloads_cryptofeed" / "KRAKEN.ws.50.0.gz"
    with gzip.open(path, "rt") as file:
        texts = [line.partition(": ")[2].strip() for line in file]
    frames = [text for text in texts if text.startswith(("{", "["))]
    symbols = sorted({symbol_of(json.loads(one)[-1]) for one in frames if one[0] == "["})
    random, ends = Random(7), {"taken": 0, "refused": 0}
    parser = KrakenParser(symbols)
    for round_number in range(20):
        read = kraken.Reader(parser, symbols, set())
        for number, text in enumerate(frames):
            raw = bytearray(text.encode())
            if random.random() < 0.003:
                raw[random.randrange(len(raw))] = random.randrange(256)
                raw = raw[: random.choice([len(raw), random.randrange(len(raw) + 1)])]
            try:
                found = read(bytes(raw), T0 + round_number * S + number)
                refused = any(isinstance(one, Unreadable) for one in found)
            except Unreadable:
                refused = True
            ends["refused" if refused else "taken"] += 1
    assert min(ends.values()) > 1_000


# --- REST ---

MARKET = {
    "wsname": "XBT/USD",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "tick_size": "0.1",
    "costmin": "0.5",
    "status": "online",
    "fees": [[0, 0.4], [10000, 0.35]],
    "fees_maker": [[0, 0.25]],
}


def listed(**changes: Any) -> Any:
    answer = {"error": [], "result": {"XXBTZUSD": MARKET | changes, "X": {"wsname": "X/Y"}}}
    return kraken.listing(answer, T0, {"XBT/USD": SYMBOL})


def test_terms_are_those_of_who_trades_nothing_yet():
    one = listed().instruments[SYMBOL]
    assert (one.price_tick, one.quantity_step, one.notional_min_quote) == (0.1, 1e-8, 0.5)
    assert (one.taker_fee_rate, one.maker_fee_rate) == (0.004, 0.0025)
    assert listed(tick_size="").instruments[SYMBOL].price_tick == 0.1
    assert listed(fees_maker=[]).instruments[SYMBOL].maker_fee_rate == 0.004
    assert listed(status="cancel_only").halted == (SYMBOL,) and listed().halted == ()


@pytest.mark.parametrize(
    "changes",
    [{"tick_size": "nan"}, {"tick_size": "0"}, {"lot_decimals": 99}, {"fees": [[0, -1.0]]}]
    + [{"costmin": "x"}, {"fees": [[0]]}],
)
def test_terms_of_no_use_are_a_flaw(changes: dict[str, Any]):
    found = listed(**changes)
    assert found.instruments == {} and len(found.flaws) == 1


def test_past_trades_and_where_they_end():
    row = ["100.0", "0.5", 1_700_000_000.123456, "s", "l", "", 7]
    found, last = kraken.trades({"error": [], "result": {"X": [row], "last": "9"}}, T0, SYMBOL)
    own_ns = T0 + 123_456_000
    assert (found, last) == ([Trade(T0, own_ns, SYMBOL, 100.0, 0.5, "sell", 0)], "9")


@pytest.mark.parametrize(
    "result",
    [None, [], {}, {"last": "9"}, {"X": [], "last": 9}, {"X": {}, "last": "9"}]
    + [{"X": [["1"]], "last": "9"}, {"X": [["1", "1", "x", "b"]], "last": "9"}]
    + [{"X": [["nan", "1", 1.0, "b"]], "last": "9"}, {"X": [["1", "1", 1.0, "?"]], "last": "9"}],
)
def test_past_trades_of_no_use_are_refused(result: Any):
    with pytest.raises(Unreadable):
        kraken.trades({"error": [], "result": result}, T0, SYMBOL)


def test_the_clock_is_read_to_the_middle_of_its_second():
    assert kraken.server_time_ns({"result": {"unixtime": 1_700_000_000}}) == T0 + S // 2
    wrongs: list[Any] = [{}, {"result": {"unixtime": -1}}, {"result": {"unixtime": "x"}}, []]
    for wrong in wrongs:
        with pytest.raises(Unreadable):
            kraken.server_time_ns(wrong)


def test_a_trade_that_may_have_been_missed_is_asked_for():
    feed = SymbolFeed(SYMBOL)
    feed.trades = UnnumberedTrades(SYMBOL)
    feed.take(Trade(T0, T0, SYMBOL, 1.0, 1.0, "buy", 0))
    assert feed.take(TradesUnsure(SYMBOL)) == [] and feed.trades.wanted(T0) is not None
