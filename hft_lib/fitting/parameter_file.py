"""From fits to the file that `hft replay --params` runs.

`file_of` takes a whole calibration. `complete` starts from a Kalman filter that somebody fitted or
set by hand, takes what else is given, and fits the rest to what the models before it leave.
"""

from pathlib import Path

import msgspec
import numpy.typing as npt

from hft_lib.fitting.bocd import fit_bocd
from hft_lib.fitting.calibrate import Calibration, default_strategy, held, iso_ms
from hft_lib.fitting.garch import fit_garch_best
from hft_lib.models import garch as garch_model
from hft_lib.models import kalman as kalman_model
from hft_lib.models.inputs import intervals
from hft_lib.parameters import (
    BocdParameters,
    Evop,
    GarchParameters,
    KalmanParameters,
    ParameterFile,
    Parameters,
    Provenance,
    Reference,
    StrategyParameters,
    check_parameters,
)


def complete(
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    steps: npt.ArrayLike,
    grid_ms: int,
    kalman: KalmanParameters,
    *,
    garch: GarchParameters | None = None,
    bocd: BocdParameters | None = None,
    strategy: StrategyParameters | None = None,
    half_life_s: float | None = None,
) -> Parameters:
    """The parameter set around `kalman`; what is not given is fitted to log prices `y`, `x`
    (time,), `steps` grid intervals apart.

    The strategy, where not given, is the default one for a spread of `half_life_s`. An alarm of
    the changepoint detector holds as long as its run length. Raises FitRefused where a model cannot
    be fitted, and ValueError with rule and value where the set could not be run.
    """
    track = kalman_model.run(kalman_model.params_row(kalman), y, x, steps)
    innovations = track["innovation"].copy()
    if garch is None:
        garch = fit_garch_best(innovations, steps).params
    if bocd is None:
        row = garch_model.params_row(garch)
        forecast = garch_model.run(row, innovations, steps)
        bocd = fit_bocd(garch_model.normal_scores(row, forecast["standardised"])).params
    if strategy is None:
        window_s = int(intervals(steps, innovations.size).sum()) * grid_ms / 1e3
        strategy = default_strategy(half_life_s, grid_ms, window_s)
    params = Parameters(
        grid_ms=grid_ms, kalman=kalman, garch=garch, bocd=held(bocd, grid_ms), strategy=strategy
    )
    check_parameters(params)
    return params


def file_of(
    calibration: Calibration, tape_sha256: str, *, trials: int = 1, git_commit: str = ""
) -> ParameterFile:
    """The file of a calibration alone: no challengers, no scales."""
    return parameter_file(
        calibration.params,
        calibration.pair,
        tape_sha256,
        (calibration.start_ns, calibration.end_ns),
        trials=trials,
        git_commit=git_commit,
        reference=calibration.reference,
    )


def parameter_file(
    params: Parameters,
    pair: str,
    tape_sha256: str,
    window_ns: tuple[int, int],
    *,
    trials: int = 1,
    git_commit: str = "",
    reference: Reference | None = None,
) -> ParameterFile:
    """The file of one set fitted to a tape from the first to the last time of `window_ns`.

    `trials` counts every set that was tried on that window: the evidence is read with it.
    `reference` is what the window's data looked like, as drift is measured against.
    """
    return ParameterFile(
        pair=pair,
        params=params,
        evop=Evop(),
        provenance=Provenance(
            tape_sha256=tape_sha256,
            start=iso_ms(window_ns[0]),
            end=iso_ms(window_ns[1]),
            trials=trials,
            git_commit=git_commit,
            reference=reference,
        ),
    )


def encode(file: ParameterFile) -> bytes:
    """The file's content: indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(file)) + b"\n"


def write_parameter_file(path: Path | str, file: ParameterFile) -> Path:
    """Write the file at `path`, whose folder is made; returns where it is."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(file))
    return path
