"""The three fits of a pair as steps of their own, and how they become one calibration again.

GARCH is fitted to what the Kalman filter leaves, the changepoint detector to what GARCH leaves. A
fit takes seconds and a pod's start takes tens of them, so the steps run side by side and each fits
what comes before its own again. Fits are deterministic; that the steps agree is checked, not
assumed: a fit says the hash of the series that it was fitted to, and `joined` recomputes it.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from hft_lib.backtest.sampling import slower_cadence_ns
from hft_lib.fitting.bocd import fit_bocd
from hft_lib.fitting.calibrate import Calibration, Prepared, assemble, prepare
from hft_lib.fitting.garch import fit_garch_best
from hft_lib.fitting.kalman import fit_kalman
from hft_lib.fitting.result import Fit
from hft_lib.market.tape import Tape
from hft_lib.models.inputs import Vector
from hft_lib.parameters import BocdParameters, GarchParameters, KalmanParameters, Set
from hft_lib.workflow.folds import Fold, fit_moments, open_same, pair_folds
from hft_lib.workflow.refusal import Refused, read_json, write_json

P = TypeVar("P", bound=Set)


class FitFile(msgspec.Struct, frozen=True, kw_only=True):
    """One model's fit as a file; `fitted_to` is the hash of the series that it was fitted to."""

    model: str
    pair: str
    tape_sha256: str
    start_ns: int
    end_ns: int
    fitted_to: str
    fit: dict[str, Any]


def fit_kalman_file(tape: str, tape_sha256: str, pair: str, folds: int, out: Path | str) -> float:
    """Fit the hedge ratio on the newest window and write it; returns the log-likelihood."""
    window = _newest(tape, tape_sha256, pair, folds)
    fit = fit_kalman(window.log_y, window.log_x, window.steps)
    return _write(out, "kalman", tape_sha256, window, _sha256(window.log_y, window.log_x), fit)


def fit_garch_file(tape: str, tape_sha256: str, pair: str, folds: int, out: Path | str) -> float:
    """Fit the volatility on the newest window and write it; returns the log-likelihood."""
    window = _newest(tape, tape_sha256, pair, folds)
    innovations = window.innovations(fit_kalman(window.log_y, window.log_x, window.steps).params)
    fit = fit_garch_best(innovations, window.steps)
    return _write(out, "garch", tape_sha256, window, _sha256(innovations), fit)


def fit_bocd_file(tape: str, tape_sha256: str, pair: str, folds: int, out: Path | str) -> float:
    """Fit the changepoint detector on the newest window; returns the log-likelihood."""
    window = _newest(tape, tape_sha256, pair, folds)
    innovations = window.innovations(fit_kalman(window.log_y, window.log_x, window.steps).params)
    volatility = fit_garch_best(innovations, window.steps)
    scores = window.normal_scores(innovations, volatility.params)
    return _write(out, "bocd", tape_sha256, window, _sha256(scores), fit_bocd(scores))


def prepared(tape: Tape, pair: str, fold: Fold) -> Prepared:
    """A fold's fitting window of `pair`, on the grid."""
    cadence_ns = slower_cadence_ns(tape, pair, fold.trade_ns)
    return prepare(*fit_moments(tape, pair, fold), pair, cadence_ns)


def joined(window: Prepared, kalman: FitFile, garch: FitFile, bocd: FitFile) -> Calibration:
    """The calibration of three fits to `window`; Refused where they are not of one another."""
    filtered = _fit(kalman, KalmanParameters)
    volatility, detector = _fit(garch, GarchParameters), _fit(bocd, BocdParameters)
    innovations = window.innovations(filtered.params)
    scores = window.normal_scores(innovations, volatility.params)
    wanted = (
        (kalman, _sha256(window.log_y, window.log_x)),
        (garch, _sha256(innovations)),
        (bocd, _sha256(scores)),
    )
    for file, sha256 in wanted:
        if file.pair != window.pair or file.fitted_to != sha256:
            raise Refused(
                f"the {file.model} fit must be of {window.pair} and of series {sha256[:12]}, "
                f"was of {file.pair} and {file.fitted_to[:12]}: the steps did not see the same data"
            )
    return assemble(window, filtered, volatility, detector)


def read_fit(path: Path | str) -> FitFile:
    """The fit that a step wrote."""
    return read_json(path, FitFile)


def _newest(tape: str, tape_sha256: str, pair: str, folds: int) -> Prepared:
    opened = open_same(tape, tape_sha256)
    return prepared(opened, pair, pair_folds(opened, pair, folds)[-1])


def _write(
    out: Path | str, model: str, tape_sha256: str, window: Prepared, fitted_to: str, fit: Fit[Any]
) -> float:
    file = FitFile(
        model=model,
        pair=window.pair,
        tape_sha256=tape_sha256,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        fitted_to=fitted_to,
        fit=fit.document(),
    )
    write_json(out, file)
    return float(fit.log_likelihood)


def _fit(file: FitFile, kind: type[P]) -> Fit[P]:
    known = dict(file.fit)
    return Fit(params=msgspec.convert(known.pop("params"), kind), **known)


def _sha256(*series: Vector) -> str:
    digest = hashlib.sha256()
    for values in series:
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()
