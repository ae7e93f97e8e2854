"""The report's figures, each with a caption that says what the numbers of this very run let one conclude."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hft_lib import plots
from hft_lib.backtest.record import CAPITAL, RunRecord
from hft_lib.backtest.report import evidence, roles
from hft_lib.backtest.report.evidence import Test
from hft_lib.backtest.report.markup import code
from hft_lib.backtest.report.roles import Tenure
from hft_lib.backtest.report.svg import LAYOUTS, figure
from hft_lib.models import bocd, garch, kalman
from hft_lib.parameters import Parameters
from hft_lib.plots import Shade, Trades
from hft_lib.plots.signals import BAND_SDS, BP, Times, Vector
from hft_lib.plots.words import count, day, duration, money, number, percent

COLUMNS = 600  # of the heat map
BINS = 48
HEDGE_AGREEMENT = 1e-6
BAND_STEPS = 400
SE_MAX = 3.0


@dataclass(frozen=True)
class Known:
    """The marks at which the followed slot had forecasts, and what stands out of them."""

    rows: npt.NDArray[np.intp]
    time_ns: Times
    shades: list[Shade]


def known_marks(record: RunRecord) -> Known:
    """Where the models said something; warm-up and fitting window are shaded."""
    rows = np.flatnonzero(record.marks.known)
    time_ns = record.marks.time_ns[rows]
    shades = plots.spans(time_ns, ~record.marks.warm[rows], "warm-up") if rows.size else []
    if record.fit_window is not None:
        shades.append(Shade(*record.fit_window, "fitting window"))
    return Known(rows, time_ns, shades)


def followed(held: list[Tenure]) -> Tenure | None:
    """The champion that held the capital longest."""
    champions = [tenure for tenure in held if tenure.role == "champion"]
    return max(champions, key=lambda tenure: tenure.end_ns - tenure.start_ns, default=None)


def _thinned(size: int) -> str:
    return plots.thinned(size, LAYOUTS[0][1])


# --- equity and evidence ---


def equity(record: RunRecord, held: list[Tenure]) -> str:
    """Equity and drawdown of every account."""
    if record.marks.time_ns.size < 2:
        return "<p>No grid point was reached: there is no equity to show.</p>"
    curves, moments = roles.curves(record, held), roles.moments(record)
    shades = [Shade(*record.fit_window, "fitting window")] if record.fit_window else []
    twin = [curve for curve in curves if curve.role == "champion"]
    words = f"Capital ended at {money(float(curves[0].equity_quote[-1]), record.currency)}"
    if len(twin) == 1:
        apart = curves[0].equity_quote[-1] - twin[0].equity_quote[-1]
        words += (
            f", {money(abs(float(apart)), record.currency)} "
            f"{'above' if apart > 0 else 'below'} its own twin"
            if abs(apart) >= roles.CENT
            else ", the same as its twin to the cent"
        )
    words += ". All costs are paid, positions are marked at mids, every account starts from 0."
    explorers = sum(curve.role == "explorer" for curve in curves)
    if explorers:
        words += f" Grey: {count(explorers, 'account')} of sets neither in charge nor under test."
    return figure(
        "equity",
        lambda layout: plots.equity(
            curves, record.currency, moments=moments, shades=shades, layout=layout
        ),
        words + _thinned(record.marks.time_ns.size),
    )


def evidence_paths(record: RunRecord, made: list[Test]) -> str:
    """The e-values of every test."""
    if not made:
        return (
            "<p>No test began, so there is no evidence to show. A test gathers one observation a whole UTC day; "
            f"this run closed {count(len(record.blocks), 'block')}.</p>"
        )
    words = " ".join(_path_words(test) for test in made[-4:])
    if len(made) > 4:
        words = f"{len(made)} tests in turn; the last four: {words}"
    words += (
        " If a challenger were no better, e would reach its threshold "
        f"with a chance of at most 1 in {number(made[-1].path.threshold)}, whenever one looks."
    )
    paths, shades = [test.path for test in made], evidence.shades(record, made)
    start_ns = min(path.began_ns for path in paths)
    return figure(
        "evidence",
        lambda layout: plots.evidence(
            paths, start_ns=start_ns, end_ns=record.end_ns, shades=shades, layout=layout
        ),
        words,
    )


def _path_words(test: Test) -> str:
    path = test.path
    active = sum(value != 0.0 for value in (b.change_quote - b.base_change_quote for b in test.blocks))
    e = number(float(path.e[-1]) if path.e.size else 1.0, 3)
    how = f"{path.outcome} on {day(path.outcome_ns)}" if path.outcome else "still running"
    blocks = f"{count(len(test.blocks), 'block')} ({active} of them active)"
    return f"{code(path.name)}: e = {e} after {blocks}, {how}."


# --- spread and trades ---


def spread(record: RunRecord, held: list[Tenure], known: Known) -> str:
    """Spread with its forecast band, z with the strategy's lines and the capital account's fills."""
    if known.rows.size < 2:
        return "<p>No slot was followed long enough to have a spread.</p>"
    marks, rows = record.marks, known.rows
    values, sd = marks.spread[rows], marks.spread_sd[rows]
    levels, trades = roles.levels(held), capital_trades(record)
    return figure(
        "spread",
        lambda layout: plots.spread_and_z(
            known.time_ns,
            values,
            sd,
            levels=levels,
            trades=trades,
            shades=known.shades,
            layout=layout,
        ),
        _spread_words(record, plots.z_score(values, sd), held, trades) + _thinned(rows.size),
    )


def _spread_words(record: RunRecord, z: Vector, held: list[Tenure], trades: Trades) -> str:
    champion = followed(held)
    words = ""
    if champion is not None:
        entry = champion.parameters.strategy.entry_z
        beyond = float(np.mean(np.abs(z) >= entry))
        words = f"z stood at or beyond the entry of {number(entry)} at {percent(beyond)} of the points. "
    purposes: dict[str, int] = {}
    for order in record.capital_orders:
        if order.leg == "y":
            purposes[order.purpose] = purposes.get(order.purpose, 0) + 1
    if not trades.time_ns.size:
        return f"{words}Capital did not trade."
    listed = ", ".join(f"{amount:,} to {purpose}" for purpose, amount in purposes.items())
    return (
        f"{words}Capital sent {count(sum(purposes.values()), 'order')} on leg Y ({listed}). "
        "Marks are its fills of leg Y, larger for more value; leg X trades against them."
    )


def capital_trades(record: RunRecord) -> Trades:
    """The capital account's fills of leg y, with the z that decided each."""
    orders = {order.client_order_id: order for order in record.capital_orders}
    fills = [fill for fill in record.fills if fill.account == CAPITAL and fill.leg == "y"]
    found = [orders.get(fill.client_order_id) for fill in fills]
    texts = tuple(
        f"{fill.side} {number(fill.quantity)} Y at {number(fill.price, 7)}"
        + (f" to {order.purpose}, z {number(order.z, 3)}" if order else "")
        + f", fee {money(fill.fee_quote, record.currency)}"
        for fill, order in zip(fills, found, strict=True)
    )
    return Trades(
        time_ns=np.array([fill.time_ns for fill in fills], dtype=np.int64),
        side=np.array([1.0 if fill.side == "buy" else -1.0 for fill in fills]),
        value_quote=np.array([fill.quantity * fill.price for fill in fills]),
        z=np.array([order.z if order else np.nan for order in found]),
        texts=texts,
    )


