"""The Kalman filter's maximum likelihood against other searches, over pairs of every kind.

A violation is any of: a likelihood more than 0.01 nats below what statsmodels (up to 5,000
observations, from an exact diffuse start) or scipy's optimisers (several starts on our own
likelihood) find; `converged` where gradient or curvature say otherwise; a standard error more than
5 % from the inverse Hessian by differences in extended precision (up to 1,500 observations). Each
optimum is judged by our likelihood, and that by a textbook filter in extended precision.

Example: python bench/robust_kalman.py --series 1000 --data ../shared/data
"""

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.optimize import minimize
from statsmodels.tsa.statespace.mlemodel import MLEModel

from bench.kalman_series import Pair, Vector, recorded, simulated
from hft_lib.fitting.kalman import diffuse_log_likelihood, fit_kalman
from hft_lib.fitting.result import Fit, FitRefused
from hft_lib.parameters import KalmanParameters

SHORT_NATS = 0.01
GRADIENT_NATS = 0.01  # that a Newton step may still promise
ERROR_SHARE = 0.05
STATSMODELS_MAX = 5_000
EXTENDED_MAX = 1_500
NAMES = ("intercept_drift_var", "hedge_drift_var", "noise_var")


@dataclass
class Outcome:
    """What became of one pair."""

    name: str
    observations: int
    converged: bool = False
    reason: str = ""
    seconds: float = 0.0
    short_nats: float = 0.0
    against: str = ""
    error_share: float = 0.0
    violations: list[str] = field(default_factory=list)


class Regression(MLEModel):
    """statsmodels' form of the model: level at the first x and scaled slope, exactly diffuse."""

    def __init__(self, pair: Pair) -> None:
        slope, intercept = np.polyfit(pair.x, pair.y, 1)
        residual = pair.y - intercept - slope * pair.x
        self.scale, self.first = float(residual.std()), float(pair.x[0])
        self.move = float(pair.x.std())
        super().__init__(residual / self.scale, k_states=2)
        self.steps = np.append(pair.steps[1:], 1).astype(np.float64)
        self["design"] = np.stack([np.ones_like(pair.x), (pair.x - self.first) / self.move])[None]
        self["transition"] = self["selection"] = np.eye(2)
        self["state_cov"] = np.zeros((2, 2, pair.x.size))
        self.ssm.initialize_diffuse()
        self.ssm.tolerance_diffuse = 1e-30

    @property
    def param_names(self) -> list[str]:
        """The variances, in units of the residual's; that of the hedge ratio as it moves y."""
        return list(NAMES)

    @property
    def start_params(self) -> Vector:
        """A little drift, half of it each coefficient's."""
        return np.array([0.01, 0.01, 1.0])

    def transform_params(self, unconstrained: Vector) -> Vector:
        """Variances are squares of what the optimiser moves."""
        return np.asarray(unconstrained) ** 2

    def untransform_params(self, constrained: Vector) -> Vector:
        """The inverse of `transform_params`."""
        return np.asarray(constrained) ** 0.5

    def update(self, params: Vector, **kwargs: Any) -> None:
        """Put the variances into the system's matrices."""
        qa, level, noise = super().update(params, **kwargs)
        qb, x, move = level / (self.first**2 + self.move**2), self.first, self.move
        cov = np.array([[qa + x * x * qb, x * move * qb], [x * move * qb, move * move * qb]])
        self["state_cov"] = cov[:, :, None] * self.steps
        self["obs_cov", 0, 0] = noise

    def variances(self, params: Vector) -> tuple[float, ...]:
        """The parameters in the prices' units."""
        qa, level, noise = (float(p) * self.scale**2 for p in params)
        return qa, level / (self.first**2 + self.move**2), noise


def by_statsmodels(pair: Pair) -> tuple[float, ...]:
    """statsmodels' most likely variances."""
    model = Regression(pair)
    params = model.fit(disp=False, maxiter=500, return_params=True)
    return model.variances(np.asarray(params))


