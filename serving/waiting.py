"""Waiting at a start for what others do first, and saying so meanwhile."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from serving.runtime.pages import Pages

POLL_S = 0.2
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Waiting:
    """Waits until something is there; `pages` say what, and the log does once."""

    def __init__(self, pages: Iterable[Pages], stop: threading.Event) -> None:
        self._pages = tuple(pages)
        self._stop = stop

    def until(self, what: str, look: Callable[[], T | None], poll_s: float = POLL_S) -> T | None:
        """What `look` finds once it finds something; None where the process is to stop.

        The next look comes `poll_s` after one ends; a stop is seen within `POLL_S`.
        """
        self.say(what)
        due_s, is_told = 0.0, False
        while not self._stop.is_set():
            if time.monotonic() >= due_s:
                found = look()
                if found is not None:
                    self.say("")
                    return found
                if not is_told:
                    _log.info("waits", until=what)
                is_told, due_s = True, time.monotonic() + poll_s
            self._stop.wait(min(POLL_S, poll_s))
        return None

    def say(self, what: str) -> None:
        """Show that the start waits until `what`."""
        for page in self._pages:
            page.wait_for(what)
