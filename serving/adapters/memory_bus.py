"""The bus of one process: each fact of an edge runs to quiescence before the next is taken.

What an edge writes is kept before any stage sees it, and so is what leaves the line: facts of logs
that no stage reads.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from hft_lib.events import Event
from serving.runtime.host import Reader


class Listener(Protocol):
    """What is told of the facts on their way, on the thread that steps."""

    def began(self) -> None:
        """A fact from outside was kept: what comes now comes of it."""

    def taken(self, log: str) -> None:
        """The readers of `log` are about to be handed a fact."""


class MemoryBus:
    """Logs as readers' turns in one queue; `keep` is told every fact that the stages cannot
    recompute, and what leaves.
    """

    def __init__(self, inboxes: frozenset[str], keep: Callable[[str, Event], None]) -> None:
        self.keep = keep
        self.listener: Listener | None = None
        self._inboxes = inboxes
        self._readers: dict[str, list[Reader]] = {}
        self._queue: deque[tuple[str, Event]] = deque()
        self._running = False

    def read(self, log: str, reader: Reader) -> None:
        """Hand every fact of `log` from now on to `reader`, in order."""
        self._readers.setdefault(log, []).append(reader)

    def write(self, log: str, fact: Event) -> None:
        """Append a fact to `log`; from outside the line, run it to quiescence."""
        if self._running:
            self._queue.append((log, fact))
            return
        self._running = True
        try:
            self.keep(log, fact)
            if self.listener is not None:
                self.listener.began()
            self._run(log, fact)
        finally:
            self._running = False
            self._queue.clear()

    def _run(self, log: str, fact: Event) -> None:
        queue, readers, inboxes = self._queue, self._readers, self._inboxes
        listener = self.listener
        while True:
            if listener is not None:
                listener.taken(log)
            for reader in readers.get(log, ()):
                reader(fact)
            if not queue:
                return
            log, fact = queue.popleft()
            if log not in inboxes:
                self.keep(log, fact)
