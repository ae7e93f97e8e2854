import pytest

from hft_lib.plots.words import count, day, duration, minute, money, number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12_345.6, "12,346"),
        (1.60, "1.6"),
        (-0.012345, "\N{MINUS SIGN}0.01235"),
        (-4.56789e-7, "\N{MINUS SIGN}4.568e\N{MINUS SIGN}07"),
        (float("nan"), "not a number"),
        (float("-inf"), "\N{MINUS SIGN}∞"),
    ],
)
def test_a_number_has_four_digits_and_a_real_minus(value, text):
    assert number(value) == text


def test_money_has_its_currency_and_separated_thousands():
    assert money(-1_234_567.8, "USDT") == "\N{MINUS SIGN}1,234,568\N{NO-BREAK SPACE}USDT"
    assert money(-0.001, "EUR") == "0.00\N{NO-BREAK SPACE}EUR"


def test_times_are_said_in_utc():
    assert minute(1_744_446_600_000_000_000) == "2025-04-12 08:30 UTC"
    assert day(1_744_446_600_000_000_000) == "12 April 2025"


def test_durations_take_the_largest_unit_that_fits_twice():
    assert [duration(s) for s in (5, 360, 7_200, 90_000, 41 * 86_400)] == [
        "5 s",
        "6 min",
        "2 h",
        "25 h",
        "41 days",
    ]


def test_counts_and_shares_read_well():
    assert [count(n, "block") for n in (0, 1, 1_200)] == ["no blocks", "1 block", "1,200 blocks"]
    assert percent(0.3231) == "32.3\N{NO-BREAK SPACE}%"
