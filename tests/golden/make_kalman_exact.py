"""Writes `kalman_exact.json`: the exact forecast densities of pairs that are hard for a filter.

No recursion of a filter is used: intercept and hedge ratio are sums of independent normal steps, so
all observations are jointly normal with covariance

    cov(y_s, y_t) = (A + qa m) + x_s x_t (B + qb m) + r [s = t],   m = intervals up to min(s, t)

whose Cholesky factor L gives every one-step forecast: S_t = L_tt^2, e_t = L_tt (L^-1 (y - mean))_t.
Computed in 80 decimal digits by the standard library; the inputs are the exact float64 values.
"""

import json
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("kalman_exact.json")
DIGITS = 80
PI = Decimal(
    "3.141592653589793238462643383279502884197169399375105820974944592307816406286208998628"
)
HARD = ("x moves by 1e-6 about 11, diffuse", "noise of 1e-14, diffuse")
VARIANCES = (
    "intercept_drift_var",
    "hedge_drift_var",
    "noise_var",
    "intercept_prior_var",
    "hedge_prior_var",
)
PRIORS = {"intercept_prior_mean": 0.0, "hedge_prior_mean": 1.0}
Case = dict[str, Any]


def case(name: str, seed: int, y: Any, x: Any, steps: Any, variances: tuple[float, ...]) -> Case:
    """A case's inputs; `variances`: intercept drift, hedge drift, noise, and the two priors'."""
    params = dict(zip(VARIANCES, variances, strict=True)) | PRIORS
    return {
        "name": name,
        "tolerance": "hard" if name in HARD else "usual",
        "seed": seed,
        "params": params,
        "y": [float(value) for value in y],
        "x": [float(value) for value in x],
        "steps": [int(count) for count in steps],
    }


def cases() -> list[Case]:
    """Pairs whose intercept and hedge ratio are all but collinear, and other trials."""
    found, size = [], 30
    one = np.ones(size, dtype=int)
    usual = (1e-9, 1e-11, 1e-7, 1.0, 1.0)
    diffuse = (0.0, 0.0, 1e-7, 1e10, 1e10)
    for seed, (name, move, center, variances) in enumerate(
        (
            ("log prices near 11", 1e-3, 11.0, usual),
            ("log prices near 11, diffuse", 1e-3, 11.0, diffuse),
            ("x moves by 1e-6 about 11, diffuse", 1e-6, 11.0, diffuse),
            ("prices of 1e12", 1e-4, 27.631021115928547, usual),
            ("prices of 1e-12", 1e-4, -27.631021115928547, usual),
            ("noise of 1e-14, diffuse", 1e-3, 11.0, (1e-16, 1e-18, 1e-14, 1e10, 1e10)),
        )
    ):
        rng = np.random.default_rng(seed)
        x = center + np.cumsum(rng.normal(0.0, move, size))
        y = 0.1 + 0.98 * x + rng.normal(0.0, variances[2] ** 0.5, size)
        found.append(case(name, seed, y, x, one, variances))
    rng = np.random.default_rng(10)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, size))
    y = 0.1 + 0.98 * x + rng.normal(0.0, 3e-4, size)
    gaps = rng.choice([1, 3, 10**6, 10**9], size)
    found.append(case("gaps of 1e6 and 1e9 intervals", 10, y, x, gaps, (1e-12, 1e-14, *usual[2:])))
    still = np.full(size, 11.1)
    found.append(case("x does not move, diffuse", 11, y, still, one, diffuse))
    y = y.copy()
    y[15] += 300.0
    found.append(case("an outlier of a million deviations", 12, y, x, one, usual))
    return found


def forecasts(given: Case) -> tuple[list[Decimal], list[Decimal]]:
    """Innovations e_t and their variances S_t, exact to the digits carried."""
    p = {name: Decimal(value) for name, value in given["params"].items()}
    y, x = [Decimal(v) for v in given["y"]], [Decimal(v) for v in given["x"]]
    seen = [Decimal(int(n)) for n in np.cumsum(given["steps"])]
    lower: list[list[Decimal]] = []
    solved: list[Decimal] = []
    e, s = [], []
    for t, yt in enumerate(y):
        row: list[Decimal] = []
        for k in range(t + 1):
            level = p["intercept_prior_var"] + p["intercept_drift_var"] * seen[k]
            hedge = p["hedge_prior_var"] + p["hedge_drift_var"] * seen[k]
            value = level + x[t] * x[k] * hedge + (p["noise_var"] if k == t else 0)
            value -= (
                sum((row[m] * lower[k][m] for m in range(k)), Decimal(0))
                if k < t
                else sum((entry * entry for entry in row), Decimal(0))
            )
            row.append(value.sqrt() if k == t else value / lower[k][k])
        lower.append(row)
        mean = p["intercept_prior_mean"] + p["hedge_prior_mean"] * x[t]
        innovation = yt - mean - sum((row[m] * solved[m] for m in range(t)), Decimal(0))
        solved.append(innovation / row[t])
        e.append(innovation)
        s.append(row[t] * row[t])
    return e, s


def main() -> None:
    """Write the file."""
    getcontext().prec = DIGITS
    document: dict[str, Any] = {
        "what": "one-step forecasts and log density of pairs that are hard for a Kalman filter",
        "method": "Cholesky factor of the exact joint covariance, 80 decimal digits, by "
        "make_kalman_exact.py; no filter's recursion is used",
        "versions": {"python": "3.11", "numpy": np.__version__ + " (draws the inputs)"},
        "tolerance": {
            "usual": {"innovation_sd": 3e-10, "innovation_var": 1e-10, "log_likelihood": 1e-8},
            "hard": {"innovation_sd": 5e-7, "innovation_var": 5e-8, "log_likelihood": 5e-7},
            "why": "some thirty times the error seen. In the hard cases the gain multiplies the "
            "rounding of y and x, 2e-15, by the prior's sd over the noise's and over x's moves. "
            "innovation_sd: in standard deviations, and a share of the innovation; "
            "innovation_var: relative; log_likelihood: nats, or 1e-12 of it",
        },
        "cases": [],
    }
    for given in cases():
        e, s = forecasts(given)
        terms = ((2 * PI * v).ln() + i * i / v for i, v in zip(e, s, strict=True))
        given["innovation"] = [float(value) for value in e]
        given["innovation_var"] = [float(value) for value in s]
        given["log_likelihood"] = float(-sum(terms, Decimal(0)) / 2)
        document["cases"].append(given)
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
