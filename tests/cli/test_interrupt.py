"""An interrupt that Python or a compiled library swallows is raised again."""

import subprocess
import sys

import pytest

from cli import interrupt

LOST_IN_A_CALLBACK = """
import signal, time, weakref
from cli import interrupt

class Object: pass

def callback(reference):
    signal.raise_signal(signal.SIGTERM)

interrupt.install()
one = Object()
watched = weakref.ref(one, callback)
try:
    del one
    time.sleep(60.0)
except KeyboardInterrupt:
    print("interrupted")
"""
WRONG_IN_A_CALLBACK = LOST_IN_A_CALLBACK.replace("signal.raise_signal(signal.SIGTERM)", "1 / 0")


def test_a_wait_ends_where_an_end_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_asked", True)
    with pytest.raises(KeyboardInterrupt):
        interrupt.sleep(3600.0)


def test_an_interrupt_lost_in_a_callback_is_raised_again_and_quietly() -> None:
    answer = _python(LOST_IN_A_CALLBACK)
    assert (answer.stdout, answer.stderr) == ("interrupted\n", "")


def test_another_error_in_a_callback_is_told() -> None:
    answer = _python(WRONG_IN_A_CALLBACK.replace("60.0", "0.0"))
    assert answer.stdout == "" and "ZeroDivisionError" in answer.stderr


def _python(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50.0, check=True
    )
