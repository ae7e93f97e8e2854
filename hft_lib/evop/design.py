"""Where to look next.

Explorers learn the gradient round the champion, one test slot takes the step.

Coded units u = (theta - theta_c) / unit, of the logarithm for variances, hazard, horizon and sizes.
The gain of a step u is m u, in champion-Sharpes; the gradient has mean m and covariance P (h^2 I at
first, h the gain hoped for). After a period of n days in which explorers stood at the steps D (k,
d), with y (k,) their mean differences (a year, in champion standard deviations) and Sigma (k, k)
the daily covariance of these differences:

    K  = P D' (D P D' + 365 Sigma / n + diag(1/2 (0.22 h r_k^2)^2))^-1       r_k = |D_k|; the last
    for curvature m += K (y - D m);   P -= K D P

Explorers stand at R v_j, v_j the eigenvectors of P of largest variance; the test slot takes R m /
|m|. Explorers can never be promoted, so they spend none of the error budget. Box & Draper (1969),
Evolutionary Operation, for the setting; the update is the linear Gaussian one. Plain loops: the
same bits on every machine.
"""

import math
from typing import TypeAlias

import msgspec

from hft_lib.evop.policy import YEAR_DAYS, DesignPolicy
from hft_lib.models.special import exp
from hft_lib.parameters import Parameters, check_parameters

Numbers: TypeAlias = list[float]
Matrix: TypeAlias = list[list[float]]

STEP_HALVINGS_MAX = 6  # a step cut 64 times teaches nothing
CHAMPION_SD_MIN = 1e-9  # of the capital share, a day: below it is rounding, not motion
JACOBI_SWEEPS_MAX = 30  # convergence is quadratic: a 12 by 12 matrix takes about 6
LOG_FIELDS = frozenset({"hazard", "horizon_s", "risk_fraction", "gross_fraction_max", "omega"})
BOUNDS: dict[str, tuple[float, float]] = {
    "bocd.hazard": (1e-8, 0.5),
    "strategy.entry_z": (0.1, 20.0),
    "strategy.exit_z": (0.0, 20.0),
    "strategy.stop_z": (0.2, 50.0),
    "strategy.horizon_s": (1.0, 30.0 * 86_400.0),
    "strategy.risk_fraction": (1e-6, 0.5),
    "strategy.gross_fraction_max": (1e-3, 1.5),
}
REAL_PARAMETERS = frozenset(
    f"{part.name}.{field.name}"
    for part in msgspec.structs.fields(Parameters)
    if part.name != "grid_ms"
    for field in msgspec.structs.fields(part.type)
    if field.type is float
)


class Lesson(msgspec.Struct, kw_only=True):
    """What one period taught: its data, the belief before it and after.

    Shapes as in the equations.
    """

    steps: Matrix
    y: Numbers
    sigma: Matrix
    days: int
    gain_hoped: float
    curvature: float
    gradient_before: Numbers
    covariance_before: Matrix
    gradient: Numbers
    covariance: Matrix


class Arm(msgspec.Struct, kw_only=True):
    """An explorer: its slot and generation, and where it stands in coded units."""

    slot: int
    generation: int
    step: Numbers


class Design(msgspec.Struct, kw_only=True):
    """The belief of one pair; `names` (d,) are dotted and sorted, `units` (d,) their step sizes.

    `samples` holds a row a block: each arm's difference, then the twin's equity change, fractions
    of the capital.
    """

    names: list[str]
    units: Numbers
    radius: float
    gradient: Numbers
    covariance: Matrix
    started_ns: int = 0
    arms: list[Arm] = []
    samples: Matrix = []
    lesson: Lesson | None = None


def begin(units: dict[str, float], policy: DesignPolicy) -> Design:
    """The belief before any data; raises ValueError for a unit that cannot be."""
    check_names(list(units))
    for name, unit in units.items():
        if not (unit > 0.0 and math.isfinite(unit)):
            raise ValueError(f"evop.units.{name} must be positive and finite, was {unit}")
    names, variance = sorted(units), policy.gain_hoped * policy.gain_hoped
    return Design(
        names=names,
        units=[units[name] for name in names],
        radius=policy.radius,
        gradient=[0.0] * len(names),
        covariance=diagonal([variance] * len(names)),
    )


# --- the belief ---


