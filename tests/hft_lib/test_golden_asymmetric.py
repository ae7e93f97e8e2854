"""Our GJR and EGARCH, their fits and errors against the arch package's."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.fitting.egarch import fit_egarch
from hft_lib.fitting.garch import fit_garch
from hft_lib.fitting.result import Fit
from hft_lib.models import egarch, garch
from hft_lib.parameters import EgarchParameters, GarchParameters
from tests.hft_lib.test_golden_garch import GOLDEN, TOLERANCE, returns

CASES = [case for case in GOLDEN["cases"] if case["model"] in ("gjr", "egarch")]


def name_of(case: dict[str, Any]) -> str:
    return f"{case['model']} {case['series']} {case['distribution']}"


every_case = pytest.mark.parametrize("case", CASES, ids=name_of)


def model_of(case: dict[str, Any]) -> tuple[Any, npt.NDArray[Any]]:
    """The model, and arch's parameters and presample as a row of its own."""
    p = case["params"]
    if case["model"] == "gjr":
        persistence = p["alpha"] + 0.5 * p["gamma"] + p["beta"]
        variance = p["omega"] + persistence * case["backcast"]
        return garch, garch.params_row(GarchParameters(variance_prior=variance, **p))
    variance = math.exp(p["omega"] + p["beta"] * math.log(case["backcast"]))
    return egarch, egarch.params_row(EgarchParameters(variance_prior=variance, **p))


def fit_of(case: dict[str, Any]) -> Fit[Any]:
    values, distribution = returns(case), case["distribution"]
    if case["model"] == "gjr":
        return fit_garch(values, None, distribution, "backcast", asymmetric=True)
    return fit_egarch(values, None, distribution, "backcast")


@every_case
def test_variances_and_log_likelihood_at_its_parameters_are_archs(case: dict[str, Any]) -> None:
    values, (model, row) = returns(case), model_of(case)
    variance = model.run(row, values)["variance"][np.array(case["observation"]) - 1]
    assert variance == pytest.approx(case["variance"], rel=TOLERANCE["variance_relative"])
    assert model.log_likelihood(row, values) == pytest.approx(
        case["log_likelihood"], abs=TOLERANCE["log_likelihood_at_params"], rel=0.0
    )


@every_case
def test_the_fit_is_no_less_likely_than_archs_and_at_its_parameters(case: dict[str, Any]) -> None:
    fit = fit_of(case)
    assert fit.converged, fit.reason
    assert fit.log_likelihood > case["log_likelihood"] - TOLERANCE["log_likelihood_below"]
    for name, value in case["params"].items():
        apart = abs(getattr(fit.params, name) - value) / case["standard_errors"][name]
        assert apart < TOLERANCE["params_in_standard_errors"], name


@every_case
def test_standard_errors_are_archs_where_no_parameter_is_at_a_bound(case: dict[str, Any]) -> None:
    fit = fit_of(case)
    if any(error is None for error in fit.standard_errors.values()):
        # arch takes its Hessian across the bound, where the likelihood is another function.
        assert case["params"]["alpha"] < 1e-9
        assert fit.standard_errors["alpha"] is None
        return
    for name, error in case["standard_errors"].items():
        assert fit.standard_errors[name] == pytest.approx(
            error, rel=TOLERANCE["standard_errors_relative"]
        ), name
