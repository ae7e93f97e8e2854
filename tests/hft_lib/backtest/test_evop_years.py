"""Simulated years of EVOP: known truths, and that the figures can tell a broken rule."""

import math
from functools import partial

import msgspec
import numpy as np
import pytest

from hft_lib.backtest.evop_years import market, noise, surface
from hft_lib.backtest.evop_years.scenarios import (
    SCENARIOS,
    Bounds,
    Scenario,
    better,
    fair_days,
    recorded_scenarios,
)
from hft_lib.backtest.evop_years.summary import interval, median, missed, simulate, summarise
from hft_lib.backtest.evop_years.year import Move, Outcome, SimulatedLine, generator
from hft_lib.evop import design
from hft_lib.evop.policy import DesignPolicy, Policy, promotion_threshold

FAMILIES = (
    noise.normal,
    noise.heavy_tails,
    noise.volatility_clusters,
    noise.autocorrelated,
    noise.regimes,
    noise.hidden_tail,
    noise.penny,
    noise.sign_flipped,
)


def rng() -> np.random.Generator:
    return generator(5, "test", 0)


# --- the days ---


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_no_family_of_noise_has_a_gain(family):
    drawn = family(rng(), 40_000, 2)
    assert drawn.draws.shape == (40_000, 2) and drawn.volatility.shape == (40_000,)
    # Batches of 200 days are as good as independent in each family.
    batches = drawn.draws[:, 0].reshape(200, 200).mean(axis=1)
    assert abs(batches.mean()) < 4.0 * batches.std(ddof=1) / math.sqrt(200)


@pytest.mark.parametrize("family", (noise.normal, noise.autocorrelated, noise.volatility_clusters))
def test_a_unit_of_noise_is_a_standard_deviation(family):
    assert family(rng(), 40_000, 1).draws.std() == pytest.approx(1.0, rel=0.05)


def test_noise_is_what_its_name_says():
    def correlation(draws):
        return np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]

    assert abs(correlation(noise.normal(rng(), 40_000, 2).draws)) < 0.02
    assert correlation(noise.autocorrelated(rng(), 40_000, 2).draws) == pytest.approx(0.2, abs=0.02)
    clustered = np.square(noise.volatility_clusters(rng(), 40_000, 2).draws)
    assert correlation(clustered) > 0.12
    sets = noise.normal(rng(), 40_000, 2).draws
    assert np.mean(sets[:, 0] * sets[:, 1]) == pytest.approx(noise.CORRELATION, abs=0.02)


def test_a_flipped_day_is_flipped_for_all_sets():
    differences = np.arange(1.0, 13.0).reshape(6, 2)
    signs = noise.flipped(rng(), differences) / differences
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert (signs[:, 0] == signs[:, 1]).all()


def test_resampled_days_come_in_whole_blocks():
    recorded = np.arange(10.0)[:, None]
    drawn = noise.resampled(rng(), recorded, 31, 3)[:, 0]
    assert drawn.size == 31
    starts, seconds = drawn[0:30:3], drawn[1:30:3]
    assert ((starts + 1) % 10 == seconds).all()


def test_a_limit_is_what_the_policy_makes_of_it():
    from hft_lib.evop.policy import loss_max

    assert loss_max(Policy(), market.limits(0.005), market.LEG_CAP) == pytest.approx(0.005)


# --- the surface ---


def running(params):
    """A row that runs `params`."""
    line = SimulatedLine([surface.surface(rng(), 1.0)], 2, Policy())
    (first,) = line.first.values()
    return msgspec.structs.replace(first, parameters=params, parameters_sha256=str(hash(params)))


def test_coded_units_are_those_of_the_design():
    belief = design.begin(surface.UNITS, DesignPolicy())
    step = [0.5, -0.25, 0.1, 0.7, -0.5, 0.3, 0.2, -0.1]
    params = design.parameters_at(market.CHAMPION, belief, step)
    assert surface.coded(params) == pytest.approx(step)


def test_the_surface_rises_from_0_to_what_there_is_to_gain():
    made = surface.surface(rng(), 20.0)
    belief = design.begin(surface.UNITS, DesignPolicy())
    top = design.parameters_at(market.CHAMPION, belief, made.optimum.tolist())
    assert made.gain(0, running(market.CHAMPION)) == pytest.approx(0.0)
    assert made.gain(0, running(top)) == pytest.approx(20.0)
    assert np.linalg.norm(made.optimum) == pytest.approx(1.5)


def test_covariance_of_explorers_is_the_one_worked_by_hand():
    found = surface.covariance(np.array([[0.5, 0.0], [0.0, 0.5]]))
    assert found == pytest.approx(
        np.array([[0.19710322, 0.05281522], [0.05281522, 0.19710322]]), abs=1e-8
    )


