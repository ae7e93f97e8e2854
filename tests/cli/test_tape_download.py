"""`hft tape download`: days of an archive become one tape; its answer and its ends."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from hft_lib.events import Funding, Quote, TimePassed
from hft_lib.market.archive import ArchiveFile, Kind, plan, wanted
from hft_lib.market.tape import Tape
from serving.adapters import binance_archive
from tests import archive_world
from tests.archive_world import ArchiveServer, days, klines, start_ms
from tests.cli.conftest import Verb

SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
FIRST, LAST = date(2024, 8, 6), date(2024, 8, 8)
SPAN = ("--from", "2024-08-06", "--to", "2024-08-08", "--json")
BOTH = ("--symbol", SPOT, "--symbol", PERPETUAL)


def files_of(symbols: list[str], kind: Kind, first: date, last: date) -> list[ArchiveFile]:
    return [file for one in wanted(symbols, [kind], "1m") for file in plan(one, first, last)]


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    """An archive with three days of bars of both markets, in the two forms that they have."""
    with archive_world.serving() as server:
        for file in files_of([SPOT, PERPETUAL], Kind.KLINES, FIRST, LAST):
            unit = 1000 if file.symbol == SPOT else 1
            server.add(file, klines(file.first, 1440, unit), header=file.symbol == PERPETUAL)
        monkeypatch.setenv("BINANCE_DATA_URL", server.url)
        monkeypatch.setattr(binance_archive.Archive.__init__, "__defaults__", _quick())
        yield server


def _quick() -> tuple[object, ...]:
    url, told, _, timeout = binance_archive.Archive.__init__.__defaults__ or ()
    return url, told, 0.001, timeout


def test_days_of_two_markets_become_one_tape(
    hft: Verb, world: ArchiveServer, tmp_path: Path
) -> None:
    answer = hft("tape", "download", *BOTH, *SPAN, "--out", tmp_path / "a")
    assert answer.code == 0, answer.err
    told = answer.json
    assert told["rows"] == 2 + 2 * 3 * 1440
    assert told["symbols"] == [SPOT, PERPETUAL]
    assert (told["files"], told["fetched"], told["from_cache"]) == (6, 6, 0)
    assert (told["flaws"], told["missing"]) == ([], [])
    tape = Tape.open(tmp_path / "a")
    assert tape.sha256 == told["tape_sha256"]
    quotes = [event for event in tape.events() if isinstance(event, Quote)]
    assert quotes[0].time_ns == (start_ms(FIRST) + 60_000) * 10**6
    assert quotes[-1].time_ns == (start_ms(LAST) + 86_400_000) * 10**6
    assert [q.symbol for q in quotes[:4]] == [SPOT, PERPETUAL] * 2
    assert hft("tape", "check", tmp_path / "a", "--json").json["flaws"] == []

    again = hft("tape", "download", *BOTH[2:], *BOTH[:2], *SPAN, "--out", tmp_path / "b").json
    assert (again["fetched"], again["from_cache"], again["bytes_received"]) == (0, 6, 0)
    assert again["tape_sha256"] == told["tape_sha256"]


def test_a_month_makes_the_tape_that_its_days_make(
    hft: Verb, world: ArchiveServer, tmp_path: Path
) -> None:
    first, last = date(2024, 2, 1), date(2024, 2, 29)
    (month,) = files_of([SPOT], Kind.KLINES, first, last)
    span = ("--symbol", SPOT, "--from", first, "--to", last, "--json", "--out")
    for file in month.days():
        world.add(file, klines(file.first, 20))
    by_days = hft("tape", "download", *span, tmp_path / "days").json
    world.add(month, [row for day in days(first, last) for row in klines(day, 20)])
    by_month = hft("tape", "download", *span, tmp_path / "month").json
    assert (by_days["files"], by_month["files"]) == (29, 1)
    assert by_days["tape_sha256"] == by_month["tape_sha256"]


def test_several_kinds_make_one_tape(hft: Verb, world: ArchiveServer, tmp_path: Path) -> None:
    at_ms = start_ms(LAST)
    rows = {
        Kind.FUNDING_RATE: [f"{at_ms},8,0.0001", f"{at_ms + 86_400_000},8,0.0002"],
        Kind.BOOK_TICKER: [f"{n},1.5,1,1.6,1,{at_ms + n},{at_ms + n}" for n in range(1, 9)],
        Kind.TRADES: [f"{n},1.5,1,1,{at_ms + n},true" for n in range(1, 5)],
    }
    for kind, made in rows.items():
        world.add(files_of([PERPETUAL], kind, LAST, LAST)[0], made, header=True)
    kinds = [word for kind in rows for word in ("--kind", kind.value)]
    span = ("--from", LAST, "--to", LAST, "--out", tmp_path / "a", "--json")
    answer = hft("tape", "download", "--symbol", PERPETUAL, *kinds, *span)
    assert answer.code == 0, answer.err
    assert answer.json["rows"] == 1 + 1 + 8 + 4
    events = [one for one in Tape.open(tmp_path / "a").events() if not isinstance(one, TimePassed)]
    assert [type(event).__name__ for event in events[:2]] == ["Instrument", "Funding"]
    assert sum(isinstance(event, Funding) for event in events) == 1


def test_a_cut_off_a_broken_copy_and_a_server_error_leave_the_same_tape(
    hft: Verb, world: ArchiveServer, tmp_path: Path
) -> None:
    well = hft("tape", "download", *BOTH, *SPAN, "--out", tmp_path / "a").json
    files = files_of([SPOT, PERPETUAL], Kind.KLINES, FIRST, LAST)
    for kept in (tmp_path / "home").rglob("*.zip"):
        kept.unlink()
    world.fail(files[0].path, "cut", "slow")
    world.fail(files[1].path, "broken")
    world.fail(files[4].path, 500, "cut", 503)
    ill = hft("tape", "download", *BOTH, *SPAN, "--out", tmp_path / "b").json
    assert ill["tape_sha256"] == well["tape_sha256"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda world, path: world.fail(path, *["broken"] * 9), "CHECKSUM file says"),
        (lambda world, path: world.fail(path, *[500] * 99), "answered 500"),
        (lambda world, path: world.files.pop(f"/{path}.CHECKSUM"), "or not the CHECKSUM"),
    ],
)
def test_a_file_that_does_not_come_ends_with_1_a_sentence_and_no_tape(
    hft: Verb,
    world: ArchiveServer,
    tmp_path: Path,
    spoil: Callable[[ArchiveServer, str], object],
    sentence: str,
) -> None:
    file = files_of([SPOT], Kind.KLINES, LAST, LAST)[0]
    spoil(world, file.path)
    answer = hft("tape", "download", *BOTH, *SPAN, "--out", tmp_path / "a")
    assert answer.code == 1
    assert sentence in answer.sentence and file.name in answer.sentence
    assert not (tmp_path / "a").exists()


def test_days_that_are_not_there_can_be_done_without(
    hft: Verb, world: ArchiveServer, tmp_path: Path
) -> None:
    span = ("--from", "2024-08-08", "--to", "2024-08-10", "--json", "--out", tmp_path / "a")
    assert hft("tape", "download", "--symbol", SPOT, *span).code == 1
    told = hft("tape", "download", "--symbol", SPOT, "--allow-missing", *span).json
    assert told["missing"] == ["BTCUSDT-1m-2024-08-09.zip", "BTCUSDT-1m-2024-08-10.zip"]
    assert told["rows"] == 1 + 1440


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "2024-08-08", "--to", "2024-08-07"], "the days must be 1 to"),
        (["--from", "2024-13-08", "--to", "2024-08-07"], "--from must be a day"),
        (["--from", "2024-08-08", "--to", "2024-08-08", "--step", "2m"], "a step must be"),
        (["--from", "2024-08-08", "--to", "2024-08-08", "--spread-bps", "-1"], "spread-bps"),
        (["--from", "2024-08-08", "--to", "2024-08-08", "--symbol", "BTCUSDT"], "BASE/QUOTE"),
        (["--from", "2024-08-08", "--to", "2024-08-08", "--kind", "depth"], "depth"),
    ],
)
def test_bad_usage_ends_with_2_before_anything_is_asked(
    hft: Verb, world: ArchiveServer, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    answer = hft("tape", "download", "--symbol", SPOT, *arguments, "--out", tmp_path / "a")
    assert answer.code == 2
    assert sentence in answer.sentence
    assert world.asked == []


def test_a_place_that_is_taken_is_told_before_anything_is_asked(
    hft: Verb, world: ArchiveServer, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    answer = hft("tape", "download", *BOTH, *SPAN, "--out", tmp_path / "a")
    assert answer.code == 2 and "exists already" in answer.sentence
    assert world.asked == []
