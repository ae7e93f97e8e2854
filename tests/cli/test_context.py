"""What several verbs need: pairs, times, windows."""

from pathlib import Path

import pytest

from cli.context import iso, parse_time, resolve_pair, window_of
from cli.errors import BadInput
from cli.parameters import read_parameters
from hft_lib.market.pairs import possible_pairs
from hft_lib.market.tape import Tape
from serving.runtime.settings import Settings

PAIR = "SYN/USDT:USDT~SYN/USDT"


def test_times_are_read_as_they_are_printed() -> None:
    for text in ("2024-01-02T03:04:05.678Z", "1970-01-01T00:00:00.000Z"):
        assert iso(parse_time(text) or 0) == text
    assert parse_time("2024-01-02") == parse_time("2024-01-02T01:00:00+01:00")
    assert parse_time(None) is None


@pytest.mark.parametrize("text", ["yesterday", "", "2024-13-01", "1969-12-31", "9999-01-01"])
def test_what_is_no_time_is_refused_with_it(text: str) -> None:
    with pytest.raises(BadInput, match=f"was '{text}'"):
        parse_time(text)


def test_a_tape_of_one_coin_needs_no_pair(tape: Path) -> None:
    assert resolve_pair(None, None, Settings(), Tape.open(tape)) == PAIR


def test_a_pair_is_taken_from_the_command_the_file_the_settings_the_tape(
    tape: Path, params: Path
) -> None:
    opened, file = Tape.open(tape), read_parameters(params)
    turned = "SYN/USDT~SYN/USDT:USDT"
    settings = Settings(pairs=(turned,))
    assert resolve_pair(PAIR, None, settings, opened) == PAIR
    assert resolve_pair(None, file, settings, opened) == PAIR
    assert resolve_pair(None, None, settings, opened) == turned
    several = Settings(pairs=(turned, "A/B~C/D"))
    assert resolve_pair(None, None, several, opened) == PAIR
    with pytest.raises(BadInput, match="parameter file is of pair SYN/USDT:USDT~SYN/USDT"):
        resolve_pair(turned, file, settings, opened)


@pytest.mark.parametrize("pair", ["SYN/USDT", "A~B~C", "~SYN/USDT", "SYN/USDT~SYN/USDT", "A~"])
def test_a_malformed_pair_is_refused_with_it(tape: Path, pair: str) -> None:
    with pytest.raises(BadInput, match=f"must be two symbols.*was '{pair}'"):
        resolve_pair(pair, None, Settings(), Tape.open(tape))


def test_a_pair_that_the_tape_lacks_is_named_with_what_it_has(tape: Path) -> None:
    with pytest.raises(BadInput, match="lacks ETH/USDT of pair.*it has SYN/USDT, SYN/USDT:USDT"):
        resolve_pair("ETH/USDT~SYN/USDT", None, Settings(), Tape.open(tape))


def test_only_a_perpetual_against_spot_of_one_coin_is_a_pair_by_itself() -> None:
    assert possible_pairs(["A/USDT", "A/USDT:USDT", "B/USDT", "C/USDT:USDT"]) == [
        "A/USDT:USDT~A/USDT"
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [("2030-01-01", None), (None, "2024-01-01"), ("2024-01-05", "2024-01-02")],
)
def test_a_window_without_data_is_refused(tape: Path, start: str | None, end: str | None) -> None:
    with pytest.raises(BadInput, match="--start must|--end must"):
        window_of(Tape.open(tape), start, end)
