"""The top of a likelihood that is costly and a little rough: Newton's method on quadratics.

A quadratic through nine points about the present one gives gradient and curvature. The points stand
about half a standard error apart, where the likelihood falls by an eighth of a nat: far more than
what merging cells moves it by, and near enough for a quadratic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hft_lib.models.inputs import Vector

Matrix = npt.NDArray[np.float64]

_ROUNDS = 12
_SPACING_START, _SPACING_MIN, _SPACING_MAX = 0.3, 0.05, 0.6
_STEP_MAX = 1.5
_GAIN_MIN = 0.005  # nats that a further step promises at a maximum


@dataclass(frozen=True)
class Top:
    """Where a climb ended.

    `errors` (2,): standard errors of the coordinates; NaN at a bound or where it is flat. `ended`:
    gradient and curvature say that this is a maximum within the box.
    """

    point: Vector
    value: float
    errors: Vector
    ended: bool


class _Surface:
    """The function inside its box; no point is evaluated twice."""

    def __init__(self, value: Callable[[Vector], float], box: Matrix) -> None:
        self._value, self.box = value, box
        self._known: dict[tuple[float, float], float] = {}

    def __call__(self, point: Vector) -> float:
        key = (float(point[0]), float(point[1]))
        if key not in self._known:
            self._known[key] = self._value(point)
        return self._known[key]

    def best(self) -> Vector:
        """The highest of all points evaluated."""
        return np.array(max(self._known, key=lambda key: self._known[key]))


def climb(value: Callable[[Vector], float], box: Matrix, starts: list[Vector]) -> Top:
    """The maximum of `value` of two coordinates within `box` (coordinate, end), from the best of
    `starts`.
    """
    surface = _Surface(value, box)
    for start in starts:
        surface(start)
    spacing = np.full(2, _SPACING_START)
    for _ in range(_ROUNDS):
        point = surface.best()
        gradient, curvature = _quadratic(surface, point, spacing)
        free = _free(point, gradient, box)
        step = _newton(gradient, curvature, free)
        promised = float(gradient @ step) / 2.0
        errors = _errors(curvature, free)
        fine = np.clip(errors / 2.0, _SPACING_MIN, _SPACING_MAX)
        settled = bool((np.abs(fine - spacing)[free] <= 0.3 * spacing[free]).all())
        if promised < _GAIN_MIN and settled and not np.isnan(errors[free]).any():
            return Top(point, surface(point), errors, True)
        spacing = np.where(np.isnan(fine), spacing, fine)
        surface(np.clip(point + np.clip(step, -_STEP_MAX, _STEP_MAX), box[:, 0], box[:, 1]))
    point = surface.best()
    return Top(point, surface(point), np.full(2, np.nan), False)


def _quadratic(surface: _Surface, point: Vector, spacing: Vector) -> tuple[Vector, Matrix]:
    """Gradient and curvature at `point`, from nine points that stay inside the box."""
    low, high = surface.box[:, 0] + spacing, surface.box[:, 1] - spacing
    middle = np.clip(point, low, high)
    offsets = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=np.float64)
    heights = np.array([surface(middle + offset * spacing) for offset in offsets])
    x, y = offsets.T
    terms = np.stack([np.ones(9), x, y, x * x / 2.0, x * y, y * y / 2.0], axis=1)
    fitted = np.linalg.lstsq(terms, heights, rcond=None)[0]
    scale = np.outer(spacing, spacing)
    curvature = np.array([[fitted[3], fitted[4]], [fitted[4], fitted[5]]]) / scale
    return fitted[1:3] / spacing + curvature @ (point - middle), curvature


def _free(point: Vector, gradient: Vector, box: Matrix) -> npt.NDArray[np.bool_]:
    """The coordinates that are not held by a bound they press against."""
    held = ((point <= box[:, 0] + 1e-9) & (gradient <= 0.0)) | (
        (point >= box[:, 1] - 1e-9) & (gradient >= 0.0)
    )
    return ~held


def _newton(gradient: Vector, curvature: Matrix, free: npt.NDArray[np.bool_]) -> Vector:
    """Newton's step of the free coordinates; uphill where the quadratic has no maximum."""
    step = np.zeros(2)
    if free.any():
        values, vectors = np.linalg.eigh(curvature[np.ix_(free, free)])
        along = vectors.T @ gradient[free]
        step[free] = vectors @ (along / np.maximum(np.abs(values), 1e-3))
    return step


def _errors(curvature: Matrix, free: npt.NDArray[np.bool_]) -> Vector:
    """Standard errors of the free coordinates, NaN unless it curves down in every direction."""
    errors = np.full(2, np.nan)
    if free.any():
        information = -curvature[np.ix_(free, free)]
        if (np.linalg.eigvalsh(information) > 0.0).all():
            errors[free] = np.sqrt(np.diag(np.linalg.inv(information)))
    return errors