def test_the_optimum_wanders_and_the_cliff_falls():
    wandering = surface.surface(rng(), 20.0, drift_units=1.0)
    belief = design.begin(surface.UNITS, DesignPolicy())
    start = running(market.CHAMPION)
    assert wandering.gain(0, start) == pytest.approx(0.0)
    assert wandering.gain(364, start) != pytest.approx(0.0, abs=1e-3)
    broken = surface.surface(rng(), 20.0, cliff_drop=40.0)
    beyond = design.parameters_at(market.CHAMPION, belief, (0.45 * broken.optimum).tolist())
    before = design.parameters_at(market.CHAMPION, belief, (0.35 * broken.optimum).tolist())
    assert broken.gain(0, running(before)) > 0.0 > broken.gain(0, running(beyond))


# --- a year ---


def test_a_year_is_the_same_in_any_company_and_another_under_another_seed():
    scenario = SCENARIOS["surface-20"]
    years = simulate(scenario, range(3), 7, 5)
    assert simulate(scenario, [2], 7, 5) == years[2:]
    assert simulate(scenario, [2], 8, 5) != years[2:]


def test_the_better_set_gets_the_capital_and_keeps_it():
    (outcome,) = simulate(SCENARIOS["better-30"], [0], 0, 5)
    assert [move.kind for move in outcome.moves] == ["promote"]
    assert outcome.moves[0].gain == outcome.gain == 30.0
    assert 20 <= outcome.moves[0].day < 60
    assert outcome.false_promotions == 0


def test_losing_sets_are_dropped_and_no_seventh_test_begins():
    (outcome,) = simulate(SCENARIOS["worse"], [0], 0, 5)
    assert outcome.moves == ()
    assert outcome.decisions["test"] == 6
    assert outcome.decisions["drop"] >= 3


def test_luck_that_ends_with_the_capital_is_rolled_back():
    (outcome,) = simulate(SCENARIOS["lucky-then-bad"], [0], 0, 5)
    first, second = outcome.moves[:2]
    assert (first.kind, second.kind) == ("promote", "rollback")
    assert 10 <= second.day - first.day <= 90
    assert first.gain == 30.0 and second.gain == 12.0


def test_fills_that_flatter_freeze_the_pair():
    (outcome,) = simulate(SCENARIOS["null-flattered"], [0], 0, 5)
    assert len(outcome.freezes) == 1 and outcome.freezes[0] < 30
    assert outcome.moves == ()


def test_the_design_climbs_with_two_rows_and_with_five():
    for challengers in (2, 5):
        (outcome,) = simulate(SCENARIOS["surface-20"], [1], 0, challengers)
        assert outcome.gain > 5.0
        assert all(move.gain > 0.0 for move in outcome.moves)


def test_pairs_share_one_budget():
    (outcome,) = simulate(SCENARIOS["null-several-pairs"], [0], 0, 2)
    assert 6 < outcome.decisions["test"] <= 18
    line = SimulatedLine(SCENARIOS["null-several-pairs"].build(rng()), 2, Policy())
    line.close(0)
    tests = [pair.test for pair in line.state.pairs if pair.test is not None]
    assert (
        [test.threshold for test in tests] == [promotion_threshold(Policy(), 3)] * 3 == [360.0] * 3
    )


@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if one.is_null])
def test_no_set_of_a_null_is_worth_more_than_its_champion(name: str):
    for pair in SCENARIOS[name].build(generator(1, name, 0)):
        line = SimulatedLine([pair], 5, Policy())
        line.close(0)
        rows = [run for rows in line.running.values() for run in rows.values()]
        assert len(rows) > 3
        assert {pair.gain(day, run) for run in rows for day in (0, 200)} == {0.0}


def test_recorded_differences_lose_their_gain_and_take_a_known_one():
    differences = 0.001 * (1.0 + rng().standard_normal((60, 3)))
    made = recorded_scenarios(differences, 0.002 * rng().standard_normal(60))
    assert list(made)[:3] == ["null-tape-flipped", "null-tape-centred", "tape-better-3"]
    for name in ("null-tape-flipped", "null-tape-centred"):
        (pair,) = made[name].build(rng())
        assert isinstance(pair, market.TableMarket)
        assert pair.differences[:, 1].std() == pytest.approx(pair.s0, rel=0.5)
        assert abs(pair.differences[:, 1].mean()) < 0.3 * pair.s0  # it was 1 on the recording
        assert simulate(made[name], [0], 0, 5)[0].false_promotions == 0
    (year,) = simulate(made["tape-better-20"], [0], 0, 5)
    assert [move.gain for move in year.moves] == [20.0]


