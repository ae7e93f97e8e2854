"""Writes `state_space.json`: results of KFAS and Stata that statsmodels' own tests carry.

Run it as a program, with statsmodels of the version it notes: it copies, and computes nothing but
the case a two-state random walk can express. What our filter cannot express is listed with why.
"""

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

OUT = Path(__file__).with_name("state_space.json")
# By statsmodels' names. A prior of None is known to be 0, "diffuse" exactly so, else a variance.
UNEMPLOYMENT: dict[str, dict[str, Any]] = {
    "irregular": {"intercept_prior": None, "hedge_prior": None, "x": "none"},
    "deterministic_constant": {"intercept_prior": "diffuse", "hedge_prior": None, "x": "none"},
    "local_level": {"intercept_prior": "diffuse", "hedge_prior": None, "x": "none"},
    "random_walk": {"intercept_prior": "diffuse", "hedge_prior": None, "x": "none"},
    "deterministic_trend": {"intercept_prior": "diffuse", "hedge_prior": "diffuse", "x": "time"},
    "local_linear_deterministic_trend": {
        "intercept_prior": "diffuse",
        "hedge_prior": "diffuse",
        "x": "time",
    },
    "random_walk_with_drift": {"intercept_prior": "diffuse", "hedge_prior": "diffuse", "x": "time"},
    "reg": {"intercept_prior": None, "hedge_prior": "diffuse", "x": "log realgdp"},
    "reg_approx_diffuse": {"intercept_prior": None, "hedge_prior": 1e6, "x": "log realgdp"},
}
WALKS = {"local_level", "local_linear_deterministic_trend"}
NOISELESS = {"random_walk", "random_walk_with_drift"}
GAPS_AT = (1, 2, 20, 50, 51, 71, 90, 91, 119, 131, 202, 203)
MISSING = {  # first and last quarter
    "realgdp": [[1, 50], [120, 130]],
    "realcons": [[20, 70]],
    "realinv": [[40, 90], [120, 130]],
}
NOT_EXPRESSIBLE = {
    "local_linear_trend, smooth_trend, random_trend, rtrend_ar1": "a slope that walks is "
    "summed into the level: the noise of intercept and slope is then neither diagonal nor constant",
    "cycle, seasonal, freq_seasonal, lltrend_cycle_seasonal_reg_ar1": "rotating states",
    "uc_uni, uc_bi, clark1989, wpi1_ar3 (Stata, MATLAB ssm), realgdpar, sarimax": "autoregressive "
    "states: ours are random walks",
    "smoothing2, smoothing3, smoothing_generalobscov, var1*, dfm, common_level": "autoregressive "
    "or shared states",
    "cfa_tvpvar (MATLAB)": "a regression of three series on twelve coefficients, and a sampler",
    "simulation_smoothing*; alphahat, V, r, N of all files": "smoothers: a live filter has none",
    "exponential_smoothing": "one source of error: state and observation noise are the same draw",
}


def results() -> Path:
    """Where the results of statsmodels' state-space tests are."""
    spec = find_spec("statsmodels.tsa.statespace.tests.results")
    assert spec is not None and spec.submodule_search_locations, "statsmodels has no test results"
    return Path(next(iter(spec.submodule_search_locations)))


def unemployment() -> dict[str, Any]:
    """KFAS's log-likelihoods at its parameters: quarterly US unemployment, 203 observations."""
    from statsmodels.tsa.statespace.tests.results import results_structural

    cases = {}
    for name, form in UNEMPLOYMENT.items():
        found = getattr(results_structural, name)
        noise, walk = [*found["params"], 0.0][:2]
        if name in NOISELESS:
            noise, walk = 0.0, noise
        assert (walk > 0.0) == (name in WALKS | NOISELESS)
        variances = {"noise_var": noise, "intercept_drift_var": walk}
        cases[name] = {**form, **variances, "log_likelihood": found["llf"]}
    return cases


def local_level() -> dict[str, Any]:
    """KFAS's whole filter of ten observations, and Stata's log-likelihood of them."""
    table = pd.read_csv(results() / "results_exact_initial_local_level_R.csv")
    columns = (("innovation", "v_1"), ("innovation_var", "F_1"), ("level", "att_1"))
    return {
        "y": [10.2394] + [1.0] * 9,
        "noise_var": 1.993,
        "intercept_drift_var": 8.253,
        "log_likelihood": float(table["llf"][0]),
        "log_likelihood_stata": -23.9352603142740605,
        **{name: table[column][:10].tolist() for name, column in columns},
        "level_var_forecast": float(table["sumP"][10]),
    }


def with_gaps(file: str, quarters: int, drifting: bool) -> dict[str, Any]:
    """KFAS's filter of three levels with long gaps: innovations at chosen quarters."""
    table = pd.read_csv(results() / file)
    assert len(table) == quarters
    series = []
    for j, column in enumerate(("realgdp", "realcons", "realinv"), 1):
        seen = [t for t in GAPS_AT if t <= quarters and np.isfinite(table[f"v{j}"][t - 1])]
        series.append(
            {
                "column": column,
                "missing": MISSING[column],
                "observation_intercept": float(j) if drifting else 0.0,
                "level_drift": 3.0 + j if drifting else 0.0,
                "quarter": seen,
                "innovation": [float(table[f"v{j}"][t - 1]) for t in seen],
                "innovation_var": [float(table[f"F{j}"][t - 1]) for t in seen],
            }
        )
    return {"level_prior_var": 1e6, "series": series}


def main() -> None:
    """Write the file."""
    document = {
        "what": "Kalman filters of KFAS (R) and Stata that a two-state random walk can express",
        "method": "copied from statsmodels' state-space test results by make_state_space.py",
        "source": "R scripts test_ucm.R, test_exact_diffuse_filtering.R, test_intercepts.R, "
        "test_smoothing.R and Stata script test_exact_diffuse_filtering_stata.do in "
        "statsmodels/tsa/statespace/tests/results (C. Fulton, BSD); series: "
        "statsmodels.datasets.macrodata",
        "versions": {"statsmodels": version("statsmodels"), "KFAS": "not noted by the scripts"},
        "conventions": "KFAS leaves (1/2) log 2 pi out for each diffuse observation; time counts "
        "from 0; a standard deviation divides by n - 1",
        "tolerance": {
            "log_likelihood": 5e-8,
            "relative": 1e-10,
            "why": "KFAS's log-likelihoods are printed to 10 digits; its filter to 15, of which "
            "our diffuse prior of variance 1e10 keeps 10; Stata's start moves its own by 7e-8",
        },
        "not_expressible": NOT_EXPRESSIBLE,
        "unemployment": unemployment(),
        "local_level": local_level(),
        "levels_with_gaps": {
            "results_intercepts_R.csv": {
                "of": "the columns over their standard deviations",
                "log_likelihood_of_the_three": -7924.03893566,
                **with_gaps("results_intercepts_R.csv", 203, True),
            },
            "results_smoothing_R.csv": {
                "of": "the columns' differences",
                "log_likelihood_of_the_three": -205310.9767,
                **with_gaps("results_smoothing_R.csv", 202, False),
            },
        },
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
