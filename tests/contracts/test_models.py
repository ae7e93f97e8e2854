"""What every model promises: one step serves the stream and the array, and nothing breaks it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.models import bocd, egarch, garch, kalman
from hft_lib.parameters import (
    BocdParameters,
    EgarchParameters,
    GarchParameters,
    KalmanParameters,
)

KALMAN = KalmanParameters(
    intercept_drift_var=1e-8,
    hedge_drift_var=1e-10,
    noise_var=1e-7,
    intercept_prior_mean=0.0,
    intercept_prior_var=1.0,
    hedge_prior_mean=1.0,
    hedge_prior_var=1.0,
)
GARCH = GarchParameters(mean=0.0, omega=1e-9, alpha=0.1, beta=0.85, variance_prior=2e-8)
EGARCH = EgarchParameters(
    mean=0.0, omega=-0.9, alpha=0.2, gamma=-0.05, beta=0.95, variance_prior=2e-8, dof=6.0
)
BOCD = BocdParameters(
    hazard=0.004, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
)


@dataclass(frozen=True)
class Inputs:
    """Observations as each model takes them: two log prices, or one number."""

    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> "Inputs":
        return Inputs(self.y[part], self.x[part], self.steps[part])

    def __len__(self) -> int:
        return self.y.size


@dataclass(frozen=True)
class Model:
    """A model with the two ways to feed it: an observation at a time, or an array."""

    module: ModuleType
    params: Any
    step: Callable[[Any, Any, Inputs, int], None]
    run: Callable[[Any, Inputs, Any], Any]

    def started(self) -> Any:
        states = self.module.new_states(1)
        self.module.start(self.params[0], states[0])
        return states

    def stream(self, states: Any, inputs: Inputs) -> list[bytes]:
        """The state's bytes after each observation."""
        after = []
        for t in range(len(inputs)):
            self.step(self.params, states, inputs, t)
            after.append(states.tobytes())
        return after


ONE = np.ones(1, dtype=np.int64)
MODELS = {
    "kalman": Model(
        kalman,
        kalman.params_row(KALMAN),
        lambda p, s, i, t: kalman.step_slots(p, s, ONE, i.y[t], i.x[t], i.steps[t]),
        lambda p, i, s: kalman.run(p, i.y, i.x, i.steps, s),
    ),
    "garch": Model(
        garch,
        garch.params_row(GARCH),
        lambda p, s, i, t: garch.step_slots(p, s, ONE, i.y[t : t + 1], i.steps[t]),
        lambda p, i, s: garch.run(p, i.y, i.steps, s),
    ),
    "egarch": Model(
        egarch,
        egarch.params_row(EGARCH),
        lambda p, s, i, t: egarch.step_slots(p, s, ONE, i.y[t : t + 1], i.steps[t]),
        lambda p, i, s: egarch.run(p, i.y, i.steps, s),
    ),
    "bocd": Model(
        bocd,
        bocd.params_row(BOCD),
        lambda p, s, i, t: bocd.step_slots(p, s, ONE, i.y[t : t + 1]),
        lambda p, i, s: bocd.run(p, i.y, state=s),
    ),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


def usual(size: int = 400, seed: int = 0) -> Inputs:
    """A pair of log prices whose spread changes its character half way."""
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, size))
    noise = rng.normal(0.0, 3e-4, size) * np.where(np.arange(size) < size // 2, 1.0, 4.0)
    return Inputs(0.02 + x + noise, x, rng.integers(1, 5, size))


def constant(y: float, x: float, size: int = 120, steps: int = 1) -> Inputs:
    return Inputs(np.full(size, y), np.full(size, x), np.full(size, steps))


def outlier(value: float) -> Inputs:
    inputs = usual(200)
    inputs.y[100] = value
    return inputs


EDGES = {
    "one observation": usual(1),
    "nothing moves": constant(11.0, 11.0),
    "zeros": constant(0.0, 0.0),
    "prices of 1e-12": constant(math.log(1e-12), math.log(1e-12)),
    "prices of 1e12": constant(math.log(1e12), math.log(1e12)),
    "gaps of days": constant(11.0, 11.1, steps=10_000_000),
    "a gap without end": constant(11.0, 11.1, steps=2**40),
    "an outlier of a million deviations": outlier(11.0 + 3e-4 * 1e6),
    "an outlier of 1e160": outlier(1e160),
    "an outlier at the end of the range": outlier(-1.7e308),
    "subnormals": constant(5e-324, 1e-310),
}


def test_streaming_equals_the_array_bit_for_bit(model: Model) -> None:
    inputs, states = usual(), model.started()
    track = model.run(model.params, inputs, states)
    streamed = model.started()
    model.stream(streamed, inputs)
    assert streamed.tobytes() == states.tobytes()
    assert np.isfinite(track.view(np.float64)).all()


def test_restart_from_a_snapshots_bytes_equals_uninterrupted(model: Model) -> None:
    inputs, whole, first = usual(), model.started(), model.started()
    expected = model.run(model.params, inputs, whole)
    before = model.run(model.params, inputs[:250], first)
    snapshot = np.frombuffer(first.tobytes(), first.dtype).reshape(first.shape).copy()
    after = model.run(model.params, inputs[250:], snapshot)
    assert np.concatenate([before, after]).tobytes() == expected.tobytes()
    assert snapshot.tobytes() == whole.tobytes()


def test_a_value_does_not_change_when_what_follows_is_removed(model: Model) -> None:
    inputs = usual()
    whole = model.run(model.params, inputs, model.started())
    for size in (1, 2, 99, 300):
        part = model.run(model.params, inputs[:size], model.started())
        assert part.tobytes() == whole[:size].tobytes()


def test_what_follows_does_change_when_a_value_does(model: Model) -> None:
    inputs, other = usual(), usual()
    other.y[200] += 0.01
    one = model.run(model.params, inputs, model.started())
    two = model.run(model.params, other, model.started())
    assert one[:200].tobytes() == two[:200].tobytes()
    assert one[201:].tobytes() != two[201:].tobytes()


def test_the_same_inputs_give_the_same_bytes(model: Model) -> None:
    one, two = model.started(), model.started()
    assert model.stream(one, usual()) == model.stream(two, usual())


@pytest.mark.parametrize("edge", EDGES)
def test_everything_stays_finite_at_the_edges(model: Model, edge: str) -> None:
    states = model.started()
    track = model.run(model.params, EDGES[edge], states)
    assert np.isfinite(track.view(np.float64)).all()
    later = model.run(model.params, usual(50), states)
    assert np.isfinite(later.view(np.float64)).all()
    assert np.isfinite(model.module.log_likelihood(*likelihood_inputs(model, EDGES[edge])))


def likelihood_inputs(model: Model, inputs: Inputs) -> tuple[Any, ...]:
    if model.module is kalman:
        return model.params, inputs.y, inputs.x, inputs.steps
    return (
        (model.params, inputs.y, inputs.steps)
        if model.module in (garch, egarch)
        else (model.params, inputs.y)
    )


def test_no_observation_leaves_the_prior(model: Model) -> None:
    states = model.started()
    track = model.run(model.params, usual(0), states)
    assert track.size == 0
    assert states.tobytes() == model.started().tobytes()


def test_states_of_another_shape_are_refused(model: Model) -> None:
    states = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match="must be one row of"):
        model.run(model.params, usual(3), states)
