"""Leak-free: a value at time t does not change when the data after t are removed or are others.

One place for all that is made of data. Stages and their line have it in `test_stages.py`, the
models in `test_models.py`, the fits in `test_fits.py`; here are the steps of the pipelines, the
features that research takes of a tape, and the figures of model health. Two tapes are alike up to
a moment, and after it the second has other prices, other flaws and other terms.

What comes after the evidence and says one thing of all of it has no value at a time: the gate over
the trials, the tape's own gate (what it found up to t is held here), a decision's record.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from hft_lib.backtest.research import hedge_sd, rolling_least_squares
from hft_lib.backtest.sampling import sample_tape
from hft_lib.events import HedgeRatio, Instrument, Quote
from hft_lib.fitting.calibrate import iso_ms
from hft_lib.health import window as windows
from hft_lib.health.verdict import judge
from hft_lib.lineage.model_folder import write_model
from hft_lib.market import synthetic
from hft_lib.market.merge import DAY_NS
from hft_lib.market.quality import check_tape
from hft_lib.market.tape import Tape
from hft_lib.market.tape_writer import TapeWriter
from hft_lib.rows import HEDGE
from hft_lib.stages import garch_model
from hft_lib.workflow import fits, pair_selection
from hft_lib.workflow.folds import Fold, fit_moments, pair_folds
from hft_lib.workflow.refusal import read_json
from hft_lib.workflow.walk_forward import Trials, walk_forward_file
from tests.builders import PAIR as STORY_PAIR
from tests.builders import parameters, story_config, told

PAIR = "SYN/USDT:USDT~SYN/USDT"
FOLDS = 2
DAYS = 8.0
FITS: dict[str, Callable[..., float]] = {
    "kalman": fits.fit_kalman_file,
    "garch": fits.fit_garch_file,
    "bocd": fits.fit_bocd_file,
}


class Tapes(NamedTuple):
    """A tape; the same with another first traded part, and with another end of the last."""

    plain: Tape
    from_trade: Tape
    from_end: Tape
    end_ns: int

    @property
    def folds(self) -> list[Fold]:
        return pair_folds(self.plain, PAIR, FOLDS)


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> Tapes:
    folder = tmp_path_factory.mktemp("markets")
    plain = synthetic.write(3, folder / "plain", synthetic.SyntheticMarket(days=DAYS))
    first, last = pair_folds(plain, PAIR, FOLDS)
    middle = (last.trade_ns + last.end_ns) // 2
    end_ns = middle - middle % DAY_NS + DAY_NS
    return Tapes(
        plain,
        altered(plain, folder / "from_trade", first.trade_ns),
        altered(plain, folder / "from_end", end_ns),
        end_ns,
    )


def altered(tape: Tape, path: Path, after_ns: int) -> Tape:
    """The tape with another market from `after_ns` on: half the prices, swinging, other terms."""

    def events() -> Iterator[Any]:
        told_terms = False
        for number, event in enumerate(tape.events()):
            if event.time_ns < after_ns:
                yield event
                continue
            if not told_terms:
                for terms in tape.instruments().values():
                    slower = 7 * terms.cadence_ns
                    yield msgspec.structs.replace(terms, time_ns=event.time_ns, cadence_ns=slower)
                told_terms = True
            if isinstance(event, Quote):
                times = 0.5 + 0.02 * math.sin(number / 40.0) * event.symbol.endswith(":USDT")
                event = msgspec.structs.replace(event, bid=times * event.bid, ask=times * event.ask)
            yield event

    with TapeWriter(path, {"altered": after_ns}) as writer:
        writer.write(events())
    made = Tape.open(path)
    assert (made.start_ns, made.end_ns) == (tape.start_ns, tape.end_ns)
    return made


# --- the steps of the pipelines ---


def test_the_tapes_differ_in_all_that_a_leak_could_see(tapes: Tapes):
    for other in (tapes.from_trade, tapes.from_end):
        assert other.sha256 != tapes.plain.sha256
        before, after = tapes.plain.instruments(), other.instruments()
        assert all(after[name].cadence_ns != before[name].cadence_ns for name in before)
    assert sum(isinstance(one, Instrument) for one in tapes.from_end.events()) == 4


def test_folds_fit_strictly_before_they_trade_and_know_of_the_tape_its_span_alone(tapes: Tapes):
    assert pair_folds(tapes.from_trade, PAIR, FOLDS) == tapes.folds
    for fold in tapes.folds:
        moments = fit_moments(tapes.plain, PAIR, fold)
        assert fold.fit_ns <= moments.time_ns[0] and moments.time_ns[-1] < fold.trade_ns


def test_what_the_tapes_gate_found_up_to_a_moment_does_not_change(tapes: Tapes):
    cut = iso_ms(tapes.end_ns)
    whole, other = (check_tape(tape).flaws for tape in (tapes.plain, tapes.from_end))
    ended = [flaw for flaw in whole if flaw.end < cut]
    assert {"CROSSED", "GAP"} <= {flaw.reason for flaw in ended}
    assert [flaw for flaw in other if flaw.end < cut] == ended
    assert check_tape(tapes.from_trade).flaws != whole  # there the terms are others by then


def test_pairs_are_chosen_by_what_lies_before_the_first_traded_day(tapes: Tapes, tmp_path: Path):
    found = []
    for tape in (tapes.plain, tapes.from_trade):
        out = tmp_path / tape.sha256
        pair_selection.select_pairs_file(str(tape.path), tape.sha256, "", FOLDS, out)
        found.append(out.read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("model", FITS)
def test_a_fit_sees_its_window_alone(tapes: Tapes, tmp_path: Path, model: str):
    found = []
    for tape in (tapes.plain, tapes.from_end):
        out = tmp_path / tape.sha256
        FITS[model](str(tape.path), tape.sha256, PAIR, FOLDS, out)
        found.append(msgspec.structs.replace(fits.read_fit(out), tape_sha256=""))
    assert found[0] == found[1]


def test_a_window_and_its_reference_are_those_of_the_time_before(tapes: Tapes):
    first = tapes.folds[0]
    one, other = (fits.prepared(tape, PAIR, first) for tape in (tapes.plain, tapes.from_trade))
    assert (one.relation, one.grid_ms) == (other.relation, other.grid_ms)
    for name in ("log_y", "log_x", "steps", "gaps_s"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_a_walk_forwards_days_do_not_change_with_what_comes_after_them(
    tapes: Tapes, tmp_path: Path
):
    found = []
    for tape in (tapes.plain, tapes.from_end):
        made = []
        for model, fit in FITS.items():
            made.append(tmp_path / f"{tape.sha256}-{model}")
            fit(str(tape.path), tape.sha256, PAIR, FOLDS, made[-1])
        out = tmp_path / tape.sha256
        walk_forward_file(str(tape.path), tape.sha256, PAIR, made, FOLDS, 10_000.0, -1.0, out)
        found.append(read_json(out, Trials))
    plain, other = found
    assert (plain.parameters, plain.reference) == (other.parameters, other.reference)
    assert plain.reference is not None
    days = len(plain.daily_quote) - round((tapes.plain.end_ns - tapes.end_ns) / DAY_NS)
    assert 2 <= days < len(plain.daily_quote)
    assert plain.daily_quote[:days] == other.daily_quote[:days]
    assert plain.daily_quote[days:] != other.daily_quote[days:]
    assert any(value != 0.0 for row in plain.daily_quote[:days] for value in row)


# --- features of a tape ---


def test_moments_up_to_a_time_do_not_change(tapes: Tapes):
    whole, other = (sample_tape(tape, PAIR) for tape in (tapes.plain, tapes.from_end))
    before = whole.time_ns < tapes.end_ns
    size = int(before.sum())
    assert 1_000 < size < whole.time_ns.size
    for one, two in zip(whole, other, strict=True):
        assert one[:size].tobytes() == two[:size].tobytes()
    assert whole.log_y[size:].tobytes() != other.log_y[size : whole.log_y.size].tobytes()


def _walk(size: int) -> tuple[Any, Any, Any, Any]:
    random = np.random.Generator(np.random.PCG64(4))
    x = 4.6 + np.cumsum(0.002 * random.standard_normal(size))
    y = x + 0.003 * random.standard_normal(size)
    steps = random.integers(1, 3, size)
    time_ns = 1_700_000_000_000_000_000 + np.cumsum(steps) * 3_600_000_000_000
    return y, x, steps, time_ns


@pytest.mark.parametrize("size", [60, 130])
def test_what_research_takes_of_prices_does_not_change(size: int):
    y, x, steps, _ = _walk(200)
    whole, part = (rolling_least_squares(y[:n], x[:n], 24) for n in (200, size))
    for name in ("hedge_ratio", "intercept", "error"):
        assert getattr(whole, name)[:size].tobytes() == getattr(part, name).tobytes(), name
    kalman = parameters().kalman
    known = hedge_sd(kalman, y, x, steps)[:size]
    assert known.tobytes() == hedge_sd(kalman, y[:size], x[:size], steps[:size]).tobytes()


@pytest.mark.parametrize("size", [60, 130])
def test_what_a_registered_version_forecasts_does_not_change(size: int, tmp_path: Path):
    import pandas as pd
    from mlflow import pyfunc

    from hft_lib.parameters import parameter_content

    write_model(tmp_path, parameter_content(parameters()))
    model = pyfunc.load_model(str(tmp_path))
    y, x, _, time_ns = _walk(200)
    rows = pd.DataFrame({"time_ns": time_ns, "y_mid": np.exp(y), "x_mid": np.exp(x)})
    whole, part = model.predict(rows), model.predict(rows.iloc[:size])
    pd.testing.assert_frame_equal(whole.iloc[:size], part, check_exact=True)


# --- model health ---


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_judgement_at_a_moment_does_not_change_with_what_comes_after(share: float):
    inbox = told().inboxes["garch_model"]
    cut = int(share * len(inbox))
    at_cut, state = {}, garch_model.start(story_config())
    for number, event in enumerate(inbox):
        if number == cut:
            at_cut = {pair: windows.copied(one) for pair, one in state.windows.items()}
        garch_model.step(state, event)
    alone = garch_model.start(story_config())
    for event in inbox[:cut]:
        garch_model.step(alone, event)
    for pair, window in at_cut.items():
        then, there = windows.slots_of(window), windows.slots_of(alone.windows[pair])
        assert [judge(pair, one).document() for one in then] == [
            judge(pair, one).document() for one in there
        ]
        # What came later stands in rows of its own: those that were there are still the same.
        taken, width = int(window.clock["taken"][0]), windows.SHARED
        later = state.windows[pair].values
        assert 10 < taken < windows.WINDOW
        assert later[:taken, :width].tobytes() == window.values[:taken, :width].tobytes()
        assert np.isfinite(later[taken:, :width]).any()


def test_a_score_is_judged_by_the_forecast_made_before_it():
    inbox = told().inboxes["garch_model"]
    last = max(
        number
        for number, event in enumerate(inbox)
        if isinstance(event, HedgeRatio) and event.tick.pair == STORY_PAIR and event.tick.grid_steps
    )
    scores = []
    for times in (1.0, 3.0):
        state = garch_model.start(story_config())
        for event in inbox[:last]:
            garch_model.step(state, event)
        hedges = np.frombuffer(inbox[last].hedges, HEDGE).copy()
        hedges["innovation"] *= times
        garch_model.step(state, msgspec.structs.replace(inbox[last], hedges=hedges.tobytes()))
        window = state.windows[STORY_PAIR]
        row = (int(window.clock["taken"][0]) - 1) % windows.WINDOW
        scores.append(window.values[row, windows.SHARED].item())
    # A normal model's score is the innovation over its deviation: three times as far out, whatever
    # the innovation itself would have taught.
    assert scores[1] == pytest.approx(3.0 * scores[0], rel=1e-5) and scores[0] != 0.0
