"""Writes `run_lengths.json`: exact run-length posteriors of 2000 values, in log space.

Not by the recursion on forecasts that detectors run, but from whole segments: with the evidence of
values s+1..t in closed form (Murphy 2007, eq. 95),

    log p(s+1..t) = log G(a + n/2) - log G(a) + a log b - (a + n/2) log b_n + (1/2) log(k / k_n)
                    - (n/2) log 2 pi
    k_n = k + n,    b_n = b + (1/2) sum (z - mean)^2 + k n (mean - m)^2 / (2 k_n)

the message F_t = log p(1..t, a run begins after t) and the posterior are sums over where the
present segment began:

    log p(run n at t, 1..t) = F_{t-n} + n log(1 - H) + log p(t-n+1..t),   F_t = log H + logsumexp of
    p(run n at t-1's segment carried on to t) / (1 - H)

n = 0: a segment that begins after t. Barry & Hartigan (1992); Fearnhead & Liu (2007). Gamma and the
sum of exponentials are scipy's; sums of squares are carried in extended precision.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

OUT = Path(__file__).with_name("run_lengths.json")
SIZE = 2000
CHECKPOINTS = (1, 2, 10, 100, 500, 1000, 1500, 2000)
PROBABILITIES = 12  # the likeliest run lengths kept at each checkpoint
CASES: dict[str, dict[str, Any]] = {
    "regimes of mean and variance": {
        "seed": 2,
        "hazard": 1.0 / 300.0,
        "params": {
            "hazard": 1.0 / 250.0,
            "prior_mean": 0.0,
            "prior_kappa": 1.0,
            "prior_alpha": 1.0,
            "prior_beta": 1.0,
        },
    },
    "one regime under an uneven prior": {
        "seed": 3,
        "hazard": 0.0,
        "params": {
            "hazard": 0.001,
            "prior_mean": 0.3,
            "prior_kappa": 0.5,
            "prior_alpha": 2.0,
            "prior_beta": 3.0,
        },
    },
}


def series(seed: int, hazard: float) -> Any:
    """Normal values of regimes that begin anew at random, to four decimals."""
    rng = np.random.default_rng(seed)
    values, mean, sd = np.empty(SIZE), 0.0, 1.0
    for t in range(SIZE):
        if rng.random() < hazard:
            mean, sd = rng.normal(0.0, 1.5), float(np.exp(rng.normal(0.0, 0.7)))
        values[t] = mean + sd * rng.normal()
    return np.round(values, 4)


def segment_evidence(p: dict[str, float], ending: Any) -> Any:
    """Log evidence of the last n = 1..t values of `ending`, (t,), extended precision."""
    back = ending[::-1].astype(np.longdouble)
    n = np.arange(1, back.size + 1).astype(np.longdouble)
    sums, squares = np.cumsum(back), np.cumsum(back * back)
    mean = sums / n
    kappa, alpha = p["prior_kappa"] + n, p["prior_alpha"] + n / 2
    beta = p["prior_beta"] + (squares - n * mean * mean) / 2
    beta += p["prior_kappa"] * n * (mean - p["prior_mean"]) ** 2 / (2 * kappa)
    gammas = gammaln(alpha.astype(float)) - gammaln(p["prior_alpha"])
    found = gammas + p["prior_alpha"] * np.log(np.longdouble(p["prior_beta"]))
    found -= alpha * np.log(beta) + (np.log(kappa) - np.log(np.longdouble(p["prior_kappa"]))) / 2
    return found - n / 2 * np.log(2 * np.longdouble(np.pi))


def posteriors(p: dict[str, float], values: Any) -> list[tuple[Any, float]]:
    """After each value the posterior over run lengths 0..t, and the log evidence of all so far."""
    hazard = np.longdouble(p["hazard"])
    begins = [np.longdouble(0.0)]  # log p(1..s, a run begins after s)
    found = []
    for t in range(1, values.size + 1):
        n = np.arange(1, t + 1)
        joint = np.array(begins[::-1]) + (n - 1) * np.log1p(-hazard)
        joint = joint + segment_evidence(p, values[:t])
        evidence = logsumexp(joint)
        begins.append(np.log(hazard) + evidence)
        run = np.concatenate([[hazard], np.exp(joint - evidence) * (1 - hazard)])
        found.append((run.astype(float), float(evidence)))
    return found


def document(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """A case's checkpoints as plain values."""
    values = series(case["seed"], case["hazard"])
    found, checkpoints = posteriors(case["params"], values), []
    for t in CHECKPOINTS:
        run, evidence = found[t - 1]
        likeliest = np.sort(np.argsort(-run, kind="stable")[:PROBABILITIES])
        checkpoints.append(
            {
                "observations": t,
                "log_evidence": evidence,
                "recent_probability": float(run[:11].sum()),
                "run_length": float((run * np.arange(run.size)).sum()),
                "map_run_length": int(np.argmax(run)),
                "lengths": likeliest.tolist(),
                "probabilities": run[likeliest].tolist(),
            }
        )
    return {
        "name": name,
        "seed": case["seed"],
        "regime_hazard": case["hazard"],
        "values_sha256": hashlib.sha256(values.astype("<f8").tobytes()).hexdigest(),
        "params": case["params"],
        "checkpoints": checkpoints,
    }


def main() -> None:
    """Write the file."""
    made = {
        "what": "exact run-length posteriors of 2000 values, at checkpoints",
        "method": "sums over segments in log space by make_run_lengths.py, not a detector's own "
        "recursion on forecasts; the values are series(seed, regime_hazard) of that file",
        "versions": {name: version(name) for name in ("numpy", "scipy")},
        "tolerance": {
            "probability": 5e-11,
            "log_evidence": 1e-9,
            "run_length": 1e-8,
            "why": "2000 steps each round the weights by 1e-16 of themselves and the evidence's "
            "logarithm by 1e-16 of its size; scipy's log-gamma of 1000 is good to 1e-12",
        },
        "cases": [document(name, case) for name, case in CASES.items()],
    }
    OUT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
