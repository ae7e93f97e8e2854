"""Which files of the archive hold the days that are asked for."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.market.archive import DAYS_MAX, Kind, Wanted, plan, wanted
from hft_lib.market.tape import DataError

SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
DAY = date(2024, 8, 8)


@pytest.mark.parametrize(
    ("symbol", "kind", "path"),
    [
        (SPOT, "klines", "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-08.zip"),
        (SPOT, "trades", "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"),
        (
            PERPETUAL,
            "bookTicker",
            "data/futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2024-08-08.zip",
        ),
        (
            PERPETUAL,
            "markPriceKlines",
            "data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-08-08.zip",
        ),
        (
            PERPETUAL,
            "fundingRate",
            "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-08.zip",
        ),
    ],
)
def test_a_file_lies_where_binance_puts_it(symbol: str, kind: str, path: str) -> None:
    (one,) = wanted([symbol], [Kind(kind)], "1m")
    assert [file.path for file in plan(one, DAY, DAY)] == [path]


def test_a_whole_month_is_one_file_and_the_rest_are_days() -> None:
    files = plan(Wanted(SPOT, Kind.TRADES), date(2024, 1, 30), date(2024, 3, 2))
    assert [file.name.removeprefix("BTCUSDT-trades-") for file in files] == [
        "2024-01-30.zip",
        "2024-01-31.zip",
        "2024-02.zip",
        "2024-03-01.zip",
        "2024-03-02.zip",
    ]


@given(
    st.dates(date(2017, 8, 1), date(2026, 12, 31)),
    st.integers(1, 800),
    st.sampled_from([kind for kind in Kind if kind is not Kind.FUNDING_RATE]),
)
def test_the_files_hold_each_day_once_and_no_other(first: date, count: int, kind: Kind) -> None:
    last = date.fromordinal(first.toordinal() + count - 1)
    files = plan(Wanted(PERPETUAL, kind), first, last)
    held = [
        number
        for file in files
        for number in range(file.first.toordinal(), file.last.toordinal() + 1)
    ]
    assert held == list(range(first.toordinal(), last.toordinal() + 1))
    assert [day.first.toordinal() for file in files for day in file.days()] == held


def test_what_only_perpetuals_have_is_left_out_for_spot() -> None:
    kinds = [Kind.KLINES, Kind.BOOK_TICKER, Kind.KLINES]
    assert wanted([SPOT, PERPETUAL, SPOT], kinds, "5m") == [
        Wanted(SPOT, Kind.KLINES, "5m"),
        Wanted(PERPETUAL, Kind.KLINES, "5m"),
        Wanted(PERPETUAL, Kind.BOOK_TICKER),
    ]


@pytest.mark.parametrize(
    ("symbols", "kinds", "step", "sentence"),
    [
        ([SPOT], ["bookTicker"], "1m", "bookTicker of perpetuals alone"),
        (["BTC/USD:BTC"], ["klines"], "1m", "no perpetual settled in its quote"),
        (["../BTC/USDT"], ["klines"], "1m", "BASE/QUOTE"),
        (["BTCUSDT"], ["klines"], "1m", "BASE/QUOTE"),
        ([SPOT], ["klines"], "7m", "a step must be one of 1s, 1m"),
        ([PERPETUAL], ["klines"], "1s", "bars of 1s of spot alone"),
    ],
)
def test_what_the_archive_cannot_have_is_refused_with_a_sentence(
    symbols: list[str], kinds: list[str], step: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        wanted(symbols, [Kind(kind) for kind in kinds], step)


@pytest.mark.parametrize("days", [0, DAYS_MAX + 1])
def test_a_span_that_is_empty_or_too_long_is_refused(days: int) -> None:
    last = date.fromordinal(date(2017, 1, 1).toordinal() + days - 1)
    with pytest.raises(DataError, match=f"were {days}"):
        plan(Wanted(SPOT, Kind.TRADES), date(2017, 1, 1), last)
