"""Is the fast fitter a robust one: GARCH fits of difficult series, each held against `arch` and
against a twin of the likelihood in extended precision.

    .venv/bin/python bench/robust_garch.py [--series 1000] [--seed 1] [--real FOLDER] [--json]

Every series is fitted as normal, t and GJR. It is a violation (and the exit code is 1) where

    worse       the likelihood is more than 0.01 nats below that of arch's parameters
    gradient    `converged` where a Newton step of the twin promises more than 0.001 nats
    curvature   `converged` where minus the twin's Hessian is not positive
    error       a standard error is more than 5 % from that of the twin's Hessian
    unstated    neither a finite fit nor a refusal with its reason

Both fitters take the same variance before the sample, and arch's parameters are put into our
likelihood: a persistence above our cap is brought down to it by beta, as we cannot live with one
that overflows. `--real` takes the log returns of the closes of every bar file below a folder.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from hft_lib.fitting.garch import fit_garch
from hft_lib.fitting.garch_score import INVERSE_DOF_MAX, INVERSE_DOF_MIN, PERSISTENCE_MAX
from hft_lib.fitting.result import Fit, FitRefused
from hft_lib.models.garch import log_likelihood, params_row, presample_variance
from hft_lib.parameters import GarchParameters

Vector = npt.NDArray[np.float64]
Random = np.random.Generator

WORSE_NATS = 0.01
PROMISE_NATS = 1e-3
ERROR_SHARE = 0.05
MODELS: dict[str, dict[str, Any]] = {
    "normal": {"distribution": "normal"},
    "t": {"distribution": "t"},
    "gjr": {"distribution": "normal", "asymmetric": True},
}
SIZE_SHORT, SIZE_LONG = 200, 50_000


def clustered(
    random: Random, size: int, alpha: float, beta: float, gamma: float = 0.0, dof: float = 0.0
) -> Vector:
    """GARCH of variance about 1; t of `dof` where that is not 0."""
    noise = random.normal(size=size)
    if dof:
        noise = random.standard_t(dof, size) * math.sqrt((dof - 2.0) / dof)
    omega, h = 1.0 - min(alpha + 0.5 * gamma + beta, 0.9999), 1.0
    values = np.empty(size)
    for t in range(size):
        values[t] = e = math.sqrt(h) * noise[t]
        h = omega + (alpha + (gamma if e < 0.0 else 0.0)) * e * e + beta * h
    return values


def _sparse(random: Random, size: int) -> Vector:
    return clustered(random, size, 0.1, 0.85) * (random.random(size) > 0.6)


def _variance_shift(random: Random, size: int) -> Vector:
    values = clustered(random, size, 0.05, 0.9)
    values[int(size * random.uniform(0.2, 0.8)) :] *= random.choice([0.05, 0.2, 5.0, 20.0])
    return values


def _mean_shift(random: Random, size: int) -> Vector:
    values = clustered(random, size, 0.05, 0.9)
    values[int(size * random.uniform(0.2, 0.8)) :] += random.choice([-5.0, -1.0, 1.0, 5.0])
    return values


KINDS: dict[str, Callable[[Random, int], Vector]] = {
    "iid": lambda random, size: random.normal(size=size),
    "clustered": lambda random, size: clustered(random, size, 0.08, 0.9),
    "near-integrated": lambda random, size: clustered(random, size, 0.06, 0.939),
    "asymmetric": lambda random, size: clustered(random, size, 0.03, 0.85, 0.15),
    "t3": lambda random, size: clustered(random, size, 0.1, 0.8, dof=3.0),
    "iid t3": lambda random, size: random.standard_t(3.0, size),
    "60 % zeros": _sparse,
    "variance shift": _variance_shift,
    "mean shift": _mean_shift,
    "slow": lambda random, size: clustered(random, size, 0.01, 0.985),
    "spiky": lambda random, size: clustered(random, size, 0.6, 0.2),
}


def simulated(count: int, seed: int, size_max: int = SIZE_LONG) -> Iterator[tuple[str, Vector]]:
    """`count` named series, the kinds in turn, lengths log-uniform, scales from 1e-6 to 1e3."""
    names = list(KINDS)
    for k in range(count):
        random = np.random.default_rng([seed, k])
        size = int(math.exp(random.uniform(math.log(SIZE_SHORT), math.log(size_max))))
        scale = math.exp(random.uniform(math.log(1e-6), math.log(1e3)))
        kind = names[k % len(names)]
        yield f"{kind} {seed}/{k} n={size}", scale * KINDS[kind](random, size)


def recorded(folder: Path) -> Iterator[tuple[str, Vector]]:
    """Log returns of the closes of each bar file below `folder`, without what is missing."""
    import pyarrow.parquet as parquet

    for path in sorted(folder.rglob("*.parquet")):
        table = parquet.read_table(path)
        names = [name for name in table.column_names if name == "close"]
        for name in names or [name for name in table.column_names if name != "ts"]:
            closes = table.column(name).to_numpy(zero_copy_only=False).astype(float)
            closes = closes[np.isfinite(closes) & (closes > 0.0)]
            yield f"{path.parent.name}/{path.stem} {name}", np.diff(np.log(closes))


@dataclass(frozen=True)
class Outcome:
    """What came of one fit; `lead_nats` is our likelihood less arch's, None where arch failed."""

    series: str
    model: str
    presample: str
    converged: bool
    reason: str
    lead_nats: float | None
    violations: tuple[str, ...]


