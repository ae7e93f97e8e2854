"""Parameter files from fits: what is given stays, what is not is fitted to what is left."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from hft_lib.fitting.bocd import fit_bocd
from hft_lib.fitting.calibrate import Calibration, calibrate
from hft_lib.fitting.garch import fit_garch_best
from hft_lib.fitting.grid import grid_moments
from hft_lib.fitting.parameter_file import complete, encode, file_of, write_parameter_file
from hft_lib.models import garch, kalman
from hft_lib.models.inputs import Counts, Vector
from hft_lib.parameters import parameter_sha256, read_parameter_file

MINUTE_NS = 60 * 10**9
PAIR = "A/USDT:USDT~A/USDT"


class Gridded(NamedTuple):
    """What the models are fitted to."""

    y: Vector
    x: Vector
    steps: Counts
    grid_ms: int


@pytest.fixture(scope="module")
def moments() -> tuple[Counts, Vector, Vector]:
    random = np.random.default_rng(5)
    x = 4.6 + np.cumsum(random.normal(0.0, 5e-4, 8_000))
    spread = np.zeros(8_000)
    for i in range(1, spread.size):
        spread[i] = 0.9 * spread[i - 1] + random.normal(0.0, 1e-3)
    times = (1_700_000_000 * 10**9 // MINUTE_NS + np.arange(8_000)) * MINUTE_NS
    return times.astype(np.int64), 0.1 + 0.98 * x + spread, x


@pytest.fixture(scope="module")
def calibration(moments: tuple[Counts, Vector, Vector]) -> Calibration:
    return calibrate(*moments, PAIR)


@pytest.fixture(scope="module")
def gridded(moments, calibration):
    times, y, x = moments
    rows, steps = grid_moments(times, calibration.params.grid_ms)
    return Gridded(y[rows], x[rows], steps, calibration.params.grid_ms)


def test_the_set_around_a_fitted_filter_is_the_calibration(
    gridded: Gridded, calibration: Calibration
) -> None:
    made = complete(
        *gridded, calibration.kalman.params, half_life_s=calibration.relation.half_life_s
    )
    same_strategy = msgspec.structs.replace(made, strategy=calibration.params.strategy)
    assert same_strategy == calibration.params
    assert made.strategy.horizon_s == calibration.params.strategy.horizon_s


def test_what_is_given_stays_and_the_rest_is_fitted_to_what_it_leaves(
    gridded: Gridded, calibration: Calibration
) -> None:
    other = msgspec.structs.replace(calibration.kalman.params, hedge_prior_mean=0.9)
    made = complete(*gridded, other)
    assert made.kalman == other
    y, x, steps, _ = gridded
    innovations = kalman.run(kalman.params_row(other), y, x, steps)["innovation"].copy()
    assert made.garch == fit_garch_best(innovations, steps).params != calibration.params.garch
    row = garch.params_row(made.garch)
    scores = garch.normal_scores(row, garch.run(row, innovations, steps)["standardised"])
    assert made.bocd.hazard == fit_bocd(scores).params.hazard
    given = complete(*gridded, other, garch=calibration.params.garch, bocd=calibration.bocd.params)
    assert (given.garch, given.bocd) == (calibration.params.garch, calibration.params.bocd)


def test_an_alarm_holds_as_long_as_its_run_length(
    gridded: Gridded, calibration: Calibration
) -> None:
    short = msgspec.structs.replace(calibration.bocd.params, alarm_run_length=3, alarm_hold_s=0.0)
    made = complete(*gridded, calibration.kalman.params, bocd=short)
    assert made.bocd.alarm_hold_s == 3 * made.grid_ms / 1e3


def test_a_set_that_could_not_be_run_is_refused(gridded: Gridded, calibration: Calibration) -> None:
    unstable = msgspec.structs.replace(calibration.params.garch, alpha=0.5, beta=0.5)
    with pytest.raises(ValueError, match="garch.beta must be below 1, was 1.0"):
        complete(*gridded, calibration.kalman.params, garch=unstable)


def test_a_written_file_is_read_back_with_its_provenance(calibration, tmp_path: Path) -> None:
    file = file_of(calibration, "abc", trials=3, git_commit="0123")
    path = write_parameter_file(tmp_path / "new" / "folder" / "params.json", file)
    assert path.read_bytes() == encode(file)
    again = read_parameter_file(path.read_bytes())
    assert again == file and again.params == calibration.params
    assert (again.provenance.tape_sha256, again.provenance.trials) == ("abc", 3)
    assert again.provenance.start == calibration.document()["start"]


def test_the_file_names_the_pair_and_window_it_was_fitted_to(calibration) -> None:
    other = replace(calibration, pair="B~C", end_ns=calibration.start_ns + 10**9)
    file = file_of(other, "abc")
    assert file.pair == "B~C" and file.provenance.end > file.provenance.start


def test_a_file_keeps_what_the_window_looked_like(
    gridded: Gridded, calibration: Calibration, moments: tuple[Counts, Vector, Vector]
) -> None:
    file = read_parameter_file(encode(file_of(calibration, "abc")))
    seen = file.provenance.reference
    assert seen == calibration.reference is not None
    returns = np.diff(gridded.y)
    assert seen.return_y.observations == returns.size  # every interval of this window is one
    np.testing.assert_allclose(
        seen.return_y.edges, np.quantile(returns, np.arange(1, 10) / 10), rtol=1e-5
    )
    gap_s = np.diff(moments[0])[0] / 1e9
    assert seen.gap_s.edges == (gap_s,) and seen.gap_s.shares == (1.0, 0.0)
    track = kalman.run(kalman.params_row(calibration.params.kalman), *gridded[:3])
    warm = round(calibration.params.strategy.warmup_s * 1e3 / gridded.grid_ms)
    innovations = track["innovation"][warm:]
    np.testing.assert_allclose(seen.innovation.edges[4], np.median(innovations), rtol=1e-4)
    assert seen.innovation.observations == innovations.size


def test_a_file_of_before_without_a_reference_is_read_and_its_set_has_the_same_hash(
    calibration: Calibration,
) -> None:
    content = msgspec.json.decode(encode(file_of(calibration, "abc")))
    del content["provenance"]["reference"]
    older = read_parameter_file(msgspec.json.encode(content))
    assert older.provenance.reference is None
    assert parameter_sha256(older.params) == parameter_sha256(calibration.params)
