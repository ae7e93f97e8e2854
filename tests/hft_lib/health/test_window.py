"""The window of a pair: the last grid points of the line's own facts, and nothing else."""

import math

import msgspec
import numpy as np
import pytest

from hft_lib.events import Volatility
from hft_lib.health import window as windows
from hft_lib.health.reference import binned
from hft_lib.health.window import SHARED, WINDOW
from hft_lib.parameters import Reference
from hft_lib.rows import HEDGE, VOLATILITY
from hft_lib.stage import replay, restore, snapshot
from hft_lib.stages import garch_model
from tests.builders import PAIR, PAIR2, START_NS, assigned, config, parameters, story_config, told

REFERENCE = Reference(**dict.fromkeys(Reference.__struct_fields__, binned(np.arange(20.0))))


def grid_facts(pair: str) -> list[Volatility]:
    made = replay(garch_model.STAGE, story_config(), told().inboxes["garch_model"])
    return [
        fact
        for fact in made
        if isinstance(fact, Volatility) and fact.tick.pair == pair and fact.tick.grid_steps
    ]


@pytest.mark.parametrize("pair", [PAIR, PAIR2])
def test_the_window_holds_what_the_facts_of_the_grid_said(pair: str):
    window = told().hosts["garch_model"].state.windows[pair]
    facts = grid_facts(pair)
    assert 20 < len(facts) < WINDOW and window.clock["taken"][0] == len(facts)
    mids = np.array([[f.tick.y_bid + f.tick.y_ask, f.tick.x_bid + f.tick.x_ask] for f in facts])
    returns = np.diff(np.log(mids), axis=0)
    whole = np.array([fact.tick.grid_steps == 1 for fact in facts[1:]])
    found = windows.slots_of(window)
    assert [one.slot for one in found] == sorted({one.slot for one in found}) and len(found) > 1
    for values in found:
        for column, legs in ((values.returns_y, 0), (values.returns_x, 1)):
            assert math.isnan(column[0])
            expected = np.where(whole, returns[:, legs], np.nan)
            np.testing.assert_allclose(column[1 : len(facts)], expected, rtol=1e-4, atol=1e-9)
        began = max(
            (at for at, fact in enumerate(facts)
             if np.frombuffer(fact.hedges, HEDGE)["generation"][values.slot] != values.generation),
            default=-1,
        ) + 1  # fmt: skip
        rows = [np.frombuffer(fact.volatilities, VOLATILITY)[values.slot] for fact in facts[began:]]
        np.testing.assert_allclose(
            values.scores[began : len(facts)], [row["score"] for row in rows], rtol=1e-6
        )
        innovations = [
            np.frombuffer(fact.hedges, HEDGE)["innovation"][values.slot] for fact in facts[began:]
        ]
        np.testing.assert_allclose(values.innovations[began : len(facts)], innovations, rtol=1e-6)
        assert np.isnan(values.scores[:began]).all() and np.isnan(values.scores[len(facts) :]).all()


def test_gaps_are_the_time_since_the_last_grid_point_by_the_moments_in_it():
    moments, since_ns, expected = 0, 0, []
    for event in told().inboxes["garch_model"]:
        tick = getattr(event, "tick", None)
        if tick is None or tick.pair != PAIR:
            continue
        moments += not (tick.more or tick.stale)
        if tick.grid_steps:
            expected.append((tick.time_ns - since_ns) / 1e9 / moments if since_ns else math.nan)
            moments, since_ns = 0, tick.time_ns
    window = told().hosts["garch_model"].state.windows[PAIR]
    found = windows.slots_of(window)[0].gaps_s[: len(expected)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(expected[1:])) > 2 and window.moments == moments


def taken(window: windows.Window, count: int, first: int = 0, steps: int = 1) -> None:
    """Rows numbered in their scores, one slot, from the point `first` on."""
    hedges, volatilities = np.zeros(1, HEDGE), np.zeros(1, VOLATILITY)
    for point in range(first, first + count):
        volatilities["score"] = hedges["innovation"] = point
        windows.take(
            window.values, window.clock, window.warm_ns, np.ones(1, np.int64),
            hedges, volatilities, 100.0 + point, 50.0, START_NS + point, steps, 1,
        )  # fmt: skip


def test_the_oldest_go_first_and_the_rest_stays_in_order():
    window = windows.empty(1)
    windows.assign(window, 0, 1, 0, None)
    taken(window, WINDOW + 7)
    (values,) = windows.slots_of(window)
    assert values.scores.tolist() == [float(n) for n in range(7, WINDOW + 7)]


def test_a_return_over_more_than_one_interval_is_none_and_its_innovation_is_one():
    window = windows.empty(1)
    windows.assign(window, 0, 1, 0, None)
    taken(window, 2)
    taken(window, 1, first=2, steps=5)
    taken(window, 1, first=3)
    (values,) = windows.slots_of(window)
    expected = [math.nan, math.log(101 / 100), math.nan, math.log(103 / 102)]
    np.testing.assert_allclose(values.returns_y[:4], expected, rtol=1e-5)
    assert values.innovations[:4].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_slot_is_not_judged_while_it_warms_nor_by_the_set_before_it():
    window = windows.empty(1)
    windows.assign(window, 0, 1, START_NS + 5, None)
    taken(window, 8)
    (values,) = windows.slots_of(window)
    assert values.scores[np.isfinite(values.scores)].tolist() == [5.0, 6.0, 7.0]
    windows.assign(window, 0, 2, START_NS + 9, REFERENCE)
    taken(window, 3, first=8)
    (values,) = windows.slots_of(window)
    assert values.scores[np.isfinite(values.scores)].tolist() == [9.0, 10.0]
    assert (values.generation, values.reference) == (2, REFERENCE)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e60, -1e60])
def test_what_is_far_out_stays_far_out_and_finite(value: float):
    assert abs(windows.within(value)) == windows.VALUE_MAX
    assert math.isnan(windows.within(math.nan))


def test_a_slot_that_was_never_assigned_has_no_values():
    assert windows.slots_of(windows.empty(4)) == []


def test_an_assignment_brings_its_reference_and_restarts_with_it():
    state = garch_model.start(config())
    event = assigned(1, parameters(), reference=REFERENCE, warmup_s=3600.0)
    garch_model.step(state, event)
    again = restore(garch_model.STAGE, snapshot(state))
    assert again.windows[PAIR].references[1] == REFERENCE
    assert again.windows[PAIR].warm_ns[1] == event.effective_ns + 3600 * 10**9
    assert snapshot(again) == snapshot(state)


def test_a_snapshot_from_before_there_were_windows_goes_on_with_empty_ones():
    inbox = told().inboxes["garch_model"]
    state = garch_model.start(story_config())
    for event in inbox[: len(inbox) // 2]:
        garch_model.step(state, event)
    older = msgspec.msgpack.decode(snapshot(state))
    del older["windows"]
    again = restore(garch_model.STAGE, msgspec.msgpack.encode(older))
    assert again.windows == {}
    for event in inbox[len(inbox) // 2 :]:
        assert garch_model.step(again, event) == garch_model.step(state, event)
    assert set(again.windows) == {PAIR, PAIR2}
    assert again.windows[PAIR].clock["taken"][0] < state.windows[PAIR].clock["taken"][0]


def test_the_windows_columns_are_the_pairs_and_two_a_slot():
    assert windows.empty(6).values.shape == (WINDOW, SHARED + 12)
    assert windows.empty(6).values.nbytes <= 15_000  # what a snapshot of a pair grows by
