"""Kraken's frames: what each becomes, and how a book is kept, checked and thrown away."""

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.events import Depth, Quote, Trade
from hft_lib.market import cleaning
from hft_lib.market.kraken_ws import KrakenParser, Taken, subscriptions, symbol_of

T0 = 1_700_000_000 * 10**9
OWN_NS = 1_618_678_133_365_913_000
AT = "1618678133.365913"
SYMBOL = "BTC/EUR"
ASKS = [["50001.0", "1.00000000", AT], ["50002.0", "0.50000000", AT]]
BIDS = [["50000.0", "2.00000000", AT], ["49999.0", "3.00000000", AT]]


def message(*parts: object, channel: str = "book-10", pair: str = "XBT/EUR") -> bytes:
    return json.dumps([42, *parts, channel, pair]).encode()


def checksum(asks: list[list[str]], bids: list[list[str]]) -> str:
    """As Kraken's guide says it: asks, then bids, points and leading zeros away."""
    text = ""
    for price, volume, *_ in asks[:10] + bids[:10]:
        text += str(int(price.replace(".", ""))) + str(int(volume.replace(".", "")))
    return str(zlib.crc32(text.encode()))


WHOLE = message({"as": ASKS, "bs": BIDS})


def begun() -> KrakenParser:
    parser = KrakenParser()
    assert parser.take(T0, WHOLE).flaws == ()
    return parser


def reasons(taken: Taken) -> list[str]:
    assert taken.events == ()
    return [flaw.reason for flaw in taken.flaws]


def change(asks: list[list[str]], bids: list[list[str]], after: str) -> bytes:
    parts: list[dict[str, Any]] = [{"a": asks}] if asks else []
    parts += [{"b": bids}] if bids else []
    parts[-1]["c"] = after
    return message(*parts)


def test_a_whole_book_gives_itself_and_its_top() -> None:
    depth, quote = KrakenParser().take(T0, WHOLE).events
    assert depth == Depth(
        T0,
        OWN_NS,
        SYMBOL,
        True,
        1,
        1,
        0,
        ((50000.0, 2.0), (49999.0, 3.0)),
        ((50001.0, 1.0), (50002.0, 0.5)),
    )
    assert quote == Quote(T0, 0, SYMBOL, 50000.0, 2.0, 50001.0, 1.0, 1)


def test_a_change_whose_checksum_is_right_gives_itself_and_the_new_top() -> None:
    asks = [["50001.0", "0.00000000", AT]]
    bids = [["50000.5", "0.25000000", AT]]
    frame = change(asks, bids, checksum(ASKS[1:], [*bids, *BIDS]))
    depth, quote = begun().take(T0 + 5, frame).events
    assert isinstance(depth, Depth) and not depth.snapshot
    assert (depth.first_id, depth.last_id, depth.previous_id) == (2, 2, 1)
    assert (depth.bids, depth.asks) == (((50000.5, 0.25),), ((50001.0, 0.0),))
    assert quote == Quote(T0 + 5, OWN_NS, SYMBOL, 50000.5, 0.25, 50002.0, 0.5, 2)


def test_a_checksum_leaves_points_and_leading_zeros_out() -> None:
    parser = KrakenParser()
    asks, bids = [["0.05005", "0.00000500", AT]], [["0.05000", "0.00000304", AT]]
    parser.take(T0, message({"as": asks, "bs": [["0.04900", "12.00000000", AT]]}))
    digits = b"5005" + b"500" + b"5000" + b"304" + b"4900" + b"1200000000"
    taken = parser.take(T0, change([], bids, str(zlib.crc32(digits))))
    assert (taken.flaws, len(taken.events)) == ((), 2)


def test_a_change_below_the_top_gives_no_quote() -> None:
    bids = [["49998.0", "1.00000000", AT, "r"]]
    frame = change([], bids, checksum(ASKS, BIDS + bids))
    assert [type(event) for event in begun().take(T0, frame).events] == [Depth]


def test_a_missed_frame_is_seen_and_the_book_waits_for_a_whole_one() -> None:
    parser = begun()
    bids = [["49998.0", "1.00000000", AT]]
    assert reasons(parser.take(T0, change([], bids, "12345"))) == ["CHECKSUM"]
    assert parser.unsynchronised == [SYMBOL]
    well = change([], bids, checksum(ASKS, BIDS + bids))
    assert reasons(parser.take(T0, well)) == ["DEPTH_WITHOUT_SNAPSHOT"]
    depth = parser.take(T0, WHOLE).events[0]
    assert isinstance(depth, Depth) and depth.snapshot and depth.last_id == 2
    assert parser.unsynchronised == []


def test_levels_beyond_the_depth_are_dropped() -> None:
    asks = [[f"{50001 + n}.0", "1.00000000", AT] for n in range(10)]
    parser = KrakenParser()
    parser.take(T0, message({"as": asks, "bs": BIDS}))
    nearer = ["50000.5", "1.00000000", AT]
    parser.take(T0, change([nearer], [], checksum([nearer, *asks[:9]], BIDS)))
    # The tenth of before comes back by its own message alone: taking the nearest leaves nine.
    gone = change([["50000.5", "0.00000000", AT]], [], checksum(asks[:9], BIDS))
    assert parser.take(T0, gone).flaws == ()


def test_trades_have_the_takers_side() -> None:
    rows = [
        ["5541.2", "0.15850568", "1534614057.321597", "s", "l", ""],
        ["6060.0", "0.02455", "1534614057.324998", "b", "m", ""],
    ]
    taken = KrakenParser().take(T0, message(rows, channel="trade"))
    own_ns = 1_534_614_057_321_597_000
    assert taken.events == (
        Trade(T0, own_ns, SYMBOL, 5541.2, 0.15850568, "sell", 0),
        Trade(T0, own_ns + 3_401_000, SYMBOL, 6060.0, 0.02455, "buy", 0),
    )


