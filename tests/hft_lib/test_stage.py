"""The framework: replay, a line run to quiescence, snapshots of states of any shape."""

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hft_lib.events import Event, Resumed, TimePassed
from hft_lib.stage import Line, Stage, replay, restore, snapshot

ROW = np.dtype([("count", np.int64), ("pair", np.float64, (2,)), ("flag", np.uint8)])


class Inner(msgspec.Struct):
    rows: npt.NDArray[np.void]
    name: str


class Counter(msgspec.Struct):
    seen: int
    matrix: npt.NDArray[np.float64]
    plain: np.ndarray
    inner: dict[str, Inner]
    nothing: float | None = None


def start(config: int) -> Counter:
    inner = {"one": Inner(np.zeros(3, ROW), "n")}
    return Counter(config, np.zeros((2, 3)), np.zeros(0, np.int64), inner)


def count(state: Counter, event: Event) -> tuple[Event, ...]:
    state.seen += 1
    return (TimePassed(state.seen),)


def both(state: Counter, event: Event) -> tuple[Event, ...]:
    return (TimePassed(1), TimePassed(2)) if isinstance(event, Resumed) else ()


COUNT = Stage("count", Counter, start, count, {TimePassed: ("out",)})
BOTH = Stage("both", Counter, start, both, {TimePassed: ("count", "aside")})


def test_replay_starts_from_the_config_and_yields_in_order():
    assert list(replay(COUNT, 4, [TimePassed(9)] * 3)) == [
        TimePassed(5),
        TimePassed(6),
        TimePassed(7),
    ]


def test_a_line_runs_a_fact_to_quiescence_first_in_first_out():
    line = Line([BOTH, COUNT], 0)
    made = line.post("both", Resumed(0, "", "ada", ""))
    assert made == [
        ("aside", TimePassed(1)),
        ("aside", TimePassed(2)),
        ("out", TimePassed(1)),
        ("out", TimePassed(2)),
    ]
    assert line.states["count"].seen == 2


def test_what_no_stage_reads_leaves_the_line():
    assert Line([COUNT], 0).post("elsewhere", TimePassed(3)) == [("elsewhere", TimePassed(3))]


def test_a_fact_without_a_route_is_an_error():
    lost = Stage("lost", Counter, start, count, {})
    with pytest.raises(KeyError):
        Line([lost], 0).post("lost", TimePassed(1))


@given(
    arrays.arrays(np.float64, arrays.array_shapes(max_dims=2, max_side=4)),
    arrays.arrays(np.int64, st.integers(0, 5)),
    arrays.arrays(ROW, st.integers(0, 4)),
    st.none() | st.floats(allow_nan=False),
)
def test_any_state_survives_a_snapshot_bit_for_bit(matrix, plain, rows, nothing):
    state = Counter(3, matrix, plain, {"k": Inner(rows, "n")}, nothing)
    back = restore(COUNT, snapshot(state))
    assert snapshot(back) == snapshot(state)
    for one, other in ((back.matrix, matrix), (back.plain, plain), (back.inner["k"].rows, rows)):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_a_restored_state_can_be_written_and_shares_nothing():
    state = start(0)
    content = snapshot(state)
    one, other = restore(COUNT, content), restore(COUNT, content)
    one.matrix[0, 0] = 5.0
    one.inner["one"].rows["count"][1] = 7
    assert snapshot(other) == content == snapshot(state)


def test_arrays_of_one_layout_share_its_description_once_restored():
    state = start(0)
    state.inner["two"] = Inner(np.zeros(1, ROW), "m")
    one, other = (restore(COUNT, snapshot(state)) for _ in range(2))
    kinds = {id(inner.rows.dtype) for each in (one, other) for inner in each.inner.values()}
    assert len(kinds) == 1


def test_a_row_of_rows_survives_a_snapshot():
    state = start(0)
    nested = np.dtype([("n", np.int64), ("rows", ROW, (2, 3)), ("one", ROW)])
    made = np.zeros(2, nested)
    made["rows"]["count"], made["one"]["pair"][1] = 7, (1.5, -0.0)
    state.inner["two"] = Inner(made, "m")
    back = restore(COUNT, snapshot(state)).inner["two"].rows
    assert (back.dtype, back.tobytes()) == (nested, made.tobytes())


def test_equal_states_give_equal_bytes_whatever_order_their_keys_came_in():
    one, other = start(0), start(0)
    extra = Inner(np.zeros(0, ROW), "m")
    one.inner = {"a": extra, "one": one.inner["one"]}
    other.inner["a"] = extra
    assert snapshot(one) == snapshot(other)


def test_a_state_that_holds_something_else_is_refused():
    state = start(0)
    state.nothing = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="not object"):
        snapshot(state)


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x80", b"nonsense"])
def test_bytes_that_are_no_snapshot_are_refused(content: bytes):
    with pytest.raises(msgspec.DecodeError):
        restore(COUNT, content)
