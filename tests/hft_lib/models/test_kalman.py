"""The determinant form against the textbook's in fifty digits, and against certified values."""

import json
import math
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from hft_lib.models import kalman
from hft_lib.parameters import KalmanParameters

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def parameters(**changes: float) -> KalmanParameters:
    values: dict[str, float] = {
        "intercept_drift_var": 1e-9,
        "hedge_drift_var": 1e-11,
        "noise_var": 1e-7,
        "intercept_prior_mean": 0.0,
        "intercept_prior_var": 1.0,
        "hedge_prior_mean": 1.0,
        "hedge_prior_var": 1.0,
    }
    return KalmanParameters(**(values | changes))


def textbook(p: KalmanParameters, y: Any, x: Any, steps: Any) -> list[tuple[Decimal, ...]]:
    """The usual equations in fifty digits: (e, S, a, b, Paa, Pab, Pbb) of each observation."""
    track: list[tuple[Decimal, ...]] = []
    with localcontext() as context:
        context.prec = 50
        a, b = Decimal(p.intercept_prior_mean), Decimal(p.hedge_prior_mean)
        paa, pab, pbb = Decimal(p.intercept_prior_var), Decimal(0), Decimal(p.hedge_prior_var)
        r = Decimal(p.noise_var)
        for yt, xt, n in zip(map(Decimal, y), map(Decimal, x), map(int, steps), strict=True):
            paa += n * Decimal(p.intercept_drift_var)
            pbb += n * Decimal(p.hedge_drift_var)
            e = yt - a - b * xt
            s = paa + 2 * xt * pab + xt * xt * pbb + r
            ka, kb = (paa + xt * pab) / s, (pab + xt * pbb) / s
            a, b = a + ka * e, b + kb * e
            paa, pab, pbb = (
                paa - ka * (paa + xt * pab),
                pab - ka * (pab + xt * pbb),
                pbb - kb * (pab + xt * pbb),
            )
            track.append((e, s, a, b, paa, pab, pbb))
    return track


def pair(size: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, size))
    y = 0.1 + 0.98 * x + rng.normal(0.0, 3e-4, size)
    return y, x, rng.integers(1, 4, size)


@pytest.mark.parametrize("prior_var", [1.0, 1e10])
def test_filter_agrees_with_fifty_digits(prior_var: float) -> None:
    p = parameters(intercept_prior_var=prior_var, hedge_prior_var=prior_var)
    y, x, steps = pair(500)
    track = kalman.run(kalman.params_row(p), y, x, steps)
    for row, (e, s, a, b, *_) in zip(track[2:], textbook(p, y, x, steps)[2:], strict=True):
        assert row["innovation_var"] == pytest.approx(float(s), rel=1e-8)
        sd = math.sqrt(float(s))
        assert abs(row["innovation"] - float(e)) < 1e-6 * sd
        assert abs(row["intercept"] + 11.0 * row["hedge_ratio"] - float(a + 11 * b)) < 1e-6 * sd


@pytest.mark.parametrize(
    ("center", "drift", "sd_max"), [(11.0, 1e-9, 2e-12), (11.0, 0.0, 3e-11), (27.6, 1e-9, 4e-12)]
)
def test_innovations_stay_exact_over_fifty_thousand_observations(
    center: float, drift: float, sd_max: float
) -> None:
    y, x, steps = pair(50_000)
    y, x = y + 0.98 * (center - 11.0), x + (center - 11.0)
    p = parameters(intercept_drift_var=drift, hedge_drift_var=0.01 * drift)
    track = kalman.run(kalman.params_row(p), y, x, steps)
    exact = textbook(p, y, x, steps)
    errors = [
        abs(float(Decimal(float(found)) - e)) / math.sqrt(float(s))
        for found, (e, s, *_) in zip(track["innovation"], exact, strict=True)
    ]
    assert max(errors[3:]) < sd_max
    last = [float(value) for value in exact[-1]]
    assert track["hedge_ratio"][-1] == pytest.approx(last[3], rel=1e-12)
    assert track["intercept"][-1] == pytest.approx(last[2], rel=1e-11)


