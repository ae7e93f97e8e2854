import io

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hft_lib import plots
from hft_lib.plots import Curve, EvidencePath, Layout, Levels, Moment, Shade, Trades
from hft_lib.plots.theme import BUY, CAPITAL, CHAMPION, PREDECESSOR, SELL, TEST, said

HOUR_NS = 3_600_000_000_000
TIMES = 1_735_689_600_000_000_000 + HOUR_NS * np.arange(400, dtype=np.int64)
RNG = np.random.default_rng(3)
SPREAD = 0.002 * RNG.normal(size=400)
SD = np.full(400, 0.002)
LAYOUTS = [Layout(960), Layout(400), Layout(1160, titled=False)]


def trades() -> Trades:
    return Trades(
        time_ns=TIMES[[10, 30]],
        side=np.array([1.0, -1.0]),
        value_quote=np.array([100.0, 400.0]),
        z=np.array([-2.1, 0.2]),
        texts=("buy 1 Y", "sell 1 Y"),
    )


def spread_figure(layout):
    levels = [Levels(int(TIMES[0]), 2.0, 0.5, 4.0)]
    return plots.spread_and_z(TIMES, SPREAD, SD, levels=levels, trades=trades(), layout=layout)


def equity_figure(layout):
    walk = np.cumsum(RNG.normal(size=400))
    curves = [
        Curve("capital", "capital", TIMES, walk),
        Curve("champion's twin", "champion", TIMES, walk + 1),
        Curve("predecessor", "predecessor", TIMES, walk - 1),
        Curve("under test: a", "test", TIMES[100:], walk[100:]),
        Curve("explorer 2.1", "explorer", TIMES, -walk),
    ]
    return plots.equity(
        curves, "USDT", moments=[Moment(int(TIMES[200]), "promoted")], layout=layout
    )


def evidence_figure(layout):
    path = EvidencePath(
        "a", int(TIMES[0]), TIMES[[24, 48, 72]], np.array([2.0, 40.0, 130.0]), 120.0, 0.15
    )
    return plots.evidence([path], start_ns=int(TIMES[0]), end_ns=int(TIMES[-1]), layout=layout)


def watched_figure(layout):
    test = EvidencePath("a", int(TIMES[0]), TIMES[[24, 48]], np.array([2.0, 130.0]), 120.0, 0.15)
    watch = EvidencePath(
        "b", int(TIMES[48]), TIMES[[72, 96]], np.array([3.0, 11.0]), 10.0, 0.0, watch=True
    )
    turn = Moment(int(TIMES[60]), "turn", low=True)
    return plots.evidence(
        [test, watch], start_ns=int(TIMES[0]), end_ns=int(TIMES[-1]), moments=[turn], layout=layout
    )


def hedge_figure(layout):
    return plots.hedge_ratio(TIMES, 1.0 + SPREAD, SD, layout=layout)


def volatility_figure(layout):
    return plots.volatility(TIMES, SD, SPREAD, layout=layout)


def run_length_figure(layout):
    edges = np.array([0.0, 1.0, 10.0, 100.0])
    alarms = [Shade(int(TIMES[5]), int(TIMES[9]), "alarm")]
    posterior = RNG.dirichlet((1.0, 1.0, 1.0), 50)
    return plots.run_length(
        TIMES, posterior, edges, np.linspace(1, 50, 400), alarms=alarms, layout=layout
    )


FIGURES = [
    spread_figure,
    equity_figure,
    evidence_figure,
    watched_figure,
    hedge_figure,
    volatility_figure,
    run_length_figure,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["page", "phone", "untitled"])
@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_has_its_width_a_title_units_and_utc(make, layout):
    figure = make(layout)
    assert round(figure.get_size_inches()[0] * 72) == layout.width_px
    assert figure.get_label()
    assert any(text.get_text() == figure.get_label() for text in figure.texts) == layout.titled
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[-1].get_xlabel().endswith("UTC")
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_says_its_values_when_pointed_at(make):
    lines = [line for axis in make(LAYOUTS[0]).axes for line in axis.get_lines()]
    assert any(said(line) for line in lines)


def line_of(figure, label):
    return next(line for line in figure.axes[0].get_lines() if line.get_label() == label)


def test_accounts_have_the_colours_that_mean_them():
    figure = equity_figure(LAYOUTS[0])
    colors = {
        name: to_hex(line_of(figure, name).get_color()).upper()
        for name in ("capital", "champion's twin", "predecessor", "under test: a")
    }
    assert list(colors.values()) == [CAPITAL, CHAMPION, PREDECESSOR, TEST]
    assert line_of(figure, "predecessor").get_linestyle() == "--"


def test_a_buy_is_a_green_triangle_up_and_a_sell_a_vermilion_one_down():
    marks = [c for c in spread_figure(LAYOUTS[0]).axes[1].collections if said(c)]
    colors = [to_hex(mark.get_facecolor()[0]).upper() for mark in marks]
    assert colors == [BUY, SELL]
    corners = [np.unique(mark.get_paths()[0].vertices, axis=0)[:, 1] for mark in marks]
    assert [np.sum(y > y.max() - 1e-9) for y in corners] == [1, 2]


def test_the_larger_trade_has_the_larger_mark():
    small, large = (c for c in spread_figure(LAYOUTS[0]).axes[1].collections if said(c))
    assert small.get_sizes()[0] < large.get_sizes()[0]


def test_z_is_missing_where_there_is_no_forecast():
    z = plots.z_score(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    assert np.isnan(z[0]) and z[1] == 0.5


def test_drawdown_is_measured_from_the_peak_and_from_zero():
    assert plots.drawdown(np.array([-1.0, 2.0, 1.0, 3.0, 0.0])).tolist() == [-1, 0, -1, 0, -3]


def test_realised_volatility_is_the_root_mean_square_of_the_window():
    rms = plots.rolling_rms(np.array([3.0, 4.0, 0.0]), 2)
    assert np.isnan(rms[0])
    assert rms[1:].tolist() == [np.sqrt(12.5), np.sqrt(8.0)]


def test_a_thinned_line_still_has_its_highest_point():
    size = 20_000
    spread = np.zeros(size)
    spread[12_345] = 0.01
    times = TIMES[0] + HOUR_NS * np.arange(size, dtype=np.int64)
    figure = plots.spread_and_z(times, spread, np.full(size, 0.002))
    values = figure.axes[0].get_lines()[0].get_ydata()
    assert len(values) <= 5_000 and np.nanmax(values) == pytest.approx(100.0)


def test_a_predecessors_evidence_is_told_from_a_tests():
    figure = watched_figure(LAYOUTS[0])
    dashed = line_of(figure, "e of the predecessor")
    assert dashed.get_linestyle() == "--"
    assert to_hex(dashed.get_color()).upper() == PREDECESSOR
    assert line_of(figure, "roll back").get_ydata()[0] == 10.0
    assert to_hex(line_of(figure, "e of the test").get_color()).upper() == TEST


def test_what_the_world_did_is_marked_below_what_was_decided():
    words = {text.get_text().strip(): text for text in watched_figure(LAYOUTS[0]).axes[0].texts}
    assert words["turn"].xy[1] < 0.1 and words["turn"].get_verticalalignment() == "bottom"
