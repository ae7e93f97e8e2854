"""Figures of paired evidence: units, shapes that mean one thing, shares that are counted."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hft_lib.plots import paired
from hft_lib.plots.theme import BUY, CHAMPION, SELL, TEST, Layout

DAY_NS = 86_400_000_000_000
ENDS = 19_800 * DAY_NS + DAY_NS * np.arange(4, dtype=np.int64)
BASE, OWN = np.array([10.0, -5.0, 3.0, 7.0]), np.array([12.0, -8.0, 3.0, 9.0])


def fan_figure(layout=Layout()):
    e = np.array([[2.0, 150.0], [0.5, 0.1], [1.0, 1.0], [3.0, 20.0]])
    boxes = {"better": e, "equal": np.ones((4, 2))}
    return paired.fan("Fan", boxes, 120.0, drop_below=0.15, layout=layout)


FIGURES = [
    lambda layout: paired.beside("Beside", BASE, OWN, "USDT", layout=layout),
    lambda layout: paired.days("Days", ENDS, {"difference, USDT": OWN - BASE}, layout=layout),
    fan_figure,
]


@pytest.mark.parametrize("layout", [Layout(960), Layout(400)])
@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_has_its_width_a_title_and_labelled_axes(make, layout):
    figure = make(layout)
    assert figure.get_figwidth() * figure.dpi == pytest.approx(layout.width_px)
    assert figure.get_label() and all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[-1].get_xlabel()


def test_a_day_is_counted_for_whoever_was_ahead():
    axis = FIGURES[0](Layout()).axes[0]
    labels = axis.get_legend_handles_labels()[1]
    assert labels == ["the same result", "challenger ahead, 2 days", "champion ahead, 1 days"]
    ahead, behind = axis.lines[1], axis.lines[2]
    assert (ahead.get_marker(), ahead.get_color()) == ("^", BUY)
    assert (behind.get_marker(), behind.get_color()) == ("v", SELL)
    assert behind.get_xydata().tolist() == [[-5.0, -8.0]]


def test_a_stroke_stands_in_the_middle_of_the_day_that_ended():
    won = FIGURES[1](Layout()).axes[0].collections[0]
    strokes = [segment.tolist() for segment in won.get_segments()]
    assert strokes == [[[19_799.5, 0.0], [19_799.5, 2.0]], [[19_802.5, 0.0], [19_802.5, 2.0]]]
    assert to_hex(won.get_color()[0]).upper() == BUY


def test_a_fan_counts_every_path_that_ever_reached_the_threshold():
    axis = fan_figure().axes[0]
    labels = axis.get_legend_handles_labels()[1]
    assert "25 % ever reach it" in labels and "75 % never do" in labels
    drawn = [line.get_color() for line in axis.lines if len(line.get_xdata()) == 3]
    assert drawn.count(TEST) == 1 and drawn.count(CHAMPION) == 1
    median = next(line for line in axis.lines if line.get_label() == "median")
    assert median.get_ydata().tolist() == [1.0, 1.5, 10.5]
