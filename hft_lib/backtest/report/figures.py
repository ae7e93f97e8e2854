"""The report's figures, each with a caption that says what the numbers of this very run let one
conclude.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hft_lib import plots
from hft_lib.backtest.record import CAPITAL, RunRecord
from hft_lib.backtest.report import evidence, roles
from hft_lib.backtest.report.evidence import Test
from hft_lib.backtest.report.roles import Tenure
from hft_lib.backtest.report.svg import LAYOUTS, figure
from hft_lib.plots import EvidencePath, Shade, Trades
from hft_lib.plots.markup import code
from hft_lib.plots.theme import Times, Vector
from hft_lib.plots.words import count, day, money, number, percent


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


def thinned(size: int) -> str:
    """The sentence that says that points were left out, where they were."""
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
        words + thinned(record.marks.time_ns.size),
    )


def evidence_paths(record: RunRecord, made: list[Test]) -> str:
    """The e-values of every test."""
    if not made:
        return (
            "<p>No test began, so there is no evidence to show. A test "
            "gathers one observation a whole UTC day; "
            f"this run closed {count(len(record.blocks), 'block')}.</p>"
        )
    words = " ".join(_path_words(test) for test in made[-4:])
    if len(made) > 4:
        words = f"{len(made)} tests in turn; the last four: {words}"
    words += (
        " If a challenger were no better, e would reach its threshold "
        f"with a chance of at most 1 in {number(made[-1].path.threshold)}, whenever one looks."
    )
    watched = evidence.watches(record)
    words += "".join(_watch_words(path) for path in watched)
    paths, shades = [test.path for test in made] + watched, evidence.shades(record, made)
    start_ns = min(path.began_ns for path in paths)
    return figure(
        "evidence",
        lambda layout: plots.evidence(
            paths,
            start_ns=start_ns,
            end_ns=record.end_ns,
            moments=record.turns,
            shades=shades,
            layout=layout,
        ),
        words,
    )


def _path_words(test: Test) -> str:
    path = test.path
    active = sum(
        value != 0.0 for value in (b.change_quote - b.base_change_quote for b in test.blocks)
    )
    e = number(float(path.e[-1]) if path.e.size else 1.0, 3)
    how = f"{path.outcome} on {day(path.outcome_ns)}" if path.outcome else "still running"
    blocks = f"{count(len(test.blocks), 'block')} ({active} of them active)"
    return f"{code(path.name)}: e = {e} after {blocks}, {how}."


def _watch_words(path: EvidencePath) -> str:
    blocks = count(path.e.size, "block")
    e = number(float(path.e[-1]) if path.e.size else 1.0, 3)
    return (
        f" Dashed: the predecessor {code(path.name)} against the set in its place, e = {e} "
        f"after {blocks}. From {number(path.threshold)} on, or once that set is too far behind, "
        "the capital goes back."
    )


# --- spread and trades ---


def spread(record: RunRecord, held: list[Tenure], known: Known) -> str:
    """Spread with its forecast band, z with the strategy's lines and the capital's fills."""
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
            moments=record.turns,
            shades=known.shades,
            layout=layout,
        ),
        _spread_words(record, plots.z_score(values, sd), held, trades) + thinned(rows.size),
    )


def _spread_words(record: RunRecord, z: Vector, held: list[Tenure], trades: Trades) -> str:
    champion = followed(held)
    words = ""
    if champion is not None:
        entry = champion.parameters.strategy.entry_z
        beyond = float(np.mean(np.abs(z) >= entry))
        words = f"|z| reached the entry of {number(entry)} at {percent(beyond)} of the points. "
    purposes: dict[str, int] = {}
    for order in record.capital_orders:
        if order.leg == "y":
            purposes[order.purpose] = purposes.get(order.purpose, 0) + 1
    if not trades.time_ns.size:
        return f"{words}Capital did not trade."
    listed = ", ".join(f"{amount:,} to {purpose}" for purpose, amount in purposes.items())
    return (
        f"{words}Capital sent {count(sum(purposes.values()), 'order')} on leg Y ({listed}). "
        "Marks are its fills of leg Y at the z that decided them, larger for more "
        "value; leg X trades against them."
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
