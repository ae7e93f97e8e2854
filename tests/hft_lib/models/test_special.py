"""exp, log and log-gamma against arithmetic of fifty digits."""

import hashlib
import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.models.special import exp, exp2, log, log2, log_gamma

BERNOULLI = [
    (1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510),
    (43867, 798), (-174611, 330), (854513, 138), (-236364091, 2730), (8553103, 6),
]  # fmt: skip
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def exact_log_gamma(x: Decimal) -> Decimal:
    """Stirling's series at an argument shifted up to 60, where its next term is below 1e-34."""
    product = Decimal(1)
    while x < 60:
        product *= x
        x += 1
    series = sum(
        Decimal(n) / Decimal(d) / (2 * k * (2 * k - 1)) / x ** (2 * k - 1)
        for k, (n, d) in enumerate(BERNOULLI, 1)
    )
    return (x - Decimal("0.5")) * x.ln() - x + (2 * PI).ln() / 2 + series - product.ln()


def worst_ulp(
    function: Callable[[float], float],
    exact: Callable[[Decimal], Decimal],
    points: npt.NDArray[np.float64],
) -> float:
    """The largest error over `points`, in units of the exact value's last place."""
    with localcontext() as context:
        context.prec = 50
        worst = 0.0
        for x in points.tolist():
            truth = exact(Decimal(x))
            error = abs(Decimal(function(x)) - truth) / Decimal(math.ulp(float(truth)))
            worst = max(worst, float(error))
    return worst


def test_exp_is_within_an_ulp() -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-745.0, 709.7, 1500), rng.uniform(-1.0, 1.0, 1500)])
    assert worst_ulp(exp, Decimal.exp, points) < 1.0


def test_log_is_within_an_ulp() -> None:
    rng = np.random.default_rng(2)
    points = np.concatenate(
        [np.exp(rng.uniform(-740.0, 709.0, 1500)), rng.uniform(0.4, 2.5, 1500), [5e-324, 1e-310]]
    )
    assert worst_ulp(log, Decimal.ln, points) < 1.0


def test_the_hot_loops_versions_are_within_their_errors() -> None:
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.uniform(-1000.0, 1022.0, 1500), rng.uniform(-1.0, 1.0, 1500)])
    assert worst_ulp(exp2, lambda x: Decimal(2) ** x, points) < 5.0
    assert exp2(-1e300) == exp2(-1000.0)
    with localcontext() as context:
        context.prec = 50
        for x in np.exp(rng.uniform(-700.0, 700.0, 1500)).tolist():
            truth = Decimal(x).ln() / Decimal(2).ln()
            assert abs(Decimal(log2(x)) - truth) < Decimal("8e-16") * max(abs(truth), Decimal(1))


def test_log_gamma_is_within_two_ulp() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate(
        [rng.uniform(0.01, 12.0, 1500), np.exp(rng.uniform(-30.0, 30.0, 500)), [1e-300, 1e300]]
    )
    assert worst_ulp(log_gamma, exact_log_gamma, points) < 2.0


def test_log_gamma_keeps_its_digits_beside_its_zeros() -> None:
    rng = np.random.default_rng(4)
    points = np.concatenate([1.0 + rng.normal(0.0, 1e-6, 200), 2.0 + rng.normal(0.0, 1e-6, 200)])
    assert worst_ulp(log_gamma, exact_log_gamma, points) < 2.0


@pytest.mark.parametrize(
    ("function", "x", "value"),
    [
        (exp, 0.0, 1.0), (exp, -0.0, 1.0), (exp, math.inf, math.inf), (exp, -math.inf, 0.0),
        (exp, 710.0, math.inf), (exp, -745.2, 0.0), (exp, -745.1, 5e-324), (exp, 5e-324, 1.0),
        (log, 1.0, 0.0), (log, 0.0, -math.inf), (log, -0.0, -math.inf), (log, math.inf, math.inf),
        (log_gamma, 1.0, 0.0), (log_gamma, 2.0, 0.0), (log_gamma, 0.0, math.inf),
        (log_gamma, math.inf, math.inf), (log_gamma, 1.7e308, math.inf),
    ],
)  # fmt: skip
def test_the_edges_are_exact(function: Callable[[float], float], x: float, value: float) -> None:
    assert function(x) == value


@pytest.mark.parametrize(
    ("function", "x"),
    [(exp, math.nan), (log, math.nan), (log, -1.0), (log, -math.inf), (log_gamma, math.nan),
     (log_gamma, -0.5), (log_gamma, -math.inf)],
)  # fmt: skip
def test_what_has_no_value_is_nan(function: Callable[[float], float], x: float) -> None:
    assert math.isnan(function(x))


def test_the_bits_are_the_same_on_every_machine() -> None:
    points = np.random.default_rng(5).uniform(0.01, 150.0, 1000).tolist()
    values = np.array([f(x) for f in (exp, log, log_gamma) for x in points])
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == "7c11770831a9cbd8"
