"""How far the EGARCH fit can be trusted: many simulated series, and recorded ones, against `arch`.

    .venv/bin/python bench/robust_egarch.py --series 1000 [--real ../shared/data] [--json]

Of every series: the log likelihood is at most 0.01 nats below what arch's parameters give in our
own `log_likelihood` with the same presample variance; what claims to have converged has a projected
gradient of 0 and a negative definite Hessian; and standard errors agree to 5 % with the inverse
Hessian by differences of a plain twin in extended precision (series up to 3000 long). A series that
cannot be fitted must be refused with its reason. Exits 1 where one of these does not hold.

arch does not keep to what is invertible, and at times stops on a slope. Where its point is likelier
and our search, begun there, finds no maximum either, the series counts as `no maximum at arch's`.
"""

import argparse
import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from hft_lib.fitting.egarch import NAMES, fit_egarch
from hft_lib.fitting.egarch_climb import ENDED, climb
from hft_lib.fitting.egarch_sample import sample_of
from hft_lib.fitting.result import Fit, FitRefused
from hft_lib.models import egarch
from hft_lib.parameters import EgarchParameters

Series = npt.NDArray[np.float64]
GAP_MAX_NATS = 0.01
DECREMENT_MAX_NATS = 1e-5
ERROR_RATIO_MAX = 0.05
TWIN_LENGTH_MAX = 3000
LENGTH_MIN, LENGTH_MAX = 200, 50_000


@dataclass(frozen=True)
class Verdict:
    """What came of one series; `faults` is empty where everything holds."""

    kind: str
    length: int
    outcome: str
    converged: bool
    gap_nats: float | None
    faults: tuple[str, ...]


def paths(z: Series, omega: float, alpha: float, gamma: float, beta: float) -> Series:
    """EGARCH innovations driven by `z` (time,)."""
    x, values = 0.0, np.empty(z.size)
    for t in range(z.size):
        values[t] = z[t] * math.exp(0.5 * x)
        shock = alpha * (abs(z[t]) - egarch.ABSOLUTE_MEAN) + gamma * z[t]
        x = omega + shock + beta * x
    return values


def student(rng: np.random.Generator, dof: float, size: int) -> Series:
    """Student's t of unit variance."""
    return rng.standard_t(dof, size) * math.sqrt((dof - 2.0) / dof)


