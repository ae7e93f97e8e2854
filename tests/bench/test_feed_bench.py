"""The feed's benchmark: equal results or no times. No speed is asserted."""

import json
from pathlib import Path

import pytest

from bench import feed, timing
from bench.timing import Unequal
from hft_lib.events import Quote, Trade


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MEASURE_S_MIN", 1e-4)


def test_ccxt_and_we_read_the_same_and_the_figures_are_told(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(market_data), "--frames", "200", "--repeats", "1", "--json"]
    assert feed.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 8
    for row in found:
        assert row["peer"].startswith("ccxt ") and row["ours_ns"] > 0.0
        assert row["ratio"] == row["peer_ns"] / row["ours_ns"]
        assert row["frames_per_s"] == 1e9 / row["ours_ns"]


def test_a_row_has_its_kind_alone_and_as_recorded_all(market_data: Path, tmp_path: Path) -> None:
    path = market_data / feed.FOLDER / feed.FILES["BTC/USDT"]
    for kind, words in (("trade", {b"trade"}), ("", {b"trade", b"bookTicker", b"depth"})):
        lines = [line for line, _ in zip(feed.lines_of(path, kind), range(400))]
        seen = {
            word for word in (b"trade", b"bookTicker", b"depth") if any(word in x for x in lines)
        }
        assert seen == words and len(lines) == 400


def test_results_that_differ_are_told_and_no_time_is(
    market_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "figures", lambda event: ("other",))
    options = ["--data", str(market_data), "--frames", "50", "--repeats", "1"]
    assert feed.main(options) == 1
    out, err = capsys.readouterr()
    assert out == "" and "results differ" in err and "frame 0" in err


def test_the_last_digit_counts() -> None:
    trade = Trade(1, 1, "A/B", 1.1, 0.3, "buy", 9)
    assert feed.figures(trade) == (9, 1.1, 0.3, "buy")
    assert feed.figures(Quote(1, 1, "A/B", 1.0, 2.0, 3.0, 4.0, 5)) == (1.0, 2.0, 3.0, 4.0)
    with pytest.raises(Unequal, match="frame 1"):
        feed.require_same([(1,), (0.3,)], [(1,), (0.1 + 0.2,)])
    with pytest.raises(Unequal, match="frames"):
        feed.require_same([(1,)], [])


def test_without_the_recordings_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert feed.main(["--data", str(tmp_path)]) == 2
    assert "recorded ticks are not at" in capsys.readouterr().err
