"""Ctrl-C and SIGTERM, never lost: raised inside a compiled library's callback, an exception is."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 0.01

_asked = False


def install() -> None:
    """Let SIGTERM, and SIGINT where it is not ignored, raise KeyboardInterrupt from now on.

    One that Python had to ignore (a finalizer, a weak reference's callback) is raised again.
    """
    signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _unraisable


def check() -> None:
    """Raise KeyboardInterrupt where an end was asked for and the first exception did not arrive."""
    if _asked:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """Wait, unless an end was asked for."""
    check()
    time.sleep(seconds)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C and SIGTERM raise nothing: what is given says whether one came.

    A second one raises as ever: whoever waits too long can still leave.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            _interrupt(number, frame)
        came = True

    signals = (signal.SIGTERM, signal.SIGINT)
    heeded = [one for one in signals if signal.getsignal(one) is not signal.SIG_IGN]
    before = [(one, signal.signal(one, note)) for one in heeded]
    try:
        yield lambda: came
    finally:
        for one, handler in before:
            signal.signal(one, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    if isinstance(lost.exc_value, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        sys.__unraisablehook__(lost)
