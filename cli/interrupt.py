"""Ctrl-C and SIGTERM, never lost: raised inside a compiled library's callback, an exception is."""

import signal
import time
from types import FrameType

_asked = False


def install() -> None:
    """Let SIGTERM, and SIGINT where it is not ignored, raise KeyboardInterrupt from now on."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt where an end was asked for and the first exception did not arrive."""
    if _asked:
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """Wait, unless an end was asked for."""
    check()
    time.sleep(seconds)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
