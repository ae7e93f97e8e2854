"""Verdicts: what is right is left alone, and each way of being wrong is told by its name."""

import json
import math
from typing import Any

import numpy as np
import pytest

from hft_lib.health import verdict
from hft_lib.health.verdict import GOOD, LOOK, OFF, UNKNOWN, SlotHealth, judge
from hft_lib.health.window import WINDOW
from tests.builders import PAIR
from tests.hft_lib.health.made import REFERENCE, Made


def judged(count: int = WINDOW, seed: int = 5, **changes: Any) -> SlotHealth:
    return judge(PAIR, Made(count, seed).values(**{"reference": REFERENCE, **changes}))


def test_a_model_that_is_right_is_nearly_never_called_wrong():
    found = [judged(seed=seed) for seed in range(200)]
    assert sum(one.state == OFF for one in found) <= 2
    assert sum(one.state == LOOK for one in found) < 20
    assert sum(one.state == GOOD for one in found) > 180


@pytest.mark.parametrize("scale, words", [(1.5, "too narrow"), (0.6, "too wide")])
def test_forecasts_of_the_wrong_width_are_told_with_the_direction(scale: float, words: str):
    made = Made(WINDOW, 5)
    found = judge(PAIR, made.values(REFERENCE, scores=scale * made.scores))
    assert (found.calibration.state, found.calibration.words) == (OFF, words)
    assert found.variance == pytest.approx(scale * scale, rel=0.25)
    assert found.state == OFF


@pytest.mark.parametrize("shift, words", [(0.6, "off centre: above"), (-0.6, "off centre: below")])
def test_forecasts_off_centre_are_told_with_the_side(shift: float, words: str):
    made = Made(WINDOW, 5)
    found = judge(PAIR, made.values(REFERENCE, scores=made.scores + shift))
    assert (found.calibration.state, found.calibration.words) == (OFF, words)


def test_another_shape_of_the_same_variance_is_told():
    made = Made(WINDOW, 5)
    two = np.sign(made.scores) * np.sqrt(1.0 - 0.04) + 0.2 * made.random.standard_normal(WINDOW)
    found = judge(PAIR, made.values(REFERENCE, scores=two))
    assert found.calibration == verdict.Verdict(OFF, found.calibration.words)
    assert found.uniform_p < 1e-4 and found.covered[0] < 0.2


def test_innovations_that_follow_one_another_are_told():
    noise = Made(WINDOW, 5).scores
    scores = np.empty(WINDOW)
    for t in range(WINDOW):
        scores[t] = noise[t] if t == 0 else 0.5 * scores[t - 1] + math.sqrt(0.75) * noise[t]
    found = judged(scores=scores)
    assert found.whiteness == verdict.Verdict(OFF, "follow one another")


def test_large_innovations_that_come_together_are_told():
    made = Made(WINDOW, 5)
    calm = np.where(np.arange(WINDOW) // 50 % 2 == 0, 0.5, math.sqrt(1.75))
    found = judge(PAIR, made.values(REFERENCE, scores=calm * made.scores))
    assert found.whiteness == verdict.Verdict(OFF, "large ones come together")


@pytest.mark.parametrize(
    "feature, change",
    [("returns_y", 2.0), ("returns_x", 0.4), ("gaps_s", 3.0), ("innovations", 2.5)],
)
def test_data_that_moved_are_told_by_name(feature: str, change: float):
    made = Made(WINDOW, 5)
    known = made.values(REFERENCE)
    found = judge(PAIR, known._replace(**{feature: change * getattr(known, feature)}))
    name = {"returns_y": "return_y", "returns_x": "return_x", "gaps_s": "gap_s"}.get(
        feature, "innovation"
    )
    assert found.drift == verdict.Verdict(OFF, f"moved: {verdict.WORDS[name]}")
    assert [one for one, shift in found.shifts.items() if shift.psi > 0.25] == [name]


def test_few_values_move_by_chance_and_are_not_called_moved():
    found = [judged(count=60, seed=seed) for seed in range(60)]
    assert max(shift.psi for one in found for shift in one.shifts.values()) > 0.25
    assert all(one.drift.state != OFF for one in found)


def test_without_a_reference_drift_is_not_known_and_the_rest_is():
    found = judged(reference=None)
    assert found.drift == verdict.Verdict(UNKNOWN, "no reference recorded")
    assert found.shifts == {} and found.state == GOOD


@pytest.mark.parametrize("count", [0, 1, 2, 49])
def test_with_too_little_there_is_no_verdict(count: int):
    found = judged(count=count)
    assert found.state == UNKNOWN and found.observations == count
    assert found.whiteness.words == f"too early: {count} of 50 steps"
    json.dumps(found.document(), allow_nan=False)


def test_what_does_not_move_has_no_verdict():
    assert judged(scores=np.zeros(WINDOW)).whiteness.state == UNKNOWN


def test_values_that_are_none_are_not_counted():
    made = Made(WINDOW, 5)
    scores = made.scores.copy()
    scores[:100] = np.nan
    found = judge(PAIR, made.values(REFERENCE, scores=scores))
    assert found.observations == 150
    assert found.shifts["return_y"].observations == 150  # what came before was another set's


def test_the_document_is_short_plain_and_says_the_worst():
    found = judged(scores=2.0 * Made(WINDOW, 5).scores)
    told = found.document()
    assert told["state"] == OFF and told["calibration"]["words"] == "too narrow"
    assert told["covered"][2] == float(f"{found.covered[2]:.4g}")
    assert len(json.dumps(told)) < 1_100
