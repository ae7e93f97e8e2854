"""The report's section on model health: the judgement of what the run kept, drawn once a model."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report import render
from hft_lib.health.verdict import judge
from hft_lib.health.window import WINDOW, SlotValues
from hft_lib.plots.small import followings, shape
from hft_lib.plots.words import number, percent
from tests.hft_lib.backtest.made_run import facts_of, record_of
from tests.hft_lib.backtest.report.test_report import parsed, text_of
from tests.hft_lib.health.made import REFERENCE, Made

NOW = datetime(2025, 11, 24, 9, 30, tzinfo=UTC)


def kept() -> list[SlotValues]:
    """Three slots: two that share a model that is right, one whose forecasts are too narrow."""
    right, narrow = Made(WINDOW, 5), Made(WINDOW, 6)
    return [
        right.values(REFERENCE, slot=0, generation=1),
        right.values(REFERENCE, slot=1, generation=1),
        narrow.values(REFERENCE, slot=2, generation=1, scores=1.7 * narrow.scores),
    ]


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return record_of(facts_of(8), health=kept())


@pytest.fixture(scope="module")
def page(record: RunRecord) -> str:
    return render(record, NOW)


def section(page: str) -> str:
    start = page.index('<section aria-labelledby="health">')
    return page[start : page.index("</section>", start)]


def test_each_slot_is_judged_as_its_window_says(page: str, record: RunRecord):
    body = section(page)
    parsed(page)
    for values in record.health:
        row = judge(record.pair, values)
        assert row.calibration.words in body and number(row.variance, 3) in body
        assert percent(float(f"{row.covered[2]:.4g}")) in body
    assert "Of 3 slots 1 off." in body and "off: too narrow" in body
    assert "last 250 grid steps" in text_of(body)


def test_sets_that_share_a_model_are_drawn_once(page: str):
    titles = re.findall(r"<h3>(.*?)</h3>", section(page))
    assert len(titles) == 2 and "," in titles[0]
    assert section(page).count('class="small"') == 4


def test_a_drawing_says_in_words_what_it_shows():
    made = Made(WINDOW, 5)
    told = re.findall(r'aria-label="([^"]*)"', shape("a <b>", made.scores))
    shares = np.histogram(_normal_shares(made.scores), 10, (0.0, 1.0))[0] / WINDOW
    low, high = percent(float(shares.min())), percent(float(shares.max()))
    assert told == [f"a &lt;b&gt;: the tenths of the forecast distribution hold {low} to {high} of "
                    "what came"]  # fmt: skip
    alternating = np.where(np.arange(100) % 2 == 0, 1.0, -1.0)
    assert "the largest −0.99, 10 out of the band" in followings("a", alternating)


def _normal_shares(scores):
    from scipy.stats import norm

    return norm.cdf(scores)


def test_nothing_is_drawn_of_nothing():
    assert shape("a", np.empty(0)) == followings("a", np.ones(5)) == ""


def test_bars_stay_within_the_drawing():
    for drawing in (shape("a", np.full(30, 9.0)), followings("a", np.cumsum(np.ones(40)))):
        boxes = re.findall(r'y="([-\d.]+)" width="[\d.]+" height="([\d.]+)"', drawing)
        assert boxes and all(0.0 <= float(y) and float(y) + float(h) <= 110.0 for y, h in boxes)


def test_a_run_that_kept_no_window_says_so():
    assert "No grid step of a model was kept" in section(render(record_of(facts_of(2)), NOW))


def test_a_slot_of_which_too_little_is_known_has_no_verdict():
    early = Made(12, 3).values(None, slot=0, generation=1)
    body = section(render(record_of(facts_of(8), health=[early]), NOW))
    assert "too early: 12 of 50 steps" in body and "none judged" in body
    assert "nan" not in text_of(body).lower().split() and "None" not in body
