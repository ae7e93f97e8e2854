"""The series that the benchmarks run on: simulated from seeds, the same on each machine."""

import math

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def pair(size: int, seed: int) -> tuple[Vector, Vector]:
    """Log prices (y, x), each (time,): intercept and hedge ratio walk, x moves 1 % an interval."""
    rng = np.random.default_rng(seed)
    x = 4.0 + np.cumsum(rng.normal(0.0, 1e-2, size))
    intercept = 0.1 + np.cumsum(rng.normal(0.0, 1e-4, size))
    hedge = 1.0 + np.cumsum(rng.normal(0.0, 5e-5, size))
    return intercept + hedge * x + rng.normal(0.0, 3e-4, size), x


def shocks(rng: np.random.Generator, size: int, dof: float) -> Vector:
    """Values of unit variance (size,): normal where `dof` is infinite, else Student's t."""
    if math.isinf(dof):
        return rng.normal(size=size)
    return rng.standard_t(dof, size) * math.sqrt((dof - 2.0) / dof)


def garch(size: int, seed: int, dof: float = math.inf, gamma: float = 0.0) -> Vector:
    """Innovations (time,) of GARCH(1,1), or of GJR where `gamma` is not 0, of variance near 1."""
    rng = np.random.default_rng(seed)
    alpha, beta = 0.08 - 0.5 * gamma, 0.9
    values, h = shocks(rng, size, dof), 1.0
    for t in range(size):
        values[t] *= math.sqrt(h)
        square = values[t] * values[t]
        h = 0.02 + (alpha + (gamma if values[t] < 0.0 else 0.0)) * square + beta * h
    return values


def egarch(size: int, seed: int, dof: float) -> Vector:
    """Innovations (time,) of EGARCH(1,1,1) with Student's t, of variance near 1."""
    values, log_h = shocks(np.random.default_rng(seed), size, dof), 0.0
    for t in range(size):
        z = values[t]
        values[t] *= math.exp(0.5 * log_h)
        log_h = 0.15 * (abs(z) - math.sqrt(2.0 / math.pi)) - 0.06 * z + 0.96 * log_h
    return values


def regimes(size: int, hazard: float, seed: int) -> Vector:
    """Normal values (time,) whose mean and variance begin anew at random times."""
    rng = np.random.default_rng(seed)
    values, mean, sd = np.empty(size), 0.0, 1.0
    for t in range(size):
        if rng.random() < hazard:
            mean, sd = rng.normal(0.0, 1.5), math.exp(rng.normal(0.0, 0.7))
        values[t] = mean + sd * rng.normal()
    return values
