"""The market's REST side answers as Binance documents it, from what it has published."""

from collections.abc import Iterator

import pytest

from tests.market.clients import ask, rest
from tests.market.generated import Generated
from tests.market.listing import VENUES, Venue
from tests.market.server import Market


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with Market(Generated(seed=3), stepwise=True) as served:
        served.step(3000)
        yield served


@pytest.mark.parametrize("venue", VENUES)
def test_it_answers_ping_and_its_clock_is_the_time(market: Market, venue: Venue) -> None:
    assert rest(market, venue, "ping").json() == {}
    now_ms = market.ask(lambda exchange: exchange.now_ms())
    assert abs(rest(market, venue, "time").json()["serverTime"] - now_ms) < 5000


@pytest.mark.parametrize("venue", VENUES)
def test_it_lists_each_instrument_with_its_filters(market: Market, venue: Venue) -> None:
    told = rest(market, venue, "exchangeInfo").json()
    assert [row["symbol"] for row in told["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    filters = {row["filterType"]: row for row in told["symbols"][0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == {"spot": "0.01000000", "usdm": "0.10"}[venue]
    assert filters["LOT_SIZE"]["stepSize"] == {"spot": "0.00001000", "usdm": "0.001"}[venue]


@pytest.mark.parametrize("venue", VENUES)
def test_trades_are_the_newest_in_order_and_whole(market: Market, venue: Venue) -> None:
    truth = market.ask(lambda exchange: exchange.truth.trades((venue, "BTCUSDT")))
    told = rest(market, venue, "trades", symbol="BTCUSDT", limit=50).json()
    assert [row["id"] for row in told] == sorted(truth)[-50:]
    last = truth[told[-1]["id"]]
    assert (told[-1]["price"], told[-1]["qty"], told[-1]["time"]) == (
        last["p"],
        last["q"],
        last["T"],
    )


def test_history_begins_at_the_id_that_is_asked_for(market: Market) -> None:
    truth = sorted(market.ask(lambda exchange: exchange.truth.trades(("spot", "ETHUSDT"))))
    query = {"symbol": "ETHUSDT", "fromId": truth[7], "limit": 20}
    told = rest(market, "spot", "historicalTrades", **query).json()
    assert [row["id"] for row in told] == truth[7:27]


def test_history_of_perpetuals_wants_a_key_as_on_the_exchange(market: Market) -> None:
    answer = rest(market, "usdm", "historicalTrades", symbol="BTCUSDT")
    assert (answer.status, answer.json()["code"]) == (401, -2014)


@pytest.mark.parametrize("venue", VENUES)
def test_aggregates_cover_every_trade_once(market: Market, venue: Venue) -> None:
    truth = market.ask(lambda exchange: exchange.truth.trades((venue, "BTCUSDT")))
    log = market.ask(lambda exchange: exchange.truth.log("aggTrade", (venue, "BTCUSDT")).since(0))
    first = log[0]["a"]
    told = rest(market, venue, "aggTrades", symbol="BTCUSDT", fromId=first, limit=1000).json()
    covered = [number for row in told for number in range(row["f"], row["l"] + 1)]
    assert covered == [number for number in sorted(truth) if number <= told[-1]["l"]]
    assert len(covered) >= len(truth) - 5
    by_time = {"symbol": "BTCUSDT", "startTime": told[3]["T"], "endTime": told[9]["T"]}
    spanned = rest(market, venue, "aggTrades", **by_time).json()
    assert all(told[3]["T"] <= row["T"] <= told[9]["T"] for row in spanned)
    assert told[3] in spanned and told[9] in spanned


@pytest.mark.parametrize("venue", VENUES)
def test_bars_hold_the_trades(market: Market, venue: Venue) -> None:
    truth = market.ask(lambda exchange: exchange.truth.trades((venue, "BTCUSDT")))
    bars = rest(market, venue, "klines", symbol="BTCUSDT", interval="1m").json()
    prices = [float(trade["p"]) for trade in truth.values()]
    assert sum(bar[8] for bar in bars) == len(truth)
    assert max(float(bar[2]) for bar in bars) == max(prices)
    assert min(float(bar[3]) for bar in bars) == min(prices)
    volume = sum(float(trade["q"]) for trade in truth.values())
    assert sum(float(bar[5]) for bar in bars) == pytest.approx(volume)
    assert all(bar[0] % 60_000 == 0 and bar[6] == bar[0] + 59_999 for bar in bars)


@pytest.mark.parametrize("venue", VENUES)
def test_the_touch_is_the_last_quote(market: Market, venue: Venue) -> None:
    last = market.ask(lambda exchange: exchange.instruments[venue, "BTCUSDT"].quote)
    assert last is not None
    told = rest(market, venue, "ticker/bookTicker", symbol="BTCUSDT").json()
    assert (told["bidPrice"], told["askQty"]) == (last["b"], last["A"])
    assert len(rest(market, venue, "ticker/bookTicker").json()) == 2


def test_marks_and_funding_are_told(market: Market) -> None:
    mark = rest(market, "usdm", "premiumIndex", symbol="ETHUSDT").json()
    assert float(mark["markPrice"]) == pytest.approx(2600, rel=0.1)
    assert mark["nextFundingTime"] > mark["time"]
    number = market.inject("settle", venue="usdm", symbol="ETHUSDT", funding_rate="-0.00042000")
    past = rest(market, "usdm", "fundingRate", symbol="ETHUSDT", limit=3).json()
    assert len(past) == 3 and market.hits(number) == 1
    assert past[-1]["fundingRate"] == "-0.00042000"
    assert rest(market, "usdm", "fundingInfo").json()[0]["fundingIntervalHours"] == 8


@pytest.mark.parametrize(
    ("venue", "path", "query", "status", "code"),
    [
        ("spot", "depth", {"symbol": "NOUSDT"}, 400, -1121),
        ("spot", "depth", {}, 400, -1102),
        ("usdm", "depth", {"symbol": "BTCUSDT", "limit": 7}, 400, -4021),
        ("usdm", "trades", {"symbol": "BTCUSDT", "limit": "many"}, 400, -1100),
        ("spot", "klines", {"symbol": "BTCUSDT", "interval": "1y"}, 400, -1120),
    ],
)
def test_a_bad_request_is_refused_with_the_exchanges_code(
    market: Market, venue: Venue, path: str, query: dict, status: int, code: int
) -> None:
    answer = rest(market, venue, path, **query)
    assert (answer.status, answer.json()["code"]) == (status, code)


def test_what_is_not_there_is_not_found(market: Market) -> None:
    assert rest(market, "spot", "account").status == 404
    assert rest(market, "spot", "premiumIndex").status == 404


@pytest.mark.parametrize(
    ("venue", "path", "limit", "cost"),
    [("spot", "depth", 1000, 50), ("spot", "ping", 1, 1), ("usdm", "depth", 1000, 20)],
)
def test_each_answer_tells_the_weight_that_is_used(
    market: Market, venue: Venue, path: str, limit: int, cost: int
) -> None:
    # A new minute between the two would begin again: then the second tells its own cost alone.
    query = {"symbol": "BTCUSDT", "limit": limit}
    before = int(rest(market, venue, path, **query).headers["X-MBX-USED-WEIGHT-1M"])
    after = int(rest(market, venue, path, **query).headers["X-MBX-USED-WEIGHT-1M"])
    assert after in (before + cost, cost)


def test_control_tells_the_truth_to_another_process(market: Market) -> None:
    key = {"venue": "spot", "symbol": "BTCUSDT"}
    truth = market.ask(lambda exchange: exchange.truth.trades(("spot", "BTCUSDT")))
    told = ask(market, "/control/truth", kind="trade", **key).json()
    assert {row["t"]: row for row in told} == truth
    book = ask(market, "/control/book", **key).json()
    snapshot = rest(market, "spot", "depth", symbol="BTCUSDT", limit=5000).json()
    assert (book["bids"], book["asks"]) == (snapshot["bids"], snapshot["asks"])
    assert ask(market, "/control/status").json()["instruments"][0]["symbol"] == "BTCUSDT"
    assert ask(market, "/control/listings", **key).json()[0]["symbol"] == "BTCUSDT"
    assert len(ask(market, "/control/funding", venue="usdm", symbol="BTCUSDT").json()) >= 5


def test_control_steps_injects_and_clears(market: Market) -> None:
    assert ask(market, "/control/step", {"ticks": 5}).json() == {"ticks": 5}
    asked = {"name": "gap", "venue": "spot", "rate": 0.5, "seed": 4}
    number = ask(market, "/control/inject", asked).json()["number"]
    assert ask(market, "/control/status").json()["faults"][0]["kinds"] == ["depth"]
    ask(market, "/control/clear", {"number": number})
    assert ask(market, "/control/status").json()["faults"] == []
    assert ask(market, "/control/faults").json()[number]["over"] is True
    assert ask(market, "/control/inject", {"name": "no such fault"}).status == 400
    assert ask(market, "/control/plan", [{"name": "no such fault", "at_s": 1}]).status == 400
    assert "one_sided" in ask(market, "/control/catalogue").json()
    assert ask(market, "/control/violations").json() == []