def judge(series: str, values: Vector, model: str, presample: str) -> Outcome:
    """Fit one series and hold the fit against arch and the twin."""
    options = MODELS[model]
    try:
        fit = fit_garch(values, presample=presample, **options)
    except FitRefused as refusal:
        return Outcome(series, model, presample, False, f"refused: {refusal}", None, ())
    numbers = [fit.log_likelihood, *vars_of(fit.params).values()]
    if not all(math.isfinite(number) for number in numbers):
        return Outcome(series, model, presample, fit.converged, fit.reason, None, ("unstated",))
    violations = []
    theirs = peer_likelihood(values, model, presample)
    lead = None if theirs is None else fit.log_likelihood - theirs
    if lead is not None and lead < -WORSE_NATS:
        violations.append(f"worse by {-lead:.4f} nats")
    if fit.converged:
        violations += against_twin(fit, values, presample)
    return Outcome(series, model, presample, fit.converged, fit.reason, lead, tuple(violations))


def vars_of(params: GarchParameters) -> dict[str, float]:
    """The numbers of a parameter set; infinite degrees of freedom are left out."""
    return {name: value for name, value in msgspec.structs.asdict(params).items() if value}


def peer_likelihood(values: Vector, model: str, presample: str) -> float | None:
    """Log likelihood, by our own measure, of the parameters that arch finds; None if none."""
    from arch import arch_model

    scale, options = float(values.std()), MODELS[model]
    before = presample_variance(values, float(values.mean()), presample)
    peer = arch_model(
        values / scale,
        mean="Constant",
        vol="GARCH",
        o=1 if options.get("asymmetric") else 0,
        dist=options["distribution"],
        rescale=False,
    )
    found = peer.fit(disp="off", show_warning=False, backcast=before / scale**2).params
    if not np.isfinite(found.to_numpy()).all():
        return None
    inverse_dof = min(max(1.0 / found.get("nu", 8.0), INVERSE_DOF_MIN), INVERSE_DOF_MAX)
    alpha, gamma = max(found["alpha[1]"], 0.0), found.get("gamma[1]", 0.0)
    gamma = max(gamma, -alpha)
    beta = min(max(found["beta[1]"], 0.0), PERSISTENCE_MAX - alpha - 0.5 * gamma)
    if beta < 0.0:
        return None
    params = GarchParameters(
        mean=found["mu"] * scale,
        omega=found["omega"] * scale**2,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        variance_prior=1.0,
        dof=1.0 / inverse_dof if "nu" in found else None,
    )
    prior = variance_first(params, values, presample)
    params = msgspec.structs.replace(params, variance_prior=prior)
    return log_likelihood(params_row(params), values)


