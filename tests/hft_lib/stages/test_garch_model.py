"""The GARCH stage: every slot as the model alone would be, forecast at the slot's own horizon."""

import math
from typing import Any

import numpy as np
import pytest

from hft_lib.events import HedgeRatio, Promoted, TimePassed, Volatility
from hft_lib.models import garch
from hft_lib.rows import HEDGE, VOLATILITY
from hft_lib.stages.garch_model import STAGE, horizon_steps
from tests.builders import PAIR, START_NS, assigned, config, parameters, pointed, told

step: Any = STAGE.step  # a fact of any kind: each test knows which it means
HEDGES = [
    fact
    for fact in told().inboxes["garch_model"]
    if isinstance(fact, HedgeRatio) and fact.tick.pair == PAIR
]


def test_each_slot_is_the_model_run_alone_bit_for_bit():
    state = STAGE.start(config())
    params = parameters()
    step(state, assigned(0, params))
    grid = [fact for fact in HEDGES if fact.tick.grid_steps]
    made = [np.frombuffer(step(state, f)[0].volatilities, VOLATILITY)[0] for f in grid]
    innovations = np.array([np.frombuffer(f.hedges, HEDGE)[0]["innovation"] for f in grid])
    steps = np.array([fact.tick.grid_steps for fact in grid])
    model = garch.params_row(params.garch)
    track = garch.run(model, innovations, steps)
    assert np.any(innovations != 0.0)
    scores = garch.normal_scores(model, track["standardised"])
    assert [float(row["score"]) for row in made] == scores.tolist()
    # A variance is the forecast of the next interval: what `run` had before the next observation,
    # where that came an interval later.
    following = zip(made, track["variance"][1:], steps[1:])
    same = [(float(row["variance_next"]), float(v)) for row, v, n in following if n == 1]
    assert len(same) > 100 and all(one == other for one, other in same)


def test_the_forecast_is_at_the_slots_own_horizon():
    state = STAGE.start(config())
    near, far = parameters(horizon_s=3600.0), parameters(horizon_s=7200.0)
    step(state, assigned(0, near))
    step(state, assigned(1, far))
    first, second = [fact for fact in HEDGES if fact.tick.grid_steps == 1][:2]
    h = variance_next(step(state, first)[0])
    (made,) = step(state, second)
    rows = np.frombuffer(made.volatilities, VOLATILITY)
    g = near.garch
    assert float(rows[0]["spread_sd"]) == math.sqrt(h)
    ahead = g.omega + (g.alpha + g.beta) * h
    assert float(rows[1]["spread_sd"]) == pytest.approx(math.sqrt(ahead), rel=1e-14)


def test_a_spread_is_judged_by_a_forecast_that_has_not_seen_its_innovation():
    params = parameters()
    ordinary = next(fact for fact in HEDGES if fact.tick.grid_steps)
    hedges = np.frombuffer(ordinary.hedges, HEDGE).copy()
    hedges["innovation"] *= 1e6
    shocked = HedgeRatio(ordinary.tick, hedges.tobytes())
    made = []
    for fact in (ordinary, shocked):
        state = STAGE.start(config())
        step(state, assigned(0, params))
        made.append(step(state, fact)[0])
    calm, wild = (np.frombuffer(fact.volatilities, VOLATILITY)[0] for fact in made)
    assert calm["spread_sd"] == wild["spread_sd"]
    assert wild["variance_next"] > 100.0 * calm["variance_next"]


def variance_next(made: Volatility) -> float:
    return float(np.frombuffer(made.volatilities, VOLATILITY)[0]["variance_next"])


def test_a_new_slot_forecasts_before_its_first_innovation():
    state = STAGE.start(config())
    params = parameters()
    step(state, assigned(2, params))
    carried = next(fact for fact in HEDGES if not fact.tick.grid_steps)
    (made,) = step(state, carried)
    row = np.frombuffer(made.volatilities, VOLATILITY)[2]
    assert float(row["variance_next"]) == params.garch.variance_prior
    assert made.hedges == carried.hedges and made.tick is carried.tick


def test_a_copy_takes_the_variance_and_keeps_its_own_horizon():
    state = STAGE.start(config())
    step(state, assigned(0, parameters()))
    for fact in HEDGES[:100]:
        step(state, fact)
    step(state, assigned(1, parameters(horizon_s=36_000.0), copy_from=0))
    models = state.pairs[PAIR]
    assert models.states[1].tobytes() == models.states[0].tobytes()
    assert models.horizons.tolist()[:2] == [1, 10]


@pytest.mark.parametrize(
    "horizon_s, grid_ms, steps", [(60.0, 60_000, 1), (1.0, 60_000, 1), (90.0, 1_000, 90)]
)
def test_a_horizon_is_whole_steps_and_at_least_one(horizon_s: float, grid_ms: int, steps: int):
    assert horizon_steps(horizon_s, grid_ms) == steps


def test_control_and_time_go_on_down_the_line():
    state = STAGE.start(config())
    for event in (assigned(0, parameters()), pointed(Promoted, 0), TimePassed(START_NS)):
        assert step(state, event) == (event,)
