"""The latest decisions: as the stage makes them, and from the ledger what came before the process
began.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from hft_lib.events import DecisionRecorded, Event
from hft_lib.evop.telling import line_of

LATEST_MAX = 20
# A database that is there has answered by then; the page, with the latch on it, waits no longer.
ANSWER_S_MAX = 0.5
Older = Callable[[int], Iterable[str | bytes]]


class Unknown(Exception):
    """What was decided before the process began cannot be read now; the message says why."""


class Latest:
    """The last decisions of a line.

    `made` is called by the stepping thread, `lines` by one other. `older` gives the records of the
    last decisions that a ledger holds, as JSON, and raises Unknown where it cannot; it is None
    where there is no ledger.
    """

    def __init__(self, older: Older | None = None) -> None:
        self.why = ""
        # By kind, since the process began.
        self.counts: Counter[str] = Counter()
        self._older = older
        self._asked: _Asked | None = None  # what the ledger has not answered yet
        self._made: deque[str | bytes] = deque(maxlen=LATEST_MAX)
        self._known: dict[int, dict[str, Any]] = {}

    def made(self, fact: Event) -> None:
        """Keep a decision of the stage; every other fact is none."""
        if isinstance(fact, DecisionRecorded):
            self._made.append(fact.record)
            self.counts[fact.kind] += 1

    def lines(self, decisions: int) -> list[dict[str, Any]]:
        """The last of `decisions` decisions that are known, newest first: what `hft evop history`
        says of each, and its guards.

        Where one is missing, `why` says why.
        """
        for record in list(self._made):
            self._keep(record)
        wanted = range(decisions, max(decisions - LATEST_MAX, 0), -1)
        self.why = self._fill() if any(number not in self._known for number in wanted) else ""
        self._known = {number: self._known[number] for number in wanted if number in self._known}
        if not self.why and len(self._known) < len(wanted):
            self.why = "the ledger does not hold them yet"
        return list(self._known.values())

    def _fill(self) -> str:
        if self._older is None:
            return "they were made before this process began; `hft evop history` lists them"
        asked, self._asked = self._asked or _Asked(self._older), None
        if not asked.is_answered():
            self._asked = asked
            return "the ledger does not answer"
        for record in asked.records:
            self._keep(record)
        return asked.why

    def _keep(self, content: str | bytes) -> None:
        record = msgspec.json.decode(content)
        if record["number"] not in self._known:
            self._known[record["number"]] = line_of(record) | {
                "time_ns": record["time_ns"],
                "guards": record["verdict"]["guards"],
            }


class _Asked:
    """A question to a ledger, on a thread of its own: one that does not answer holds up nobody."""

    def __init__(self, older: Older) -> None:
        self.records: list[str | bytes] = []
        self.why = "the ledger cannot be read"
        self._older = older
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def is_answered(self) -> bool:
        """Whether `records` and `why` are there, after a moment in which they may come."""
        self._thread.join(ANSWER_S_MAX)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.records = list(self._older(LATEST_MAX))
            self.why = ""
        except Unknown as error:
            self.why = str(error)
