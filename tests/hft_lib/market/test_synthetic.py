"""The made-up market: one seed is one market, its truth is in its quotes, its flaws are found."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hft_lib.events import Funding, Mark, Quote
from hft_lib.market.flaws import counts
from hft_lib.market.merge import DAY_NS
from hft_lib.market.quality import check
from hft_lib.market.synthetic import SyntheticMarket, Truth, synthesise, ticks, write
from hft_lib.market.tape import TapeError

MONTH = SyntheticMarket(days=30.0, outages_per_day=0.2, flaws_per_day=0.5)


@pytest.fixture(scope="module")
def month() -> tuple[list, Truth]:
    """A month of market with more that goes wrong than usual."""
    events, truth = synthesise(11, MONTH)
    return list(events), truth


def mids(events: list, symbol: str) -> dict[int, float]:
    return {
        event.time_ns: (event.bid + event.ask) / 2
        for event in events
        if isinstance(event, Quote) and event.symbol == symbol and event.bid < event.ask
    }


def test_one_seed_is_one_market_to_the_bit(tmp_path: Path) -> None:
    market = SyntheticMarket(days=3.0)
    one, again, other = (write(s, tmp_path / f"{n}", market) for n, s in enumerate((5, 5, 6)))
    assert one.sha256 == again.sha256 != other.sha256
    assert one.manifest.source["seed"] == 5


def test_the_quotes_are_those_of_the_truth(month: tuple[list, Truth]) -> None:
    events, truth = month
    row = {int(time_ns): number for number, time_ns in enumerate(truth.time_ns)}
    relation = truth.intercept + truth.hedge_ratio * truth.x_log_price + truth.spread
    for symbol, logs in (("SYN/USDT", truth.x_log_price), ("SYN/USDT:USDT", relation)):
        shown = mids(events, symbol)
        wrong = [abs(np.log(mid) - logs[row[time_ns]]) for time_ns, mid in shown.items()]
        assert max(wrong) < 2e-5  # a fifth of a basis point: rounding to the tick
        assert len(shown) > 0.9 * len(truth.time_ns)


def test_the_spread_reverts_as_it_says(month: tuple[list, Truth]) -> None:
    _, truth = month
    market = MONTH
    spread = truth.spread
    carry = float(spread[1:] @ spread[:-1] / (spread[:-1] @ spread[:-1]))
    half_life_s = -market.step_s / np.log2(carry)
    assert half_life_s == pytest.approx(market.spread_half_life_s, rel=0.25)
    assert 0.7 * market.spread_sd < spread.std() < 2.2 * market.spread_sd
    steps = np.diff(spread) ** 2
    assert np.corrcoef(steps[1:], steps[:-1])[0, 1] > 0.05  # its volatility clusters


def test_the_relation_breaks_once_and_late(month: tuple[list, Truth]) -> None:
    _, truth = month
    jumps = np.flatnonzero(np.abs(np.diff(truth.intercept)) > MONTH.break_size / 2)
    assert len(jumps) == 1
    assert truth.time_ns[jumps[0] + 1] == truth.break_ns
    assert (truth.break_ns - MONTH.start_ns) / (MONTH.days * DAY_NS) == pytest.approx(
        MONTH.break_at_fraction, abs=0.01
    )


def test_outages_are_silent_but_for_the_funding(month: tuple[list, Truth]) -> None:
    events, truth = month
    assert truth.outages
    for start, end in truth.outages:
        inside = [event for event in events if start <= event.time_ns < end]
        assert not [event for event in inside if isinstance(event, Quote)]
        assert end - start >= MONTH.outage_hours_min * 3.6e12
    fundings = [event.time_ns for event in events if isinstance(event, Funding)]
    assert fundings == [MONTH.start_ns + n * 8 * 3600 * 10**9 for n in range(1, 91)]
    assert len([event for event in events if isinstance(event, Mark)]) == 90


def test_both_legs_share_their_times_and_the_perpetual_comes_second(
    month: tuple[list, Truth],
) -> None:
    events, _ = month
    legs: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, Quote):
            legs.setdefault(event.time_ns, []).append(event.symbol)
    whole = [names for names in legs.values() if len(names) == 2]
    assert {tuple(names) for names in whole} == {("SYN/USDT", "SYN/USDT:USDT")}
    assert len(legs) - len(whole) <= MONTH.flaws_per_day * MONTH.days


def test_tops_are_ample_and_now_and_then_thin(month: tuple[list, Truth]) -> None:
    sizes = np.array([event.bid_size for event in month[0] if isinstance(event, Quote)])
    assert np.median(sizes) == pytest.approx(MONTH.size_median, rel=0.1)
    assert np.mean(sizes < 2 * MONTH.thin_size) == pytest.approx(MONTH.thin_probability, rel=0.4)
    assert sizes.min() > 0.0


def test_what_is_planted_is_what_the_check_finds(tmp_path: Path) -> None:
    tape = write(11, tmp_path / "tape", MONTH)
    truth = json.loads((tape.path / "truth.json").read_text())
    report = counts(check(tape.path).flaws)
    assert report["CROSSED"] == truth["flaws"]["crossed"] == 5
    assert report["NAN"] == truth["flaws"]["not_a_number"] == 5
    assert report["DUPLICATE"] == truth["flaws"]["duplicate"] == 5
    assert set(report) == {"CROSSED", "NAN", "DUPLICATE", "GAP"}
    assert len(truth["days"]) == 31 or len(truth["days"]) == 30
    assert [day["regime"] for day in truth["days"]].count("break") == 1
    rows = pq.read_table(tape.path / "truth.parquet")
    assert rows.num_rows == 30 * 1440
    assert rows.column_names == ["time_ns", "hedge_ratio", "intercept", "spread", "turbulent"]


def test_both_directions_can_trade(tmp_path: Path) -> None:
    instruments = write(1, tmp_path / "tape", SyntheticMarket(days=1.0)).instruments()
    assert instruments["SYN/USDT"].short == "borrow"
    assert instruments["SYN/USDT"].borrow_rate_annual > 0.0
    assert instruments["SYN/USDT:USDT"].short == "perp"


def test_ticks_come_irregularly_one_leg_at_a_time(tmp_path: Path) -> None:
    events, truth = synthesise(3, ticks(20_000, 500.0))
    quotes = [event for event in events if isinstance(event, Quote)]
    gaps = np.diff([quote.time_ns for quote in quotes])
    assert len(quotes) == len(truth.time_ns) == 20_000
    assert gaps.mean() == pytest.approx(2e6, rel=0.05)
    assert gaps.std() == pytest.approx(2e6, rel=0.1)  # exponential
    assert 0.4 < np.mean([quote.symbol == "SYN/USDT" for quote in quotes]) < 0.6


def test_a_taken_place_is_refused(tmp_path: Path) -> None:
    write(1, tmp_path / "tape", SyntheticMarket(days=1.0))
    with pytest.raises(TapeError, match="exists already"):
        write(1, tmp_path / "tape", SyntheticMarket(days=1.0))


def test_progress_counts_every_row(tmp_path: Path) -> None:
    told: list[int] = []
    tape = write(1, tmp_path / "tape", ticks(120_000), told.append)
    assert len(told) >= 2
    # The last group is written when the tape is closed.
    assert tape.rows - 49_152 <= sum(told) <= tape.rows
