"""A pipeline run here: the same components, each in a process of its own, through `kfp.local`.

What the steps print goes to a log beside their files. kfp says which step failed and not why: the
reason is the last line of that step's traceback, so it is read from there.
"""

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from cli import interrupt
from cli.console import near, stderr
from cli.context import resolve_pair
from cli.errors import BadInput, Failed, Refused
from cli.pipeline_arguments import load
from cli.registry import open_client
from cli.runs import latest_journal, run_folder
from hft_lib.market.tape import Tape
from serving.adapters.mlflow_store import artifact_location
from serving.runtime.settings import Settings

LOG = "pipeline.log"
EVIDENCE = "evidence.json"

_ROOT = Path(__file__).resolve().parent.parent
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BEGUN = re.compile(r"Executing task '([^']+)'")
_ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
_RAISED = re.compile(r"^\s*((?:[a-z_]\w*\.)*[A-Z]\w*): (.+)$")
_REFUSALS = {"hft_lib.workflow.refusal.Refused": Refused}
_REFUSALS |= {"hft_lib.fitting.result.FitRefused": Refused}
_BAD_INPUT = ("hft_lib.market.tape_manifest.TapeError", "hft_lib.market.tape_manifest.DataError")
_SUFFIXES = ("Error", "Exception", "Refused", "Lost", "NotRegistered")


