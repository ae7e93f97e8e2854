"""The detector's posterior against sums over segments, which share nothing with its recursion."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.models import bocd
from hft_lib.parameters import BocdParameters

FOLDER = Path(__file__).resolve().parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "run_lengths.json").read_text())
TOLERANCE = GOLDEN["tolerance"]
SIZE = 2000


def series(case: dict[str, Any]) -> npt.NDArray[np.float64]:
    """The case's values, as its maker draws them."""
    spec = importlib.util.spec_from_file_location("make", FOLDER / "make_run_lengths.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    values: npt.NDArray[np.float64] = make.series(case["seed"], case["regime_hazard"])
    return values


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_the_values_are_those_of_the_reference(case: dict[str, Any]) -> None:
    content = series(case).astype("<f8").tobytes()
    assert hashlib.sha256(content).hexdigest() == case["values_sha256"]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_posteriors_without_merging_are_the_exact_ones(case: dict[str, Any]) -> None:
    row, values = bocd.params_row(BocdParameters(**case["params"])), series(case)
    track = bocd.run(row, values, cells=SIZE + 100)
    for point in case["checkpoints"]:
        t = point["observations"]
        last = track[t - 1]
        found = bocd.run_posterior(row, values[:t], np.arange(t + 2.0), SIZE + 100, every=t)[0]
        assert found[point["lengths"]] == pytest.approx(
            point["probabilities"], abs=TOLERANCE["probability"], rel=0.0
        )
        assert last["recent_probability"] == pytest.approx(
            point["recent_probability"], abs=TOLERANCE["probability"], rel=0.0
        )
        assert last["run_length"] == pytest.approx(
            point["run_length"], abs=TOLERANCE["run_length"], rel=0.0
        )
        assert last["map_run_length"] == point["map_run_length"]
        assert track["log_predictive"][:t].sum() == pytest.approx(
            point["log_evidence"], abs=TOLERANCE["log_evidence"], rel=0.0
        )


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_merged_cells_stay_near_the_exact_posterior(case: dict[str, Any]) -> None:
    row, values = bocd.params_row(BocdParameters(**case["params"])), series(case)
    track = bocd.run(row, values)
    for point in case["checkpoints"]:
        t = point["observations"]
        assert track["log_predictive"][:t].sum() == pytest.approx(
            point["log_evidence"], abs=0.05, rel=0.0
        )
        assert track["recent_probability"][t - 1] == pytest.approx(
            point["recent_probability"], abs=0.01, rel=0.0
        )
