"""Fetching from an archive: each file once, whole, whatever the line and the server do wrong."""

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest

from hft_lib.market.archive import ArchiveFile, Kind, Wanted, plan
from serving.adapters.binance_archive import WRONG_CHECKSUMS_MAX, Archive, ArchiveError
from tests import archive_world
from tests.archive_world import ArchiveServer, klines

DAY = date(2024, 8, 8)
STREAM = Wanted("BTC/USDT", Kind.KLINES, "1m")
(FILE,) = plan(STREAM, DAY, DAY)


@pytest.fixture
def world() -> Iterator[ArchiveServer]:
    with archive_world.serving() as server:
        server.add(FILE, klines(DAY))
        yield server


def archive(world: ArchiveServer, home: Path) -> Archive:
    return Archive(home, world.url, pause_s=0.001, timeout=httpx.Timeout(5.0))


def fetch(world: ArchiveServer, home: Path, *files: ArchiveFile) -> list[bytes]:
    fetched, missing = archive(world, home).fetch(files or (FILE,))
    assert missing == []
    return [one.path.read_bytes() for one in fetched]


def test_a_file_is_fetched_once_and_then_found_without_a_request(
    world: ArchiveServer, tmp_path: Path
) -> None:
    first = fetch(world, tmp_path)
    assert first == [world.files[f"/{FILE.path}"]]
    asked = len(world.asked)
    assert fetch(world, tmp_path) == first
    assert len(world.asked) == asked == 2
    assert not list(tmp_path.rglob("*.part*"))


def test_a_file_that_was_spoiled_here_is_fetched_again(
    world: ArchiveServer, tmp_path: Path
) -> None:
    fetch(world, tmp_path)
    (kept,) = tmp_path.rglob("*.zip")
    kept.write_bytes(b"spoiled")
    assert fetch(world, tmp_path) == [world.files[f"/{FILE.path}"]]


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(
    world: ArchiveServer, tmp_path: Path
) -> None:
    world.fail(FILE.path, "cut", "cut", "slow")
    whole = world.files[f"/{FILE.path}"]
    assert fetch(world, tmp_path) == [whole]
    half = len(whole) // 2
    three_quarters = half + (len(whole) - half) // 2
    assert world.ranges_asked(FILE.path) == [None, f"bytes={half}-", f"bytes={three_quarters}-"]


def test_a_later_run_goes_on_where_an_ended_one_stopped(
    world: ArchiveServer, tmp_path: Path
) -> None:
    whole = world.files[f"/{FILE.path}"]
    world.fail(FILE.path, "cut", 403)
    with pytest.raises(ArchiveError, match="answered 403"):
        fetch(world, tmp_path)
    world.asked.clear()
    assert fetch(world, tmp_path) == [whole]
    assert world.ranges_asked(FILE.path) == [f"bytes={len(whole) // 2}-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(
    world: ArchiveServer, tmp_path: Path
) -> None:
    world.ranges = False
    world.fail(FILE.path, "cut")
    assert fetch(world, tmp_path) == [world.files[f"/{FILE.path}"]]


@pytest.mark.parametrize("tagged", [True, False])
def test_a_file_that_changed_in_between_is_begun_anew(
    world: ArchiveServer, tmp_path: Path, tagged: bool
) -> None:
    if not tagged:
        world.etags.clear()
    world.fail(FILE.path, "cut", 403)
    with pytest.raises(ArchiveError):
        fetch(world, tmp_path)
    half = len(world.files[f"/{FILE.path}"]) // 2
    world.add(FILE, klines(DAY, 1300), header=True)
    if not tagged:
        world.etags.clear()
    world.asked.clear()
    assert fetch(world, tmp_path) == [world.files[f"/{FILE.path}"]]
    # With an ETag the server itself sends the whole; without one the other length shows it, before
    # any checksum could.
    assert world.ranges_asked(FILE.path) == [f"bytes={half}-", *([] if tagged else [None])]
    assert world.ranges_asked(f"{FILE.path}.CHECKSUM") == [None]


