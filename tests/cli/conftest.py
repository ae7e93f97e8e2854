"""What the verbs' tests share: a short market, parameters fitted to it, ways to run a verb."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.main import run_command
from hft_lib.backtest.candidates import ordinary
from hft_lib.market import synthetic
from hft_lib.parameters import ParameterFile, read_parameter_file

ROOT = Path(__file__).resolve().parents[2]
HFT = (sys.executable, "-c", "from cli.main import main; main()")
SECONDS_MAX = 120


@dataclass(frozen=True)
class Answer:
    """How a verb ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out + self.err
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def sentence(self) -> str:
        """The one line on stderr that says what was wrong."""
        assert self.out == "" and "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("hft: "), self.err
        return lines[0]


Verb = Callable[..., Answer]


@pytest.fixture(scope="session")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days of a synthetic market, a quote of each leg a minute."""
    path = tmp_path_factory.mktemp("market") / "tape"
    synthetic.write(3, path, synthetic.SyntheticMarket(days=8.0))
    return path


@pytest.fixture(scope="session")
def params(tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parameters fitted to the tape's first half, with three challengers."""
    path = tmp_path_factory.mktemp("fit") / "params.json"
    window = ["--end", "2024-01-04T00:00:00Z"]
    assert run_command(["calibrate", "--tape", str(tape), *window, "--out", str(path)]) == 0
    fitted = read_parameter_file(path.read_bytes())
    write(path, msgspec.structs.replace(fitted, challengers=tuple(ordinary(fitted.params))))
    return path


def write(path: Path, file: ParameterFile) -> Path:
    """The file as JSON."""
    path.write_bytes(msgspec.json.encode(file))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HFT_HOME of the test, not there yet; the current folder holds no `.env`."""
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def hft(home: Path, capfd: pytest.CaptureFixture[str]) -> Verb:
    """Run a verb in this process."""

    def run(*arguments: object) -> Answer:
        capfd.readouterr()
        code = run_command([str(argument) for argument in arguments])
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture
def begin(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a verb in a process of its own, untraced; what still runs at the end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        pipe, words = subprocess.PIPE, [*HFT, *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        # An interrupt that is raised within the tracer leaves its lock taken for good.
        env.pop("COVERAGE_PROCESS_CONFIG", None)
        begun.append(
            subprocess.Popen(
                words, stdout=pipe, stderr=pipe, text=True, env=env, preexec_fn=_heed_interrupts
            )
        )
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def _heed_interrupts() -> None:
    # A shell's background jobs, as a runner of tests may be one, hand on that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process: subprocess.Popen[str]) -> Answer:
    """How a begun verb ended."""
    out, err = process.communicate(timeout=SECONDS_MAX)
    return Answer(process.returncode, out, err)
