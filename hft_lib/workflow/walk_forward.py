"""Walk forward: fit, trade what comes after by the real stages and with every cost, fit anew.

The candidates of a fold are its fit and the sets that a desk would try beside it; a candidate's
name is the recipe, its parameters are each fold's own. Their shadow accounts trade the same events;
what counts is each whole day's change of equity after fees, spread, slippage, funding, borrowing.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hft_lib.backtest.candidates import compare, ordinary
from hft_lib.backtest.sampling import slower_cadence_ns
from hft_lib.fitting.calibrate import Calibration
from hft_lib.fitting.calibrate import calibrate as fit
from hft_lib.fitting.calibrate import iso_ms
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market.tape import Tape
from hft_lib.parameters import Assumptions, Parameters, Reference
from hft_lib.workflow.fits import FitFile, joined, prepared, read_fit
from hft_lib.workflow.folds import Fold, fit_moments, open_same, pair_folds
from hft_lib.workflow.refusal import write_json

FITTED = "calibrated"


class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: its windows, ISO 8601 UTC, and how many whole days it was traded on."""

    fit_start: str
    fit_end: str
    trade_end: str
    grid_ms: int
    days: int


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    """What every candidate of a pair did out of sample: (days, candidates), quote currency a day.

    `parameters` are the newest fold's, by name; `calibration` describes that fold's fit, and
    `reference` its data.
    """

    pair: str
    tape_sha256: str
    config_sha256: str
    capital_quote: float
    names: list[str]
    daily_quote: list[list[float]]
    parameters: dict[str, Parameters]
    fit_start: str
    fit_end: str
    calibration: dict[str, Any]
    folds: list[FoldReport]
    reference: Reference | None = None


def walk_forward_file(
    tape: str,
    tape_sha256: str,
    pair: str,
    fits: Sequence[Path | str],
    folds: int,
    capital_quote: float,
    assume_borrow: float,
    out: Path | str,
) -> int:
    """Walk forward with the newest window's three `fits` (kalman, garch, bocd); returns whole days.

    `assume_borrow` is the rate a year at which spot is assumed to be borrowed, below 0 for not at
    all. Raises Refused where the fits are not of that window, FitRefused where one cannot be made.
    """
    opened = open_same(tape, tape_sha256)
    kalman, garch, bocd = (read_fit(path) for path in fits)
    found = walk_forward(opened, pair, (kalman, garch, bocd), folds, capital_quote, assume_borrow)
    write_json(out, found)
    return len(found.daily_quote)


def walk_forward(
    tape: Tape,
    pair: str,
    fits: tuple[FitFile, FitFile, FitFile],
    folds: int,
    capital_quote: float,
    assume_borrow: float,
) -> Trials:
    """Fit and trade each fold; the last is fitted already, by `fits`."""
    *earlier, newest = pair_folds(tape, pair, folds)
    # First, so that fits which are of another window cost no replay.
    last = joined(prepared(tape, pair, newest), *fits)
    fitted = [(fold, fit_fold(tape, pair, fold)) for fold in earlier] + [(newest, last)]
    return trade_folds(tape, pair, fitted, capital_quote, assume_borrow)


def trade_folds(
    tape: Tape,
    pair: str,
    fitted: Sequence[tuple[Fold, Calibration]],
    capital_quote: float,
    assume_borrow: float,
) -> Trials:
    """Trade each fold by its own fit, in order; what is tried at last is the last fold's."""
    daily: list[list[float]] = []
    reports = []
    for fold, calibration in fitted:
        config = _config(pair, calibration.params.grid_ms, capital_quote, assume_borrow)
        days = _traded(tape, config, fold, candidates(calibration))
        daily += days
        reports.append(_report(fold, calibration, len(days)))
    last = fitted[-1][1]
    sets = candidates(last)
    return Trials(
        pair=pair,
        tape_sha256=tape.sha256,
        config_sha256=_sha256(_config(pair, last.params.grid_ms, capital_quote, assume_borrow)),
        capital_quote=capital_quote,
        names=[name for name, _ in sets],
        daily_quote=daily,
        parameters=dict(sets),
        fit_start=iso_ms(last.start_ns),
        fit_end=iso_ms(last.end_ns),
        calibration=last.document(),
        folds=reports,
        reference=last.reference,
    )


def candidates(calibration: Calibration) -> list[tuple[str, Parameters]]:
    """The sets tried in a fold, by the name of their recipe: the fit, and what stands beside it."""
    fitted = calibration.params
    return [(FITTED, fitted), *((item.name, item.params) for item in ordinary(fitted))]


def fit_fold(tape: Tape, pair: str, fold: Fold) -> Calibration:
    """Fit all three models to a fold's window; Refused or FitRefused where it is too short."""
    moments = fit_moments(tape, pair, fold)
    return fit(*moments, pair, cadence_ns_min=slower_cadence_ns(tape, pair, fold.trade_ns))


def _traded(
    tape: Tape, config: LineConfig, fold: Fold, sets: Sequence[tuple[str, Parameters]]
) -> list[list[float]]:
    daily = compare(config, sets, tape, fold.trade_ns, fold.end_ns).daily_quote
    return [list(row) for row in daily.tolist()]


def _config(pair: str, grid_ms: int, capital_quote: float, assume_borrow: float) -> LineConfig:
    borrow = assume_borrow if assume_borrow >= 0.0 else None
    return LineConfig(
        pairs=(PairConfig(pair=pair, capital_quote=capital_quote),),
        grid_ms=grid_ms,
        assumptions=Assumptions(borrow_rate_annual=borrow),
    )


def _report(fold: Fold, calibration: Calibration, days: int) -> FoldReport:
    return FoldReport(
        fit_start=iso_ms(calibration.start_ns),
        fit_end=iso_ms(calibration.end_ns),
        trade_end=iso_ms(fold.end_ns),
        grid_ms=calibration.params.grid_ms,
        days=days,
    )


def _sha256(config: LineConfig) -> str:
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()