@contextlib.contextmanager
def prepare(
    settings: Settings,
    name: str,
    tape: Path | None,
    pair: str | None,
    journal: Path | None,
    out: Path | None,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A new folder for the run, and what the verb knows of its inputs; bad input costs no run."""
    opened = None if tape is None else Tape.open(tape)
    known: dict[str, Any] = {"capital_quote": settings.champion_initial_capital}
    known |= {"folder": str(_ROOT / "notebooks")}
    if opened is not None:
        known["tape"] = str(opened.path.absolute())
    if pair is not None or name == "evop_design":
        known["pair"] = resolve_pair(pair, None, settings, opened)
    place = artifact_location(settings)
    known["artifact_location"] = "" if place is None else place
    with run_folder(settings, f"pipeline-{name}", out) as folder:
        if name == "evop_design":
            known["evidence"] = _evidence(settings, known["pair"], journal, folder)
        yield folder, known


def run_here(
    settings: Settings, name: str, arguments: dict[str, Any], folder: Path, quiet: bool
) -> dict[str, Any]:
    """Run the pipeline in `folder`; Refused or Failed with the failing step's own reason."""
    open_client(settings)  # one that does not answer costs no run
    began, log = time.perf_counter(), folder / LOG
    with log.open("w", encoding="utf-8") as file:
        watched = Watch(file, quiet)
        failure = _run(settings, name, arguments, folder, watched)
    if failure is not None:
        raise _reason(watched, failure, log)
    return {
        "pipeline": name,
        "arguments": arguments,
        "folder": str(folder),
        "log": str(log),
        "steps": watched.steps,
        **_results(folder),
        "seconds": time.perf_counter() - began,
    }


def _run(
    settings: Settings, name: str, arguments: dict[str, Any], folder: Path, watched: "Watch"
) -> Exception | None:
    """Run it with its words caught; returns what kfp raised, if it did."""
    from kfp import local

    scratch = folder / "tmp"
    scratch.mkdir()
    paths = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
    changes = {
        # A step imports the tree that this verb stands in, wherever it is started.
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "TMPDIR": str(scratch),  # kfp leaves each step's source behind
    }
    try:
        with _environment(changes), warnings.catch_warnings():
            # It warns of our own image, of sizes, and of what only a cluster does.
            warnings.simplefilter("ignore")
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
            with contextlib.redirect_stdout(watched):
                load(name)(**arguments)
        return None
    except Exception as error:
        # A failing step is a RuntimeError; whatever else kfp raises is a failure of the run, too.
        return error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    tempfile.tempdir = None  # it is looked up once and kept: TMPDIR must count now, and not after
    try:
        yield
    finally:
        tempfile.tempdir = None
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Watch(io.TextIOBase):
    """What kfp and the steps print: kept in the log, and read for steps and raised errors."""

    def __init__(self, log: IO[str], quiet: bool) -> None:
        self.steps: list[dict[str, Any]] = []
        self.raised: list[tuple[str, str]] = []
        self._log, self._quiet = log, quiet and not stderr.is_terminal
        self._began: dict[str, float] = {}
        self._line = ""
        self._lock = threading.Lock()  # the pairs of a loop run at the same time

    def write(self, text: str) -> int:
        """Take a piece of output."""
        with self._lock:
            plain = _ANSI.sub("", text)
            self._log.write(plain)
            *lines, self._line = (self._line + plain).split("\n")
            for line in lines:
                self._take(line)
        interrupt.check()
        return len(text)

    def _take(self, line: str) -> None:
        if begun := _BEGUN.search(line):
            self._began.setdefault(begun[1], time.perf_counter())
        elif ended := _ENDED.search(line):
            seconds = time.perf_counter() - self._began.pop(ended[1], time.perf_counter())
            step = {"step": ended[1], "status": ended[2].lower(), "seconds": seconds}
            self.steps.append(step)
            if not self._quiet:
                stderr.print(f"  {step['step']:<20}{step['status']:<9}{seconds:6.1f} s")
        elif (raised := _RAISED.match(line)) and raised[1].endswith(_SUFFIXES):
            self.raised.append((raised[1], raised[2].strip()))


def _reason(watched: Watch, failure: Exception, log: Path) -> Failed:
    """Why it failed, as the first step that did says: a rule's refusal, bad input, or a failure."""
    for kind, said in watched.raised:
        if kind in _REFUSALS:
            return _REFUSALS[kind](said)
    for kind, said in watched.raised:
        if kind in _BAD_INPUT:
            return BadInput(said)
    failed = next((one["step"] for one in watched.steps if one["status"] == "failure"), None)
    last = watched.raised[0][1] if watched.raised else _ANSI.sub("", str(failure))
    return Failed(f"step {failed or 'none'} failed: {last}; the log is {near(log)}")


def _results(folder: Path) -> dict[str, Any]:
    """What the steps left: the gate's verdict, the versions, the pages."""
    found: dict[str, Any] = {}
    for path in folder.glob("*/gate/verdict"):
        found["gate"] = json.loads(path.read_bytes())
    for path in (*folder.glob("*/register/versions"), *folder.glob("*/enrol/versions")):
        found["registered"] = json.loads(path.read_bytes())
    for path in folder.glob("*/check-tape/report"):
        found["tape_sha256"] = json.loads(path.read_bytes())["tape_sha256"]
    pages = []
    for path in sorted(folder.glob("**/render-notebook/page")):
        # An artifact has no ending, and a browser goes by it.
        shown = path.with_suffix(".html")
        shown.write_bytes(path.read_bytes())
        pages.append(str(shown))
    return found | ({"pages": pages} if pages else {})


def _evidence(settings: Settings, pair: str, journal: Path | None, folder: Path) -> str:
    """Write what the journal's decisions say of the design; the path, or "" where they say none."""
    from cli.evop import decisions

    if journal is None:
        try:
            journal = latest_journal(settings)
        except BadInput:
            return ""  # no run yet: the design begins with its belief before all data
    last = None
    for record in decisions(journal):
        if record["pair"] == pair and record["design_after"] is not None and record["champion"]:
            last = record
    if last is None:
        return ""
    moved = last["kind"] in ("promote", "rollback")
    champion = last["challenger"] if moved else last["champion"]
    known = {
        "pair": pair,
        "champion_sha256": champion["parameters_sha256"],
        "decision_id": last["decision_id"],
        "design": last["design_after"],
    }
    path = folder / EVIDENCE
    path.write_text(json.dumps(known), encoding="utf-8")
    return str(path)