def test_a_spread_is_a_quote_where_there_is_no_book() -> None:
    row = ["5698.4", "5700.0", "1542057299.545897", "1.01234567", "0.98765432"]
    frame = message(row, channel="spread")
    quote = KrakenParser().take(T0, frame).events[0]
    own_ns = 1_542_057_299_545_897_000
    assert quote == Quote(T0, own_ns, SYMBOL, 5698.4, 1.01234567, 5700.0, 0.98765432)
    assert begun().take(T0, frame) == Taken()


def test_time_never_goes_back() -> None:
    parser = begun()
    assert parser.take(T0 - 5, WHOLE).events[0].time_ns == T0


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "BROKEN_FRAME"),
        (b"[1,2]", "BROKEN_FRAME"),
        (b"\xff\xfe", "BROKEN_FRAME"),
        (b"[" * 100_000, "BROKEN_FRAME"),
        (message({"a": ASKS}, channel="book-7"), "UNREAD_MESSAGE"),
        (message([1], channel="ohlc-5"), "UNREAD_MESSAGE"),
        (b'{"event":"surprise"}', "UNREAD_MESSAGE"),
        (message({"as": ASKS, "bs": BIDS}, pair="xbt"), "UNKNOWN_SYMBOL"),
        (message({"as": [["NaN", "1", AT]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["1_0.0", "1", AT]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["-1", "1", AT]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["0.0", "1", AT]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["1" * 400, "1", AT]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["5", "1", "yesterday"]], "bs": BIDS}), "NUMBER"),
        (message({"as": [["5", "1"]], "bs": BIDS}), "BROKEN_FRAME"),
        (message({"as": [["5", 1, AT]], "bs": BIDS}), "BROKEN_FRAME"),
        (message({"as": ASKS, "bs": [["50001.0", "1", AT]]}), "CROSSED"),
        (message({}), "BROKEN_FRAME"),
        (b'{"event":"systemStatus","status":"maintenance"}', "VENUE_STATUS"),
        (
            b'{"event":"subscriptionStatus","pair":"XBT/EUR","status":"error",'
            b'"errorMessage":"Subscription depth not supported"}',
            "SUBSCRIPTION",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(frame: bytes, reason: str) -> None:
    assert reasons(KrakenParser().take(T0, frame)) == [reason]


@pytest.mark.parametrize("event", ["heartbeat", "pong"])
def test_what_keeps_the_connection_is_neither_event_nor_flaw(event: str) -> None:
    assert KrakenParser().take(T0, json.dumps({"event": event}).encode()) == Taken()


def test_a_symbol_that_was_not_asked_for_is_refused() -> None:
    assert reasons(KrakenParser(["ETH/EUR"]).take(T0, WHOLE)) == ["UNKNOWN_SYMBOL"]


def test_a_new_connection_begins_its_books_anew_and_numbers_on() -> None:
    parser = begun()
    parser.reset()
    assert parser.unsynchronised == []
    assert parser.take(T0, WHOLE).events[0] == Depth(
        T0,
        OWN_NS,
        SYMBOL,
        True,
        2,
        2,
        1,
        ((50000.0, 2.0), (49999.0, 3.0)),
        ((50001.0, 1.0), (50002.0, 0.5)),
    )


def test_what_is_asked_for_has_krakens_names() -> None:
    book, trade = map(json.loads, subscriptions(["BTC/EUR", "DOGE/USD"], 25))
    assert book["pair"] == trade["pair"] == ["XBT/EUR", "XDG/USD"]
    assert (book["subscription"], trade["subscription"]) == (
        {"name": "book", "depth": 25},
        {"name": "trade"},
    )
    assert [symbol_of(pair) for pair in book["pair"]] == ["BTC/EUR", "DOGE/USD"]


Level = tuple[int, int]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 3)), max_size=60))
def test_the_book_is_a_plain_ones_and_passes_inspection(moves: list[tuple[bool, int, int]]) -> None:
    """An exchange that keeps dictionaries, sorts them, and never lets its book be crossed."""
    parser, state = KrakenParser(), cleaning.SymbolState(SYMBOL)
    asks, bids = {51: 1}, {50: 1}
    first = message({"as": [["51.0", "1.0", AT]], "bs": [["50.0", "1.0", AT]]}, channel="book-100")
    seen = list(parser.take(T0, first).events)
    for is_ask, offset, size in moves:
        side, price = (asks, 50 + offset) if is_ask else (bids, 51 - offset)
        if (not is_ask and price >= min(asks, default=99)) or (
            is_ask and price <= max(bids, default=0)
        ):
            continue
        side[price] = size
        if not size:
            del side[price]
        sorted_asks = [[f"{p}.0", f"{asks[p]}.0"] for p in sorted(asks)]
        sorted_bids = [[f"{p}.0", f"{bids[p]}.0"] for p in sorted(bids, reverse=True)]
        part = {
            "a" if is_ask else "b": [[f"{price}.0", f"{size}.0", AT]],
            "c": checksum(sorted_asks, sorted_bids),
        }
        taken = parser.take(T0, message(part, channel="book-100"))
        assert taken.flaws == ()
        seen += taken.events
        quotes = [event for event in seen if isinstance(event, Quote)]
        if asks and bids:
            assert (quotes[-1].bid, quotes[-1].ask) == (max(bids), min(asks))
            assert (quotes[-1].bid_size, quotes[-1].ask_size) == (bids[max(bids)], asks[min(asks)])
    assert [flaw for event in seen for flaw in cleaning.inspect(state, event)] == []
