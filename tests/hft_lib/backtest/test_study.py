"""A study: the pair as the models will see it, a fitting window, the truth where it is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hft_lib.backtest import study as module
from hft_lib.backtest.sampling import sample_tape
from hft_lib.backtest.study import Study, open_study, synthetic_tape
from hft_lib.fitting.kalman import fit_kalman
from hft_lib.fitting.relation import least_squares
from hft_lib.fitting.result import FitRefused
from hft_lib.market import synthetic
from hft_lib.market.synthetic import SyntheticMarket
from hft_lib.parameters import read_parameter_file

MARKET = SyntheticMarket(days=6.0, spread_half_life_s=600.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory):
    """A root of the test's own, so that its tapes are not kept among the user's."""
    folder = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROOT", folder)
        yield folder


@pytest.fixture(scope="module")
def study(root: Path) -> Study:
    return open_study(market=MARKET, seed=3)


def test_a_study_without_a_tape_is_of_a_synthetic_market_with_its_truth(study: Study) -> None:
    assert study.truth is not None and study.pair == "SYN/USDT:USDT~SYN/USDT"
    explained = study.truth.intercept + study.truth.hedge_ratio * study.log_x + study.truth.spread
    assert np.abs(explained - study.log_y).max() < 5e-5  # prices are rounded to ticks
    assert study.fit_end_ns < study.truth.break_ns < int(study.time_ns[-1])


def test_the_grid_holds_the_moments_that_step_the_models(study: Study) -> None:
    at = np.searchsorted(study.moments.time_ns, study.time_ns)
    assert (study.moments.time_ns[at] == study.time_ns).all()
    assert (study.moments.log_y[at] == study.log_y).all()
    points = study.time_ns // (study.grid_ms * 10**6)
    assert np.diff(points).tolist() == study.steps[1:].tolist() and (study.steps >= 1).all()


def test_the_relation_is_that_of_the_fitting_window_alone(study: Study) -> None:
    assert study.fit.stop == study.rest.start and study.rest.stop == study.time_ns.size
    early = study.moments.time_ns <= study.fit_end_ns + study.grid_ms * 10**6
    slope, _ = least_squares(study.moments.log_y[early], study.moments.log_x[early])
    assert study.relation.hedge_ratio == pytest.approx(slope, abs=0.01)
    expected = study.log_y - study.relation.intercept - study.relation.hedge_ratio * study.log_x
    assert study.spread.tolist() == expected.tolist()


def test_the_same_market_is_made_once(study: Study, root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    assert synthetic_tape(3, MARKET).sha256 == study.tape.sha256
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == before


def test_a_market_that_another_notebook_makes_meanwhile_is_shared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = SyntheticMarket(days=0.5)
    write = synthetic.write

    def slow(seed, out, *rest):
        write(seed, out, market)  # the other notebook is ready first
        return write(seed, out, *rest)

    monkeypatch.setattr(synthetic, "write", slow)
    assert synthetic_tape(4, market).rows > 0


def test_progress_begins_low_and_ends_done(root: Path) -> None:
    told: list[tuple[str, float]] = []
    market = SyntheticMarket(days=1.5, spread_half_life_s=120.0)
    open_study(market=market, progress=lambda what, share: told.append((what, share)))
    assert told[-1] == ("done", 1.0) and {"making a synthetic market"} < {what for what, _ in told}
    assert all(0.0 <= share <= 1.0 for _, share in told)


def test_a_tape_is_studied_without_a_truth(study: Study) -> None:
    again = open_study(study.tape.path, grid_ms=study.grid_ms)
    assert again.truth is None and again.described().startswith("tape ")
    assert again.time_ns.tolist() == study.time_ns.tolist()
    alone = sample_tape(study.tape, study.pair)
    assert alone.time_ns.tolist() == again.moments.time_ns.tolist()


def test_too_short_a_market_is_refused_with_the_rule_and_the_value(root: Path) -> None:
    with pytest.raises(FitRefused, match="was 4"):
        open_study(market=SyntheticMarket(days=0.03))


def test_what_was_loaded_is_said_without_a_path(study: Study, root: Path) -> None:
    assert str(root) not in study.described() and study.pair in study.described()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cointegrated": False, "p_value": 0.6}, "do NOT hold together"),
        ({"cointegrated": True, "half_life_s": None}, "no half-life"),
        ({"cointegrated": True, "half_life_s": 600.0, "p_value": 0.0}, "halves in 10 min"),
    ],
)
def test_the_relation_is_said_in_words(study: Study, changes, words: str) -> None:
    said = replace(study, relation=replace(study.relation, **changes)).relation_sentence()
    assert words in said and "p = 0)" not in said


def test_a_study_writes_the_file_of_its_fitting_window(study: Study, root: Path) -> None:
    rows = study.fit
    fit = fit_kalman(study.log_y[rows], study.log_x[rows], study.steps[rows])
    study.write("made/params.json", fit.params, trials=2)
    file = read_parameter_file((root / "made" / "params.json").read_bytes())
    assert file.params.kalman == fit.params and file.params.grid_ms == study.grid_ms
    assert file.provenance.tape_sha256 == study.tape.sha256 and file.provenance.trials == 2
    line = study.replay_command("made/params.json")
    assert line.startswith("hft replay --tape runs/tapes/study-")
    assert line.split("--start ")[1] > file.provenance.end