def by_scipy(pair: Pair, p: KalmanParameters) -> Iterator[tuple[float, ...]]:
    """What several starts of scipy's simplex find on our likelihood, in logarithms of variances.

    Half of them start at the fit itself, moved: a maximum is left by none.
    """
    residual = float(np.var(pair.y - np.polyval(np.polyfit(pair.x, pair.y, 1), pair.x)))
    square = float(np.mean(pair.x**2))
    starts = [
        (1e-6 * residual, 1e-6 * residual / square, residual),
        (1e-2 * residual, 1e-8 * residual / square, 0.1 * residual),
        (1e-8 * residual, 1e-2 * residual / square, 0.1 * residual),
        tuple(max(getattr(p, name), 1e-12 * residual) * 2.0 for name in NAMES),
    ]
    for start in starts:
        found = minimize(
            lambda logs: -likelihood(pair, np.exp(np.clip(logs, -200.0, 100.0)).tolist()),
            np.log(np.array(start)),
            method="Nelder-Mead",
            options={"maxfev": 250, "fatol": 1e-4, "xatol": 1e-3},
        )
        yield tuple(np.exp(np.clip(found.x, -200.0, 100.0)).tolist())


def likelihood(pair: Pair, variances: Any) -> float:
    """Our diffuse log likelihood at (intercept drift, hedge drift, noise)."""
    qa, qb, r = variances
    r = max(r, 1e-10 * (qa + qb * float(pair.x[0]) ** 2), 1e-290)
    p = KalmanParameters(
        intercept_drift_var=qa,
        hedge_drift_var=qb,
        noise_var=r,
        intercept_prior_mean=0.0,
        intercept_prior_var=1.0,
        hedge_prior_mean=0.0,
        hedge_prior_var=1.0,
    )
    return diffuse_log_likelihood(p, pair.y, pair.x, pair.steps)


def extended(pair: Pair, variances: Any) -> Any:
    """Log likelihoods by the textbook's filter in extended precision, a row of `variances` each.

    From priors so wide that they are diffuse, on the level at the first x and the slope.
    """
    real = np.longdouble
    qa, qb, r = (np.asarray(v, real) for v in np.asarray(variances, real).T)
    slope, intercept = np.polyfit(pair.x, pair.y, 1)
    y = pair.y.astype(real) - real(intercept) - real(slope) * pair.x
    first = real(pair.x[0])
    moves = pair.x.astype(real) - first
    moved = int(np.argmax(moves != 0))
    wide = real(1e9) * (r + (qa + first * first * qb) * int(pair.steps[: moved + 1].sum()))
    level, b = np.zeros_like(r), np.zeros_like(r)
    pll, plb, pbb = wide + 0, np.zeros_like(r), wide / moves[moved] ** 2
    total = np.zeros_like(r)
    for t, (yt, h, n) in enumerate(zip(y, moves, pair.steps.tolist(), strict=True)):
        pll, plb = pll + n * (qa + first * first * qb), plb + n * first * qb
        pbb = pbb + n * qb
        s = pll + 2 * h * plb + h * h * pbb + r
        e = yt - level - b * h
        kl, kb = (pll + h * plb) / s, (plb + h * pbb) / s
        level, b = level + kl * e, b + kb * e
        pll, plb, pbb = (
            pll - kl * (pll + h * plb),
            plb - kl * (plb + h * pbb),
            pbb - kb * (plb + h * pbb),
        )
        if t not in (0, moved):
            total -= (np.log(2 * real(math.pi) * s) + e * e / s) / 2
    return total


def derivatives(pair: Pair, centre: Vector, values: Any, width: float) -> tuple[Vector, Vector]:
    """Gradient and Hessian of `values(pair, rows)` in logarithms of the positive of `centre`."""
    free = np.flatnonzero(centre > 0.0)
    rows = [np.zeros(3)]
    for j in free:
        rows += [width * np.eye(3)[j], -width * np.eye(3)[j]]
    for i, j in enumerate(free):
        for k in free[:i]:
            both = width * (np.eye(3)[j] + np.eye(3)[k])
            rows += [both, -both]
    found = np.asarray(values(pair, centre * np.exp(np.array(rows))))
    gradient, hessian = np.zeros(free.size), np.zeros((free.size, free.size))
    for i in range(free.size):
        up, down = found[1 + 2 * i], found[2 + 2 * i]
        gradient[i] = (up - down) / (2.0 * width)
        hessian[i, i] = (up - 2.0 * found[0] + down) / width**2
    at = 1 + 2 * free.size
    for i in range(free.size):
        for k in range(i):
            both = (found[at] - 2.0 * found[0] + found[at + 1]) / width**2
            hessian[i, k] = hessian[k, i] = (both - hessian[i, i] - hessian[k, k]) / 2.0
            at += 2
    return gradient, hessian


