"""The figures of the models: hedge ratio, volatility against what came, run lengths.

What the facts do not hold (the filter's variance, the whole posterior) is recomputed from them by
the models' own functions, and shown where it agrees with the run.
"""

import numpy as np
import numpy.typing as npt

from hft_lib import plots
from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report.figures import Known, followed, thinned
from hft_lib.backtest.report.roles import Tenure
from hft_lib.backtest.report.svg import figure
from hft_lib.models import bocd, garch, kalman
from hft_lib.parameters import Parameters
from hft_lib.plots.markup import code
from hft_lib.plots.signals import BAND_SDS, BP
from hft_lib.plots.theme import Times, Vector
from hft_lib.plots.words import count, duration, number, percent

COLUMNS = 600  # of the heat map
BINS = 48
HEDGE_AGREEMENT = 1e-6
BAND_STEPS = 400
SE_MAX = 3.0


def hedge(record: RunRecord, held: list[Tenure], known: Known) -> str:
    """Hedge ratio with its band."""
    champion = next((tenure for tenure in held if tenure.role == "champion"), None)
    if known.rows.size < 2 or champion is None:
        return ""
    values = record.marks.hedge_ratio[known.rows]
    sd = hedge_sd(record, known, champion.parameters)
    words = (
        f"It ended at {number(float(values[-1]))} and lay between {number(float(values.min()))} "
        f"and {number(float(values.max()))}."
    )
    share = float(np.mean(np.isfinite(sd)))
    if share == 0.0:
        words += " No band: the filter could not be recomputed from the marks."
    else:
        last = sd[np.isfinite(sd)][-1]
        words += f" The filter knew it to ±{number(BAND_SDS * float(last), 3)} (95 %) at the last."
        if share < 1.0:
            words += f" The band is shown where recomputing the filter agrees: {percent(share)}."
    return figure(
        "hedge",
        lambda layout: plots.hedge_ratio(
            known.time_ns,
            values,
            sd if share > 0.0 else None,
            shades=known.shades,
            layout=layout,
        ),
        words + thinned(values.size),
    )


def hedge_sd(record: RunRecord, known: Known, params: Parameters) -> Vector:
    """The filter's own sd of the hedge ratio, (time,), by running it again; NaN where it disagrees
    with the run.
    """
    marks, rows = record.marks, known.rows
    log_y, log_x = np.log(marks.y_mid[rows]), np.log(marks.x_mid[rows])
    steps = grid_steps(known.time_ns, params.grid_ms)
    row, state = kalman.params_row(params.kalman), kalman.new_states(1)
    kalman.start(row[0], state[0])
    ends = np.unique(np.linspace(1, rows.size, min(BAND_STEPS, rows.size)).astype(np.intp))
    at_ends, first = np.empty(ends.size), 0
    for i, end in enumerate(ends):
        kalman.run(row, log_y[first:end], log_x[first:end], steps[first:end], state)
        agrees = abs(state["hedge_ratio"][0] - marks.hedge_ratio[rows[end - 1]]) < HEDGE_AGREEMENT
        at_ends[i] = np.sqrt(kalman.covariance(state)[2, 0]) if agrees else np.nan
        first = int(end)
    return np.interp(np.arange(1, rows.size + 1), ends, at_ends)


def grid_steps(time_ns: Times, grid_ms: int) -> Times:
    """Whole grid intervals before each point, at least 1."""
    steps = np.rint(np.diff(time_ns) / (grid_ms * 1e6)).astype(np.int64)
    return np.maximum(np.concatenate((np.ones(1, dtype=np.int64), steps)), 1)


