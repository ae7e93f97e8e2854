"""`hft replay --verify` against a line's log: what it was opened with is in the log itself."""

from pathlib import Path

import pytest

from hft_lib.events import Quote
from tests.cli.conftest import Verb
from tests.serving.test_line_replay import Written, save, the_story


@pytest.fixture(scope="module")
def written() -> Written:
    """The whole story on six logs."""
    return the_story()


@pytest.fixture
def line(written: Written, tmp_path: Path) -> Path:
    """Its log, beside its tape."""
    return save(tmp_path / "live", written.rows, written.given, written.ends())


def test_a_line_is_verified_without_a_parameter_file(
    hft: Verb, line: Path, written: Written
) -> None:
    known = hft("replay", "--tape", line.parent, "--verify", line, "--json").json
    assert (known["verified"], known["complete"]) == (True, True)
    assert known["orders"] == written.tally.orders > 10
    assert known["orders_sha256"] == written.tally.orders_sha256()
    told = hft("replay", "--tape", line.parent, "--verify", line)
    assert told.code == 0 and "every one of" in told.out


def test_what_would_be_another_line_is_refused(hft: Verb, line: Path, params: Path) -> None:
    given = ("replay", "--tape", line.parent, "--verify", line)
    other = hft(*given, "--params", params)
    assert other.code == 2 and "the line was opened with no such set" in other.sentence
    paired = hft(*given, "--pair", "A/U:U~A/U", "--start", "2024-01-01")
    assert (paired.code, paired.sentence) == (
        2,
        "hft: a line's log says what it was opened with: leave --pair, --start out",
    )
    nothing = hft("replay", "--tape", line.parent)
    assert (nothing.code, nothing.sentence) == (
        2,
        "hft: --params must name the parameter file, it was missing",
    )


def test_a_line_that_is_not_the_tapes_ends_with_1(
    hft: Verb, written: Written, tmp_path: Path
) -> None:
    rows = [row for row in written.rows if not (isinstance(row, Quote) and row.bid > 0)][:50]
    path = save(tmp_path / "other", rows, written.given, written.ends())
    found = hft("replay", "--tape", path.parent, "--verify", path)
    assert found.code == 1 and f"{path}: " in found.sentence