def variance_first(params: GarchParameters, values: Vector, presample: str) -> float:
    """The variance of the first observation that the convention gives."""
    centre = float(values.mean())
    before = presample_variance(values, centre, presample)
    if presample == "sample":
        before += (centre - params.mean) ** 2
    return params.omega + (params.alpha + 0.5 * params.gamma + params.beta) * before


def against_twin(fit: Fit[GarchParameters], values: Vector, presample: str) -> list[str]:
    """Where the twin's gradient, curvature and standard errors are not what the fit says."""
    names = [name for name, error in fit.standard_errors.items() if error is not None]
    errors = np.array([fit.standard_errors[name] for name in names], dtype=float)

    def likelihoods(moves: Vector) -> Any:
        return twin(fit.params, names, moves, values, presample)

    # The likelihood may be a ridge, far narrower along one number than its error says.
    tiny = 1e-5 * np.diag(errors)
    near = likelihoods(np.vstack([np.zeros(len(names)), tiny, -tiny]))
    bends = (2.0 * near[0] - near[1 : len(names) + 1] - near[len(names) + 1 :]) / 1e-10
    if not (bends > 0.0).all():
        return ["curvature"]
    units = errors / np.sqrt(bends.astype(float))
    gradient, hessian = derivatives(likelihoods, units)
    try:
        covariance = np.linalg.inv(-hessian)
        np.linalg.cholesky(-hessian)
    except np.linalg.LinAlgError:
        return ["curvature"]
    found = []
    promise = 0.5 * float(gradient @ covariance @ gradient)
    if promise > PROMISE_NATS:
        found.append(f"gradient promises {promise:.2g} nats")
    wrong = np.abs(errors / (units * np.sqrt(np.diag(covariance))) - 1.0)
    if wrong.max() > ERROR_SHARE:
        found.append(f"error of {names[int(wrong.argmax())]} by {wrong.max():.1%}")
    return found


def derivatives(
    likelihoods: Callable[[Vector], Any], units: Vector, width: float = 1e-2
) -> tuple[Vector, Vector]:
    """Gradient (n,) and Hessian (n, n) by central differences, in `units` (n,)."""
    count = len(units)
    ones = np.eye(count)
    moves = [np.zeros(count)]
    for j in range(count):
        moves += [ones[j], -ones[j]]
        for k in range(j):
            moves += [a * ones[j] + b * ones[k] for a in (1, -1) for b in (1, -1)]
    found = iter(likelihoods(width * np.array(moves) * units))
    middle = next(found)
    gradient, hessian = np.empty(count), np.empty((count, count))
    for j in range(count):
        above, below = next(found), next(found)
        gradient[j] = (above - below) / (2.0 * width)
        hessian[j, j] = (above - 2.0 * middle + below) / width**2
        for k in range(j):
            corners = [next(found) for _ in range(4)]
            cross = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * width**2)
            hessian[j, k] = hessian[k, j] = cross
    return gradient, hessian


