"""The models as the contract suites find and feed them, and the observations that try them.

The models are found, not listed: every module of `hft_lib.models` that has the shape of one. How it
is fed is read off the arguments of its `step`; only its usual parameters must be said here.
"""

import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

import hft_lib.models
from hft_lib.parameters import Parameters, StrategyParameters, check_parameters

SHAPE = ("Params", "Track", "params_row", "new_states", "start", "step", "run", "log_likelihood")

# Every model's parameters for observations of about unit variance about 0, or log prices near 11.
USUAL: dict[str, dict[str, Any]] = {
    "KalmanParameters": {
        "intercept_drift_var": 1e-8,
        "hedge_drift_var": 1e-10,
        "noise_var": 1e-7,
        "intercept_prior_mean": 0.0,
        "intercept_prior_var": 1.0,
        "hedge_prior_mean": 1.0,
        "hedge_prior_var": 1.0,
    },
    "GarchParameters": {
        "mean": 0.0,
        "omega": 0.05,
        "alpha": 0.1,
        "beta": 0.85,
        "variance_prior": 1.0,
    },
    "EgarchParameters": {
        "mean": 0.0,
        "omega": 0.0,
        "alpha": 0.1,
        "gamma": -0.05,
        "beta": 0.95,
        "variance_prior": 1.0,
    },
    "BocdParameters": {
        "hazard": 0.004,
        "prior_mean": 0.0,
        "prior_kappa": 1.0,
        "prior_alpha": 1.0,
        "prior_beta": 1.0,
    },
}


@dataclass(frozen=True)
class Inputs:
    """Observations as the models take them: two log prices, or one innovation, and gaps."""

    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    innovation: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> "Inputs":
        return Inputs(self.y[part], self.x[part], self.innovation[part], self.steps[part])

    def __len__(self) -> int:
        return self.y.size


@dataclass(frozen=True)
class Model:
    """A model, and what its step observes: `y` and `x`, or one innovation by whatever name."""

    module: ModuleType
    observed: tuple[str, ...]
    gaps: bool

    @property
    def parameters(self) -> Any:
        """The class of its parameters."""
        return typing.get_type_hints(self.module.params_row)["p"]

    def params(self, **changes: Any) -> Any:
        """Its usual parameters but for `changes`."""
        return self.parameters(**(USUAL[self.parameters.__name__] | changes))

    def row(self, **changes: Any) -> Any:
        return self.module.params_row(self.params(**changes))

    def started(self, row: Any) -> Any:
        """One row of state, with neighbours on both sides that nothing may touch."""
        states = self.module.new_states(5)
        self.module.start(row[0], states[1])
        return states[1:2]

    def series(self, inputs: Inputs) -> tuple[npt.NDArray[np.float64], ...]:
        return (inputs.y, inputs.x) if self.observed == ("y", "x") else (inputs.innovation,)

    def arguments(self, row: Any, inputs: Inputs) -> tuple[Any, ...]:
        gaps = (inputs.steps,) if self.gaps else ()
        return (row, *self.series(inputs), *gaps)

    def run(self, row: Any, inputs: Inputs, states: Any = None) -> Any:
        return self.module.run(*self.arguments(row, inputs), state=states)

    def step(self, row: Any, states: Any, inputs: Inputs, t: int) -> None:
        gaps = (int(inputs.steps[t]),) if self.gaps else ()
        values = (float(series[t]) for series in self.series(inputs))
        self.module.step(row[0], states[0], *values, *gaps)

    def log_likelihood(self, row: Any, inputs: Inputs) -> float:
        return float(self.module.log_likelihood(*self.arguments(row, inputs)))

    def stream(self, row: Any, states: Any, inputs: Inputs) -> list[bytes]:
        """The state's bytes after each observation."""
        after = []
        for t in range(len(inputs)):
            self.step(row, states, inputs, t)
            after.append(states.tobytes())
        return after