def judge(pair: Pair) -> Outcome:
    """Fit one pair and hold it against the others."""
    outcome = Outcome(pair.name, pair.y.size)
    began = time.perf_counter()
    try:
        fit = fit_kalman(pair.y, pair.x, pair.steps)
    except FitRefused as refused:
        outcome.reason = f"refused: {refused}"
        return outcome
    outcome.seconds = time.perf_counter() - began
    outcome.converged, outcome.reason = fit.converged, fit.reason
    _judge_value(pair, fit, outcome)
    if fit.converged:
        _judge_maximum(pair, fit, outcome)
    return outcome


def _judge_value(pair: Pair, fit: Fit[KalmanParameters], outcome: Outcome) -> None:
    ours = diffuse_log_likelihood(fit.params, pair.y, pair.x, pair.steps)
    if not math.isfinite(ours):
        outcome.violations.append("the likelihood is no number")
    rivals = [("scipy", variances) for variances in by_scipy(pair, fit.params)]
    if pair.y.size <= STATSMODELS_MAX:
        rivals.append(("statsmodels", by_statsmodels(pair)))
    found = [(likelihood(pair, variances), name) for name, variances in rivals]
    best, outcome.against = max(found)
    outcome.short_nats = best - ours
    if not outcome.short_nats <= SHORT_NATS:
        outcome.violations.append(f"{outcome.short_nats:.3g} nats below {outcome.against}")


def _judge_maximum(pair: Pair, fit: Fit[KalmanParameters], outcome: Outcome) -> None:
    centre = np.array([getattr(fit.params, name) for name in NAMES])
    gradient, hessian = derivatives(pair, centre, _likelihoods, 0.02)
    told = [fit.standard_errors[name] for name in NAMES]
    if all(told[j] is not None for j in np.flatnonzero(centre > 0.0)):
        if np.linalg.eigvalsh(-hessian).min() <= 0.0:
            outcome.violations.append("converged without a maximum's curvature")
    promised = 0.5 * float(gradient @ np.linalg.lstsq(-hessian, gradient, rcond=1e-9)[0])
    if promised > GRADIENT_NATS:
        outcome.violations.append(f"converged while a step promises {promised:.3g} nats")
    if pair.y.size <= EXTENDED_MAX:
        _judge_errors(pair, centre, told, outcome)


def _judge_errors(pair: Pair, centre: Vector, told: list[float | None], outcome: Outcome) -> None:
    hessian = derivatives(pair, centre, extended, 1e-3)[1]
    try:
        variances = np.diag(np.linalg.inv(-hessian))
    except np.linalg.LinAlgError:
        return
    for j, variance in zip(np.flatnonzero(centre > 0.0), variances, strict=True):
        error = told[j]
        if error is None or not variance > 0.0:
            continue
        off = abs(error / (centre[j] * math.sqrt(variance)) - 1.0)
        outcome.error_share = max(outcome.error_share, off)
        if off > ERROR_SHARE:
            outcome.violations.append(f"the standard error of {NAMES[j]} is {off:.1%} off")


def _likelihoods(pair: Pair, rows: Vector) -> list[float]:
    return [likelihood(pair, row.tolist()) for row in rows]


def pairs(series: int, seed: int, data: Path | None) -> Iterator[Pair]:
    """The simulated pairs, then the recorded ones."""
    yield from (simulated(number, seed) for number in range(series))
    if data is not None:
        yield from recorded(data)


def main() -> None:
    """Judge every pair; exit 1 on a violation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1000, help="simulated pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of recorded bars, to fit as well")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # statsmodels' optimiser warns where it gives up
    told = Console(stderr=True)
    work = pairs(options.series, options.seed, options.data)
    total = options.series if options.data is None else None
    outcomes = [judge(pair) for pair in track(work, "pairs", total=total, console=told)]
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
    else:
        report(outcomes)
    sys.exit(any(outcome.violations for outcome in outcomes))


def report(outcomes: list[Outcome]) -> None:
    """Print the violations and a line for all."""
    for outcome in outcomes:
        if outcome.violations:
            print(f"{outcome.name}: {'; '.join(outcome.violations)}")
    refused = sum(outcome.reason.startswith("refused") for outcome in outcomes)
    converged = sum(outcome.converged for outcome in outcomes)
    worst = max(outcomes, key=lambda outcome: outcome.short_nats)
    error = max(outcome.error_share for outcome in outcomes)
    print(
        f"{len(outcomes)} pairs, {converged} converged, {refused} refused, "
        f"{sum(bool(outcome.violations) for outcome in outcomes)} in violation; at most "
        f"{worst.short_nats:.2g} nats below another ({worst.name}, {worst.against}); standard "
        f"errors at most {error:.2%} off"
    )


if __name__ == "__main__":
    main()
