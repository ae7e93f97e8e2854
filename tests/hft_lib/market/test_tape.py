"""Tapes: what is written comes back, the hash is of the rows, what is not whole is refused."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_lib.events import (
    Depth,
    Funding,
    Instrument,
    Mark,
    MarketEvent,
    Quote,
    TimePassed,
    Trade,
)
from hft_lib.market import quality, tape_writer
from hft_lib.market.tape import Tape, TapeError, TapeWriter

SECOND = 10**9
INSTRUMENT = Instrument(0, "A/B", "spot", "none", 0.0, 0.001, 0.001, 0.01, 1e-8, 5.0, SECOND)

times = st.integers(0, 5) | st.integers(0, 2**62)
ids = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats()
symbols = st.sampled_from(["BTC/USDT", "BTC/USDT:USDT", "Ü/€", ""])
levels = st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple)
events = st.one_of(
    st.builds(Quote, times, ids, symbols, numbers, numbers, numbers, numbers, ids),
    st.builds(Trade, times, ids, symbols, numbers, numbers, st.sampled_from(["buy", "sell"]), ids),
    st.builds(Depth, times, ids, symbols, st.booleans(), ids, ids, ids, levels, levels),
    st.builds(Funding, times, ids, symbols, numbers),
    st.builds(Mark, times, ids, symbols, numbers),
    st.builds(
        Instrument,
        times,
        symbols,
        st.text(max_size=3),
        st.text(max_size=3),
        *[numbers] * 6,
        ids,
    ),
    st.builds(TimePassed, times),
)
streams = st.lists(events, min_size=1, max_size=40).map(
    lambda stream: sorted(stream, key=lambda event: event.time_ns)
)


def quotes(count: int, start: int = 0) -> list[Quote]:
    return [Quote(start + n, start + n, "AB"[n % 2], 1.0, n, 2.0, n, n + 1) for n in range(count)]


def written(path: Path, stream: Sequence[MarketEvent | TimePassed], **options: Any) -> Tape:
    with TapeWriter(path, **options) as tape:
        tape.write(stream)
    return Tape.open(path)


def encoded(stream: Iterable[MarketEvent | TimePassed]) -> list[bytes]:
    """Bytes compare where NaN does not equal itself."""
    return [msgspec.msgpack.encode(event) for event in stream]


@settings(max_examples=60)
@given(stream=streams)
def test_every_event_comes_back_as_it_was(stream, tmp_path_factory) -> None:
    tape = written(tmp_path_factory.mktemp("tape") / "tape", stream)
    assert encoded(tape.events()) == encoded(stream)
    assert tape.rows == len(stream)
    assert (tape.start_ns, tape.end_ns) == (stream[0].time_ns, stream[-1].time_ns)


@settings(max_examples=40)
@given(stream=streams, data=st.data())
def test_the_hash_is_the_same_in_any_order_of_one_time_and_any_cut(
    stream, data, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("tape")
    shuffled = sorted(data.draw(st.permutations(stream)), key=lambda event: event.time_ns)
    one = written(folder / "one", stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape_writer, "GROUP_ROWS", data.draw(st.integers(1, 5)))
        cut = written(folder / "cut", shuffled, file_rows_max=data.draw(st.integers(1, 7)))
    assert cut.sha256 == one.sha256
    assert "HASH" not in {flaw.reason for flaw in quality.check_tape(cut).flaws}
    assert len(cut.manifest.files) >= len(one.manifest.files)


def test_the_hash_changes_with_any_value(tmp_path: Path) -> None:
    stream = quotes(10)
    changed = [*stream[:5], msgspec.structs.replace(stream[5], ask=2.5), *stream[6:]]
    assert written(tmp_path / "a", stream).sha256 != written(tmp_path / "b", changed).sha256


def test_more_is_no_part_of_a_row(tmp_path: Path) -> None:
    stream = quotes(4)
    with_more = [msgspec.structs.replace(quote, more=True) for quote in stream]
    tape = written(tmp_path / "b", with_more)
    assert tape.sha256 == written(tmp_path / "a", stream).sha256
    assert list(tape.events()) == stream


def test_a_window_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    stream = quotes(100_000)
    tape = written(tmp_path / "tape", stream)
    assert list(tape.events(60_000, 60_003)) == stream[60_000:60_003]
    assert list(tape.events(99_999)) == stream[99_999:]
    assert list(tape.events(100_000)) == []
    assert list(tape.events(10, 20, ["A"])) == stream[10:20:2]


def test_time_passed_concerns_every_symbol(tmp_path: Path) -> None:
    tape = written(tmp_path / "tape", [*quotes(2), TimePassed(5), Mark(6, 6, "B", 1.0)])
    assert list(tape.events(symbols=["A"])) == [quotes(1)[0], TimePassed(5)]
    assert tape.symbols == ["A", "B"]


def test_the_instrument_in_force_is_the_last_before(tmp_path: Path) -> None:
    changed = msgspec.structs.replace(INSTRUMENT, time_ns=70_000, taker_fee_rate=0.1)
    stream: list[MarketEvent] = [INSTRUMENT, *quotes(70_000), changed, *quotes(5, 70_001)]
    tape = written(tmp_path / "tape", stream)
    assert tape.instruments() == {"A/B": changed}
    assert tape.instruments(69_999) == {"A/B": INSTRUMENT}
    assert written(tmp_path / "bare", quotes(3)).instruments() == {}


def test_windows_end_where_it_was_silent(tmp_path: Path) -> None:
    tape = written(tmp_path / "tape", [*quotes(20_000), *quotes(3, 30_000), *quotes(1, 90_000)])
    assert tape.windows(10_000) == [(0, 19_999), (30_000, 30_002), (90_000, 90_000)]
    assert tape.windows(10**6) == [(0, 90_000)]


# --- nothing half-written is taken for whole ---


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), TapeWriter(tmp_path / "tape") as tape:
        tape.write(quotes(60_000))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_old_tape_survives_a_failed_replacement(tmp_path: Path) -> None:
    old = written(tmp_path / "tape", quotes(3))
    with pytest.raises(ZeroDivisionError), TapeWriter(tmp_path / "tape", replace=True) as tape:
        tape.write(quotes(5))
        raise ZeroDivisionError
    assert Tape.open(tmp_path / "tape").sha256 == old.sha256


def test_a_replacement_takes_the_place(tmp_path: Path) -> None:
    written(tmp_path / "tape", quotes(3))
    with TapeWriter(tmp_path / "tape", replace=True) as tape:
        tape.write(quotes(5))
    assert Tape.open(tmp_path / "tape").rows == 5
    assert [path.name for path in tmp_path.iterdir()] == ["tape"]


def test_a_taken_place_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    written(tmp_path / "tape", quotes(3))
    for name in ("file", "folder", "tape"):
        with pytest.raises(TapeError, match="exists already"), TapeWriter(tmp_path / name):
            pytest.fail("the block must not run")
    assert len(list(tmp_path.iterdir())) == 3


def test_an_empty_directory_may_become_a_tape(tmp_path: Path) -> None:
    (tmp_path / "tape").mkdir()
    assert written(tmp_path / "tape", quotes(3)).rows == 3


def test_time_that_goes_back_and_no_event_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="must not go back"), TapeWriter(tmp_path / "a") as tape:
        tape.write([*quotes(3), *quotes(1)])
    with pytest.raises(TapeError, match="no event"), TapeWriter(tmp_path / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_limit_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on file size fails as a full disk does, and needs no rights.
    script = f"""
