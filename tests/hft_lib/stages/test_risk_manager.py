"""The risk manager: alarms that season and hold, sizes by correlation, limits in every view."""

from typing import Any

import msgspec
import numpy as np
import pytest

from hft_lib.events import PairTick, Promoted, RiskView, TimePassed, Volatility
from hft_lib.models import bocd
from hft_lib.parameters import Limits
from hft_lib.rows import RISK, VOLATILITY
from hft_lib.stages.risk_manager import STAGE
from tests.builders import (
    HOUR_NS,
    PAIR,
    PAIR2,
    S_NS,
    START_NS,
    Y,
    assigned,
    config,
    parameters,
    pointed,
    quote,
    told,
)

step: Any = STAGE.step  # a fact of any kind: each test knows which it means
SLOTS = config().slots


def volatility(
    hour: int, score: float, mid: float = 100.0, pair: str = PAIR, steps: int = 1, late_s: int = 0
):
    """A grid point of `pair` an hour after the one before, the same innovation for every slot."""
    time_ns = START_NS + hour * HOUR_NS + late_s * S_NS
    rows = np.zeros(SLOTS, VOLATILITY)
    rows["score"], rows["spread_sd"] = score, 0.01
    top = (mid - 0.01, 1.0, mid + 0.01, 1.0)
    tick = PairTick(
        time_ns,
        pair,
        "y",
        quote(Y, time_ns, mid),
        *top,
        *top,
        time_ns,
        time_ns,
        steps,
        0,
        False,
        False,
    )
    return Volatility(tick, b"", rows.tobytes())


def judged(view: RiskView) -> np.ndarray:
    return np.frombuffer(view.risks, RISK)


def seen(state, *events: Volatility) -> list[np.ndarray]:
    return [judged(step(state, event)[0])[0] for event in events]


def test_each_slots_detector_is_the_model_run_alone_bit_for_bit():
    state = STAGE.start(config())
    params = parameters()
    step(state, assigned(0, params))
    facts = [
        fact
        for fact in told().inboxes["risk_manager"]
        if isinstance(fact, Volatility) and fact.tick.pair == PAIR and fact.tick.grid_steps
    ]
    made = seen(state, *facts)
    values = np.array([np.frombuffer(f.volatilities, VOLATILITY)[0]["score"] for f in facts])
    track = bocd.run(bocd.params_row(params.bocd), values)
    assert [float(row["run_length"]) for row in made] == track["run_length"].tolist()
    assert [float(r["recent_probability"]) for r in made] == track["recent_probability"].tolist()


def test_an_alarm_is_raised_by_a_collapse_and_held():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))  # run length 3, probability 0.6, held two hours
    quiet = [volatility(hour, 0.1 * (-1) ** hour) for hour in range(60)]
    assert not any(row["alarm"] for row in seen(state, *quiet))
    (broken,) = seen(state, volatility(60, 40.0))
    assert broken["alarm"] == 1 and broken["recent_probability"] > 0.6
    assert state.pairs[PAIR].watches[0]["alarm_until_ns"] == START_NS + 62 * HOUR_NS
    after = seen(state, *(volatility(hour, 40.0 + 0.1 * (-1) ** hour) for hour in range(61, 90)))
    assert after[0]["alarm"] == 1 and after[-1]["alarm"] == 0


def test_a_detector_that_has_just_begun_raises_no_alarm():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    first = seen(state, *(volatility(hour, 0.0) for hour in range(4)))
    assert [int(row["alarm"]) for row in first[:3]] == [0, 0, 0]
    assert first[0]["recent_probability"] > 0.6  # it cannot tell its own start from a change


def test_between_grid_points_the_last_verdict_is_carried():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    (at,) = step(state, volatility(1, 3.0))
    (between,) = step(state, volatility(2, 9.0, steps=0))
    assert between.risks == at.risks


def test_the_limits_in_force_are_in_every_view():
    limits = Limits(version=7, gross_max=1.25)
    state = STAGE.start(config(limits=limits))
    (view,) = step(state, volatility(1, 0.0))
    assert view.limits == limits


def sizes(state, *mids: tuple[float, float], late_s: int = 0) -> list[float]:
    found = []
    for hour, (one, other) in enumerate(mids, start=1):
        step(state, volatility(hour, 0.0, one, PAIR))
        (view,) = step(state, volatility(hour, 0.0, other, PAIR2, late_s=late_s))
        found.append(float(judged(view)[0]["size"]))
    return found


def two_pairs():
    state = STAGE.start(config(PAIR, PAIR2))
    for pair in (PAIR, PAIR2):
        step(state, assigned(0, parameters(), pair=pair))
    return state


def test_pairs_that_move_as_one_share_the_size():
    up_and_down = [(100.0 + k % 3, 100.0 + k % 3) for k in range(40)]
    assert sizes(two_pairs(), *up_and_down)[-1] == pytest.approx(1.0 / np.sqrt(2.0), rel=1e-6)


def test_pairs_share_the_size_whenever_in_an_interval_each_of_them_steps():
    mids = [(100.0 + k % 3, 100.0 + k % 3 + k % 2) for k in range(40)]
    at_once = sizes(two_pairs(), *mids)
    assert at_once[-1] < 0.95
    assert sizes(two_pairs(), *mids, late_s=7) == at_once
    assert sizes(two_pairs(), *mids, late_s=3599) == at_once


def test_a_return_of_another_interval_says_nothing_of_this_one():
    state = two_pairs()
    sizes(state, *((100.0 + k % 3, 100.0 + k % 3) for k in range(40)))
    before = state.correlations.products.copy()
    step(state, volatility(41, 0.0, 130.0, PAIR))
    after = state.correlations.products
    assert after[0, 1] == before[0, 1] and after[1, 0] == before[1, 0]
    assert after[0, 0] > before[0, 0] and after[1, 1] == before[1, 1]


def test_pairs_that_move_against_one_another_keep_it():
    against = [(100.0 * 1.01 ** (k % 2), 100.0 * 1.01 ** -(k % 2)) for k in range(40)]
    assert sizes(two_pairs(), *against)[-1] == 1.0


def test_one_pair_alone_is_never_cut():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    assert [
        float(row["size"]) for row in seen(state, volatility(1, 0.0), volatility(2, 0.0, 101.0))
    ] == [1.0, 1.0]


def test_a_copy_takes_the_detector_and_its_verdict():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    seen(state, *(volatility(hour, 0.3) for hour in range(20)))
    step(state, assigned(1, parameters(), copy_from=0))
    pair = state.pairs[PAIR]
    assert pair.detectors[1].tobytes() == pair.detectors[0].tobytes()
    assert pair.risks[1] == pair.risks[0]
    step(state, assigned(2, parameters()))
    assert pair.risks[2].tolist() == (1.0, 0, 0.0, 1.0)
    assert pair.verdict == pair.risks.tobytes()


def test_control_and_time_go_on_down_the_line():
    state = STAGE.start(config())
    for event in (assigned(0, parameters()), pointed(Promoted, 0), TimePassed(START_NS)):
        assert msgspec.msgpack.encode(step(state, event)) == msgspec.msgpack.encode((event,))
