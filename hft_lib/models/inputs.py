"""What the models take from Python: checked here once, so that the kernels need not."""

from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def vector(name: str, values: npt.ArrayLike, length: int | None = None) -> Vector:
    """`values` as a contiguous finite float64 array (time,), or ValueError with rule and value."""
    array = sequence(name, values, length)
    finite(name, array)
    return array


def sequence(name: str, values: npt.ArrayLike, length: int | None = None) -> Vector:
    """As `vector`, of values that need not be finite."""
    array: Vector = np.asarray(values, dtype=np.float64, order="C")
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, had shape {array.shape}")
    if length is not None and array.size != length:
        raise ValueError(f"{name} must have {length} values, had {array.size}")
    return array


def finite(name: str, array: Vector) -> None:
    """Raise ValueError with rule and value where `array` (time,) is not finite."""
    known = np.isfinite(array)
    if not known.all():
        first = int(np.argmin(known))
        raise ValueError(f"{name} must be finite, was {array[first]} at {first}")


def intervals(steps: npt.ArrayLike | None, length: int) -> Counts:
    """Grid intervals before each observation, int64 (time,), at least 1; None is one each."""
    if steps is None:
        return np.ones(length, dtype=np.int64)
    array: Counts = np.ascontiguousarray(steps, dtype=np.int64)
    if array.shape != (length,):
        raise ValueError(f"steps must have shape ({length},), had {array.shape}")
    if length and array.min() < 1:
        raise ValueError(f"steps must be at least 1, was {array.min()} at {array.argmin()}")
    return array


def one_row(name: str, rows: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless `rows` is one row of `dtype`."""
    if rows.dtype != dtype or rows.shape != (1,):
        raise ValueError(f"{name} must be one row of {dtype}, was {rows.shape} of {rows.dtype}")
