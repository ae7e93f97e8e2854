"""Our two-state filter against KFAS, Stata and the exact joint density of hard cases."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.models import kalman
from hft_lib.parameters import KalmanParameters

FOLDER = Path(__file__).resolve().parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "state_space.json").read_text())
EXACT = json.loads((FOLDER / "kalman_exact.json").read_text())
DIFFUSE = 1e10
KNOWN = 1e-30  # the variance of what is known: a filter's priors are positive
NO_NOISE = 1e-14
LOG_TWO_PI = math.log(2.0 * math.pi)


def parameters(**values: float) -> KalmanParameters:
    """Parameters of known zeros, but for `values`."""
    base = {name: 0.0 for name in KalmanParameters.__struct_fields__}
    base |= {"intercept_prior_var": KNOWN, "hedge_prior_var": KNOWN}
    return KalmanParameters(**(base | values))


@pytest.fixture(scope="module")
def macrodata() -> Any:
    from statsmodels.datasets import macrodata as dataset

    return dataset.load_pandas().data


def regressor(name: str, data: Any) -> npt.NDArray[np.float64]:
    columns = {
        "none": np.zeros(len(data)),
        "time": np.arange(len(data), dtype=float),
        "log realgdp": np.log(data["realgdp"].to_numpy(float)),
    }
    return columns[name]


def prior_var(prior: str | float | None) -> float:
    if prior is None:
        return KNOWN
    return DIFFUSE if prior == "diffuse" else float(prior)


@pytest.mark.parametrize("name", GOLDEN["unemployment"])
def test_log_likelihood_is_that_of_kfas(name: str, macrodata: Any) -> None:
    case = GOLDEN["unemployment"][name]
    p = parameters(
        noise_var=max(case["noise_var"], NO_NOISE),
        intercept_drift_var=case["intercept_drift_var"],
        intercept_prior_var=prior_var(case["intercept_prior"]),
        hedge_prior_var=prior_var(case["hedge_prior"]),
    )
    y, x = macrodata["unemp"].to_numpy(float), regressor(case["x"], macrodata)
    found = kalman.log_likelihood(kalman.params_row(p), y, x)
    diffuse = [case["intercept_prior"], case["hedge_prior"]].count("diffuse")
    found += diffuse * 0.5 * (math.log(DIFFUSE) + LOG_TWO_PI)
    assert found == pytest.approx(
        case["log_likelihood"], abs=GOLDEN["tolerance"]["log_likelihood"], rel=0.0
    )


@pytest.mark.parametrize("name", ["deterministic_constant", "deterministic_trend"])
def test_the_noise_most_likely_without_drift_is_that_of_kfas(name: str, macrodata: Any) -> None:
    case = GOLDEN["unemployment"][name]
    y, x = macrodata["unemp"].to_numpy(float), regressor(case["x"], macrodata)
    priors = {
        "intercept_prior_var": prior_var(case["intercept_prior"]),
        "hedge_prior_var": prior_var(case["hedge_prior"]),
    }

    def value(factor: float) -> float:
        p = parameters(noise_var=factor * case["noise_var"], **priors)
        return kalman.log_likelihood(kalman.params_row(p), y, x)

    width = 1e-3
    slope = (value(math.exp(width)) - value(math.exp(-width))) / (2.0 * width)
    assert abs(slope) < 1e-4  # nats: off by a millionth of the noise it would be 1e-4
    assert max(value(0.99), value(1.01)) < value(1.0)


def test_the_filter_of_a_local_level_is_that_of_kfas_and_stata() -> None:
    golden = GOLDEN["local_level"]
    y, relative = np.array(golden["y"]), GOLDEN["tolerance"]["relative"]
    p = parameters(
        noise_var=golden["noise_var"],
        intercept_drift_var=golden["intercept_drift_var"],
        intercept_prior_var=DIFFUSE,
    )
    row, states = kalman.params_row(p), kalman.new_states(1)
    kalman.start(row[0], states[0])
    track, zeros = kalman.run(row, y, np.zeros(y.size), None, states), np.zeros(y.size)
    # The first observation is diffuse for KFAS: its figures there are of another kind.
    assert track["innovation"][1:] == pytest.approx(golden["innovation"][1:], rel=1e-8, abs=1e-9)
    for name, ours in (("innovation_var", "innovation_var"), ("level", "intercept")):
        assert track[ours][1:] == pytest.approx(golden[name][1:], rel=10.0 * relative)
    forecast = kalman.covariance(states)[0, 0] + golden["intercept_drift_var"]
    assert forecast == pytest.approx(golden["level_var_forecast"], rel=relative)
    found = kalman.log_likelihood(row, y, zeros) + 0.5 * math.log(DIFFUSE)
    assert found == pytest.approx(golden["log_likelihood_stata"], abs=1e-7, rel=0.0)
    assert found + 0.5 * LOG_TWO_PI == pytest.approx(golden["log_likelihood"], abs=1e-8, rel=0.0)


def seen_with_gaps(
    series: dict[str, Any], level_prior_var: float, values: Any
) -> tuple[Any, Any, Any, KalmanParameters]:
    """Observations, their times, quarters passed before each, and the model of one level.

    The level's known drift is a hedge ratio on time of no variance.
    """
    y = values - series["observation_intercept"]
    quarters = np.arange(1, y.size + 1)
    for first, last in series["missing"]:
        quarters = quarters[(quarters < first) | (quarters > last)]
    p = parameters(
        noise_var=1.0,
        intercept_drift_var=1.0,
        intercept_prior_var=level_prior_var - 1.0,  # KFAS's is that of the first quarter
        hedge_prior_mean=series["level_drift"],
    )
    return y[quarters - 1], quarters - 1.0, np.diff(quarters, prepend=0), p


@pytest.mark.parametrize("file", GOLDEN["levels_with_gaps"])
def test_levels_with_gaps_are_filtered_as_by_kfas(file: str, macrodata: Any) -> None:
    golden, total = GOLDEN["levels_with_gaps"][file], 0.0
    for series in golden["series"]:
        column = macrodata[series["column"]]
        differences = "differences" in golden["of"]
        values = column.diff().iloc[1:] if differences else column / column.std()
        y, time, steps, p = seen_with_gaps(
            series, golden["level_prior_var"], values.to_numpy(float)
        )
        row = kalman.params_row(p)
        track = kalman.run(row, y, time, steps)[np.isin(time + 1.0, series["quarter"])]
        for name in ("innovation", "innovation_var"):
            assert track[name] == pytest.approx(
                series[name], rel=GOLDEN["tolerance"]["relative"], abs=1e-9
            )
        total += kalman.log_likelihood(row, y, time, steps)
    assert total == pytest.approx(golden["log_likelihood_of_the_three"], rel=2.5e-10)


@pytest.mark.parametrize("case", EXACT["cases"], ids=lambda case: case["name"])
def test_forecasts_are_those_of_the_exact_joint_density(case: dict[str, Any]) -> None:
    tolerance = EXACT["tolerance"][case["tolerance"]]
    row = kalman.params_row(KalmanParameters(**case["params"]))
    track = kalman.run(row, case["y"], case["x"], case["steps"])
    e, s = np.array(case["innovation"]), np.array(case["innovation_var"])
    assert track["innovation_var"] == pytest.approx(s, rel=tolerance["innovation_var"])
    apart = np.abs(track["innovation"] - e) / np.sqrt(s)
    assert (apart < tolerance["innovation_sd"] * (1.0 + np.abs(e) / np.sqrt(s))).all()
    found = kalman.log_likelihood(row, case["y"], case["x"], case["steps"])
    assert found == pytest.approx(
        case["log_likelihood"], abs=tolerance["log_likelihood"], rel=1e-12
    )
