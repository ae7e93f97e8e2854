"""The fits as the contract suite finds and feeds them, and the series that try them.

Found, not listed: every `fit_*` of `hft_lib.fitting` whose result is a `Fit`, once for each choice
of distribution and asymmetry that its arguments offer.
"""

import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

import hft_lib.fitting
from hft_lib.fitting.bocd import HAZARD_MAX, PRIOR_BETA_MAX, PRIOR_BETA_MIN
from hft_lib.fitting.garch_score import INVERSE_DOF_MAX, INVERSE_DOF_MIN, PERSISTENCE_MAX
from hft_lib.fitting.result import Fit
from hft_lib.models import bocd, garch, kalman
from tests.contracts.found_models import MODELS, Model, checked

Vector = npt.NDArray[np.float64]

# What a fit may be asked for, by the argument's name.
CHOICES: dict[str, tuple[Any, ...]] = {
    "distribution": ("normal", "t"),
    "asymmetric": (False, True),
}

_NEVER = 1e9  # the loss of a point that is not allowed: finite, for the simplex subtracts


@dataclass(frozen=True)
class Sample:
    """What a fit is given: log prices and an innovation (time,), and grid intervals (time,)."""

    y: Vector
    x: Vector
    innovation: Vector
    steps: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> "Sample":
        return Sample(self.y[part], self.x[part], self.innovation[part], self.steps[part])

    def scaled(self, factor: float) -> "Sample":
        """In another unit; the grid is the same."""
        return Sample(self.y * factor, self.x * factor, self.innovation * factor, self.steps)


@dataclass(frozen=True)
class Fitting:
    """A fit with its choices, and the model whose parameters it finds."""

    function: Callable[..., Fit[Any]]
    choices: dict[str, Any]
    model: Model

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.function).parameters)

    @property
    def of_pair(self) -> bool:
        return self.names[:2] == ("y", "x")

    def series(self, sample: Sample) -> tuple[Vector, ...]:
        return (sample.y, sample.x) if self.of_pair else (sample.innovation,)

    def __call__(self, sample: Sample, **more: Any) -> Fit[Any]:
        gaps = {"steps": sample.steps} if "steps" in self.names else {}
        return self.function(*self.series(sample), **gaps, **self.choices, **more)

    def log_likelihood(self, params: Any, sample: Sample, **more: Any) -> float:
        """The model's, of the same observations."""
        gaps = (sample.steps,) if self.model.gaps else ()
        row = self.model.module.params_row(params)
        return float(self.model.module.log_likelihood(row, *self.series(sample), *gaps, **more))

    def likelier_nearby(self, fit: Fit[Any], sample: Sample) -> float:
        """Nats by which the simplex method, begun at the fit's point, finds a likelier one.

        It moves what the fit gives an error for, and then each of the others by a hundredth.
        """
        from scipy.optimize import minimize

        free = {n: e for n, e in fit.standard_errors.items() if e is not None}
        start = np.array([getattr(fit.params, name) for name in free])
        value = self.maximised(fit.params, sample)

        def loss(changes: dict[str, float]) -> float:
            moved = msgspec.structs.replace(fit.params, **changes)
            return (
                value - self.maximised(moved, sample) if self.allowed(moved, sample) else math.inf
            )

        found = 0.0
        if free:
            widths = np.diag([0.05 * error for error in free.values()])
            end = minimize(
                lambda point: loss(dict(zip(free, point.tolist(), strict=True))),
                start,
                method="Nelder-Mead",
                options={"initial_simplex": np.vstack([start, start + widths]), "maxfev": 150},
            )
            found = -float(end.fun)
        for name in set(fit.standard_errors) - set(free):
            for factor in (0.99, 1.01):
                found = max(found, -loss({name: getattr(fit.params, name) * factor}))
        return found

    def allowed(self, params: Any, sample: Sample) -> bool:
        """Whether the rules and the bounds within which the fits search hold for `params`."""
        if not checked(self.model, params):
            return False
        if self.model.module is bocd:
            # The search is in logarithms: a bound comes back an ulp beyond itself.
            hazard, beta = params.hazard, params.prior_beta
            lowest = min(0.1 / sample.innovation.size, HAZARD_MAX / 2.0)
            within = lowest * (1.0 - 1e-9) <= hazard <= HAZARD_MAX * (1.0 + 1e-9)
            return within and PRIOR_BETA_MIN * (1.0 - 1e-9) <= beta <= PRIOR_BETA_MAX * (1.0 + 1e-9)
        dof = getattr(params, "dof", None)
        if dof is not None and not 1.0 / INVERSE_DOF_MAX <= dof <= 1.0 / INVERSE_DOF_MIN:
            return False
        return self.persistence(params) <= PERSISTENCE_MAX

    def persistence(self, params: Any) -> float:
        """How much of a variance, or of EGARCH's logarithm of one, is left an interval later."""
        if self.model.module is not garch:
            return abs(float(getattr(params, "beta", 0.0)))
        return float(params.alpha + 0.5 * getattr(params, "gamma", 0.0) + params.beta)

    def maximised(self, params: Any, sample: Sample) -> float:
        """What the fit maximises over the parameters that it searches.

        The Kalman filter's priors are then diffuse; GARCH's presample variance follows the point.
        """
        if self.model.module is kalman:
            width = 1e10 * params.noise_var
            diffuse = {"intercept_prior_var": width, "hedge_prior_var": width}
            skip = int(np.argmax(sample.x != sample.x[0])) + 1
            return self.log_likelihood(
                msgspec.structs.replace(params, **diffuse), sample, skip=skip
            )
        if "presample" in self.names:
            before = garch.presample_variance(sample.innovation, params.mean, "sample")
            if self.model.module is garch:
                variance = params.omega + self.persistence(params) * before
            else:  # EGARCH's recursion is of the logarithm
                variance = math.exp(params.omega + params.beta * math.log(before))
            params = msgspec.structs.replace(params, variance_prior=variance)
        return self.log_likelihood(params, sample)


