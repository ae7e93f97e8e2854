"""Binance's frames as items: what is not wholly what it should be costs one refusal."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_lib.events import Depth, Mark, Quote, Rejected, Trade
from hft_lib.market.live import binance
from hft_lib.market.live.items import Answer, Closing, FundingNotice, Unreadable
from hft_lib.market.live.symbol import SymbolFeed

SPOT = {"BTCUSDT": "BTC/USDT"}
PERP = {"BTCUSDT": "BTC/USDT:USDT"}
QUOTE: dict[str, Any] = {"u": 7, "s": "BTCUSDT", "b": "1.5", "B": "2", "a": "1.6", "A": "3"}
TRADE: dict[str, Any] = {"e": "trade", "E": 5, "T": 4, "s": "BTCUSDT", "t": 9, "p": "1.5"}
TRADE |= {"q": "0.1", "m": True}
DEPTH: dict[str, Any] = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": 3, "u": 4}
DEPTH |= {"b": [["1.5", "0"]], "a": [["1.6", "2"]]}
MARK: dict[str, Any] = {"e": "markPriceUpdate", "E": 5, "s": "BTCUSDT", "p": "1.5"}
MARK |= {"r": "-0.0001", "T": 1000, "i": "1.4", "P": "1.5"}
FRAMES = (QUOTE, TRADE, DEPTH, DEPTH | {"pu": 1, "T": 5}, MARK)


def read(frame: dict[str, Any], symbols: dict[str, str] = SPOT) -> Any:
    return binance.parse(json.dumps(frame), 10, symbols)


def refused(frame: bytes | str) -> str:
    with pytest.raises(Unreadable) as error:
        binance.parse(frame, 10, SPOT)
    return error.value.reason


def test_the_connection_says_the_market():
    assert read(QUOTE).symbol == "BTC/USDT"
    assert read(QUOTE, PERP).symbol == "BTC/USDT:USDT"


def test_each_kind_is_read_wrapped_or_not():
    assert read(QUOTE) == Quote(10, 0, "BTC/USDT", 1.5, 2.0, 1.6, 3.0, 7)
    assert read({"stream": "btcusdt@bookTicker", "data": QUOTE}) == read(QUOTE)
    assert read(TRADE) == Trade(10, 4_000_000, "BTC/USDT", 1.5, 0.1, "sell", 9)
    spot = read(DEPTH)
    assert spot == Depth(10, 5_000_000, "BTC/USDT", False, 3, 4, 2, ((1.5, 0.0),), ((1.6, 2.0),))
    assert read(DEPTH | {"pu": 1, "T": 5}).previous_id == 1
    mark = Mark(10, 5_000_000, "BTC/USDT", 1.5)
    assert read(MARK) == FundingNotice(mark, -0.0001, 1_000_000_000)
    assert read(MARK | {"r": ""}) == mark


def test_answers_and_a_venues_good_bye_are_read():
    assert read({"result": None, "id": 3}) == Answer(3)
    assert read({"error": {"code": 2, "msg": "no"}, "id": 3}).error
    assert read({"code": 2, "msg": "no", "id": "4"}) == Answer(4, "no")
    assert read({"e": "serverShutdown", "E": 1}) == Closing("serverShutdown")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"b": "NaN"}, "NAN"),
        ({"b": "-1"}, "PRICE"),
        ({"b": "1e999"}, "NAN"),
        ({"b": "1_0"}, "MALFORMED"),
        ({"b": ""}, "MALFORMED"),
        ({"b": "0"}, "PRICE"),  # an empty side has no size either
        ({"a": "0.00"}, "PRICE"),
        ({"b": None}, "BROKEN_FRAME"),
        ({"u": 2**63}, "MALFORMED"),
        ({"u": 0}, "MALFORMED"),
        ({"s": "ETHUSDT"}, "UNKNOWN_SYMBOL"),
        ({"e": "kline"}, "UNREAD_MESSAGE"),
    ],
)
def test_a_flaw_has_its_reason(change: dict[str, Any], reason: str):
    assert refused(json.dumps(QUOTE | change)) == reason


def test_times_are_read_in_the_unit_that_their_size_tells():
    in_ms = read(TRADE | {"E": 1_735_689_600_123, "T": 1_735_689_600_123})
    in_us = read(TRADE | {"E": 1_735_689_600_123_456, "T": 1_735_689_600_123_456})
    assert in_ms.exchange_time_ns == 1_735_689_600_123_000_000
    assert in_us.exchange_time_ns == 1_735_689_600_123_456_000
    assert refused(json.dumps(TRADE | {"T": 2**63})) == "MALFORMED"


def test_a_quote_of_a_one_sided_book_is_read():
    told = read(QUOTE | {"b": "0.00", "B": "0.000"})
    assert (told.bid, told.bid_size) == (0.0, 0.0) and told.ask > 0.0


def test_what_is_no_message_is_refused():
    assert refused(b'{"u": NaN}') == refused(b"\xff\x00") == refused(b"") == "BROKEN_FRAME"
    assert refused("{}") == refused('{"s": ""}') == "UNREAD_MESSAGE"
    assert refused(json.dumps(TRADE | {"q": "0"})) == "PRICE"
    assert refused(json.dumps(DEPTH | {"U": 5})) == "MALFORMED"
    assert refused(json.dumps(DEPTH | {"b": "1.5"})) == "MALFORMED"
    assert refused(json.dumps(MARK | {"r": "7"})) == "FUNDING"


def finite(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value) and value >= -1.0


MUTATIONS = st.tuples(st.integers(0, 400), st.sampled_from([b"", b"\0", b"-", b'"', b"NaN", b"9"]))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FRAMES), st.lists(MUTATIONS, max_size=3)), max_size=30))
def test_whatever_comes_nothing_is_told_twice_and_nothing_is_no_number(frames: list[Any]):
    feed = SymbolFeed("BTC/USDT")
    seen: set[tuple[str, int]] = set()
    for frame, mutations in frames:
        text = json.dumps(frame).encode()
        for at, put in mutations:
            text = text[: at % len(text)] + put + text[at % len(text) + 1 :] or b" "
        try:
            item = binance.parse(text, 10, SPOT)
        except Unreadable:
            continue
        if isinstance(item, Answer | Closing):
            continue
        for event in feed.take(item):
            if isinstance(event, Rejected):
                continue
            assert all(finite(getattr(event, name)) for name in event.__struct_fields__)
            if isinstance(event, Quote | Trade):
                name = "update_id" if isinstance(event, Quote) else "trade_id"
                key = (type(event).__name__, getattr(event, name))
                assert key not in seen
                seen.add(key)


def test_an_exchanges_listing_gives_terms_and_says_who_is_halted():
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        {"filterType": "NOTIONAL", "minNotional": "5.0"},
    ]
    symbols = [{"symbol": "BTCUSDT", "status": "HALT", "filters": filters}, {"symbol": "OTHER"}]
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "limit": 6000}]
    found = binance.listing({"symbols": symbols, "rateLimits": limits}, 10, SPOT)
    one = found.instruments["BTC/USDT"]
    assert (one.price_tick, one.quantity_step, one.notional_min_quote) == (0.01, 0.001, 5.0)
    assert found.halted == ("BTC/USDT",) and found.weight_a_minute == 6000
    broken = binance.listing({"symbols": [{"symbol": "BTCUSDT", "filters": []}]}, 10, SPOT)
    assert broken.instruments == {} and broken.flaws[0].symbol == "BTC/USDT"


def test_answers_of_rest_are_read_or_refused():
    book = binance.snapshot({"lastUpdateId": 9, "bids": [["1", "2"]], "asks": []}, 10, "S/T")
    assert book == Depth(10, 0, "S/T", True, 0, 9, 0, ((1.0, 2.0),), ())
    row = {"id": 3, "price": "1.5", "qty": "2", "time": 4, "isBuyerMaker": False}
    assert binance.trades([row], 10, "S/T") == [Trade(10, 4_000_000, "S/T", 1.5, 2.0, "buy", 3)]
    sums = [{"a": 1, "p": "1", "q": "2", "f": 3, "l": last, "T": 4, "m": True} for last in (3, 4)]
    assert [one.trade_id for one in binance.single_trades(sums, 10, "S/T")] == [3]
    assert binance.server_time_ms({"serverTime": 5}) == 5
    wrongs: list[Any] = [None, "", "<html>", {"serverTime": None}, [], float("nan")]
    for wrong in wrongs:
        with pytest.raises(Unreadable):
            binance.server_time_ms(wrong)