import resource, sys
from hft_lib.events import Quote
from hft_lib.market.tape import TapeWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with TapeWriter({str(tmp_path / "tape")!r}) as tape:
        tape.write(Quote(n, n, "A", n * 1.1, n * 1.3, n * 1.7, n / 7, n) for n in range(100_000))
except OSError as error:
    sys.exit(40 + bool(error.errno))
"""
    assert run_python(script).returncode == 41
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True) if mount else None
    if done is None or done.returncode:
        pytest.skip(
            f"no right to mount a small disk: {done.stderr.strip() if done else 'no mount'}"
        )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    stream = [Quote(n, n, "A", n * 1.1, n * 1.3, n * 1.7, n / 7, n) for n in range(150_000)]
    with pytest.raises(OSError, match="(?i)space"), TapeWriter(small_disk / "tape") as tape:
        tape.write(stream)
    assert list(small_disk.iterdir()) == []


# --- what is no tape is refused in one sentence ---


def broken(path: Path, file: str, content: bytes | None) -> None:
    written(path, quotes(1000))
    if content is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(content)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("events-00000.parquet", b"", "no whole Parquet file"),
        ("events-00000.parquet", b"PAR1 half written", "no whole Parquet file"),
        ("events-00000.parquet", b"some text", "no whole Parquet file"),
        ("events-00000.parquet", None, "is missing"),
        ("tape.json", None, "has no tape.json"),
        ("tape.json", b"", "not the manifest"),
        ("tape.json", b'{"rows": 1}', "not the manifest"),
        ("tape.json", b"not JSON", "not the manifest"),
    ],
)
def test_a_broken_tape_is_told_in_one_sentence(tmp_path: Path, file, content, sentence) -> None:
    broken(tmp_path / "tape", file, content)
    with pytest.raises(TapeError, match=sentence) as caught:
        Tape.open(tmp_path / "tape")
    assert "\n" not in str(caught.value)


def test_another_schema_or_number_of_rows_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tape = written(tmp_path / "tape", quotes(10))
    manifest = (tape.path / "tape.json").read_text()
    (tape.path / "tape.json").write_text(
        manifest.replace('"schema_version": 1', '"schema_version": 9')
    )
    with pytest.raises(TapeError, match="schema version 9"):
        Tape.open(tape.path)
    (tape.path / "tape.json").write_text(manifest)
    other = written(tmp_path / "other", quotes(9))
    shutil.copy(other.path / "events-00000.parquet", tape.path)
    with pytest.raises(TapeError, match="9 rows, its manifest says 10"):
        Tape.open(tape.path)
    pq.write_table(pa.table({"time_ns": [1] * 10}), tape.path / "events-00000.parquet")
    with pytest.raises(TapeError, match="columns of a tape"):
        Tape.open(tape.path)


def test_a_file_or_nothing_is_no_tape(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for name in ("file", "nothing"):
        with pytest.raises(TapeError, match="a tape is a directory"):
            Tape.open(tmp_path / name)


def test_a_flipped_byte_is_found_when_it_is_read(tmp_path: Path) -> None:
    tape = written(tmp_path / "tape", quotes(5000))
    file = tape.path / "events-00000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(TapeError, match="damaged in row group 0"):
        list(Tape.open(tape.path).events())


# --- memory ---


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def test_memory_does_not_grow_with_the_tape(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from hft_lib.events import Quote
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape, TapeWriter
def stream(name, count):
    path = Path({str(tmp_path)!r}) / name
    with TapeWriter(path) as tape:
        tape.write(Quote(n, n, "A", n * 1.1, n * 1.3, n * 1.7, n / 7, n) for n in range(count))
    assert sum(1 for event in feed_events(Tape.open(path))) == count + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
short = stream("short", 100_000)
long = stream("long", 1_000_000)
raise SystemExit(f"{{long - short}}")
"""
    done = run_python(script)
    growth_kb = int(done.stderr.strip())
    # Ten times the rows are 250 MB of events: what is held is a row group and a batch.
    assert growth_kb < 48_000