def test_a_recorded_day_without_a_difference_stays_one_and_the_worst_day_is_the_limit():
    differences = np.zeros((100, 1))
    differences[:10, 0] = (-9.0, *[0.5] * 9)
    centred, limit = fair_days(differences, False)
    assert (centred[10:] == 0.0).all()
    assert centred.sum() == pytest.approx(0.0, abs=1e-12)
    assert limit == pytest.approx(-centred.min() / market.S0) and limit > 5.0
    flipped, limit = fair_days(-differences, True)
    assert limit == pytest.approx(np.abs(flipped).max() / market.S0)
    calm = np.where(np.arange(100) % 2 == 0, 1.0, -1.0)[:, None]
    assert fair_days(calm, False)[1] == 5.0


# --- the figures ---


def test_a_threshold_set_too_low_is_seen_in_the_rate_of_a_null():
    broken = Policy(alpha=0.99, tests_a_year=2)  # T falls from 120 to 2
    rates = {}
    for policy in (Policy(), broken):
        figures = summarise(
            SCENARIOS["null-equal"], simulate(SCENARIOS["null-equal"], range(16), 0, 5, policy)
        )
        rates[policy] = figures["ci95"][0]
    assert rates[Policy()] == 0.0
    assert rates[broken] > 0.05


def test_intervals_are_those_of_clopper_and_pearson():
    assert interval(0, 2000)[0] == 0.0
    assert interval(0, 2000)[1] == pytest.approx(1.0 - 0.025 ** (1 / 2000))
    assert np.allclose(interval(10, 100), (0.0490, 0.1762), atol=5e-5)
    assert interval(5, 5)[1] == 1.0


def test_a_median_that_half_of_the_years_never_reach_is_none():
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([1.0, 2.0, 3.0, 4.0]) == 2.5
    assert median([1.0, 2.0, math.inf]) == 2.0
    assert median([1.0, math.inf]) is None
    assert median([]) is None


def outcome(*moves: Move, gain: float = 0.0, **decisions: int) -> Outcome:
    return Outcome(moves, (), decisions, gain, 0.0)


def test_a_promotion_is_false_when_the_set_is_worth_no_more():
    moves = (Move("promote", 9, 0.0), Move("rollback", 12, -1.0), Move("promote", 40, 2.0))
    assert outcome(*moves).false_promotions == 1


def test_figures_of_years_worked_by_hand():
    scenario = Scenario("better-x", "", partial(better, 8.0), gain_most=8.0)
    right, wrong = Move("promote", 50, 8.0), Move("promote", 70, -8.0)
    figures = summarise(
        scenario,
        [
            outcome(right, gain=8.0, test=2),
            outcome(right, wrong, gain=0.0, test=4),
            outcome(Move("promote", 90, 8.0), gain=8.0, rollback=1),
            outcome(),
        ],
    )
    assert figures["promotions"] == 4 and figures["false_promotions"] == 1
    assert figures["false_promotions_per_year"] == 0.25
    assert figures["ci95"] == list(interval(1, 4))
    assert figures["detected"] == 0.75 and figures["median_days_to_detect"] == 90.0
    assert figures["gain_share"]["mean"] == 0.5
    assert figures["tests_per_year"] == 1.5 and figures["rollbacks_per_year"] == 0.25


def test_rollbacks_count_from_the_promotion_and_only_within_their_days():
    scenario = SCENARIOS["lucky-then-bad"]
    promoted = Move("promote", 20, 30.0)
    figures = summarise(
        scenario,
        [
            outcome(promoted, Move("rollback", 45, 12.0)),
            outcome(promoted, Move("rollback", 120, 12.0)),
            outcome(promoted, Move("rollback", 41, 12.0)),
            outcome(),
        ],
    )
    assert figures["detected"] == pytest.approx(2 / 3)  # a year without a promotion tells nothing
    assert figures["median_days_to_detect"] == 25.0


def test_missed_targets_are_told_with_their_figures():
    figures = {
        "false_promotions_per_year": 0.06,
        "median_days_to_detect": None,
        "detected": 0.9,
        "gain_share": {"mean": 0.7},
    }
    bounds = Bounds(false_max=0.05, days_max=65.0, gain_min=0.65, found_min=0.98)
    assert missed(bounds, figures) == [
        "false_promotions_per_year must be at most 0.05, was 0.06",
        "median_days_to_detect must be at most 65, was inf",
        "detected must be at least 0.98, was 0.9",
    ]
    assert missed(Bounds(), figures) == []
