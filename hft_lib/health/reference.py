"""What the data of a calibration looked like: quantile bins of all that a model eats, recorded with
its parameters, so that later data can be held against them.
"""

import numpy as np
import numpy.typing as npt

from hft_lib.models.inputs import Counts, Vector
from hft_lib.parameters import Binned, Reference

BINS = 10  # deciles, as the population stability index is usual
DIGITS = 6  # of an edge: the same on every machine, and short in a file
FEATURES = ("return_y", "return_x", "innovation", "gap_s")


def reference_of(
    log_y: Vector, log_x: Vector, steps: Counts, gaps_s: Vector, innovations: Vector
) -> Reference:
    """The reference of a fitting window: log mids, whole grid intervals since the step before, mean
    gap between moments and innovations of each grid step, (time,) each.

    Returns over more than one interval are left out, as live.
    """
    whole = steps[1:] == 1
    return Reference(
        return_y=binned(np.diff(log_y)[whole]),
        return_x=binned(np.diff(log_x)[whole]),
        innovation=binned(innovations),
        gap_s=binned(gaps_s[1:]),
    )


def mean_gaps_s(time_ns: Counts, indices: Counts) -> Vector:
    """Seconds between complete moments, on average since the grid step before, for each of the
    moments at `indices` (steps,) of `time_ns` (moments,) that step the models; the first is NaN.
    """
    gaps = np.full(indices.size, np.nan)
    gaps[1:] = np.diff(time_ns[indices]) / 1e9 / np.diff(indices)
    return gaps


def binned(values: Vector) -> Binned:
    """`values` (time,) in deciles; fewer bins where values repeat, and none without values."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Binned(observations=0, edges=(), shares=())
    quantiles = np.quantile(known, np.arange(1, BINS) / BINS)
    edges = sorted({float(f"{value:.{DIGITS}g}") for value in quantiles.tolist()})
    shares = counts(known, edges) / known.size
    return Binned(
        observations=known.size,
        edges=tuple(edges),
        shares=tuple(round(share, DIGITS) for share in shares.tolist()),
    )


def counts(values: npt.ArrayLike, edges: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many of `values` fall into each bin, (edges + 1,): up to and with its edge, the last
    beyond all.

    Compared as the 32-bit numbers that a window keeps, so that a value that repeats falls into one
    bin then and now.
    """
    known = np.asarray(values, np.float32)
    places = np.searchsorted(np.asarray(edges, np.float32), known[np.isfinite(known)])
    return np.bincount(places, minlength=np.size(edges) + 1).astype(np.int64)
