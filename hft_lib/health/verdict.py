"""What the figures of a slot come to, in words, and the thresholds that the words stand for.

Nothing trades on them: they say where to look. A slot is looked at over and over, by many tests, so
that the thresholds are far stricter than one test's 5 %.
"""

import math
from typing import Any

import msgspec
import numpy as np

from hft_lib.health import reference as references
from hft_lib.health import statistics
from hft_lib.health.reference import FEATURES
from hft_lib.health.statistics import Tested
from hft_lib.health.window import SlotValues
from hft_lib.models.inputs import Vector

NOMINALS = (0.5, 0.8, 0.95)
GOOD, LOOK, OFF, UNKNOWN = "good", "look", "off", "unknown"
STATES = (UNKNOWN, GOOD, LOOK, OFF)
SIZE_MAX = 1e3  # beyond it one innovation is all that an autocorrelation sees
SHOWN_DIGITS = 4


class Threshold(msgspec.Struct, frozen=True):
    """A limit by name, and where it comes from."""

    name: str
    value: float
    source: str


OBSERVATIONS_MIN = Threshold(
    "grid steps before a verdict", 50, "a 95 % interval is then missed 2 or 3 times"
)
P_LOOK = Threshold("p to look at", 0.01, "one slot in a hundred of those that are right, a test")
P_OFF = Threshold("p that is off", 0.0001, "the red zone of the Basel Committee (1996), table 2")
PSI_LOOK = Threshold("PSI to look at", 0.10, "Siddiqi (2006), Credit Risk Scorecards, ch. 9")
PSI_OFF = Threshold("PSI that is off", 0.25, "Siddiqi (2006), Credit Risk Scorecards, ch. 9")
THRESHOLDS = (OBSERVATIONS_MIN, P_LOOK, P_OFF, PSI_LOOK, PSI_OFF)


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """How far one feature is from what the calibration saw."""

    observations: int
    psi: float
    p_value: float


class Verdict(msgspec.Struct, frozen=True):
    """A state, which is one of `STATES`, and what it means of this slot."""

    state: str
    words: str


class SlotHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One slot's figures over its window, chances as p-values; NaN where there is too little.

    `covered` and `coverage_p` (nominals,) are of the forecast intervals of `NOMINALS`; `shifts` is
    by feature, empty where no reference is recorded.
    """

    pair: str
    slot: int
    generation: int
    observations: int
    mean: float
    mean_p: float
    variance: float
    variance_p: float
    white_p: float
    sizes_p: float
    covered: tuple[float, ...]
    coverage_p: tuple[float, ...]
    uniform_p: float
    shifts: dict[str, Shift]
    whiteness: Verdict
    calibration: Verdict
    drift: Verdict

    @property
    def state(self) -> str:
        """The worst of the three verdicts."""
        return worst(self.whiteness, self.calibration, self.drift)

    def document(self) -> dict[str, Any]:
        """Plain values of few digits for JSON, None for NaN."""
        known = _plain(msgspec.to_builtins(self))
        assert isinstance(known, dict)
        return known | {"state": self.state}


def judge(pair: str, values: SlotValues) -> SlotHealth:
    """Judge one slot by what its window holds."""
    scores = values.scores[np.isfinite(values.scores)]
    mean, variance = statistics.mean_zero(scores), statistics.variance_one(scores)
    white = statistics.ljung_box(scores)
    sizes = statistics.ljung_box(np.minimum(np.abs(scores), SIZE_MAX))
    covered = [statistics.coverage(scores, nominal) for nominal in NOMINALS]
    kupiec = [statistics.kupiec(one) for one in covered]
    uniform, shifts = statistics.uniformity(scores), _shifts(values)
    enough = scores.size >= OBSERVATIONS_MIN.value
    early = Verdict(UNKNOWN, f"too early: {scores.size} of {OBSERVATIONS_MIN.value:g} steps")
    return SlotHealth(
        pair=pair,
        slot=values.slot,
        generation=values.generation,
        observations=scores.size,
        mean=mean.statistic,
        mean_p=mean.p_value,
        variance=variance.statistic,
        variance_p=variance.p_value,
        white_p=white.p_value,
        sizes_p=sizes.p_value,
        covered=tuple(one.share for one in covered),
        coverage_p=tuple(one.p_value for one in kupiec),
        uniform_p=uniform.p_value,
        shifts=shifts,
        whiteness=_whiteness(white, sizes) if enough else early,
        calibration=_calibration(mean, variance, kupiec, uniform) if enough else early,
        drift=_drift(shifts) if enough or not shifts else early,
    )


def worst(*verdicts: Verdict) -> str:
    """The state that is furthest from good."""
    return max((verdict.state for verdict in verdicts), key=STATES.index)


def severity(state: str) -> int:
    """0 unknown, 1 good, 2 to look at, 3 off."""
    return STATES.index(state)


def _by_p(p_value: float) -> str:
    if math.isnan(p_value):
        return UNKNOWN
    return OFF if p_value < P_OFF.value else LOOK if p_value < P_LOOK.value else GOOD


def _whiteness(white: Tested, sized: Tested) -> Verdict:
    levels, sizes = _by_p(white.p_value), _by_p(sized.p_value)
    if UNKNOWN in (levels, sizes):
        return Verdict(UNKNOWN, "nothing moves")
    if STATES.index(levels) >= STATES.index(sizes) and levels != GOOD:
        return Verdict(levels, "follow one another")
    if sizes != GOOD:
        return Verdict(sizes, "large ones come together")
    return Verdict(GOOD, "white")


def _calibration(mean: Tested, variance: Tested, kupiec: list[Tested], uniform: Tested) -> Verdict:
    """By coverage, spread, level and shape together; named after the direction in which it errs."""
    tests = (mean, variance, uniform, *kupiec)
    state = max((_by_p(test.p_value) for test in tests), key=STATES.index)
    if state == GOOD:
        return Verdict(GOOD, "calibrated")
    if state == UNKNOWN:
        return Verdict(UNKNOWN, "nothing moves")
    least = min(tests, key=lambda test: test.p_value)
    if least is mean:
        return Verdict(state, "off centre: above" if mean.statistic > 0.0 else "off centre: below")
    if least is uniform and _by_p(variance.p_value) == GOOD:
        return Verdict(state, "of another shape than what comes")
    return Verdict(state, "too narrow" if variance.statistic > 1.0 else "too wide")


def _drift(shifts: dict[str, Shift]) -> Verdict:
    if not shifts:
        return Verdict(UNKNOWN, "no reference recorded")
    states = {name: _shift_state(shift) for name, shift in shifts.items()}
    state = max(states.values(), key=STATES.index)
    if state == UNKNOWN:
        return Verdict(UNKNOWN, "too little to compare")
    if state == GOOD:
        return Verdict(GOOD, "as at calibration")
    moved = [WORDS[name] for name, each in states.items() if each == state]
    return Verdict(state, f"{'moved' if state == OFF else 'moving'}: {', '.join(moved)}")


WORDS = {
    "return_y": "returns of y",
    "return_x": "returns of x",
    "innovation": "innovations",
    "gap_s": "gaps between moments",
}


def _shift_state(shift: Shift) -> str:
    """An index is only as large as it says where chance does not make it so."""
    if math.isnan(shift.psi):
        return UNKNOWN
    if shift.p_value >= P_LOOK.value or shift.psi < PSI_LOOK.value:
        return GOOD
    return OFF if shift.psi >= PSI_OFF.value and shift.p_value < P_OFF.value else LOOK


def _shifts(values: SlotValues) -> dict[str, Shift]:
    seen = values.reference
    if seen is None:
        return {}
    since = _since(values)
    series = {
        "return_y": values.returns_y,
        "return_x": values.returns_x,
        "innovation": values.innovations,
        "gap_s": values.gaps_s,
    }
    return {name: _shift(series[name][since:], getattr(seen, name)) for name in FEATURES}


def _since(values: SlotValues) -> int:
    """The first row of the slot's own: what came before is judged by the set that ran then."""
    known = np.isfinite(values.scores)
    return int(np.argmax(known)) if known.any() else known.size


def _shift(series: Vector, seen: Any) -> Shift:
    counts = references.counts(series, seen.edges)
    found = statistics.stability(counts, seen.shares, seen.observations)
    return Shift(observations=int(counts.sum()), psi=found.statistic, p_value=found.p_value)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return float(f"{value:.{SHOWN_DIGITS}g}") if math.isfinite(value) else None
        case _:
            return value