def found() -> Iterator[tuple[str, Fitting]]:
    """Every fit of a model, with every choice it offers."""
    models = {model.parameters: model for model in MODELS.values()}
    for info in pkgutil.iter_modules(hft_lib.fitting.__path__):
        module = importlib.import_module(f"hft_lib.fitting.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("fit_") or function.__module__ != module.__name__:
                continue
            result = typing.get_type_hints(function)["return"]
            if typing.get_origin(result) is not Fit:
                continue
            offered = [n for n in CHOICES if n in inspect.signature(function).parameters]
            for values in product(*(CHOICES[n] for n in offered)):
                choices = dict(zip(offered, values, strict=True))
                label = " ".join([name, *(f"{n}={v}" for n, v in choices.items())])
                yield label, Fitting(function, choices, models[typing.get_args(result)[0]])


FITS = dict(found())


def clustered(size: int, seed: int, dof: float | None = None) -> Vector:
    """Innovations of a GARCH(1,1) with omega .05, alpha .12 and beta .8."""
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=size)
    if dof is not None:
        draws = rng.standard_t(dof, size) * math.sqrt((dof - 2.0) / dof)
    values, h = np.empty(size), 0.6
    for t in range(size):
        values[t] = math.sqrt(h) * draws[t]
        h = 0.05 + 0.12 * values[t] ** 2 + 0.8 * h
    return values


def sample(size: int = 800, seed: int = 1, walk: float = 1e-4) -> Sample:
    """A pair whose intercept walks beneath noise, and innovations that cluster."""
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 3e-3, size))
    intercept = 0.2 + np.cumsum(rng.normal(0.0, walk, size))
    y = intercept + 0.97 * x + rng.normal(0.0, 3e-4, size)
    return Sample(y, x, clustered(size, seed, 6.0), np.ones(size, dtype=np.int64))


def of_innovations(values: Vector, seed: int = 2) -> Sample:
    """A pair whose residual is `values`, and they as innovations."""
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 3e-3, values.size))
    y = 0.2 + 0.97 * x + 3e-4 * values
    return Sample(y, x, values, np.ones(values.size, dtype=np.int64))


def trials() -> dict[str, Sample]:
    """Series on which a fast fitter loses its way."""
    rng = np.random.default_rng(5)
    normal = rng.normal(size=600)
    zeros = normal * (rng.random(600) > 0.6)
    outlier = normal.copy()
    outlier[300] = 1e6
    return {
        "independent": of_innovations(normal),
        "the shortest": of_innovations(normal[:50]),
        "heavy tails": of_innovations(rng.standard_t(2.2, 600)),
        "many zeros": of_innovations(zeros),
        "an outlier of a million deviations": of_innovations(outlier),
        "a level that shifts": of_innovations(normal + 8.0 * (np.arange(600) > 300)),
        "a variance that shifts": of_innovations(
            normal * np.where(np.arange(600) > 300, 10.0, 1.0)
        ),
        "a variance that grows without end": of_innovations(normal * np.geomspace(1.0, 1e4, 600)),
        "one that alternates": of_innovations(
            np.where(np.arange(600) % 2, 1.0, -1.0) + 0.01 * normal
        ),
        "a walk": of_innovations(np.cumsum(normal)),
        "ticks": of_innovations(np.round(normal)),
        "two values": of_innovations(np.sign(normal)),
        "a trend": of_innovations(np.arange(600.0) + normal),
        "far from zero": of_innovations(1e6 + normal),
    }


TRIALS = trials()
