"""The steps before the gate, on a short market: the tape's gate, selection, fits, walk-forward."""

from pathlib import Path

import msgspec
import pytest

from hft_lib.backtest.sampling import slower_cadence_ns
from hft_lib.events import Quote
from hft_lib.fitting.calibrate import calibrate, iso_ms
from hft_lib.market import synthetic
from hft_lib.market.flaws import FlawRun
from hft_lib.market.merge import DAY_NS
from hft_lib.market.tape import Tape, TapeWriter
from hft_lib.workflow import fits
from hft_lib.workflow.folds import fit_moments, folds_of, open_same, pair_folds, tape_folds
from hft_lib.workflow.pair_selection import select_pairs_file
from hft_lib.workflow.refusal import Refused, read_json
from hft_lib.workflow.tape_gate import TapeVerdict, check_tape_file, reasons
from hft_lib.workflow.walk_forward import Trials, fit_fold, trade_folds, walk_forward_file
from tests.hft_lib.workflow.made import broken_copy

PAIR = "SYN/USDT:USDT~SYN/USDT"
FOLDS = 2


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Eight days of a synthetic market, a quote of each leg a minute."""
    market = synthetic.SyntheticMarket(days=8.0)
    return synthetic.write(3, tmp_path_factory.mktemp("market") / "tape", market)


@pytest.fixture(scope="module")
def fitted(tape: Tape, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The three fits, each by its own step."""
    folder = tmp_path_factory.mktemp("fits")
    made = []
    steps = (fits.fit_kalman_file, fits.fit_garch_file, fits.fit_bocd_file)
    for name, step in zip(("kalman", "garch", "bocd"), steps, strict=True):
        made.append(folder / name)
        step(str(tape.path), tape.sha256, PAIR, FOLDS, made[-1])
    return made


# --- the tape's gate ---


def test_a_sound_tape_passes_with_its_hash(tape: Tape, tmp_path: Path) -> None:
    assert check_tape_file(str(tape.path), tmp_path / "report") == tape.sha256
    known = read_json(tmp_path / "report", TapeVerdict)
    assert known.reasons == [] and known.symbols == tape.symbols


def test_a_tape_whose_rows_were_changed_is_refused(tape: Tape, tmp_path: Path) -> None:
    broken = broken_copy(tape.path, tmp_path / "broken")
    with pytest.raises(Refused, match="the tape is refused: HASH"):
        check_tape_file(str(broken), tmp_path / "report")


@pytest.mark.parametrize(
    ("reason", "count", "said"),
    [
        ("CROSSED", 11, "flawed rows of A must be at most 1%, was 1.1%"),
        ("GAP", 300, "missing quotes of A must be at most 20%, was 23.1%"),
        ("NO_INSTRUMENT", 1, "NO_INSTRUMENT of A"),
    ],
)
def test_flaws_beyond_their_share_are_refused(reason: str, count: int, said: str) -> None:
    assert reasons([FlawRun(reason, "A", "", "", count)], 1_000.0) == [said]


@pytest.mark.parametrize(("reason", "count"), [("CROSSED", 10), ("GAP", 250)])
def test_flaws_within_their_share_pass(reason: str, count: int) -> None:
    assert reasons([FlawRun(reason, "A", "", "", count)], 1_000.0) == []


# --- folds and pairs ---


def test_each_fold_trades_strictly_after_its_fit_and_together_they_trade_the_rest() -> None:
    found = folds_of(10 * DAY_NS, 310 * DAY_NS, 4)
    assert [one.trade_ns - one.fit_ns for one in found] == [60 * DAY_NS] * 4
    assert found[0].fit_ns == 10 * DAY_NS and found[-1].end_ns == 310 * DAY_NS + 1
    for before, after in zip(found, found[1:]):
        assert before.fit_ns < before.trade_ns < before.end_ns == after.trade_ns


@pytest.mark.parametrize("count", [0, 25])
def test_a_number_of_folds_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(Refused, match=f"folds must be from 1 to 24, was {count}"):
        folds_of(0, DAY_NS, count)


