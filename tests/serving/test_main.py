"""What a service loads before it knows which one it is."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from hft_lib.market import synthetic
from serving.__main__ import _log_to_stderr, main
from serving.runtime.settings import Settings
from tests.cli.conftest import ROOT
from tests.integration.conftest import free_ports

STEPPED = """
import sys
from serving.slim import give_back, leave_out
leave_out()
give_back()
sys.path.insert(0, "tests")
from builders import story, story_config
from hft_lib.stage import Line
from serving.services import stages
line = Line(stages(), story_config())
made = sum(len(line.post(log, fact)) for log, fact in story())
print(made, [name for name in sys.modules if name.startswith("scipy.linalg.")])
"""
FED = """
import sys
from serving.slim import leave_out
leave_out()
from pathlib import Path
from hft_lib.market.tape import Tape
from serving.adapters.tape_feed import tape_feed
from serving.services import SERVICES
from serving.tape_edge import feed_of
SERVICES[0].load()
tape = Path(sys.argv[1])
legs = feed_of(tape).symbols
print(sum(1 for _ in tape_feed(Tape.open(tape), legs[:1])), "pyarrow" in sys.modules)
print([name for name in ("numba", "pandas", "scipy") if name in sys.modules])
"""
HEAVY = ("pyarrow", "pandas", "sqlalchemy", "mlflow", "arch", "statsmodels", "plotly")


def test_a_service_loads_no_layer_that_only_another_one_needs():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, serving.__main__, serving.process; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in HEAVY if name in found] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_is_heard_while_the_libraries_are_still_imported(
    number: signal.Signals, tmp_path: Path
):
    asked = f"import os; os.kill(os.getpid(), {number:d})\nraise SystemExit('it went on')\n"
    (tmp_path / "structlog.py").write_text(asked)
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    words = (sys.executable, "-m", "serving", "execution", "--bus", "memory")
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def all_in_one(home: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The six services with their files in `home`, which must end by themselves."""
    (port,) = free_ports(1)
    words = (sys.executable, "-m", "serving", "all", "--bus", "memory", "--port", str(port))
    environ = {**os.environ, "HFT_HOME": home}
    return subprocess.run(
        words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, **more
    )


@pytest.mark.parametrize("home", ["/sys/hft", "/dev/full/hft"])
def test_a_home_that_nobody_can_write_to_is_a_wrong_setting(home: str):
    done = all_in_one(home)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("serving: ") and home in said


def test_a_disk_that_takes_no_more_ends_the_start_with_one_sentence(tmp_path: Path):
    # A limit on file size fails as a full disk does, and needs no rights.
    limits = (200_000, 200_000)
    done = all_in_one(
        str(tmp_path), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert done.stderr.splitlines()[-1].startswith("serving: ")


def test_a_full_disk_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "[errno 28]", "/var/lib/hft/line/journal")

    monkeypatch.setattr("serving.__main__.typer.run", full)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = "serving: the disk of HFT_HOME is full at /var/lib/hft/line/journal\n"
    assert capsys.readouterr().err == told


def test_ingestion_reads_a_tape_without_what_kernels_and_frames_need(tmp_path: Path):
    ticks = 2_000
    synthetic.write(7, tmp_path / "tape", synthetic.ticks(ticks))
    words = (sys.executable, "-c", FED, str(tmp_path / "tape"))
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    loaded, read, heavy = told.splitlines()
    assert loaded.endswith("kernels=0 service=ingestion")
    assert read.endswith(" True") and ticks / 4 < int(read.split()[0]) < ticks
    assert heavy == "[]"


def test_kernels_run_without_linear_algebra():
    found = subprocess.run(
        [sys.executable, "-c", STEPPED], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split(" ", 1)
    assert int(found[0]) > 0
    assert found[1].strip() == "[]"


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_a_log_is_one_line_an_event_and_json_where_a_collector_reads_it(
    environment: Literal["development", "staging"], capsys: pytest.CaptureFixture[str]
):
    try:
        _log_to_stderr(Settings(environment=environment))
        structlog.get_logger("test").info("an order", trace="abc", service="execution")
    finally:
        structlog.reset_defaults()
    (line,) = capsys.readouterr().err.splitlines()
    if environment == "development":
        assert "an order" in line and "trace=abc" in line and "\x1b" not in line
    else:
        found = json.loads(line)
        assert found.pop("timestamp").endswith("Z")
        assert found == {
            "event": "an order",
            "level": "info",
            "trace": "abc",
            "service": "execution",
        }
