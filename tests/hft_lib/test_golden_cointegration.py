"""Our Engle and Granger statistic against Stata's, our p-values against MacKinnon's tables."""

import json
from pathlib import Path

import pytest

from hft_lib.fitting.selection.engle_granger import direction
from hft_lib.fitting.selection.p_values import p_asymptotic

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "engle_granger.json"


def test_the_statistic_without_lags_is_statas() -> None:
    from statsmodels.datasets import macrodata

    golden, data = json.loads(GOLDEN.read_text()), macrodata.load_pandas().data
    y, x = data["realcons"].to_numpy(float), data["realgdp"].to_numpy(float)
    statistic, lags = direction(y, x, golden["lags"])[:2]
    assert lags == golden["lags"]
    assert statistic == pytest.approx(golden["statistic"], abs=golden["tolerance"]["statistic"])


def test_critical_values_have_the_p_values_they_are_critical_at() -> None:
    golden = json.loads(GOLDEN.read_text())
    for level, value in golden["critical_values"].items():
        p_value = float(p_asymptotic([value])[0])
        assert p_value == pytest.approx(float(level), abs=golden["tolerance"]["p_value"])