# --- models ---


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
        words + _thinned(values.size),
    )


def hedge_sd(record: RunRecord, known: Known, params: Parameters) -> Vector:
    """The filter's own sd of the hedge ratio, (time,), by running it again; NaN where it disagrees with the run."""
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
        at_ends[i] = np.sqrt(state["var_bb"][0]) if agrees else np.nan
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
        + _thinned(time_ns.size),
    )


def forecasts(
    record: RunRecord, known: Known, horizon_steps: int, params: Parameters
) -> tuple[Times, Vector, Vector]:
    """Times, the sd forecast `horizon_steps` before, and the innovation (less its mean) that came, (pairs,) each."""
    marks, rows = record.marks, known.rows
    due_ns = known.time_ns + horizon_steps * params.grid_ms * 1_000_000
    half_ns = params.grid_ms * 500_000
    came = np.clip(np.searchsorted(known.time_ns, due_ns - half_ns), 0, rows.size - 1)
    met = (np.abs(known.time_ns[came] - due_ns) <= half_ns) & marks.warm[rows]
    outcome = marks.innovation[rows[came[met]]] - params.garch.mean
    return known.time_ns[came[met]], marks.spread_sd[rows[met]], outcome


def _coverage_words(forecast: Vector, outcome: Vector, horizon_s: float) -> str:
    inside = float(np.mean(np.abs(outcome) <= BAND_SDS * forecast))
    off = (inside - 0.95) / np.sqrt(0.95 * 0.05 / outcome.size)
    judged = "as they should" if abs(off) <= SE_MAX else _too(off)
    realised, said = np.sqrt(np.mean(outcome * outcome)), np.sqrt(np.mean(forecast * forecast))
    return (
        f"{percent(inside)} of {outcome.size:,} outcomes fell within ±{BAND_SDS} forecast standard deviations made "
        f"{duration(horizon_s)} before, where 95 % should: {judged}. The outcomes' root mean square was "
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
        f"{count(len(alarms), 'alarm').capitalize()}, {percent(share)} of the time. At the end the regime was held to "
        f"have lasted {number(last, 3)} intervals ({duration(last * step_s)}). The map is recomputed from the recorded "
        f"innovations with the parameters of {code(champion.name)}; the line is what the run itself expected."
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
        words + _thinned(rows.size),
    )


def posterior(
    record: RunRecord, known: Known, params: Parameters
) -> tuple[npt.NDArray[np.float64], Vector, npt.NDArray[np.intp]]:
    """Posterior (columns, bins) over equal parts of the time, its edges, and the mark at which each column stands."""
    innovations = record.marks.innovation[known.rows]
    steps = grid_steps(known.time_ns, params.grid_ms)
    track = garch.run(garch.params_row(params.garch), innovations, steps)
    every = max(1, known.rows.size // COLUMNS)
    edges = run_length_edges(known.rows.size)
    found = bocd.run_posterior(
        bocd.params_row(params.bocd), track["standardised"], edges, every=every
    )
    made_at = known.time_ns[every - 1 :: every][: found.shape[0]]
    columns = np.linspace(known.time_ns[0], known.time_ns[-1], min(COLUMNS, found.shape[0]))
    at = np.clip(np.searchsorted(made_at, columns, side="right") - 1, 0, found.shape[0] - 1)
    return found[at], edges, np.searchsorted(known.time_ns, made_at[at])


def run_length_edges(size: int) -> Vector:
    """Edges evenly spaced in log10(1 + run length), from 0 to past `size`."""
    edges: Vector = np.power(10.0, np.linspace(0.0, np.log10(size + 2.0), BINS + 1)) - 1.0
    return edges