def test_a_wrong_checksum_is_tried_again_and_the_file_thrown_away(
    world: ArchiveServer, tmp_path: Path
) -> None:
    world.fail(FILE.path, "broken")
    assert fetch(world, tmp_path) == [world.files[f"/{FILE.path}"]]
    assert len(world.ranges_asked(FILE.path)) == 2

    other = plan(STREAM, date(2024, 8, 9), date(2024, 8, 9))[0]
    world.add(other, klines(date(2024, 8, 9)))
    world.fail(other.path, *["broken"] * WRONG_CHECKSUMS_MAX)
    with pytest.raises(ArchiveError, match="CHECKSUM file says .*: it was thrown away"):
        fetch(world, tmp_path, other)
    assert world.ranges_asked(other.path) == [None] * WRONG_CHECKSUMS_MAX
    assert [path.name for path in tmp_path.rglob("*2024-08-09*")] == []


def test_a_checksum_file_of_another_file_is_not_believed(
    world: ArchiveServer, tmp_path: Path
) -> None:
    digest = hashlib.sha256(world.files[f"/{FILE.path}"]).hexdigest()
    world.files[f"/{FILE.path}.CHECKSUM"] = f"{digest}  other.zip\n".encode()
    with pytest.raises(ArchiveError, match="is no SHA-256 of BTCUSDT-1m"):
        fetch(world, tmp_path)


@pytest.mark.parametrize("faults", [(500, 503), (429, 502), ("cut", 500, "cut", 500)])
def test_what_the_server_does_wrong_for_a_while_is_waited_for(
    world: ArchiveServer, tmp_path: Path, faults: tuple[str | int, ...]
) -> None:
    world.fail(FILE.path, *faults)
    world.fail(f"{FILE.path}.CHECKSUM", 503)
    assert fetch(world, tmp_path) == [world.files[f"/{FILE.path}"]]


def test_a_server_that_stays_ill_is_given_up_with_a_sentence(
    world: ArchiveServer, tmp_path: Path
) -> None:
    world.fail(FILE.path, *[500] * 50)
    with pytest.raises(ArchiveError, match="the archive answered 500 .tried 6 times"):
        fetch(world, tmp_path)
    assert len(world.ranges_asked(FILE.path)) == 6


def test_a_place_where_nobody_answers_is_told(tmp_path: Path) -> None:
    with archive_world.serving() as world:
        pass
    with pytest.raises(ArchiveError, match="did not come from http://127.0.0.1"):
        fetch(world, tmp_path)


def test_a_day_that_is_not_there_is_told_and_the_rest_come(
    world: ArchiveServer, tmp_path: Path
) -> None:
    files = plan(STREAM, date(2024, 8, 7), date(2024, 8, 9))
    fetched, missing = archive(world, tmp_path).fetch(files)
    assert [one.file for one in fetched] == [FILE]
    assert missing == [files[0], files[2]]


def test_a_month_that_is_not_there_is_replaced_by_its_days(
    world: ArchiveServer, tmp_path: Path
) -> None:
    first, last = date(2024, 2, 1), date(2024, 2, 29)
    (month,) = plan(STREAM, first, last)
    for file in month.days():
        world.add(file, klines(file.first, 2))
    fetched, missing = archive(world, tmp_path).fetch([month])
    assert [one.file for one in fetched] == month.days()
    assert missing == []


def test_a_month_that_is_there_is_preferred_to_its_days(
    world: ArchiveServer, tmp_path: Path
) -> None:
    (month,) = plan(STREAM, date(2024, 2, 1), date(2024, 2, 29))
    world.add(month, klines(date(2024, 2, 1), 2))
    assert len(fetch(world, tmp_path, month)) == 1
    assert world.zips_asked() == [month.path]


def test_files_of_two_archives_never_mix(world: ArchiveServer, tmp_path: Path) -> None:
    fetch(world, tmp_path)
    with archive_world.serving() as other:
        other.add(FILE, klines(DAY, 10))
        assert fetch(other, tmp_path) == [other.files[f"/{FILE.path}"]]
