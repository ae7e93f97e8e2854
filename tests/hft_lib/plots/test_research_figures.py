"""Figures of research: they have units, show the extremes, and compute what they say."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hft_lib.plots import research
from hft_lib.plots.theme import CHAMPION, INK, Layout, tick
from hft_lib.plots.time_axis import Moment, Shade

HOUR_NS = 3_600_000_000_000
TIMES = 1_735_689_600_000_000_000 + HOUR_NS * np.arange(400, dtype=np.int64)
RANDOM = np.random.default_rng(3)
WALK = np.cumsum(RANDOM.normal(size=400))
NOISE = RANDOM.normal(size=400)


def lines_figure(layout):
    return research.lines(
        "Two panels",
        TIMES,
        {"ours, bp": {"ours": WALK, "truth": WALK + 1.0}, "P(r ≤ 10)": {"young": NOISE}},
        bands={"ours, bp": (WALK - 1.0, WALK + 1.0)},
        levels={"P(r ≤ 10)": 0.5},
        limits={"P(r ≤ 10)": (0.0, 1.0)},
        shades=[Shade(int(TIMES[0]), int(TIMES[200]), "fitting window")],
        moments=[Moment(int(TIMES[300]), "break")],
        layout=layout,
    )


def curves_figure(layout):
    x = np.geomspace(1.0, 100.0, 30)
    points = {"peer": (10.0, 1.0)}
    return research.curves(
        "A curve",
        x,
        {"log": np.log(x)},
        ("drift, bp", "nats"),
        points=points,
        log_x=True,
        layout=layout,
    )


FIGURES = [
    lines_figure,
    curves_figure,
    lambda layout: research.relation(WALK, NOISE, 1.0, 0.0, 200, layout=layout),
    lambda layout: research.autocorrelation("Lags", {"a": NOISE}, 20, (0.5, "h"), layout=layout),
    lambda layout: research.quantiles(NOISE, {"normal": None, "t": 5.0}, layout=layout),
    lambda layout: research.calibration(np.abs(WALK) + 0.1, NOISE, layout=layout),
]


@pytest.mark.parametrize("layout", [Layout(960), Layout(400), Layout(1160, titled=False)])
@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_has_its_width_a_title_and_labelled_axes(make, layout) -> None:
    figure = make(layout)
    assert round(figure.get_size_inches()[0] * 72) == layout.width_px and figure.get_label()
    assert all(axis.get_ylabel() for axis in figure.axes) and figure.axes[-1].get_xlabel()
    figure.savefig(io.BytesIO(), format="png")


def test_ours_is_blue_and_the_truth_is_dashed_ink() -> None:
    by_name = {line.get_label(): line for line in lines_figure(Layout()).axes[0].get_lines()}
    assert to_hex(by_name["ours"].get_color()).upper() == CHAMPION
    assert to_hex(by_name["truth"].get_color()) == INK and by_name["truth"].get_linestyle() == "--"


def test_limits_that_are_given_are_shown() -> None:
    assert lines_figure(Layout()).axes[1].get_ylim() == (0.0, 1.0)


def test_one_value_far_out_does_not_flatten_the_rest() -> None:
    wild = np.tile(WALK, 10)
    wild[0] = 1e6
    times = TIMES[0] + HOUR_NS * np.arange(wild.size, dtype=np.int64)
    axis = research.lines("a", times, {"bp": {"a": wild}}).axes[0]
    low, high = axis.get_ylim()
    assert low < WALK.min() and WALK.max() < high < 1e3
    assert axis.get_title(loc="right") == "1 value beyond this scale"
    calm = research.lines("a", TIMES, {"bp": {"a": WALK}}).axes[0]
    assert calm.get_title(loc="right") == ""


def test_a_reference_is_dashed_ink_and_takes_no_colour() -> None:
    x = np.arange(1.0, 31.0)
    figure = research.curves(
        "a", x, {"chance": x, "ours": x}, ("rank", "p"), references=["chance"], log_x=True
    )
    chance, ours = figure.axes[0].get_lines()
    assert to_hex(chance.get_color()) == INK and chance.get_linestyle() == "--"
    assert to_hex(ours.get_color()).upper() == CHAMPION


def test_ticks_are_what_they_say() -> None:
    figure = research.curves("a", np.arange(1.0, 31.0), {"a": WALK[:30]}, ("x", "y"), log_x=True)
    axis = figure.axes[0].xaxis
    labels = [axis.get_major_formatter()(value) for value in (1.0, 20.0, 0.05)]
    assert labels == ["1", "20", "0.05"]
    assert [tick(value) for value in (11.575, 11.6, -12_345.0, 2e-5, 0.0)] == [
        "11.575",
        "11.6",
        "−12,345",
        "2e−05",
        "0",
    ]


def test_correlations_of_noise_are_small_and_of_an_autoregression_decay() -> None:
    values = np.zeros(20_000)
    for t in range(1, values.size):
        values[t] = 0.8 * values[t - 1] + RANDOM.normal()
    assert research.correlations(values, 3) == pytest.approx([0.8, 0.64, 0.512], abs=0.03)
    assert research.correlations(np.ones(50), 3).tolist() == [0.0, 0.0, 0.0]


def test_bins_of_a_right_forecast_lie_on_the_line_within_their_bars() -> None:
    sd = np.exp(RANDOM.normal(0.0, 0.5, 6_000))
    expected, realised, low, high = research.binned(sd, sd * RANDOM.normal(size=6_000), 6)
    assert realised == pytest.approx(expected, rel=0.1)
    assert ((low < expected) & (expected < high)).sum() >= 4
    assert expected.tolist() == sorted(expected.tolist())


def test_the_quantiles_of_a_t_lie_on_its_own_line_and_off_the_normals() -> None:
    values = np.sqrt(3.0 / 5.0) * RANDOM.standard_t(5.0, 4_000)
    axis = research.quantiles(values, {"normal": None, "t": 5.0}).axes[0]
    normal, t = axis.get_lines()[:2]
    off = [np.abs(line.get_xdata() - line.get_ydata())[50:-50].max() for line in (normal, t)]
    ends = [abs(line.get_xdata()[5] - line.get_ydata()[5]) for line in (normal, t)]
    assert off[1] < 0.2 and ends[0] > ends[1]