def volatility(record: RunRecord, held: list[Tenure], known: Known) -> str:
    """Volatility forecast against what came, with coverage in words."""
    champion = followed(held)
    if known.rows.size < 2 or champion is None:
        return ""
    params = champion.parameters
    horizon = max(1, round(params.strategy.horizon_s * 1000.0 / params.grid_ms))
    time_ns, forecast, outcome = forecasts(record, known, horizon, params)
    if time_ns.size < 2:
        ahead = duration(horizon * params.grid_ms / 1000.0)
        return f"<p>Volatility: no forecast, {ahead} ahead, has met its outcome in this run.</p>"
    window = int(min(24, max(4, time_ns.size // 10)))
    return figure(
        "volatility",
        lambda layout: plots.volatility(
            time_ns, forecast, outcome, window=window, shades=known.shades, layout=layout
        ),
        _coverage_words(forecast, outcome, horizon * params.grid_ms / 1000.0)
        + thinned(time_ns.size),
    )


def forecasts(
    record: RunRecord, known: Known, horizon_steps: int, params: Parameters
) -> tuple[Times, Vector, Vector]:
    """Times, the sd forecast `horizon_steps` before, and the innovation (less its mean) that came,
    (pairs,) each.

    The forecast that a mark carries was made one grid step before it.
    """
    marks, rows = record.marks, known.rows
    due_ns = known.time_ns + (horizon_steps - 1) * params.grid_ms * 1_000_000
    half_ns = params.grid_ms * 500_000
    came = np.clip(np.searchsorted(known.time_ns, due_ns - half_ns), 0, rows.size - 1)
    met = (np.abs(known.time_ns[came] - due_ns) <= half_ns) & marks.warm[rows]
    outcome = marks.innovation[rows[came[met]]] - params.garch.mean
    return known.time_ns[came[met]], marks.spread_sd[rows[met]], outcome


def _coverage_words(forecast: Vector, outcome: Vector, horizon_s: float) -> str:
    inside = float(np.mean(np.abs(outcome) <= BAND_SDS * forecast))
    off = (inside - 0.95) / np.sqrt(0.95 * 0.05 / outcome.size)
    judged = "no more than chance apart" if abs(off) <= SE_MAX else _too(off)
    realised, said = np.sqrt(np.mean(outcome * outcome)), np.sqrt(np.mean(forecast * forecast))
    return (
        f"{percent(inside)} of {outcome.size:,} outcomes fell within ±{BAND_SDS} standard "
        f"deviations forecast {duration(horizon_s)} before, where 95 % should: {judged}. "
        f"The outcomes' root mean square was "
        f"{number(BP * float(realised), 3)} bp, the forecasts' {number(BP * float(said), 3)} bp."
    )


def _too(off: float) -> str:
    return "the forecasts were too wide" if off > 0.0 else "the forecasts were too narrow"


def run_length(record: RunRecord, held: list[Tenure], known: Known) -> str:
    """The run-length posterior with alarms."""
    champion = followed(held)
    if known.rows.size < 2 or champion is None:
        return ""
    marks, rows = record.marks, known.rows
    image, edges, _ = posterior(record, known, champion.parameters)
    alarms = plots.spans(known.time_ns, marks.alarm[rows], "alarm")
    share = float(np.mean(marks.alarm[rows]))
    step_s = champion.parameters.grid_ms / 1000.0
    last = float(marks.run_length[rows[-1]])
    words = (
        f"{count(len(alarms), 'alarm').capitalize()}, {percent(share)} of the time. At the end the "
        f"regime was held to have lasted {number(last, 3)} intervals ({duration(last * step_s)}). "
        "The map is recomputed from the recorded innovations with the parameters of "
        f"{code(champion.name)}; the line is what the run itself expected."
    )
    expected = marks.run_length[rows]
    return figure(
        "run-length",
        lambda layout: plots.run_length(
            known.time_ns,
            image,
            edges,
            expected,
            alarms=alarms,
            shades=known.shades,
            layout=layout,
        ),
        words + thinned(rows.size),
    )


def posterior(
    record: RunRecord, known: Known, params: Parameters
) -> tuple[npt.NDArray[np.float64], Vector, npt.NDArray[np.intp]]:
    """Posterior (columns, bins) over equal parts of the time, its edges, and the mark at which each
    column stands.
    """
    innovations = record.marks.innovation[known.rows]
    steps = grid_steps(known.time_ns, params.grid_ms)
    row = garch.params_row(params.garch)
    track = garch.run(row, innovations, steps)
    every = max(1, known.rows.size // COLUMNS)
    edges = run_length_edges(known.rows.size)
    found = bocd.run_posterior(
        bocd.params_row(params.bocd),
        garch.normal_scores(row, track["standardised"]),
        edges,
        every=every,
    )
    made_at = known.time_ns[every - 1 :: every][: found.shape[0]]
    columns = np.linspace(known.time_ns[0], known.time_ns[-1], min(COLUMNS, found.shape[0]))
    at = np.clip(np.searchsorted(made_at, columns, side="right") - 1, 0, found.shape[0] - 1)
    return found[at], edges, np.searchsorted(known.time_ns, made_at[at])


def run_length_edges(size: int) -> Vector:
    """Edges evenly spaced in log10(1 + run length), from 0 to past `size`."""
    edges: Vector = np.power(10.0, np.linspace(0.0, np.log10(size + 2.0), BINS + 1)) - 1.0
    return edges