def test_the_covariance_is_the_textbooks() -> None:
    p, (y, x, steps) = parameters(), pair(500)
    row, states = kalman.params_row(p), kalman.new_states(1)
    kalman.start(row[0], states[0])
    assert kalman.covariance(states)[:, 0].tolist() == [1.0, 0.0, 1.0]
    for t, exact in enumerate(textbook(p, y, x, steps)):
        kalman.step(row[0], states[0], y[t], x[t], steps[t])
        if t in (0, 1, 2, 100, 499):
            expected = [float(value) for value in exact[4:]]
            assert kalman.covariance(states)[:, 0] == pytest.approx(expected, rel=1e-9)
    before = kalman.covariance(states)[:, 0]
    kalman.step(row[0], states[0], math.nan, 11.0, 1000)
    drifts = 1000.0 * np.array([p.intercept_drift_var, 0.0, p.hedge_drift_var])
    assert kalman.covariance(states)[:, 0] == pytest.approx(before + drifts, rel=1e-12)


def test_prices_that_do_not_move_leave_the_variance_at_its_exact_value() -> None:
    p = parameters(
        intercept_prior_var=1e10, hedge_prior_var=1e10, intercept_drift_var=0.0, hedge_drift_var=0.0
    )
    y, x = np.full(50, 10.9), np.full(50, 11.1)
    track = kalman.run(kalman.params_row(p), y, x)
    exact = textbook(p, y, x, np.ones(50))
    assert track["innovation_var"][1:] == pytest.approx([float(s) for _, s, *_ in exact[1:]])


def test_norris_is_reached_from_a_diffuse_prior() -> None:
    golden = json.loads((GOLDEN / "nist_norris.json").read_text())
    p = parameters(
        intercept_drift_var=0.0,
        hedge_drift_var=0.0,
        noise_var=golden["residual_sd"] ** 2,
        intercept_prior_var=golden["prior_var"],
        hedge_prior_mean=0.0,
        hedge_prior_var=golden["prior_var"],
    )
    last = kalman.run(kalman.params_row(p), golden["y"], golden["x"])[-1]
    for name in ("hedge_ratio", "intercept"):
        digits = -math.log10(abs(last[name] / golden[name] - 1.0) + 1e-17)
        assert digits > golden["tolerance"][f"{name}_digits"]


def test_the_nile_has_its_maximum_where_durbin_and_koopman_print_it() -> None:
    golden = json.loads((GOLDEN / "nile_local_level.json").read_text())
    flow = np.array(golden["flow"])

    def minus_log_likelihood(logs: Any) -> float:
        level, noise = np.exp(logs)
        p = parameters(
            intercept_drift_var=level,
            hedge_drift_var=0.0,
            noise_var=noise,
            intercept_prior_mean=flow[0],
            intercept_prior_var=noise,
        )
        row = kalman.params_row(p)
        return -kalman.log_likelihood(row, flow[1:], np.zeros(flow.size - 1))

    found = minimize(
        minus_log_likelihood, [7.0, 9.0], method="Nelder-Mead", options={"xatol": 1e-8}
    )
    tolerance = golden["tolerance"]["relative"]
    assert np.exp(found.x) == pytest.approx(
        [golden["level_var"], golden["noise_var"]], rel=tolerance
    )


def test_log_likelihood_is_the_sum_of_the_forecasts_densities() -> None:
    y, x, steps = pair(300)
    row = kalman.params_row(parameters())
    track = kalman.run(row, y, x, steps)[2:]
    densities = -0.5 * (
        np.log(2.0 * math.pi * track["innovation_var"])
        + track["innovation"] ** 2 / track["innovation_var"]
    )
    assert kalman.log_likelihood(row, y, x, steps, skip=2) == pytest.approx(densities.sum())


