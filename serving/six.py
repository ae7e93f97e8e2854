"""`python -m serving all --bus kafka`: the six services as processes of this one.

It starts each, hands signals on, and ends when one of them ends for good: then it ends the others,
and leaves with that one's code. Starting again what ended is a supervisor's work, of which there is
one already where services run.
"""

import ctypes
import signal
import subprocess  # nosec B404: it starts this program again, with fixed words
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from serving.services import SERVICES

# A service stops within ten seconds; one that does not is ended.
STOP_S_MAX = 12.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
POLL_S = 0.1
FAILED = 1
_log = structlog.get_logger(__name__)


def words_of(
    port: int | None,
    tape: Path | None,
    speed: float | None,
    params: Sequence[Path],
    borrow: float | None,
) -> dict[str, list[str]]:
    """The command of each service by its name: what is fed goes to ingestion, what the line opens
    with to the orchestrator.
    """
    options: dict[str, list[str]] = {service.name: [] for service in SERVICES}
    if tape is not None:
        options["ingestion"] += ["--tape", str(tape)]
    if speed is not None:
        options["ingestion"] += ["--speed", repr(speed)]
    for path in params:
        options["orchestrator"] += ["--params", str(path)]
    if borrow is not None:
        options["orchestrator"] += ["--assume-borrow", repr(borrow)]
    for place, name in enumerate(options):
        options[name] += [] if port is None else ["--port", str(port + place)]
    base = [sys.executable, "-m", "serving"]
    return {name: [*base, name, "--bus", "kafka", *more] for name, more in options.items()}


class Six:
    """The processes of the services, each by the words that start it."""

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._words = words
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()

    def run(self, on_signals: Callable[[Callable[[], None]], None]) -> int:
        """Serve until a signal, or until one service ends; returns the exit code."""
        on_signals(self._stop.set)
        for name, words in self._words.items():
            self._running[name] = subprocess.Popen(  # nosec B603: fixed words
                words, preexec_fn=_end_with_parent
            )
        code = 0
        while not self._stop.wait(POLL_S):
            ended = {name: process.poll() for name, process in self._running.items()}
            first = next((name for name, found in ended.items() if found is not None), None)
            if first is not None:
                # One that was killed, or ended in order unasked, is a failure of the whole.
                code = max(ended[first] or FAILED, FAILED)
                _log.critical("a service ended, the others are ended", service=first, code=code)
                break
        failed = self._end()
        return code or failed

    def _end(self) -> int:
        """End what runs; 0 where all of it ended in order."""
        asked = {name: one for name, one in self._running.items() if one.poll() is None}
        for process in asked.values():
            process.terminate()
        for name, process in asked.items():
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                _log.error("a service did not stop in time and was killed", service=name)
                process.kill()
                process.wait()
        return FAILED if any(process.returncode for process in asked.values()) else 0


def _end_with_parent() -> None:
    """Let this process be asked to stop once its parent is gone, however that ended; on Linux."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
