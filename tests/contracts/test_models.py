"""What every model promises: one step serves the stream and the array, and nothing breaks it."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.found_models import (
    EDGES,
    MODELS,
    USUAL,
    Inputs,
    Model,
    finite,
    neighbours,
    unfinite,
    usual,
)


@pytest.fixture(params=MODELS, scope="module")
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


every_model = pytest.mark.parametrize("name", MODELS)


every_edge = pytest.mark.parametrize("edge", EDGES)

numbers = st.floats(allow_nan=False, allow_infinity=False)
observations = st.lists(
    st.tuples(numbers, numbers, st.integers(1, 10**9)), min_size=1, max_size=40
).map(
    lambda rows: Inputs(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[0] for row in rows]),
        np.array([row[2] for row in rows]),
    )
)


def test_the_models_of_a_pair_are_found() -> None:
    assert {"kalman", "garch", "bocd"} <= set(MODELS)


def test_the_usual_parameters_are_said_of_every_model(model: Model) -> None:
    name = model.parameters.__name__
    assert name in USUAL, f"say the usual parameters of {name} in USUAL"


def test_streaming_equals_the_array_bit_for_bit(model: Model) -> None:
    inputs, row = usual(), model.row()
    states, streamed = model.started(row), model.started(row)
    track = model.run(row, inputs, states)
    model.stream(row, streamed, inputs)
    assert streamed.tobytes() == states.tobytes()
    assert finite(track)


@every_edge
def test_streaming_equals_the_array_at_the_edges(model: Model, edge: str) -> None:
    inputs, row = EDGES[edge], model.row()
    states, streamed = model.started(row), model.started(row)
    model.run(row, inputs, states)
    model.stream(row, streamed, inputs)
    assert streamed.tobytes() == states.tobytes()


@every_model
@settings(max_examples=60)
@given(inputs=observations, data=st.data())
def test_whatever_is_observed_every_promise_is_kept(
    name: str, inputs: Inputs, data: st.DataObject
) -> None:
    model, row = MODELS[name], MODELS[name].row()
    cut = data.draw(st.integers(0, len(inputs)), label="cut")
    states, streamed = model.started(row), model.started(row)
    beside = neighbours(states)
    track = model.run(row, inputs, states)
    assert finite(track), unfinite(track)
    model.stream(row, streamed, inputs)
    assert streamed.tobytes() == states.tobytes()
    assert model.run(row, inputs[:cut], model.started(row)).tobytes() == track[:cut].tobytes()
    restored = model.started(row)
    model.run(row, inputs[:cut], restored)
    restored = copied(restored)
    assert model.run(row, inputs[cut:], restored).tobytes() == track[cut:].tobytes()
    assert restored.tobytes() == states.tobytes()
    assert neighbours(states) == beside
    assert not math.isnan(model.log_likelihood(row, inputs))


def copied(states: Any) -> Any:
    """A state as a snapshot brings it back."""
    return np.frombuffer(states.tobytes(), states.dtype).reshape(states.shape).copy()


def test_restart_from_a_snapshots_bytes_equals_uninterrupted(model: Model) -> None:
    inputs, row = usual(), model.row()
    whole, first = model.started(row), model.started(row)
    expected = model.run(row, inputs, whole)
    before = model.run(row, inputs[:250], first)
    snapshot = copied(first)
    after = model.run(row, inputs[250:], snapshot)
    assert np.concatenate([before, after]).tobytes() == expected.tobytes()
    assert snapshot.tobytes() == whole.tobytes()


def test_a_value_does_not_change_when_what_follows_is_removed(model: Model) -> None:
    inputs, row = usual(), model.row()
    whole = model.run(row, inputs)
    for size in (1, 2, 99, 300):
        assert model.run(row, inputs[:size]).tobytes() == whole[:size].tobytes()


def test_what_follows_does_change_when_a_value_does(model: Model) -> None:
    inputs, other, row = usual(), usual(), model.row()
    other.y[200] += 0.01
    other.innovation[200] += 1.0
    one, two = model.run(row, inputs), model.run(row, other)
    assert one[:200].tobytes() == two[:200].tobytes()
    assert one[201:].tobytes() != two[201:].tobytes()
    assert model.log_likelihood(row, inputs) != model.log_likelihood(row, other)


def test_a_run_without_a_state_begins_at_the_prior(model: Model) -> None:
    inputs, row = usual(), model.row()
    assert model.run(row, inputs).tobytes() == model.run(row, inputs, model.started(row)).tobytes()


def test_the_same_inputs_give_the_same_bytes(model: Model) -> None:
    row = model.row()
    one, two = model.started(row), model.started(row)
    assert model.stream(row, one, usual()) == model.stream(row, two, usual())
    assert model.log_likelihood(row, usual()) == model.log_likelihood(row, usual())


@every_edge
def test_everything_stays_finite_at_the_edges(model: Model, edge: str) -> None:
    row = model.row()
    states = model.started(row)
    track = model.run(row, EDGES[edge], states)
    assert finite(track), unfinite(track)
    later = model.run(row, usual(50), states)
    assert finite(later), unfinite(later)
    assert math.isfinite(model.log_likelihood(row, EDGES[edge]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_with_rule_and_value(model: Model, value: float) -> None:
    row = model.row()
    for j in range(len(model.observed)):
        inputs = usual(5)
        model.series(inputs)[j][3] = value
        for call in (model.run, model.log_likelihood):
            with pytest.raises(ValueError, match=f"must be finite, was {value} at 3"):
                call(row, inputs)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_step_that_is_given_what_is_not_finite_keeps_its_state_finite(
    model: Model, value: float, request: pytest.FixtureRequest
) -> None:
    if model.module.__name__.endswith("garch") and math.isnan(value):
        reason = "the step takes NaN for an innovation, and its variance is NaN ever after"
        request.applymarker(pytest.mark.xfail(reason=reason, raises=AssertionError))
    row = model.row()
    for j in range(len(model.observed)):
        inputs, states = usual(60), model.started(row)
        model.series(inputs)[j][30] = value
        model.stream(row, states, inputs)
        later = model.run(row, usual(50), states)
        assert finite(later), unfinite(later)


def test_no_observation_leaves_the_prior(model: Model) -> None:
    row = model.row()
    states = model.started(row)
    track = model.run(row, usual(0), states)
    assert track.size == 0
    assert states.tobytes() == model.started(row).tobytes()
    assert model.log_likelihood(row, usual(0)) == 0.0


def test_states_of_another_shape_are_refused(model: Model) -> None:
    states = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match="must be one row of"):
        model.run(model.row(), usual(3), states)


def test_parameters_of_another_shape_are_refused(model: Model) -> None:
    for rows in (np.zeros(1), np.concatenate([model.row()] * 2)):
        for call in (model.run, model.log_likelihood):
            with pytest.raises(ValueError, match="params must be one row of"):
                call(rows, usual(3))


def test_a_state_is_contiguous_plain_numbers_and_rows_of_its_own(model: Model) -> None:
    row, states = model.row(), model.module.new_states(3)
    assert states.shape[0] == 3
    assert states.flags.c_contiguous and states[1:2].flags.c_contiguous
    assert not states.dtype.hasobject
    fields = [states.dtype[name] for name in states.dtype.names or ()] or [states.dtype]
    assert {kind.kind for kind in fields} <= {"f", "i"}
    before = states.tobytes()
    model.module.start(row[0], states[1])
    size = len(before) // 3
    assert states.tobytes()[:size] + states.tobytes()[2 * size :] == before[: 2 * size]
    assert states[1:2].tobytes() == model.started(row).tobytes()


def test_starting_again_forgets_everything(model: Model) -> None:
    row = model.row()
    states = model.started(row)
    model.run(row, usual(), states)
    model.module.start(row[0], states[0])
    assert states.tobytes() == model.started(row).tobytes()


def test_inputs_of_any_layout_give_the_same_and_are_left_alone(model: Model) -> None:
    row, plain = model.row(), usual(100)
    expected = model.run(row, plain).tobytes()
    wide = np.zeros((100, 3))
    wide[:, 0], wide[:, 1], wide[:, 2] = plain.y, plain.x, plain.innovation
    apart = Inputs(wide[:, 0], wide[:, 1], wide[:, 2], np.repeat(plain.steps, 2)[::2])
    before = wide.copy()
    assert model.run(row, apart).tobytes() == expected
    gaps = {"steps": plain.steps.tolist()} if model.gaps else {}
    listed = [values.tolist() for values in model.series(plain)]
    assert model.module.run(row, *listed, **gaps).tobytes() == expected
    assert wide.tobytes() == before.tobytes()


@every_model
def test_slots_step_as_one_would_and_only_those_that_live(name: str) -> None:
    model, row, inputs = MODELS[name], MODELS[name].row(), usual(40)
    rows, states = np.concatenate([row] * 3), model.module.new_states(3)
    single = model.started(row)
    model.module.start(row[0], states[0])
    model.module.start(row[0], states[2])
    idle = states[1].tobytes()
    kinds = inspect.signature(model.module.step_slots.py_func).parameters
    for t in range(len(inputs)):
        values = [float(series[t]) for series in model.series(inputs)]
        named = list(kinds.values())[3 : 3 + len(values)]
        each = [
            value if kind.annotation is float else np.full(3, value)
            for value, kind in zip(values, named, strict=True)
        ]
        gaps = (int(inputs.steps[t]),) if model.gaps else ()
        model.module.step_slots(rows, states, np.array([1, 0, 1]), *each, *gaps)
        model.step(row, single, inputs, t)
    assert states[0].tobytes() == single[0].tobytes() == states[2].tobytes()
    assert states[1].tobytes() == idle


def test_a_track_is_described_by_its_dtype(model: Model) -> None:
    track = model.run(model.row(), usual(7))
    assert track.shape == (7,)
    assert track.dtype == model.module.Track


def test_a_row_of_parameters_holds_every_number_of_them(model: Model) -> None:
    row = model.row()
    assert row.shape == (1,)
    for name, value in USUAL[model.parameters.__name__].items():
        assert row[name][0] == value
