import msgspec
import numpy as np
import pytest

from hft_lib import plots
from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report import figures, models
from hft_lib.backtest.report.bands import (
    RESAMPLES,
    Days,
    bands,
    capital_days,
    cost_share,
    draw_days,
)
from hft_lib.backtest.report.evidence import begun_tests, paired_blocks
from hft_lib.backtest.report.roles import costs, described, tenures
from hft_lib.models import bocd
from tests.hft_lib.backtest.made_run import CHAMPION, DAY_NS, PATIENT, START_NS, facts_of, record_of


@pytest.fixture(scope="module")
def promoted() -> RunRecord:
    return record_of(facts_of(60, bonus_quote=60.0))


@pytest.fixture(scope="module")
def running() -> RunRecord:
    """The same run, ended on its twentieth day, its test still open."""
    facts = facts_of(60, bonus_quote=60.0)
    return record_of([fact for fact in facts if getattr(fact, "time_ns") < START_NS + 20 * DAY_NS])


# --- who was what ---


def test_roles_follow_assignment_test_and_promotion(promoted):
    held = [(t.slot, t.role) for t in tenures(promoted)]
    assert held == [
        (0, "champion"),
        (1, "explorer"),
        (1, "test"),
        (0, "predecessor"),
        (1, "champion"),
    ]


def test_tenures_of_a_slot_do_not_overlap(promoted):
    for slot in (0, 1):
        ends = [(t.start_ns, t.end_ns) for t in tenures(promoted) if t.slot == slot]
        assert all(one[1] <= two[0] for one, two in zip(ends, ends[1:], strict=False))


def test_a_set_is_described_by_what_sets_it_apart():
    assert described(CHAMPION, PATIENT) == "entry z 1.6"
    assert described(CHAMPION, CHAMPION) == ""


# --- money ---


def test_costs_add_up_to_what_the_account_kept(promoted):
    for row in costs(promoted, tenures(promoted)):
        assert row.gross - row.paid == pytest.approx(row.net, abs=1e-9)
    capital = costs(promoted, tenures(promoted))[0]
    assert capital.net == promoted.marks.capital_quote[-1]
    fees = sum(fill.fee_quote for fill in promoted.fills if fill.account == "capital")
    assert capital.fees == pytest.approx(fees)


def test_funding_of_the_unfinished_day_follows_from_fills_and_marks(promoted):
    capital = costs(promoted, tenures(promoted))[0]
    # The last block closed at midnight, the run ends at 06:00: seven hourly parts since.
    assert capital.open_day == pytest.approx(-7 * 60.0 / 24.0)


def test_costs_of_an_ended_test_stop_with_it():
    record = record_of(facts_of(120, bonus_quote=2.0))
    (ended,) = begun_tests(record)
    assert ended.path.outcome == "expired"
    row = next(row for row in costs(record, tenures(record)) if row.name == "patient")
    blocks = [block for block in record.blocks if block.end_ns < ended.path.outcome_ns]
    paid = [a.funding_quote for block in blocks for a in block.accounts if a.account == "slot-1"]
    assert row.funding == pytest.approx(sum(paid))
    assert row.open_day == pytest.approx(-24 * 2.0 / 24.0), "the day that the last block closed"


def test_gross_is_what_the_mids_alone_would_have_given(promoted):
    capital, gross = costs(promoted, tenures(promoted))[0], 0.0
    last = {"y": promoted.marks.y_mid[-1], "x": promoted.marks.x_mid[-1]}
    for fill in promoted.fills:
        if fill.account == "capital":
            side = 1.0 if fill.side == "buy" else -1.0
            mid = fill.price - side * fill.slippage_quote / fill.quantity
            gross += side * fill.quantity * (last[fill.leg] - mid)
    assert capital.gross == pytest.approx(gross)


# --- bands ---


def test_bands_are_the_same_for_the_same_seed_and_not_for_another():
    rng = np.random.default_rng(0)
    days = Days(rng.normal(10.0, 5.0, 40), np.full(40, 2.0), np.full(40, 1.0))
    assert bands(days, 1) == bands(days, 1)
    assert bands(days, 1) != bands(days, 2)


def test_a_band_of_equal_days_is_a_point():
    days = Days(np.full(30, 2.0), np.full(30, 1.0), np.full(30, 0.5))
    found = bands(days, 7)
    assert found is not None
    assert (found.pnl.low, found.pnl.high) == (60.0, 60.0)
    assert (found.drawdown.low, found.drawdown.high) == (0.5, 0.5)
    assert found.cost_share.high == pytest.approx(1.0 / 3.0)


