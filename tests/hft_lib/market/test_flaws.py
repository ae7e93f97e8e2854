"""Flaws in runs."""

import pytest

from hft_lib.market import flaws
from hft_lib.market.flaws import FlawTally, counts, iso


def test_a_run_is_one_entry_with_its_count() -> None:
    tally = FlawTally()
    tally.add("NAN", "A", 10, detail="first")
    tally.add("NAN", "A", 20, continues=True)
    tally.add("NAN", "A", 90)
    tally.add("GAP", "A", 30, 40, count=7)
    runs = tally.runs()
    assert [(r.reason, r.start[-4:], r.end[-4:], r.count) for r in runs] == [
        ("GAP", "030Z", "040Z", 7),
        ("NAN", "010Z", "020Z", 2),
        ("NAN", "090Z", "090Z", 1),
    ]
    assert runs[1].detail == "first"
    assert counts(runs) == {"GAP": 7, "NAN": 3}


def test_a_report_is_bounded_and_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flaws, "RUNS_MAX", 5)
    tally = FlawTally()
    for time_ns in range(100):
        tally.add("NAN", "A", time_ns)
    assert len(tally.runs()) == 6
    assert counts(tally.runs()) == {"NAN": 100}
    assert tally.runs()[-1].end.endswith("099Z")


def test_times_are_iso_8601_with_as_many_decimals_as_they_need() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1_723_161_254_206_000_000) == "2024-08-08T23:54:14.206Z"
    assert iso(1_723_161_254_206_652_067) == "2024-08-08T23:54:14.206652067Z"