@settings(max_examples=50)
@given(
    moves=st.lists(
        st.tuples(st.floats(-30.0, 30.0), st.floats(-30.0, 30.0), st.integers(1, 10**6)),
        min_size=1,
        max_size=30,
    ),
    drift=st.sampled_from([0.0, 1e-12, 1.0]),
)
def test_variances_stay_positive(moves: list[tuple[float, float, int]], drift: float) -> None:
    y, x, steps = (np.array(column) for column in zip(*moves, strict=True))
    row = kalman.params_row(parameters(intercept_drift_var=drift, hedge_drift_var=drift))
    states = kalman.new_states(1)
    kalman.start(row[0], states[0])
    track = kalman.run(row, y.astype(float), x.astype(float), steps, states)
    assert (track["innovation_var"] >= 1e-7).all()
    assert all(states[name][0] > 0.0 for name in ("unscaled_aa", "unscaled_bb", "scale"))
    assert states["unscaled_determinant"][0] > 0.0


def test_an_observation_beyond_the_range_of_the_products_is_not_learned_from() -> None:
    row = kalman.params_row(parameters())
    states = kalman.new_states(1)
    kalman.start(row[0], states[0])
    kalman.run(row, [1e200], [1e200], None, states)
    assert states["intercept"][0] == 0.0
    assert states["hedge_ratio"][0] == 1.0
    assert states["innovation"][0] == 0.0


def test_a_slot_without_parameters_is_left_alone() -> None:
    rows = np.concatenate([kalman.params_row(parameters())] * 2)
    states = kalman.new_states(2)
    kalman.start(rows[0], states[0])
    kalman.step_slots(rows, states, np.array([1, 0]), 11.0, 11.0, 3)
    assert states["steps"].tolist() == [3, 0]
    assert states[1].tobytes() == bytes(states.itemsize)


