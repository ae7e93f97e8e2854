"""The sample of an EGARCH fit: its likelihood with derivatives, whether it has gaps or none."""

from typing import Any, NamedTuple

import numpy as np

from hft_lib.fitting import egarch_bend, egarch_score, egarch_sweep
from hft_lib.fitting.egarch_score import Matrix
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector


class Sample(NamedTuple):
    """What is fitted to; `steps` is None where no interval is without an observation.

    The variance before the sample is v + k (m - mean)^2 for (v, k, m, lowest) in `presample`;
    lower than `lowest` a log variance is not to fall. The rest is `egarch_sweep`'s.
    """

    innovations: Vector
    steps: Counts | None
    presample: Vector
    arranged: Vector
    work: Vector
    bends: Vector


@kernel
def sample_of(innovations: Vector, steps: Any, presample: Vector) -> Sample:
    """A sample and its scratch."""
    arranged = innovations
    if steps is None:
        arranged = egarch_sweep.arrange(innovations)
    work = np.full(egarch_sweep.WORK, np.nan)
    return Sample(innovations, steps, presample, arranged, work, np.empty(egarch_bend.ROWS * 8))


@kernel
def _score(
    theta: Vector,
    steps: Any,
    sample: Sample,
    normal: bool,
    gradient: Vector,
    information: Matrix,
) -> float:
    if steps is None:
        return egarch_sweep.score(
            theta,
            sample.arranged,
            sample.innovations.shape[0],
            sample.presample,
            normal,
            sample.work,
            gradient,
            information,
        )
    return egarch_score.score(
        theta, sample.innovations, steps, sample.presample, normal, gradient, information
    )


@kernel
def score(
    theta: Vector, sample: Sample, normal: bool, gradient: Vector, information: Matrix
) -> float:
    """Log likelihood at `theta` (6,), its gradient (9,) and information in place: see
    `egarch_score.score`.
    """
    return _score(theta, sample.steps, sample, normal, gradient, information)


@kernel
def _hessian(theta: Vector, steps: Any, sample: Sample, normal: bool, matrix: Matrix) -> None:
    if steps is None:
        egarch_bend.hessian(
            theta,
            sample.arranged,
            sample.innovations.shape[0],
            sample.presample,
            normal,
            sample.work,
            sample.bends,
            matrix,
        )
    else:
        egarch_score.hessian(theta, sample.innovations, steps, sample.presample, normal, matrix)


@kernel
def hessian(theta: Vector, sample: Sample, normal: bool, matrix: Matrix) -> None:
    """Put minus the Hessian of the log likelihood at `theta` (6,) into `matrix` (6, 6)."""
    _hessian(theta, sample.steps, sample, normal, matrix)