def learn(lesson: Lesson) -> tuple[Numbers, Matrix]:
    """The gradient's mean (d,) and covariance (d, d) after `lesson`'s data."""
    steps, m, p = lesson.steps, lesson.gradient_before, lesson.covariance_before
    dp = product(steps, p)
    total = product(dp, transposed(steps))
    for i, row in enumerate(lesson.sigma):
        for j, value in enumerate(row):
            total[i][j] += YEAR_DAYS * value / lesson.days
        bend = lesson.curvature * lesson.gain_hoped * dot(steps[i], steps[i])
        total[i][i] += 0.5 * bend * bend
    gain = transposed(solved(total, dp))  # K = P D' S^-1, for S is symmetric
    surprise = [lesson.y[k] - dot(steps[k], m) for k in range(len(steps))]
    mean = [m[i] + dot(gain[i], surprise) for i in range(len(m))]
    less = product(gain, dp)
    covariance = [[p[i][j] - less[i][j] for j in range(len(m))] for i in range(len(m))]
    return mean, symmetric(covariance)


def study(design: Design, policy: DesignPolicy) -> bool:
    """Learn from the period's samples, if they are enough; clears them.

    True when the belief moved.
    """
    samples, design.samples = design.samples, []
    summary = summarised(samples, len(design.arms))
    if len(samples) < policy.blocks_min or not design.arms or summary is None:
        return False
    lesson = Lesson(
        steps=[list(arm.step) for arm in design.arms],
        y=summary[0],
        sigma=summary[1],
        days=len(samples),
        gain_hoped=policy.gain_hoped,
        curvature=policy.curvature,
        gradient_before=design.gradient,
        covariance_before=design.covariance,
        gradient=[],
        covariance=[],
    )
    lesson.gradient, lesson.covariance = learn(lesson)
    design.gradient, design.covariance = list(lesson.gradient), [list(r) for r in lesson.covariance]
    design.lesson = lesson
    return True


def summarised(samples: Matrix, arms: int) -> tuple[Numbers, Matrix] | None:
    """y (arms,) and Sigma (arms, arms) of the samples, in champion sds.

    None where the champion did not move.
    """
    days = len(samples)
    if days < 2:
        return None
    means = [sum(row[k] for row in samples) / days for k in range(arms + 1)]
    centred = [[row[k] - means[k] for k in range(arms + 1)] for row in samples]
    sd = math.sqrt(sum(row[arms] * row[arms] for row in centred) / (days - 1))
    if sd < CHAMPION_SD_MIN:
        return None
    y = [math.sqrt(YEAR_DAYS) * means[k] / sd for k in range(arms)]
    sigma = [
        [sum(row[i] * row[j] for row in centred) / (days - 1) / (sd * sd) for j in range(arms)]
        for i in range(arms)
    ]
    return y, sigma


def moved(design: Design, policy: DesignPolicy) -> None:
    """The centre moved to a promoted set: step further, believe the gradient less."""
    design.radius = min(policy.radius_growth * design.radius, policy.radius_max)
    design.gradient = [policy.gradient_decay * value for value in design.gradient]
    renewal = policy.renewal * policy.gain_hoped * design.radius
    for i in range(len(design.names)):
        design.covariance[i][i] += renewal * renewal


def held(design: Design, policy: DesignPolicy) -> None:
    """A step was not promoted: step less far."""
    design.radius = max(policy.radius_decay * design.radius, policy.radius_min)


# --- where to stand ---


def explorer_steps(design: Design, count: int) -> Matrix:
    """R v_j for the `count` directions of largest variance, signed towards the gradient.

    (<= count, d).
    """
    return [
        [design.radius * value for value in _signed(vector, design.gradient)]
        for vector in eigenvectors(design.covariance)[:count]
    ]


def test_step(design: Design) -> Numbers | None:
    """R m / |m|: the step that the belief recommends; None while it knows no direction."""
    length = math.sqrt(dot(design.gradient, design.gradient))
    if not length > 0.0:
        return None
    return [design.radius * value / length for value in design.gradient]


def placed(centre: Parameters, design: Design, step: Numbers) -> tuple[Parameters, Numbers] | None:
    """The parameter set at `step` from `centre`, and the step taken.

    The step is halved until the set keeps every rule and bound; None if it never does.
    """
    for _ in range(STEP_HALVINGS_MAX):
        candidate = parameters_at(centre, design, step)
        if within_bounds(candidate, design.names):
            return candidate, step
        step = [value / 2.0 for value in step]
    return None


def parameters_at(centre: Parameters, design: Design, step: Numbers) -> Parameters:
    """The natural parameters at `step` (d,) in coded units from `centre`."""
    for name, unit, u in zip(design.names, design.units, step, strict=True):
        part, field = name.split(".")
        group = getattr(centre, part)
        value = getattr(group, field)
        natural = value * float(exp(u * unit)) if is_logarithmic(name) else value + u * unit
        centre = msgspec.structs.replace(
            centre, **{part: msgspec.structs.replace(group, **{field: natural})}
        )
    return centre


