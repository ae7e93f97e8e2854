"""All pairs of a panel: what is claimed, what is not, and what could not be tested."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from hft_lib.fitting.selection import doubts
from hft_lib.fitting.selection.pairs import Finding, Selection, orientation, scan

HOUR_NS = 3_600_000_000_000
POINTS = 1_500


def times(points: int = POINTS) -> Any:
    return HOUR_NS * np.arange(400_000, 400_000 + points)


def walks(count: int, seed: int, points: int = POINTS) -> Any:
    """Log prices of coins that share a market and nothing else."""
    rng = np.random.default_rng(seed)
    market, own = rng.normal(size=points), rng.normal(size=(count, points))
    return 5.0 + np.cumsum(0.01 * (0.7 * market + own), axis=1)


def wrapped(log_price: Any, seed: int) -> Any:
    """The same asset in another wrapper: noise around it that returns within hours."""
    rng = np.random.default_rng(seed)
    spread = np.zeros(log_price.size)
    for t in range(1, spread.size):
        spread[t] = 0.8 * spread[t - 1] + 0.002 * rng.normal()
    return log_price + spread


def market() -> tuple[tuple[str, ...], Any]:
    """Five coins and a wrapper of the first."""
    prices = walks(5, 1)
    return ("A/U", "B/U", "C/U", "D/U", "E/U", "WA/U"), np.vstack((prices, wrapped(prices[0], 2)))


@pytest.fixture(scope="module")
def selection() -> Selection:
    symbols, prices = market()
    return scan(symbols, times(), prices)


def test_the_wrapped_asset_is_claimed_and_nothing_else(selection: Selection) -> None:
    (claimed,) = selection.claimed
    assert claimed.pair == "WA/U~A/U" and claimed.reason == "" and claimed.rank == 1
    assert claimed.hedge_ratio == pytest.approx(1.0, abs=0.01)
    assert claimed.half_life_s == pytest.approx(3_600.0 * 3.1, rel=0.2)
    assert claimed.q_value is not None and claimed.q_value < 1e-6
    assert selection.findings[0] is claimed


def test_every_pair_is_listed_once_with_its_p_q_and_reason(selection: Selection) -> None:
    named = [frozenset(finding.pair.split("~")) for finding in selection.findings]
    assert len(named) == len(set(named)) == 15 and selection.tested == 15
    for finding in selection.findings:
        assert finding.p_value is not None and finding.q_value is not None
        assert finding.p_asymptotic is not None and finding.p_asymptotic <= finding.p_value
        assert finding.p_value <= finding.q_value <= 1.0
        assert finding.claimed != bool(finding.reason)
        assert finding.observations == POINTS and finding.interval_s == 3_600.0


def test_threads_do_not_change_what_is_found(selection: Selection) -> None:
    symbols, prices = market()
    assert scan(symbols, times(), prices, threads=1) == selection


def test_a_pairs_p_value_does_not_depend_on_what_else_is_scanned(selection: Selection) -> None:
    symbols, prices = market()
    alone = scan(("WA/U", "A/U"), times(), prices[[5, 0]]).findings[0]
    together = selection.findings[0]
    assert (alone.pair, alone.p_value) == (together.pair, together.p_value)
    assert alone.q_value is not None and together.q_value is not None
    assert alone.q_value < together.q_value


def test_walks_that_share_a_market_are_hardly_ever_claimed() -> None:
    symbols = tuple(f"{number}/U" for number in range(8))
    found = [scan(symbols, times(400), walks(8, seed, 400)) for seed in range(20)]
    assert sum(bool(one.claimed) for one in found) <= 3  # 5 % of 20 is 1; 4 or more: 1 in 60


def test_what_cannot_be_tested_is_listed_with_its_reason() -> None:
    prices = np.vstack((walks(2, 3), np.full(POINTS, 2.0), walks(1, 4)))
    prices[3, 60:] = np.nan
    prices[0, :20] = np.nan
    same = np.vstack((prices, prices[0]))
    found = scan(("A/U", "B/U", "STILL/U", "NEW/U", "COPY/U"), times(), same)
    reasons = {frozenset(f.pair.split("~")): f.reason for f in found.findings if not f.tested}
    assert reasons[frozenset(("A/U", "STILL/U"))] == f"STILL/U moves on 0 of {POINTS - 21} steps"
    assert (
        reasons[frozenset(("B/U", "NEW/U"))] == "common observations must be at least 100, was 60"
    )
    assert reasons[frozenset(("A/U", "COPY/U"))].startswith("the legs are the same prices")
    assert found.tested == 10 - len(reasons) and len(found.findings) == 10
    assert all(f.p_value is None and not f.claimed for f in found.findings if not f.tested)


def test_the_longest_stretch_without_a_long_hole_is_tested() -> None:
    prices = walks(2, 5)
    prices[0, 500:540] = np.nan  # long: the later stretch is taken
    prices[1, 700:705] = np.nan  # short: its points are left out
    (finding,) = scan(("A/U", "B/U"), times(), prices).findings
    assert finding.observations == POINTS - 540 - 5
    assert finding.start_ns == times()[540] and finding.end_ns == times()[-1]


def test_a_recording_that_ends_early_is_claimed_with_a_note() -> None:
    symbols, prices = market()
    assert [finding.note for finding in scan(symbols, times(), prices).claimed] == [""]
    prices[5, 1_200:] = np.nan
    (finding,) = scan(symbols, times(), prices).claimed
    assert finding.pair == "WA/U~A/U" and finding.note == "ended 12.5 days before the window"


def test_a_leg_that_returns_by_itself_makes_no_pair() -> None:
    rng, prices = np.random.default_rng(6), walks(1, 6)
    pegged = [1e-3 * rng.normal(size=POINTS) for _ in range(2)]
    found = scan(("A/U", "P/U", "Q/U"), times(), np.vstack((prices, pegged)))
    assert found.claimed == []
    reasons = {frozenset(finding.pair.split("~")): finding.reason for finding in found.findings}
    doubted = ("hedge ratio", "Johansen", "directions disagree", "P/U", "Q/U", "q ")
    assert all(reason.startswith(doubted) for reason in reasons.values()), reasons


def finding(**changed: Any) -> Finding:
    """A finding against which nothing speaks, but for `changed`."""
    known: dict[str, Any] = {
        "pair": "Y~X", "start_ns": 0, "end_ns": 1_000 * HOUR_NS, "observations": 1_000,
        "interval_s": 3_600.0, "hedge_ratio": 0.9, "half_life_s": 3_600.0, "rank": 1,
        "p_directions": (1e-9, 1e-8), "p_value": 1e-8, "q_value": 1e-7, **changed,
    }  # fmt: skip
    return Finding(**known)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"hedge_ratio": -0.4}, "hedge ratio -0.4: Y and X hardly move together"),
        ({"p_directions": (1e-9, 0.2)}, "directions disagree: p 0.2 the other way"),
        ({"half_life_s": 360_000.0}, "half-life 100 h against a window of 1e+03 h"),
        ({"half_life_s": None}, "half-life unknown against a window of 1e+03 h"),
        ({"rank": 0}, "Johansen's test finds no relation"),
        ({"rank": 2}, "Johansen's test finds that both legs return by themselves"),
        ({"rank": None}, ""),
    ],
)
def test_each_rule_of_sense_has_its_reason(changed: dict[str, Any], reason: str) -> None:
    assert doubts.doubt(finding(**changed)) == reason


def test_legs_are_slow_beside_a_spread_that_is_back_much_sooner() -> None:
    rng, walk = np.random.default_rng(10), walks(1, 10)[0]
    ranging = np.zeros(POINTS)
    for t in range(1, POINTS):
        ranging[t] = 0.98 * ranging[t - 1] + 0.01 * rng.normal()  # half back after 34 points
    noise = 1e-3 * rng.normal(size=POINTS)
    assert doubts.legs_are_slow(walk, ranging, 1.0)
    assert not doubts.legs_are_slow(walk, ranging, 10.0)
    assert not doubts.legs_are_slow(noise, walk, 0.5)


def test_a_wrapper_is_claimed_while_its_market_ranges() -> None:
    rng = np.random.default_rng(11)
    ranging = np.zeros(POINTS)
    for t in range(1, POINTS):
        ranging[t] = 0.95 * ranging[t - 1] + 0.01 * rng.normal()
    wrapper = ranging + 5e-4 * rng.normal(size=POINTS)
    (finding,) = scan(("A/U", "WA/U"), times(), np.vstack((ranging, wrapper))).findings
    assert finding.rank == 2 and finding.claimed, finding.reason


def test_what_a_hedge_leaves_much_of_must_be_the_square_more_significant() -> None:
    coin = walks(1, 12)[0]
    close, loose = coin + 0.05 * (wrapped(coin, 13) - coin), coin + 20.0 * (
        wrapped(coin, 13) - coin
    )
    near, far = (
        scan(("A/U", "B/U"), times(), np.vstack((coin, other))).findings[0]
        for other in (close, loose)
    )
    assert near.unhedged_share is not None and near.unhedged_share < 0.001
    assert far.unhedged_share is not None and far.unhedged_share > 0.05
    for found, least in ((near, near.p_asymptotic), (far, math.sqrt(far.p_asymptotic or 0.0))):
        assert found.p_value is not None and least is not None and found.p_value >= least
    assert near.claimed and (far.p_value or 0.0) > 1e4 * (near.p_value or 1.0)


def test_a_leg_that_returns_by_itself_is_told_from_a_walk() -> None:
    rng = np.random.default_rng(8)
    told = doubts.doubt_of_leg("P/U", 2.0 + 1e-3 * rng.normal(size=800), 6)
    assert told.startswith("P/U returns by itself (p 0")
    silent = [doubts.doubt_of_leg("A/U", walks(1, seed, 400)[0], 6) == "" for seed in range(30)]
    assert sum(silent) >= 28


def test_a_spread_that_returns_in_one_half_alone_is_doubted() -> None:
    rng = np.random.default_rng(9)
    noise, walk = 1e-3 * rng.normal(size=800), np.cumsum(1e-3 * rng.normal(size=400))
    assert doubts.doubt_of_halves(noise, 4) == ""
    told = doubts.doubt_of_halves(np.append(noise[:400], walk), 4)
    assert told.startswith("does not return within the second half alone (p ")
    told = doubts.doubt_of_halves(np.append(walk, noise[:400]), 4)
    assert told.startswith("does not return within the first half alone (p ")


def test_a_claim_that_contradicts_a_stronger_one_is_dropped() -> None:
    def claim(pair: str, p_value: float, claimed: bool = True) -> Finding:
        return finding(pair=pair, p_value=p_value, claimed=claimed)

    found = [claim("A~B", 1e-9), claim("A~C", 1e-8), claim("B~C", 0.5, False), claim("D~E", 1e-7)]
    reason = "B and C do not hold together, and A~B is stronger"
    assert doubts.contradictions(found) == {"A~C": reason}
    assert doubts.contradictions([*found[:2], claim("B~C", 0.01, False), found[3]]) == {}
    assert doubts.contradictions(found[:1]) == {}


def test_the_rank_is_johansens() -> None:
    symbols, prices = market()
    rng = np.random.default_rng(7)
    assert doubts.johansen_rank(prices[5], prices[0], 2) == 1
    assert doubts.johansen_rank(rng.normal(size=500), rng.normal(size=500), 2) == 2
    ranks = [doubts.johansen_rank(y, x, 2) for y, x in (walks(2, seed, 400) for seed in range(20))]
    assert ranks.count(0) >= 16


def test_the_perpetual_or_the_wrapper_is_y_and_else_the_leg_that_varies_more() -> None:
    assert orientation(("B/U:U", "B/U"), (1.0, 2.0)) and not orientation(
        ("B/U", "B/U:U"), (2.0, 1.0)
    )
    assert orientation(("WBTC/U", "BTC/U"), (1.0, 2.0))
    assert not orientation(("BTC/U", "WBTC/U"), (2.0, 1.0))
    assert orientation(("BTC/C", "BTC/U"), (2.0, 1.0))
    assert orientation(("A/U", "B/U"), (2.0, 1.0)) and not orientation(("A/U", "B/U"), (1.0, 2.0))


def test_the_scan_tells_how_far_it_is_and_can_be_left() -> None:
    symbols, prices = market()
    told: list[int] = []
    scan(symbols, times(), prices, advance=told.append)
    assert sum(told) == 4 * len(list(combinations(symbols, 2)))

    def leave(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(symbols, times(), prices, advance=leave)


def test_bad_input_is_refused_with_rule_and_value() -> None:
    symbols, prices = market()
    with pytest.raises(ValueError, match="level must be between 0 and 1, was 1.0"):
        scan(symbols, times(), prices, level=1.0)
    with pytest.raises(ValueError, match=r"log_mid must have shape \(6, 3\), had \(6, 1500\)"):
        scan(symbols, times(3), prices)
