"""What every model promises of parameters far out: refused by the rules, or nothing breaks."""

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.contracts.found_models import (
    EDGES,
    MODELS,
    Inputs,
    Model,
    checked,
    finite,
    neighbours,
    unfinite,
    usual,
)

# What the rules of `check_parameters` let through, one at a time: the ends, and far out.
POSITIVE = (5e-324, 1e-300, 1e-100, 1e-12, 1e12, 1e100, 1e300, 1.7e308)
SIGNED = (-1e300, -1e12, 1e12, 1e300)
EXTREMES: dict[str, dict[str, tuple[Any, ...]]] = {
    "KalmanParameters": {
        "intercept_drift_var": (0.0, *POSITIVE),
        "hedge_drift_var": (0.0, *POSITIVE),
        "noise_var": POSITIVE,
        "intercept_prior_mean": SIGNED,
        "intercept_prior_var": POSITIVE,
        "hedge_prior_mean": SIGNED,
        "hedge_prior_var": POSITIVE,
    },
    "GarchParameters": {
        "mean": SIGNED,
        "omega": POSITIVE,
        "alpha": (0.0, 0.1499999999999999),
        "gamma": (-0.1, 0.0, 0.0999999999999999),
        "beta": (0.0, 0.8999999999999999),
        "variance_prior": POSITIVE,
        "dof": (2.0000000000000004, 2.0001, 200.0, 1e15, 1e300),
    },
    "EgarchParameters": {
        "mean": SIGNED,
        "omega": (-1e300, -700.0, -1.0, 1.0, 700.0, 1e300),
        "alpha": (-1e300, -1.0, 0.0, 1.0, 1e300),
        "gamma": (-1e300, -1.0, 0.0, 1.0, 1e300),
        "beta": (-0.9999999999999999, 0.0, 0.9999999999999999),
        "variance_prior": POSITIVE,
        "dof": (2.0000000000000004, 2.0001, 200.0, 1e15, 1e300),
    },
    "BocdParameters": {
        "hazard": (5e-324, 1e-300, 1e-12, 0.5, 0.9999999999999999),
        "prior_mean": SIGNED,
        "prior_kappa": POSITIVE,
        "prior_alpha": POSITIVE,
        "prior_beta": POSITIVE,
        "alarm_run_length": (1, 10**9, 2**62),
    },
}


def extremes_of(model: Model) -> dict[str, tuple[Any, ...]]:
    """The extremes of the parameters that a model has."""
    said = EXTREMES.get(model.parameters.__name__, {})
    return {f: values for f, values in said.items() if f in model.parameters.__struct_fields__}


every_model = pytest.mark.parametrize("name", MODELS)


@every_model
def test_the_extreme_parameters_are_said_of_every_model(name: str) -> None:
    parameters = MODELS[name].parameters
    said = extremes_of(MODELS[name])
    assert said, f"say the extreme parameters of {parameters.__name__} in EXTREMES"
    run_by = set(MODELS[name].module.Params.names) & set(parameters.__struct_fields__)
    assert run_by <= set(said), "each parameter that a step takes has its extremes"


# Parameters that the rules let through and that break a model: each mark goes when its cause does.
BROKEN = {
    ("kalman", "noise_var", (5e-324, 1e-300)): "the product of variances underflows: +inf nats",
    ("garch", "omega", (5e-324,)): "a square over a variance of 5e-324 overflows: -inf nats",
    ("garch", "omega", (1.7e308,)): "the variance overflows, a gap then makes it NaN",
    ("bocd", "hazard", (5e-324, 1e-300)): "no hypothesis forecasts an outlier: -inf nats",
    ("bocd", "prior_mean", (-1e300, 1e300)): "NaN forecast, then a write outside the state",
    ("bocd", "prior_alpha", (5e-324, 1e-300)): "an infinite weight",
    ("bocd", "prior_alpha", (1e100, 1e300, 1.7e308)): "-inf or NaN nats, then a write outside",
    ("bocd", "prior_beta", (5e-324,)): "NaN forecast, then a write outside the state",
    ("bocd", "prior_beta", (1.7e308,)): "-inf nats",
}


def extreme_case(name: str, field: str, value: Any) -> Any:
    """The case, marked where it is known to break."""
    reasons = [
        why for (n, f, values), why in BROKEN.items() if (n, f) == (name, field) and value in values
    ]
    marks = [pytest.mark.xfail(reason=reason, raises=AssertionError) for reason in reasons]
    return pytest.param(name, field, value, marks=marks)


EXTREME_CASES = [
    extreme_case(name, field, value)
    for name, model in MODELS.items()
    for field, values in extremes_of(model).items()
    for value in values
]
TRIALS = (
    "one observation",
    "zeros",
    "an outlier of 1e160",
    "an outlier of 1e160 in ten",
    "gaps of a billion intervals",
)


def holds_at(model: Model, params: Any, inputs: Inputs) -> None:
    """Assert that parameters the rules let through leave all finite, and the neighbours alone."""
    row = model.module.params_row(params)
    states = model.started(row)
    beside = neighbours(states)
    track = model.run(row, inputs, states)
    assert neighbours(states) == beside, "a step wrote outside its own state"
    assert finite(track), unfinite(track)
    assert math.isfinite(model.log_likelihood(row, inputs))


@pytest.mark.parametrize(("name", "field", "value"), EXTREME_CASES)
def test_extreme_parameters_are_refused_or_leave_all_finite(
    name: str, field: str, value: Any
) -> None:
    model = MODELS[name]
    params = model.params(**{field: value})
    if not checked(model, params):
        return
    for trial in TRIALS:
        holds_at(model, params, EDGES[trial])
    holds_at(model, params, usual(200))


@every_model
def test_the_rules_let_the_usual_parameters_through(name: str) -> None:
    assert checked(MODELS[name], MODELS[name].params())


def moderate(values: tuple[Any, ...]) -> list[Any]:
    """Extremes within fifteen orders of magnitude of one, which may come together."""
    return [v for v in values if v == 0.0 or 1e-15 <= abs(v) <= 1e15]


@every_model
@settings(max_examples=60)
@given(data=st.data())
def test_parameters_far_out_together_leave_all_finite(name: str, data: st.DataObject) -> None:
    model = MODELS[name]
    extremes = extremes_of(model)
    changes = data.draw(
        st.fixed_dictionaries(
            {}, optional={f: st.sampled_from(moderate(v) or [v[0]]) for f, v in extremes.items()}
        )
    )
    params = model.params(**changes)
    assume(checked(model, params))
    trial = data.draw(st.sampled_from([*TRIALS, "nothing moves", "values of 1e12"]))
    holds_at(model, params, EDGES[trial])
