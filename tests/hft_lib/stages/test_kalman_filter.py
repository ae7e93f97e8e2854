"""The Kalman stage: every slot as the model alone, stepped at the grid and carried between."""

from typing import Any

import numpy as np

from hft_lib.events import HedgeRatio, PairTick, Promoted, SlotAssigned, TimePassed
from hft_lib.models import kalman
from hft_lib.models.special import log
from hft_lib.parameters import Parameters
from hft_lib.rows import HEDGE
from hft_lib.stages.kalman_filter import STAGE
from tests.builders import (
    PAIR,
    START_NS,
    assigned,
    config,
    parameters,
    pointed,
    story_config,
    told,
)

step: Any = STAGE.step  # a fact of any kind: each test knows which it means
TICKS = [f for f in told().inboxes["kalman_filter"] if isinstance(f, PairTick) and f.pair == PAIR]


def rows(fact: HedgeRatio) -> np.ndarray:
    return np.frombuffer(fact.hedges, HEDGE)


def test_each_slot_is_the_model_run_alone_bit_for_bit():
    state = STAGE.start(config())
    params = parameters()
    step(state, assigned(1, params))
    grid = [tick for tick in TICKS if tick.grid_steps]
    made = [rows(step(state, tick)[0])[1] for tick in grid]
    y = np.array([log(0.5 * (tick.y_bid + tick.y_ask)) for tick in grid])
    x = np.array([log(0.5 * (tick.x_bid + tick.x_ask)) for tick in grid])
    steps = np.array([tick.grid_steps for tick in grid])
    track = kalman.run(kalman.params_row(params.kalman), y, x, steps)
    assert len(made) > 100
    for name in ("innovation", "innovation_var", "intercept", "hedge_ratio"):
        assert [float(row[name]) for row in made] == track[name].tolist()
    assert int(made[-1]["steps"]) == int(steps.sum())


def test_between_grid_points_the_last_forecast_is_carried():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    last = b""
    for tick in TICKS:
        (fact,) = step(state, tick)
        assert fact.tick is tick
        assert tick.grid_steps or not last or fact.hedges == last
        last = fact.hedges


def test_a_slot_without_parameters_is_zeros_and_not_live():
    state = STAGE.start(config())
    step(state, assigned(1, parameters()))
    found = rows(step(state, TICKS[-1])[0])
    assert found["live"].tolist() == [0, 1, 0, 0]
    assert not found[0].tobytes().strip(b"\0")


def test_a_copy_takes_beliefs_and_not_parameters():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    for tick in TICKS[:200]:
        step(state, tick)
    base = parameters()
    other: Parameters = Parameters(
        grid_ms=base.grid_ms,
        kalman=type(base.kalman)(
            **{
                **{n: getattr(base.kalman, n) for n in base.kalman.__struct_fields__},
                "noise_var": 1.0,
            }
        ),
        garch=base.garch,
        bocd=base.bocd,
        strategy=base.strategy,
    )
    step(state, assigned(2, other, copy_from=0, generation=5))
    filters = state.pairs[PAIR]
    assert filters.states[2].tobytes() == filters.states[0].tobytes()
    assert float(filters.params[2]["noise_var"]) == 1.0
    assert int(filters.hedges[2]["generation"]) == 5
    step(state, assigned(3, base, copy_from=-1))
    assert float(filters.states[3]["hedge_ratio"]) == base.kalman.hedge_prior_mean
    assert int(filters.states[3]["steps"]) == 0


def test_a_new_generation_is_told_before_the_next_grid_point():
    state = STAGE.start(config())
    step(state, assigned(0, parameters(), generation=3))
    carried = next(tick for tick in TICKS if not tick.grid_steps)
    found = rows(step(state, carried)[0])
    assert (int(found[0]["live"]), int(found[0]["generation"])) == (1, 3)


def test_control_and_time_go_on_down_the_line():
    state = STAGE.start(story_config())
    for event in (assigned(0, parameters()), pointed(Promoted, 0), TimePassed(START_NS)):
        assert isinstance(event, SlotAssigned | Promoted | TimePassed)
        assert step(state, event) == (event,)