def many(pairs: int, seed: int) -> Any:
    """Different parameters, a row a pair."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([kalman.params_row(parameters())] * pairs)
    for name in ("intercept_drift_var", "hedge_drift_var", "noise_var"):
        rows[name] *= np.exp(rng.normal(0.0, 2.0, pairs))
    rows["hedge_drift_var"][::5] = 0.0
    return rows


def prices(time: int, pairs: int, seed: int) -> tuple[Any, Any, Any]:
    """Log prices (time, pair) with gaps of either leg and everything that is not learned from."""
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, (time, pairs)), axis=0)
    y = 0.1 + 0.98 * x + rng.normal(0.0, 3e-4, (time, pairs))
    for odd in (math.nan, math.inf, -math.inf, 1e200, -1.7e308, 1e99, 0.0, 5e-324, 311.0):
        for leg in (y, x):
            leg[rng.integers(time), rng.integers(pairs)] = odd
    return y, x, rng.choice([1, 2, 7, 10**9], size=time)


@pytest.mark.parametrize("pairs", [1, 3, 8, 203])
def test_a_step_of_a_panel_is_each_pairs_step_bit_for_bit(pairs: int) -> None:
    rows, (y, x, steps) = many(pairs, 1), prices(60, pairs, 2)
    states = kalman.new_states(pairs)
    for row, state in zip(rows, states, strict=True):
        kalman.start(row, state)
    params, panel = kalman.panel(rows), kalman.panel(states)
    direct = kalman.panel_stepper()
    one = np.ones(1, dtype=np.int64)
    for t in range(60):
        (kalman.step_panel if t % 2 else direct)(params, panel, y[t], x[t], int(steps[t]))
        for i in range(pairs):
            alone = slice(i, i + 1)
            kalman.step_slots(rows[alone], states[alone], one, y[t, i], x[t, i], steps[t])
        assert kalman.panel_rows(panel, kalman.State).tobytes() == states.tobytes()
    assert np.isfinite(panel).all()


def test_a_run_of_a_panel_is_each_pairs_run_bit_for_bit() -> None:
    rows, (y, x, steps) = many(20, 3), prices(200, 20, 4)
    y, x = (np.where(np.isfinite(leg), leg, 11.0) for leg in (y, x))
    track = kalman.run_panel(kalman.panel(rows), y, x, steps)
    for i in range(20):
        alone = kalman.run(rows[i : i + 1], y[:, i], x[:, i], steps)
        for name, column in track._asdict().items():
            assert column[:, i].tobytes() == alone[name].tobytes()


def test_a_run_of_a_panel_goes_on_from_where_it_was() -> None:
    params, (y, x, _) = kalman.panel(many(9, 5)), prices(100, 9, 6)
    whole = kalman.run_panel(params, y, x)
    states = kalman.panel(kalman.new_states(9))
    for i in range(9):
        kalman.start(kalman.panel_rows(params, kalman.Params)[i], rows := kalman.new_states(1)[0])
        states[:, i] = rows.tolist()
    parts = [
        kalman.run_panel(params, y[p], x[p], None, states) for p in np.split(np.arange(100), 4)
    ]
    for name, column in whole._asdict().items():
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert joined.tobytes() == column.tobytes()


def test_a_gap_of_a_panel_lets_time_pass_and_teaches_nothing() -> None:
    params = kalman.panel(many(2, 7))
    known = kalman.run_panel(
        params, [[11.1, 11.1], [math.nan, 11.2]], np.full((2, 2), 11.0), [1, 9]
    )
    assert known.hedge_ratio[0, 0] == known.hedge_ratio[1, 0]
    assert known.innovation[1, 0] == 0.0
    assert known.hedge_ratio[0, 1] != known.hedge_ratio[1, 1]


@pytest.mark.parametrize(
    ("y", "x", "states", "message"),
    [
        (np.ones((4, 3)), np.ones((4, 2)), None, r"must have shape \(4, 2\), had \(4, 3\)"),
        (np.ones((4, 2)), np.ones(4), None, r"had \(4, 2\) and \(4,\)"),
        (np.ones((4, 2)), np.ones((4, 2)), np.ones((9, 3)), "states must be a panel of 2 pairs"),
    ],
)
def test_a_panel_of_another_shape_is_refused(y: Any, x: Any, states: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kalman.run_panel(kalman.panel(many(2, 8)), y, x, None, states)


def test_a_direct_call_is_the_same_step() -> None:
    y, x, steps = pair(200)
    rows = many(3, 9)
    usual, direct, live = kalman.new_states(3), kalman.new_states(3), np.array([1, 0, 1])
    step = kalman.stepper()
    for row, one, other in zip(rows, usual, direct, strict=True):
        kalman.start(row, one)
        kalman.start(row, other)
    for yt, xt, n in zip(y.tolist(), x.tolist(), steps.tolist(), strict=True):
        kalman.step_slots(rows, usual, live, yt, xt, n)
        step(rows, direct, live, yt, xt, n)
    assert direct.tobytes() == usual.tobytes()
    assert direct["steps"].tolist() == [int(steps.sum()), 0, int(steps.sum())]


@pytest.mark.parametrize(
    ("y", "x", "steps", "message"),
    [
        ([1.0, math.nan], [1.0, 1.0], None, "y must be finite, was nan at 1"),
        ([1.0, 1.0], [1.0, math.inf], None, "x must be finite, was inf at 1"),
        ([1.0, 1.0], [1.0], None, "x must have 2 values, had 1"),
        ([[1.0]], [1.0], None, r"y must have one dimension, had shape \(1, 1\)"),
        ([1.0], [1.0], [0], "steps must be at least 1, was 0 at 0"),
        ([1.0], [1.0], [1, 1], r"steps must have shape \(1,\), had \(2,\)"),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(y: Any, x: Any, steps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kalman.run(kalman.params_row(parameters()), y, x, steps)


@pytest.mark.parametrize(("y", "x"), [(math.nan, 11.0), (11.0, math.inf), (-math.inf, math.nan)])
def test_a_run_that_is_refused_leaves_its_state_alone(y: float, x: float) -> None:
    ys, xs, steps = pair(50)
    row, states = kalman.params_row(parameters()), kalman.new_states(1)
    kalman.start(row[0], states[0])
    kalman.run(row, ys, xs, steps, states)
    before = states.tobytes()
    ys[49], xs[49] = y, x
    with pytest.raises(ValueError, match="must be finite, was .* at 49"):
        kalman.run(row, ys, xs, steps, states)
    assert states.tobytes() == before


def test_a_panel_begins_where_a_cache_line_does() -> None:
    for pairs in (1, 7, 200):
        columns = kalman.panel(many(pairs, 11))
        assert columns.ctypes.data % 64 == 0
        assert columns.shape == (len(kalman.Params.names or ()), pairs)
        assert kalman.panel_rows(columns, kalman.Params).tobytes() == many(pairs, 11).tobytes()