def blocks(levels: Series, size: int) -> Series:
    """Each level for an equal part of the time."""
    return np.repeat(levels, -(-size // levels.size))[:size]


def _outliers(rng: np.random.Generator, size: int) -> Series:
    values = student(rng, 5.0, size)
    values[rng.integers(size, size=2)] *= 10.0 ** rng.uniform(1.0, 3.0)
    return values


KINDS: dict[str, Callable[[np.random.Generator, int], Series]] = {
    "iid": lambda rng, n: rng.standard_normal(n),
    "egarch": lambda rng, n: paths(student(rng, 6.0, n), -0.002, 0.15, -0.05, 0.97),
    "near integrated": lambda rng, n: paths(student(rng, 8.0, n), -0.0005, 0.1, -0.03, 0.9995),
    "heavy tails": lambda rng, n: paths(student(rng, 3.0, n), -0.01, 0.1, 0.02, 0.95),
    "zeros": lambda rng, n: (
        paths(rng.standard_normal(n), -0.002, 0.15, 0.0, 0.97) * (rng.random(n) > 0.6)
    ),
    "level shifts": lambda rng, n: (
        rng.standard_normal(n) * blocks(10.0 ** rng.uniform(-1.0, 1.0, 4), n)
    ),
    "mean shifts": lambda rng, n: (
        paths(student(rng, 5.0, n), -0.002, 0.15, -0.05, 0.95) + blocks(rng.normal(0.0, 2.0, 3), n)
    ),
    "outliers": _outliers,
}


def simulated(number: int, seed: int, length_max: int = LENGTH_MAX) -> tuple[str, Series]:
    """Series `number` of a campaign: its kind and values, of any length and unit."""
    rng = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    size = int(math.exp(rng.uniform(math.log(LENGTH_MIN), math.log(length_max))))
    return kind, KINDS[kind](rng, size) * 10.0 ** rng.uniform(-5.0, 2.0)


def recorded(folder: Path) -> Iterator[tuple[str, Series]]:
    """Log returns of the closes of every bar file below `folder`."""
    import pandas as pd

    for path in sorted(folder.rglob("*.parquet")):
        frame = pd.read_parquet(path)
        columns = ["close"] if "close" in frame else [c for c in frame if c != "ts"]
        for column in columns:
            closes = frame[column].to_numpy(float)
            closes = closes[np.isfinite(closes) & (closes > 0.0)]
            if closes.size > LENGTH_MIN:
                values = np.diff(np.log(closes))[-LENGTH_MAX:]
                yield f"{path.parent.name}/{path.stem}/{column}", values


def judge(kind: str, values: Series) -> Verdict:
    """Fit `values` as t, or as the normal where t is refused, and hold it against everything."""
    faults: list[str] = []
    try:
        fit = fit_egarch(values)
    except FitRefused as refusal:
        if "exactly alike" not in refusal.rule:
            return Verdict(kind, values.size, "refused", False, None, ())
        fit = fit_egarch(values, distribution="normal")
    own = egarch.log_likelihood(egarch.params_row(fit.params), values)
    if not abs(own - fit.log_likelihood) < 1e-6 + 1e-9 * abs(own):
        faults.append(f"reports {fit.log_likelihood}, its parameters give {own}")
    gap, outcome = _against_arch(fit, values)
    if outcome == "lower than arch":
        faults.append(f"{-gap:.4f} nats below arch")
    if fit.converged and values.size <= TWIN_LENGTH_MAX:
        faults += _against_twin(fit, values)
    return Verdict(kind, values.size, outcome, fit.converged, gap, tuple(faults))


def _against_arch(fit: Fit[EgarchParameters], values: Series) -> tuple[float, str]:
    """How much likelier ours is, nats, and what that says."""
    scale = float(values.std())
    unit = values / scale
    normal = fit.params.dof is None
    found = _arch_point(unit, normal)
    if found is None:
        return math.inf, "arch failed"
    mean, omega, alpha, gamma, beta, dof = found
    presample = float(np.mean((unit - mean) ** 2))
    params = EgarchParameters(
        mean=mean,
        omega=omega,
        alpha=alpha,
        gamma=gamma,
        beta=beta,
        variance_prior=math.exp(omega + beta * math.log(presample)),
        dof=None if normal else dof,
    )
    theirs = egarch.log_likelihood(egarch.params_row(params), unit)
    gap = fit.log_likelihood + values.size * math.log(scale) - theirs
    if gap >= -GAP_MAX_NATS:
        return gap, "as likely as arch" if gap < GAP_MAX_NATS else "likelier than arch"
    theta = np.array([mean, omega, alpha, gamma, beta, 1.0 / dof])
    centre = float(unit.mean())
    before = np.array([float(np.mean((unit - centre) ** 2)), 1.0, centre, -30.0])
    sample = sample_of(unit, None, before)
    free, curvature = np.empty(6), np.empty((6, 6))
    _, how = climb(theta, sample, normal, -np.inf, theta, curvature, free, curvature)
    return gap, "lower than arch" if how == ENDED else "no maximum at arch's"


def _arch_point(unit: Series, normal: bool) -> list[float] | None:
    """What arch finds from the same variance before the sample; dof 10 for the normal."""
    from arch import arch_model

    model = arch_model(
        unit, vol="EGARCH", p=1, o=1, q=1, dist="normal" if normal else "t", rescale=False
    )
    variance = float(np.mean((unit - unit.mean()) ** 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp="off", show_warning=False, backcast=variance)
        except (ValueError, np.linalg.LinAlgError):
            return None
    found = [float(value) for value in result.params.to_numpy()]
    return found + [10.0] if normal else found


def _against_twin(fit: Fit[EgarchParameters], values: Series) -> list[str]:
    """Gradient, curvature and standard errors by differences in extended precision."""
    errors, params, scale = fit.standard_errors, fit.params, float(values.std())
    free = [j for j, name in enumerate(errors) if errors[name] is not None]
    dof = 10.0 if params.dof is None else params.dof
    point = np.array([*(getattr(params, n) for n in NAMES[:5]), dof], dtype=np.longdouble)
    # In units of the standard deviation, where omega and beta are not all but collinear.
    log_square = 2.0 * math.log(scale)
    point[0] /= scale
    point[1] -= (1.0 - params.beta) * log_square
    unit, signs = values / scale, np.sign(values - params.mean)
    signs[np.abs(values - params.mean) <= 1e-13 * np.abs(values).max()] = 0.0
    normal, count = params.dof is None, len(free)
    alone = [np.zeros(count), *np.eye(count), *-np.eye(count)]
    first = np.array([1e-4 * _own_width(fit, j, scale) for j in free], dtype=np.longdouble)
    found = twin(_moved(point, free, alone, first), unit, signs, normal)
    bend = 2.0 * found[0] - found[1 : count + 1] - found[count + 1 :]
    if not (bend > 0.0).all():
        return ["converged, though the Hessian is not negative definite"]
    # Again by steps of a ten thousandth of what the others held fixed would allow.
    widths = 1e-4 * first / np.sqrt(bend)
    corners = [
        a * np.eye(count)[j] + b * np.eye(count)[k]
        for j in range(count)
        for k in range(j)
        for a, b in _CORNERS
    ]
    moves = alone + corners
    found = twin(_moved(point, free, moves, widths), unit, signs, normal)
    by_move = dict(zip(map(tuple, moves), found, strict=True))
    gradient, hessian = _differences(by_move, count)
    claimed = np.array([errors[NAMES[j]] for j in free])
    back = np.diag((widths / 1e-4).astype(float))  # to the series' own unit
    for k, j in enumerate(free):
        back[k] *= scale if j == 0 else 1.0
        if j == 1 and 4 in free:
            back[k, free.index(4)] -= log_square * float(widths[free.index(4)]) / 1e-4
    return _faults(gradient, hessian, claimed, back, free, signs)


def _own_width(fit: Fit[EgarchParameters], j: int, scale: float) -> float:
    """A standard error's order of magnitude, in units of the standard deviation."""
    error = fit.standard_errors[NAMES[j]] or 0.0
    beta = fit.standard_errors["beta"] or 0.0
    if j == 1:
        return min(error, max(beta, 1e-3))
    return error / scale if j == 0 else error


def _moved(point: Any, free: list[int], moves: list[Series], widths: Any) -> Any:
    points = np.tile(point, (len(moves), 1))
    for row, move in zip(points, moves, strict=True):
        row[free] += np.array(move) * widths
    return points


_CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def _differences(found: dict[tuple[float, ...], Any], count: int) -> tuple[Series, Series]:
    """Gradient and minus the Hessian, in ten thousands of the steps."""
    unit, centre = np.eye(count), found[tuple(np.zeros(count))]
    gradient, hessian = np.empty(count), np.empty((count, count))
    for j in range(count):
        up, down = found[tuple(unit[j])], found[tuple(-unit[j])]
        gradient[j] = (up - down) / 2e-4
        hessian[j, j] = (2.0 * centre - up - down) / 1e-8
        for k in range(j):
            mixed = sum(a * b * found[tuple(a * unit[j] + b * unit[k])] for a, b in _CORNERS)
            hessian[j, k] = hessian[k, j] = -mixed / 4e-8
    return gradient, hessian


def _faults(
    gradient: Series,
    hessian: Series,
    claimed: Series,
    back: Series,
    free: list[int],
    signs: Series,
) -> list[str]:
    if not (np.linalg.eigvalsh(hessian) > 0.0).all():
        return ["converged, though the Hessian is not negative definite"]
    faults, covariance = [], np.linalg.inv(hessian)
    ratios = claimed / np.sqrt(np.diag(back @ covariance @ back.T))
    for j, ratio in zip(free, ratios, strict=True):
        if abs(ratio - 1.0) > ERROR_RATIO_MAX:
            faults.append(f"standard error of {NAMES[j]} is {ratio:.3f} of the twin's")
    # A mean on a kink has no derivative of its own; what is left is judged without it.
    smooth = [k for k, j in enumerate(free) if j != 0 or (signs != 0.0).all()]
    part = hessian[np.ix_(smooth, smooth)]
    decrement = float(gradient[smooth] @ np.linalg.solve(part, gradient[smooth])) / 2.0
    if decrement > DECREMENT_MAX_NATS:
        faults.append(f"converged, though the gradient promises {decrement:.2g} nats")
    return faults


def twin(points: Any, values: Series, signs: Series, normal: bool) -> Any:
    """Log likelihoods at `points` (points, 6) in extended precision, |z| on the branch of `signs`.

    The equations as they are printed, all points side by side.
    """
    mean, omega, alpha, gamma, beta, dof = points.T
    centre, precise = np.longdouble(values.mean()), values.astype(np.longdouble)
    square = np.mean((precise - centre) ** 2)
    x = omega + beta * np.log(square + (centre - mean) ** 2)
    total = np.zeros(len(points), dtype=np.longdouble)
    root = np.sqrt(np.longdouble(2.0) / np.longdouble("3.14159265358979323846264338"))
    for value, sign in zip(precise, signs, strict=True):
        z = (value - mean) * np.exp(-x / 2)
        total -= (x + (z * z if normal else (dof + 1) * np.log1p(z * z / (dof - 2)))) / 2
        x = omega + alpha * (sign * z - root) + gamma * z + beta * x
    if not normal:
        total += len(values) * (_log_gamma_ratios(dof) - np.log(dof - 2) / 2)
    return total


def _log_gamma_ratios(dof: Any) -> Any:
    """log of gamma((dof + 1) / 2) over gamma(dof / 2), by its series about the first of `dof`.

    Doubles would round away what so small steps change.
    """
    from scipy.special import gammaln, polygamma

    centre = float(dof[0])
    apart = (dof - np.longdouble(centre)) / 2
    ratios = np.full(dof.shape, gammaln((centre + 1.0) / 2.0) - gammaln(centre / 2.0))
    ratios = ratios.astype(np.longdouble)
    for order in range(1, 7):
        slope = polygamma(order - 1, (centre + 1.0) / 2.0) - polygamma(order - 1, centre / 2.0)
        ratios += np.longdouble(slope) * apart**order / math.factorial(order)
    return ratios


def main() -> None:
    """Judge every series, print what came of them, and exit 1 where something does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length-max", type=int, default=LENGTH_MAX)
    parser.add_argument("--real", type=Path, help="also every bar file below this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    work = [simulated(n, options.seed, options.length_max) for n in range(options.series)]
    work += list(recorded(options.real)) if options.real else []
    console = Console(stderr=True)
    verdicts = [judge(*item) for item in track(work, "EGARCH fits", console=console)]
    faulty = [verdict for verdict in verdicts if verdict.faults]
    if options.json:
        print(json.dumps({"counts": counts(verdicts), "faulty": [asdict(v) for v in faulty]}))
    else:
        for name, number in counts(verdicts).items():
            print(f"{number:>6}  {name}")
        for verdict in faulty:
            print(f"{verdict.kind}, {verdict.length} long: {'; '.join(verdict.faults)}")
    sys.exit(1 if faulty else 0)


def counts(verdicts: list[Verdict]) -> dict[str, int]:
    """How many series came to what."""
    found = Counter(verdict.outcome for verdict in verdicts)
    not_ended = sum(v.outcome != "refused" and not v.converged for v in verdicts)
    return {"series": len(verdicts), **found, "not converged": not_ended}


if __name__ == "__main__":
    main()
