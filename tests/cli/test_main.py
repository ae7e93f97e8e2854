"""The command as a whole: usage, settings, ends, what goes where."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.main import run_command
from tests.cli.conftest import HFT, ROOT, Verb, ended

Begin = Callable[..., subprocess.Popen[str]]
VERBS = [
    ("demo",),
    ("pairs", "scan"),
    ("calibrate",),
    ("replay",),
    ("run",),
    ("trace",),
    ("positions",),
    ("statement",),
    ("ledger", "rebuild"),
    ("ledger", "follow"),
    ("doctor",),
    ("tape", "import"),
    ("tape", "check"),
    ("tape", "synth"),
    ("evop", "status"),
    ("evop", "history"),
    ("evop", "explain"),
    ("models", "list"),
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_teaches_with_an_example_that_is_its_own(
    hft: Verb, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer = hft(*verb, "--help")
    assert answer.code == 0 and answer.err == ""
    assert f"Example: hft {' '.join(verb)}" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100
    assert "--json" in answer.out


def test_the_command_alone_shows_its_verbs(hft: Verb) -> None:
    answer = hft()
    assert answer.code == 2
    assert "hft demo" in answer.out + answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "No such command 'nosuch'"),
        (("demo", "--nosuch"), "No such option"),
        (("demo", "--seed", "-1"), "'--seed'"),
        (("demo", "--seed", "x"), "was 'x'"),
        (("replay",), "Missing option '--tape'"),
        (("trace",), "Missing argument"),
        (("evop", "explain", "many"), "valid integer"),
    ],
)
def test_bad_usage_is_one_sentence_that_names_the_help(
    hft: Verb, arguments: tuple[str, ...], said: str
) -> None:
    answer = hft(*arguments)
    assert answer.code == 2
    assert said in answer.sentence and "--help`" in answer.sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HFT_FOO", "1"),
        ("EVOP_MAX_CHALENGERS", "3"),
        ("CHAMPION_INITIAL_CAPITAL", "nan"),
        ("CHAMPION_INITIAL_CAPITAL", "-3"),
        ("EVOP_MAX_CHALLENGERS", "0"),
        ("EVOP_MAX_CHALLENGERS", "many"),
        ("PAIRS", "BTC"),
        ("EXCHANGE", "mtgox"),
        ("LOG_LEVEL", "loud"),
        ("MLFLOW_TRACKING_URI", "ftp://x"),
    ],
)
def test_a_bad_setting_ends_every_verb_with_its_name(
    hft: Verb, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = hft("doctor", "--json")
    assert answer.code == 2 and name in answer.sentence


@pytest.mark.parametrize("line", ["HFT_BAR=1", "nonsense", 'PAIRS="'])
def test_a_bad_line_of_the_settings_file_ends_every_verb(
    hft: Verb, tmp_path: Path, line: str
) -> None:
    (tmp_path / ".env").write_text(line + "\n")
    answer = hft("models", "list")
    assert answer.code == 2 and ".env" in answer.sentence


def test_a_home_that_is_a_file_is_refused(
    hft: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "file"))
    answer = hft("models", "list")
    assert answer.code == 2 and "HFT_HOME must be a folder" in answer.sentence


def test_doctor_answers_in_one_object_whatever_it_finds(
    hft: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = hft("doctor", "--json").json["checks"]
    assert all(set(check) == {"name", "ok", "detail", "fix"} for check in known)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    answer = hft("doctor", "--json")
    assert answer.code == 1
    ill = [check for check in answer.json["checks"] if not check["ok"]]
    assert [check["name"] for check in ill] == ["redis"] and ill[0]["fix"]


def test_a_registry_that_does_not_answer_is_one_sentence(
    hft: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    answer = hft("models", "list", "--json")
    assert answer.code == 1 and "does not answer" in answer.sentence


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.8])
def test_a_verb_can_be_ended_while_it_is_loaded(
    begin: Begin, tmp_path: Path, number: int, after_s: float
) -> None:
    process = begin("tape", "synth", "--seed", "1", "--out", "tape")
    deadline = time.monotonic() + 60.0
    while not heeds(process.pid, number):  # a slow machine may still start the interpreter
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(after_s)
    process.send_signal(number)
    answer = ended(process)
    assert answer.code == 1 and answer.sentence.startswith("hft: interrupted")
    assert list(tmp_path.iterdir()) == []


def heeds(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal, and it is the verb's: Python itself
    takes SIGINT from its start on.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1) and bool(caught >> (number - 1) & 1)


def test_an_import_that_is_ended_leaves_nothing(begin: Begin, tmp_path: Path) -> None:
    process = begin("tape", "synth", "--seed", "1", "--days", "2000", "--out", "tape")
    deadline = time.monotonic() + 60.0
    while not list(tmp_path.glob(".tape.partial-*/*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    answer = ended(process)
    assert answer.code == 1 and answer.sentence.startswith("hft: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(home: Path, tape: Path) -> None:
    for options in ([], ["--json"]):
        words = " ".join([*(f"'{word}'" for word in HFT), "tape", "check", str(tape), *options])
        done = subprocess.run(
            ["bash", "-c", f"{words} | head -c 1; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode in (0, 1) and done.stderr == ""


def test_colours_and_bars_are_for_terminals(
    hft: Verb, tape: Path, params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = hft("replay", "--tape", tape, "--params", params)
    assert answer.code == 0 and "\x1b" not in answer.out + answer.err and answer.err == ""
    assert max(map(len, answer.out.splitlines())) <= 100


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    made = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False)
    if not made or made.returncode:
        pytest.skip("only root, and not in every container, may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Give a disk other options."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    hft: Verb, tape: Path, params: Path, small_disk: Path, tmp_path: Path
) -> None:
    base = ("run", "--tape", tape, "--params", params)
    answer = hft(*base, "--out", small_disk / "run")
    assert answer.code == 1 and answer.err.splitlines()[-1].startswith("hft: the disk is full")
    assert "Traceback" not in answer.err and "hft run --resume" in answer.err
    remount(small_disk, "size=50m")
    resumed = hft("run", "--resume", small_disk / "run", "--json").json
    assert resumed["orders_sha256"] == hft(*base, "--json").json["orders_sha256"]


def test_a_full_disk_leaves_no_half_of_a_tape_a_table_or_a_parameter_file(
    hft: Verb, tape: Path, params: Path, small_disk: Path
) -> None:
    (small_disk / "fill").write_bytes(bytes(2 * 2**20 - 8192))
    files = ("--tape", tape, "--params", params)
    for arguments in (
        ("tape", "synth", "--seed", "1", "--days", "60", "--out", small_disk / "tape"),
        ("replay", *files, "--orders", small_disk / "orders.csv"),
    ):
        answer = hft(*arguments)
        assert answer.code == 1 and "the disk is full" in answer.sentence
        assert [path.name for path in small_disk.iterdir()] == ["fill"]


def test_a_full_device_is_one_sentence(hft: Verb, tape: Path, params: Path) -> None:
    answer = hft("replay", "--tape", tape, "--params", params, "--orders", "/dev/full")
    assert answer.code == 1 and "the disk is full" in answer.sentence
    assert Path("/dev/full").is_char_device()


def test_a_disk_that_cannot_be_written_is_one_sentence(
    hft: Verb, tape: Path, params: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remount(small_disk, "ro")
    monkeypatch.setenv("HFT_HOME", str(small_disk / "home"))
    for arguments in (
        ("run", "--tape", tape, "--params", params),
        ("demo", "--tape", tape),
        ("tape", "synth", "--seed", "1", "--days", "8", "--out", small_disk / "tape"),
    ):
        answer = hft(*arguments)
        assert answer.code == 1 and "Read-only file system" in answer.sentence
        assert "may write" in answer.sentence


def test_what_nobody_expected_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr("cli.models.read_versions", broken)
    with pytest.raises(AssertionError, match="ours"):
        run_command(["models", "list"])
    assert sys.exc_info() == (None, None, None)