def found() -> Iterator[tuple[str, Model]]:
    """Every module of `hft_lib.models` that has a model's shape."""
    for info in pkgutil.iter_modules(hft_lib.models.__path__):
        module = importlib.import_module(f"hft_lib.models.{info.name}")
        if all(hasattr(module, name) for name in SHAPE):
            step = getattr(module.step, "py_func", module.step)
            names = tuple(inspect.signature(step).parameters)
            assert names[:2] == ("params", "state"), f"{info.name}.step must begin (params, state"
            observed = tuple(name for name in names[2:] if name != "steps")
            yield info.name, Model(module, observed, "steps" in names)


MODELS = dict(found())


def usual(size: int = 400, seed: int = 0) -> Inputs:
    """A pair of log prices whose spread changes its character half way, and that spread."""
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, size))
    noise = rng.normal(0.0, 1.0, size) * np.where(np.arange(size) < size // 2, 1.0, 4.0)
    return Inputs(0.02 + x + 3e-4 * noise, x, noise, rng.integers(1, 5, size))


def constant(y: float, x: float, size: int = 120, steps: int = 1) -> Inputs:
    return Inputs(np.full(size, y), np.full(size, x), np.full(size, y), np.full(size, steps))


def outlier(value: float) -> Inputs:
    inputs = usual(200)
    inputs.y[100] = value
    inputs.innovation[100] = value
    return inputs


def outliers(value: float) -> Inputs:
    """Nine usual observations, then one of `value`, again and again."""
    inputs = usual(200)
    inputs.y[9::10] = value
    inputs.innovation[9::10] = value
    return inputs


def scaled(factor: float) -> Inputs:
    inputs = usual(200)
    return Inputs(inputs.y * factor, inputs.x * factor, inputs.innovation * factor, inputs.steps)


def gaps(steps: int) -> Inputs:
    inputs = usual(200)
    return Inputs(inputs.y, inputs.x, inputs.innovation, inputs.steps * steps)


EDGES = {
    "one observation": usual(1),
    "nothing moves": constant(11.0, 11.0),
    "zeros": constant(0.0, 0.0),
    "prices of 1e-12": constant(math.log(1e-12), math.log(1e-12)),
    "prices of 1e12": constant(math.log(1e12), math.log(1e12)),
    "gaps of days": constant(11.0, 11.1, steps=10_000_000),
    "gaps of a million intervals": gaps(10**6),
    "gaps of a billion intervals": gaps(10**9),
    "a gap without end": constant(11.0, 11.1, steps=2**40),
    "an outlier of a million deviations": outlier(11.0 + 3e-4 * 1e6),
    "an outlier of 1e160": outlier(1e160),
    "an outlier of 1e160 in ten": outliers(1e160),
    "an outlier at the end of the range": outlier(-1.7e308),
    "nothing but the end of the range": constant(1.7e308, -1.7e308),
    "subnormals": constant(5e-324, 1e-310),
    "values of 1e-12": scaled(1e-12),
    "values of 1e12": scaled(1e12),
}


def finite(track: Any) -> bool:
    return bool(np.isfinite(track.view(np.float64)).all())


def unfinite(track: Any) -> str:
    """What of a track is not finite, and where first."""
    for name in track.dtype.names:
        bad = ~np.isfinite(track[name])
        if bad.any():
            first = int(np.argmax(bad))
            return f"{name} was {track[name][first]} at {first}"
    return "all is finite"


def neighbours(states: Any) -> bytes:
    """The bytes beside a row of `Model.started`."""
    return states.base[:1].tobytes() + states.base[2:].tobytes()


def checked(model: Model, params: Any) -> bool:
    """Whether a parameter set with `params` in it is let through by the rules."""
    whole: dict[str, Any] = {}
    for field in msgspec.structs.fields(Parameters):
        usual_of = USUAL.get(getattr(field.type, "__name__", ""))
        if usual_of is not None:
            whole[field.name] = field.type(**usual_of)
            if field.type is model.parameters:
                whole[field.name] = params
    strategy = StrategyParameters(
        entry_z=2.0, exit_z=0.5, stop_z=5.0, horizon_s=60.0, risk_fraction=0.01,
        gross_fraction_max=1.0, edge_cost_ratio_min=1.0, warmup_s=0.0,
    )  # fmt: skip
    try:
        check_parameters(Parameters(grid_ms=1000, strategy=strategy, **whole))
    except ValueError:
        return False
    return True