def is_logarithmic(name: str) -> bool:
    """Whether the parameter's coded unit is one of its logarithm."""
    field = name.split(".")[-1]
    return field.endswith("_var") or field in LOG_FIELDS


def within_bounds(params: Parameters, names: list[str]) -> bool:
    """Whether the set can be run and each coded parameter lies within its bounds."""
    try:
        check_parameters(params)
    except ValueError:
        return False
    for name in names:
        least, most = BOUNDS.get(name, (-math.inf, math.inf))
        part, field = name.split(".")
        if not least <= getattr(getattr(params, part), field) <= most:
            return False
    return True


def check_names(names: list[str]) -> None:
    """Raise ValueError where a name is none of a real-valued parameter."""
    for name in names:
        if name not in REAL_PARAMETERS:
            raise ValueError(f"evop.units must name real-valued parameters, had {name}")


def _signed(vector: Numbers, gradient: Numbers) -> Numbers:
    """The vector or its opposite.

    Towards the gradient, and where that is square to it, first non-zero entry positive.
    """
    along = dot(gradient, vector)
    lead = next((value for value in vector if value != 0.0), 0.0)
    flip = along < 0.0 or (along == 0.0 and lead < 0.0)
    return [-value for value in vector] if flip else list(vector)


# --- small linear algebra, in a fixed order of operations ---


def eigenvectors(matrix: Matrix) -> Matrix:
    """Unit eigenvectors of a symmetric matrix, largest eigenvalue first, ties by lowest index.

    Cyclic Jacobi.

    Golub & Van Loan (2013), Matrix Computations, sec. 8.5.
    """
    size = len(matrix)
    a, v = [list(row) for row in matrix], diagonal([1.0] * size)
    for _ in range(JACOBI_SWEEPS_MAX):
        scale = sum(abs(a[i][i]) for i in range(size))
        off = sum(abs(a[i][j]) for i in range(size) for j in range(i + 1, size))
        if off <= 1e-15 * scale:
            break
        for i in range(size):
            for j in range(i + 1, size):
                _rotate(a, v, i, j)
    order = sorted(range(size), key=lambda k: -a[k][k])
    return [[v[i][k] for i in range(size)] for k in order]


def _rotate(a: Matrix, v: Matrix, i: int, j: int) -> None:
    """Zero a[i][j] by a rotation in the plane of i and j.

    V collects the rotations in its columns.
    """
    if a[i][j] == 0.0:
        return
    tau = (a[j][j] - a[i][i]) / (2.0 * a[i][j])
    t = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + math.sqrt(1.0 + tau * tau))
    c = 1.0 / math.sqrt(1.0 + t * t)
    s = t * c
    for row in a:
        row[i], row[j] = c * row[i] - s * row[j], s * row[i] + c * row[j]
    for k in range(len(a)):
        a[i][k], a[j][k] = c * a[i][k] - s * a[j][k], s * a[i][k] + c * a[j][k]
    for row in v:
        row[i], row[j] = c * row[i] - s * row[j], s * row[i] + c * row[j]


def solved(matrix: Matrix, right: Matrix) -> Matrix:
    """X of matrix X = right, by elimination with partial pivoting.

    Raises ValueError where it is singular.
    """
    size = len(matrix)
    a = [list(matrix[i]) + list(right[i]) for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(a[k][i]))
        a[i], a[pivot] = a[pivot], a[i]
        if a[i][i] == 0.0:
            raise ValueError("the covariance of the explorers is singular")
        for k in range(size):
            if k != i:
                factor = a[k][i] / a[i][i]
                a[k] = [x - factor * y for x, y in zip(a[k], a[i], strict=True)]
    return [[value / a[i][i] for value in a[i][size:]] for i in range(size)]


def dot(left: Numbers, right: Numbers) -> float:
    total = 0.0
    for x, y in zip(left, right, strict=True):
        total += x * y
    return total


def product(left: Matrix, right: Matrix) -> Matrix:
    columns = transposed(right)
    return [[dot(row, column) for column in columns] for row in left]


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def symmetric(matrix: Matrix) -> Matrix:
    size = range(len(matrix))
    return [[0.5 * (matrix[i][j] + matrix[j][i]) for j in size] for i in size]


def diagonal(values: Numbers) -> Matrix:
    return [
        [value if i == j else 0.0 for j in range(len(values))] for i, value in enumerate(values)
    ]