def test_a_named_pair_is_taken_and_an_unknown_one_refused(tape: Tape, tmp_path: Path) -> None:
    taken = select_pairs_file(str(tape.path), tape.sha256, PAIR, FOLDS, tmp_path / "scan")
    assert taken == [{"pair": PAIR, "tape_sha256": tape.sha256}]
    with pytest.raises(Refused, match="XRP"):
        select_pairs_file(str(tape.path), tape.sha256, "XRP/USDT~SYN/USDT", FOLDS, tmp_path / "no")


def test_without_a_name_the_pairs_that_hold_together_are_found(tape: Tape, tmp_path: Path) -> None:
    found = select_pairs_file(str(tape.path), tape.sha256, "", FOLDS, tmp_path / "scan")
    assert [one["pair"] for one in found] == [PAIR]


def test_a_tape_that_changed_under_the_pipeline_is_refused(tape: Tape) -> None:
    with pytest.raises(Refused, match="the tape changed under the pipeline: must be 000000000000"):
        open_same(str(tape.path), "0" * 64)


def test_a_pairs_folds_begin_where_both_legs_are_quoted(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "late") as writer:
        writer.write(
            Quote(number * DAY_NS, 0, leg, 1.0, 1.0, 1.1, 1.0)
            for number in range(1, 41)
            for leg in ("EARLY/USDT", "LATE/USDT")
            if leg == "EARLY/USDT" or number > 20
        )
    found = Tape.open(tmp_path / "late")
    pair = "EARLY/USDT~LATE/USDT"
    assert pair_folds(found, pair, FOLDS)[0].fit_ns == 21 * DAY_NS
    assert pair_folds(found, pair, FOLDS)[0].trade_ns > tape_folds(found, FOLDS)[0].trade_ns


# --- fits ---


def test_three_fits_side_by_side_are_the_one_calibration(tape: Tape, fitted: list[Path]) -> None:
    newest = pair_folds(tape, PAIR, FOLDS)[-1]
    window = fits.prepared(tape, PAIR, newest)
    together = fits.joined(window, *map(fits.read_fit, fitted))
    moments = fit_moments(tape, PAIR, newest)
    alone = calibrate(*moments, PAIR, cadence_ns_min=slower_cadence_ns(tape, PAIR))
    assert together == alone
    assert moments.time_ns[-1] < newest.trade_ns


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_fit_to_another_series_is_refused(tape: Tape, fitted: list[Path], which: int) -> None:
    known = [fits.read_fit(path) for path in fitted]
    known[which] = msgspec.structs.replace(known[which], fitted_to="0" * 64)
    window = fits.prepared(tape, PAIR, pair_folds(tape, PAIR, FOLDS)[-1])
    with pytest.raises(Refused, match="the steps did not see the same data"):
        fits.joined(window, *known)


# --- walk-forward ---


def test_the_walk_forward_trades_whole_days_with_costs(
    tape: Tape, fitted: list[Path], tmp_path: Path
) -> None:
    given = (str(tape.path), tape.sha256, PAIR, fitted, FOLDS, 10_000.0)
    days = walk_forward_file(*given, -1.0, tmp_path / "trials")
    found = read_json(tmp_path / "trials", Trials)
    assert days == len(found.daily_quote) == sum(fold.days for fold in found.folds) > 0
    assert found.names == ["calibrated", "bold", "patient", "eager"]
    assert set(found.names) == set(found.parameters)
    assert any(value != 0.0 for row in found.daily_quote for value in row)
    assert found.folds[-1].fit_end == found.fit_end < found.folds[-1].trade_end
    walk_forward_file(*given, -1.0, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "trials").read_bytes()


def test_a_part_of_a_tape_is_walked_without_a_look_at_the_rest(tape: Tape) -> None:
    middle_ns = (tape.start_ns + tape.end_ns) // 2 + DAY_NS
    folds = folds_of(tape.start_ns, middle_ns, 1)
    fitted = [(fold, fit_fold(tape, PAIR, fold)) for fold in folds]
    found = trade_folds(tape, PAIR, fitted, 10_000.0, -1.0)
    assert found.folds[-1].trade_end == iso_ms(middle_ns + 1)
    assert len(found.daily_quote) == found.folds[0].days > 0
    assert found.parameters["calibrated"] == fitted[-1][1].params
