import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.plots import Moment, Shade, gaps, research, spans, thin, thinned
from hft_lib.plots.theme import WIDE, Layout
from hft_lib.plots.time_axis import broken

SECOND_NS = 1_000_000_000


def test_few_points_are_all_drawn():
    assert thin(5_000, np.zeros(5_000)).tolist() == list(range(5_000))


@given(st.integers(0, 2**32 - 1), st.integers(201, 3_000), st.integers(1, 3))
def test_thinning_keeps_the_extremes_of_every_line_and_its_ends(seed, size, lines):
    columns = [np.random.default_rng(seed + i).normal(size=size) for i in range(lines)]
    rows = thin(200, *columns)
    assert rows.size <= 200 and (np.diff(rows) > 0).all()
    assert {0, size - 1} <= set(rows.tolist())
    for column in columns:
        assert {int(column.argmin()), int(column.argmax())} <= set(rows.tolist())


def test_thinning_keeps_a_peak_among_missing_values():
    column = np.full(10_000, np.nan)
    column[7_321] = 5.0
    assert 7_321 in thin(100, column).tolist()


def test_a_caption_says_that_points_were_left_out():
    assert thinned(5_000, WIDE) == ""
    assert "Of 7,200 points a line at most 5,000 are drawn" in thinned(7_200, WIDE)
    assert "1,500" in thinned(7_200, Layout(width_px=400))


def test_a_silence_is_an_outage_and_breaks_the_line():
    time_ns = np.array([0, 1, 2, 3, 50, 51], dtype=np.int64) * SECOND_NS
    silences = gaps(time_ns)
    assert silences == [Shade(3 * SECOND_NS, 50 * SECOND_NS, "outage")]
    at, values = broken(time_ns, np.arange(6.0), silences)
    assert np.isnan(values).tolist() == [False] * 4 + [True] + [False] * 2
    assert 3 * SECOND_NS < at[4] < 50 * SECOND_NS


def test_spans_run_from_the_first_flag_to_the_point_after_the_last():
    time_ns = np.arange(6, dtype=np.int64)
    flags = np.array([False, True, True, False, False, True])
    assert spans(time_ns, flags, "alarm") == [Shade(1, 3, "alarm"), Shade(5, 5, "alarm")]
    assert spans(time_ns, np.zeros(6, dtype=bool), "alarm") == []


def test_the_words_of_moments_close_to_each_other_stand_in_rows():
    times = np.arange(100, dtype=np.int64) * 3_600 * SECOND_NS
    moments = [
        Moment(int(times[at]), word) for at, word in ((20, "first"), (21, "second"), (60, "x"))
    ]
    figure = research.lines("Moments", times, {"a, bp": {"a": np.zeros(100)}}, moments=moments)
    heights = {text.get_text().strip(): text.xy[1] for text in figure.axes[0].texts}
    assert heights["first"] == heights["x"] > heights["second"]
