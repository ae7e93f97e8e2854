"""The learning design: the worked example, its algebra, and where it tells the slots to stand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.evop import design as designs
from hft_lib.evop.design import Arm, Design, Lesson
from hft_lib.evop.policy import DesignPolicy
from tests.hft_lib.evop.world import parameters

POLICY = DesignPolicy()
SIGMA = [[0.19710322, 0.05281522], [0.05281522, 0.19710322]]


def lesson(curvature: float = 0.0, days: int = 30) -> Lesson:
    return Lesson(
        steps=[[0.5, 0.0], [0.0, 0.5]],
        y=[4.0, -1.0],
        sigma=SIGMA,
        days=days,
        gain_hoped=10.0,
        curvature=curvature,
        gradient_before=[0.0, 0.0],
        covariance_before=[[100.0, 0.0], [0.0, 100.0]],
        gradient=[],
        covariance=[],
    )


def design(units: dict[str, float]) -> Design:
    return designs.begin(units, POLICY)


def test_the_worked_example_to_its_digits():
    gradient, covariance = designs.learn(lesson())
    assert gradient == pytest.approx([7.34662, -1.99725], abs=5e-6)
    assert np.array(covariance) == pytest.approx(
        np.array([[8.70254, 2.14126], [2.14126, 8.70254]]), abs=5e-6
    )


def test_curvature_makes_a_lesson_worth_less():
    straight, bent = designs.learn(lesson()), designs.learn(lesson(curvature=0.22))
    assert bent[1][0][0] > straight[1][0][0]
    assert abs(bent[0][0]) < abs(straight[0][0])


def test_learning_is_the_matrix_formula():
    rng = np.random.default_rng(1)
    steps, root = rng.normal(size=(3, 5)), rng.normal(size=(5, 5))
    p, m, y = root @ root.T, rng.normal(size=5), rng.normal(size=3)
    noise = rng.normal(size=(3, 3))
    sigma = noise @ noise.T
    bend = np.diag(0.5 * (0.22 * 10.0 * (steps**2).sum(axis=1)) ** 2)
    k = p @ steps.T @ np.linalg.inv(steps @ p @ steps.T + 365 * sigma / 40 + bend)
    taught = Lesson(
        steps=steps.tolist(),
        y=y.tolist(),
        sigma=sigma.tolist(),
        days=40,
        gain_hoped=10.0,
        curvature=0.22,
        gradient_before=m.tolist(),
        covariance_before=p.tolist(),
        gradient=[],
        covariance=[],
    )
    gradient, covariance = designs.learn(taught)
    assert np.array(gradient) == pytest.approx(m + k @ (y - steps @ m))
    assert np.array(covariance) == pytest.approx(p - k @ steps @ p)


@given(size=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_eigenvectors_diagonalise_largest_first(size, seed):
    root = np.random.default_rng(seed).normal(size=(size, size))
    matrix = root @ root.T
    vectors = np.array(designs.eigenvectors(matrix.tolist()))
    values = np.linalg.eigvalsh(matrix)[::-1]
    scale = max(values[0], 1.0)
    assert vectors @ vectors.T == pytest.approx(np.eye(size), abs=1e-12)
    assert vectors @ matrix @ vectors.T == pytest.approx(np.diag(values), abs=1e-12 * scale)


def test_eigenvectors_of_equal_variance_keep_the_order_of_the_axes():
    assert designs.eigenvectors(designs.diagonal([2.0, 2.0, 3.0])) == [
        [0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
    ]


@given(size=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_elimination_solves(size, seed):
    rng = np.random.default_rng(seed)
    matrix, right = rng.normal(size=(size, size)) + 3 * np.eye(size), rng.normal(size=(size, 2))
    answer = np.array(designs.solved(matrix.tolist(), right.tolist()))
    assert matrix @ answer == pytest.approx(right, abs=1e-8)


def test_a_singular_system_is_refused():
    with pytest.raises(ValueError, match="singular"):
        designs.solved([[0.0, 0.0], [0.0, 0.0]], [[1.0], [1.0]])


def test_explorers_stand_at_the_radius_and_towards_the_gradient():
    made = design({"strategy.entry_z": 0.2, "strategy.stop_z": 0.5})
    assert designs.explorer_steps(made, 5) == [[0.5, 0.0], [0.0, 0.5]]
    made.gradient = [-3.0, 1.0]
    assert designs.explorer_steps(made, 1) == [[-0.5, 0.0]]


def test_a_direction_square_to_the_gradient_has_its_first_entry_positive():
    made = design({"strategy.entry_z": 0.2, "strategy.stop_z": 0.5})
    made.covariance = [[1.0, -0.5], [-0.5, 1.0]]
    (step,) = designs.explorer_steps(made, 1)
    assert step[0] > 0.0 > step[1]


def test_the_test_slot_takes_the_radius_along_the_gradient():
    made = design({"strategy.entry_z": 0.2, "strategy.stop_z": 0.5})
    assert designs.test_step(made) is None
    made.gradient = [3.0, -4.0]
    assert designs.test_step(made) == pytest.approx([0.3, -0.4])


def test_promotion_and_failure_move_radius_gradient_and_covariance():
    made = design({"strategy.entry_z": 0.2})
    made.gradient = [2.0]
    designs.moved(made, POLICY)
    assert made.radius == pytest.approx(0.65)
    assert made.gradient == pytest.approx([1.4])
    assert made.covariance[0][0] == pytest.approx(100.0 + (0.3 * 10.0 * 0.65) ** 2)
    for _ in range(9):
        designs.moved(made, POLICY)
    assert made.radius == 2.0
    for _ in range(20):
        designs.held(made, POLICY)
    assert made.radius == 0.2


def test_a_step_is_linear_in_z_and_logarithmic_in_sizes():
    made = design({"bocd.hazard": 0.4, "strategy.entry_z": 0.2})
    moved = designs.parameters_at(parameters(2.0), made, [0.5, -1.0])
    assert moved.strategy.entry_z == 2.0 - 0.2
    assert moved.bocd.hazard == pytest.approx(0.001 * math.exp(0.2), rel=1e-15)
    assert moved.kalman == parameters(2.0).kalman


def test_a_step_is_halved_until_exit_entry_stop_are_in_order():
    made = design({"strategy.entry_z": 10.0})
    placed = designs.placed(parameters(2.0), made, [-1.0])
    assert placed is not None
    params, step = placed
    assert params.strategy.exit_z < params.strategy.entry_z < params.strategy.stop_z
    assert step == [-0.125]


def test_no_set_is_made_where_no_part_of_the_step_keeps_the_bounds():
    made = design({"strategy.entry_z": 1e6})
    assert designs.placed(parameters(2.0), made, [1.0]) is None


def test_a_period_too_short_or_without_motion_teaches_nothing():
    made = design({"strategy.entry_z": 0.2})
    made.arms = [Arm(slot=1, generation=1, step=[0.5])]
    made.samples = [[0.1, 0.2]] * 9
    assert not designs.study(made, POLICY)
    made.samples = [[0.1, 0.2]] * 30
    assert not designs.study(made, POLICY)
    assert made.gradient == [0.0] and made.samples == []


def test_a_period_teaches_the_sign_of_the_gain():
    rng = np.random.default_rng(3)
    made = design({"strategy.entry_z": 0.2})
    made.arms = [Arm(slot=1, generation=1, step=[0.5])]
    made.samples = [[-0.4 + 0.3 * rng.normal(), rng.normal()] for _ in range(30)]
    assert designs.study(made, POLICY)
    assert made.gradient[0] < 0.0 < made.covariance[0][0] < 100.0


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_unit_that_is_not_positive_is_refused(unit):
    with pytest.raises(ValueError, match="strategy.entry_z"):
        designs.begin({"strategy.entry_z": unit}, POLICY)


@pytest.mark.parametrize(
    "name", ["strategy.nonsense", "grid_ms", "bocd.alarm_run_length", "garch.dof", "x.y"]
)
def test_a_name_of_no_real_parameter_is_refused(name):
    with pytest.raises(ValueError, match=name):
        designs.check_names([name])
