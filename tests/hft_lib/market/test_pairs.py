"""Pairs by name: found where there is one, asked for where there are several."""

import pytest

from hft_lib.market.pairs import legs_of, pair_on, possible_pairs


def test_a_pair_has_two_different_legs() -> None:
    assert legs_of("BTC/USDT:USDT~BTC/USDT") == ("BTC/USDT:USDT", "BTC/USDT")


@pytest.mark.parametrize("pair", ["", "A", "A~A", "~A", "A~B~C"])
def test_anything_else_is_named_and_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="two symbols Y~X.*was"):
        legs_of(pair)


def test_a_perpetual_and_the_spot_of_its_coin_are_a_possible_pair() -> None:
    symbols = ["A/USDT", "A/USDT:USDT", "B/USDT"]
    assert possible_pairs(symbols) == ["A/USDT:USDT~A/USDT"]
    assert pair_on(symbols) == "A/USDT:USDT~A/USDT"


def test_two_symbols_alone_are_a_pair() -> None:
    assert pair_on(["WBTC/USDT", "BTC/USDT"]) == "BTC/USDT~WBTC/USDT"


def test_the_pair_asked_for_must_be_on_the_tape() -> None:
    assert pair_on(["A", "B", "C"], "C~A") == "C~A"
    with pytest.raises(ValueError, match="lacks D of pair A~D: it has A, B"):
        pair_on(["A", "B"], "A~D")


def test_several_possible_pairs_are_asked_about() -> None:
    with pytest.raises(ValueError, match="which pair.*A, B, C"):
        pair_on(["A", "B", "C"])