def test_the_band_of_independent_days_has_the_width_of_the_normal():
    rng = np.random.default_rng(4)
    days = Days(rng.normal(0.0, 1.0, 400), np.ones(400), np.zeros(400))
    found = bands(days, 3)
    assert found is not None
    expected = 2.0 * 1.645 * 20.0 * float(np.std(days.change))
    assert found.pnl.high - found.pnl.low == pytest.approx(expected, rel=0.2)


def test_costs_eat_all_where_nothing_was_gained():
    assert cost_share(np.array([8.0, -3.0]), np.array([2.0, 2.0])).tolist() == [0.2, np.inf]


def test_four_days_have_no_band():
    assert bands(Days(*(np.ones(4) for _ in range(3))), 0) is None


def test_days_are_drawn_in_runs():
    rows = draw_days(27, 0)
    assert rows.shape == (RESAMPLES, 27)
    assert (np.diff(rows.reshape(RESAMPLES, 9, 3), axis=2) % 27 == 1).all()


def test_only_whole_days_are_resampled(promoted):
    # 60 days from 07:00 to 06:00: the first and the last are cut.
    assert capital_days(promoted).change.size == 59


# --- evidence ---


def test_an_open_test_has_the_e_that_evop_itself_would_record(promoted, running):
    closed, still = begun_tests(promoted)[0], begun_tests(running)[0]
    assert still.ended is None and closed.ended is not None
    assert len(still.blocks) >= 10
    assert closed.path.e[: still.path.e.size].tolist() == still.path.e.tolist()
    assert closed.path.end_ns[: still.path.e.size].tolist() == still.path.end_ns.tolist()


def test_blocks_from_before_a_test_are_not_its_evidence(running):
    (still,) = begun_tests(running)
    later_ns = still.blocks[3].end_ns
    case = msgspec.structs.replace(still.begun.case, time_ns=later_ns)
    begun = msgspec.structs.replace(still.begun, case=case)
    blocks = paired_blocks(running, begun, running.end_ns)
    assert blocks == list(still.blocks[4:])


def test_the_last_e_is_the_one_of_the_decision(promoted):
    decision = next(d for d in promoted.decisions if d.kind == "promote")
    assert decision.record is not None
    assert begun_tests(promoted)[0].path.e[-1] == decision.record.verdict.e


# --- models, recomputed ---


def test_the_recomputed_posterior_agrees_with_the_run(running):
    known = figures.known_marks(running)
    image, edges, at = models.posterior(running, known, CHAMPION)
    assert image.sum(axis=1) == pytest.approx(1.0)
    middles = 0.5 * (edges[:-1] + edges[1:] - 1.0)
    expected = running.marks.run_length[known.rows][at]
    assert np.corrcoef(image @ middles, expected)[0, 1] > 0.98


def test_the_band_of_the_hedge_ratio_is_the_filters_own(running):
    known = figures.known_marks(running)
    sd = models.hedge_sd(running, known, CHAMPION)
    assert np.isfinite(sd).all() and sd[-1] < sd[0]
    noisy = msgspec.structs.replace(CHAMPION.kalman, noise_var=1e-3)
    other = models.hedge_sd(running, known, msgspec.structs.replace(CHAMPION, kalman=noisy))
    assert np.isnan(other[-1]), "a filter that disagrees with the run has no say"


def test_forecasts_meet_the_outcomes_of_their_horizon(running):
    known = figures.known_marks(running)
    time_ns, forecast, outcome = models.forecasts(running, known, 4, CHAMPION)
    marks = running.marks
    row = int(np.searchsorted(marks.time_ns, time_ns[0]))
    assert forecast[0] == marks.spread_sd[row - 3] and marks.warm[row - 3]
    assert outcome[0] == marks.innovation[row]


def test_alarms_are_those_that_the_run_raised(running):
    marks = running.marks
    spans = plots.spans(marks.time_ns, marks.alarm, "alarm")
    raised = int(np.sum(np.diff(np.concatenate(([0], marks.alarm.astype(int)))) == 1))
    assert len(spans) == raised


def test_run_length_edges_cover_every_run_length():
    edges = models.run_length_edges(500)
    assert edges[0] == 0.0 and edges[-1] > 500.0 and (np.diff(edges) > 0.0).all()
    found = bocd.run_posterior(bocd.params_row(CHAMPION.bocd), np.zeros(500), edges)
    assert found.sum(axis=1) == pytest.approx(1.0)