def twin(
    params: GarchParameters, names: list[str], moves: Vector, values: Vector, presample: str
) -> Any:
    """Log likelihoods in extended precision of `params` moved by each row of `moves` (k, names)."""
    wide = {
        name: np.full(len(moves), value, np.longdouble)
        for name, value in msgspec.structs.asdict(params).items()
        if value is not None
    }
    for j, name in enumerate(names):
        wide[name] = wide[name] + moves[:, j]
    if params.gamma < 0.0 and "gamma" not in names:  # at its bound, which moves with alpha
        wide["gamma"] = -wide["alpha"]
    share = wide["alpha"] + wide["gamma"] / 2
    capped = params.alpha + 0.5 * params.gamma + params.beta >= PERSISTENCE_MAX * (1 - 1e-9)
    if capped and "beta" not in names:
        wide["beta"] = np.longdouble(PERSISTENCE_MAX) - share
    centre = np.longdouble(np.mean(values))
    before = np.longdouble(presample_variance(values, float(centre), presample))
    apart = (centre - wide["mean"]) ** 2 if presample == "sample" else 0
    h = wide["omega"] + (share + wide["beta"]) * (before + apart)
    total = np.zeros(len(moves), np.longdouble)
    dof = wide.get("dof")
    for value in values.astype(np.longdouble):
        e = value - wide["mean"]
        square = e * e
        if dof is None:
            total -= np.log(h) + square / h
        else:
            total -= np.log(h) + (dof + 1) * np.log1p(square / (h * (dof - 2)))
        slope = wide["alpha"] + wide["gamma"] * (e < 0)
        h = wide["omega"] + slope * square + wide["beta"] * h
    if dof is None:
        return (
            total / 2
            - len(values) * np.log(np.longdouble("6.28318530717958647692528676655900577")) / 2
        )
    pi = np.longdouble("3.14159265358979323846264338327950288")
    constant = wide_log_gamma((dof + 1) / 2) - wide_log_gamma(dof / 2) - np.log(pi * (dof - 2)) / 2
    return total / 2 + len(values) * constant


def wide_log_gamma(x: Any) -> Any:
    """Log-gamma in extended precision: raised above 20, then Stirling's series (DLMF 5.11.1)."""
    lower = np.zeros_like(x)
    for _ in range(20):
        lower, x = lower + np.log(x), x + 1
    two_pi = np.longdouble("6.28318530717958647692528676655900577")
    series = np.zeros_like(x)
    for numerator, denominator in reversed(
        ((1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360360), (1, 156))
    ):
        series = series / (x * x) + np.longdouble(numerator) / denominator
    return (x - np.longdouble(0.5)) * np.log(x) - x + np.log(two_pi) / 2 + series / x - lower


def campaign(
    every: list[tuple[str, Vector]], models: tuple[str, ...] = tuple(MODELS), quiet: bool = True
) -> list[Outcome]:
    """Judge every series under every model; the presample conventions take turns."""
    console = Console(stderr=True, quiet=quiet)
    outcomes = []
    for k, (name, values) in enumerate(track(every, "series", console=console)):
        presample = "sample" if k % 2 == 0 else "backcast"
        for model in models:
            outcomes.append(judge(name, values, model, presample))
            if outcomes[-1].violations:
                console.print(f"{name} {model} {presample}: {outcomes[-1].violations}")
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Figures of a campaign by model."""
    figures: dict[str, Any] = {}
    for model in MODELS:
        mine = [outcome for outcome in outcomes if outcome.model == model]
        fitted = [outcome for outcome in mine if not outcome.reason.startswith("refused")]
        leads = [outcome.lead_nats for outcome in fitted if outcome.lead_nats is not None]
        figures[model] = {
            "series": len(mine),
            "refused": len(mine) - len(fitted),
            "converged": sum(outcome.converged for outcome in fitted),
            "compared": len(leads),
            "better_by_0_01_nats": sum(lead > WORSE_NATS for lead in leads),
            "lead_nats_min": min(leads, default=None),
            "violations": sum(bool(outcome.violations) for outcome in mine),
        }
    return figures


def main() -> None:
    """Run the campaign; exit 1 where anything is violated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", type=Path, help="a folder of recorded bars, in their place")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    every = list(
        recorded(options.real) if options.real else simulated(options.series, options.seed)
    )
    outcomes = campaign(every, quiet=False)
    bad = [outcome for outcome in outcomes if outcome.violations]
    figures = summary(outcomes)
    if options.json:
        listed = [msgspec.to_builtins(outcome) for outcome in bad]
        print(json.dumps({"models": figures, "violations": listed}))
    else:
        for model, row in figures.items():
            print(model, " ".join(f"{name}={value}" for name, value in row.items()))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
