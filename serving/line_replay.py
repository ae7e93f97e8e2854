"""A line's tape and the log beside it, replayed: does every stage make what the line wrote?

Each stage is given its inbox as the log had it: what the stage before it makes, and in between, at
its place, what others said. What the orchestrator tells ingestion is such a word, so that nothing
waits for anything; that it is what the orchestrator makes is checked as all else is. What is made
is chained as the line chained it: where a chain is as long as the line's was, its digest must be
the same.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from hft_lib.backtest.tally import Tally
from hft_lib.events import Event
from hft_lib.market.tape import Tape
from serving.line_log import LOGS, UPSTREAM, Given, LineLog
from serving.runtime.chain import LOGIC_VERSION, Diverged, Mark, Outgoing, key_of
from serving.runtime.host import Host, Misdirected, Reader
from serving.runtime.journal import RECORDS
from serving.runtime.opening import FEED
from serving.services import SERVICES

TELL_EVERY = 4096
CIRCLE = (LOGS[-1], LOGS[0])  # who writes to a log that is before its own


class LineReplay:
    """A replay of `log` from empty state; `tally` takes what the line itself has on record.

    `behind` counts facts that the log did not hold yet: a service that was stopped makes them when
    it is started again. `ahead` counts what the orchestrator told ingestion while the log was read,
    of which the cause came after its own inbox was. `compared` counts what the log held.
    """

    def __init__(self, log: LineLog, tally: Tally) -> None:
        self.behind = self.ahead = self.compared = 0
        self._log = log
        self._tally = tally
        self._ends = {(end.log, end.writer, end.key): end for end in log.ended.ends}
        self._chains = {name: Outgoing(name) for name in (FEED, *LOGS)}
        self._encoder = msgspec.msgpack.Encoder()
        self._inboxes = {
            service.name: _Inbox(
                Host(service.stage, log.header.config, _Bus(self, service.name)),
                log,
                self._was_fed,
            )
            for service in SERVICES
        }

    def run(self, tape: Tape, tell: Callable[[int], object]) -> Any:
        """Replay all of it; execution's state at the end. Raises Diverged where anything is not as
        the line wrote it.
        """
        ingestion = self._inboxes[LOGS[0]]
        for event in tape.events():
            ingestion.give()
            self._was_fed(event)
            ingestion.hear(event)
            self._tally.events += 1
            if self._tally.events % TELL_EVERY == 0:
                tell(TELL_EVERY)
        for inbox in self._inboxes.values():
            inbox.give()
        self._must_be_all()
        return self._inboxes["execution"].host.state

    def made(self, writer: str, log: str, fact: Event) -> None:
        """A stage wrote a fact: compare it, and hand it to the stage that hears it."""
        if self._is_of_line(writer, log, key_of(fact), fact) and log == RECORDS:
            self._tally.take(fact)
        if UPSTREAM.get(log) == writer:
            self._inboxes[log].give()
            self._inboxes[log].hear(fact)

    def _was_fed(self, fact: Event) -> None:
        self._is_of_line(FEED, LOGS[0], "", fact)

    def _is_of_line(self, writer: str, log: str, key: str, fact: Event) -> bool:
        """Whether the log holds this fact; raises Diverged where it holds another one."""
        if log not in LOGS and log != RECORDS:
            return False  # what the registry's edge is told
        mark = self._chains[writer].chain(log, key, self._encoder.encode(fact))
        end = self._ends.get((log, writer, key))
        if end is None or mark.number > end.number:
            self.behind += 1
            return False
        if mark.number == end.number and mark.digest != end.digest:
            who = "the tape brings" if writer == FEED else f"{writer} makes"
            raise self._diverged(f"of the {end.number} facts that {who} for {log} one is another")
        self.compared += 1
        return True

    def _must_be_all(self) -> None:
        for (log, writer, key), end in self._ends.items():
            chains = self._chains.get(writer)
            made = chains.marks.get(f"{log}\n{key}", Mark()).number if chains else end.number
            if made < end.number and (writer, log) == CIRCLE:
                self.ahead += end.number - made
            elif made < end.number:
                raise self._diverged(
                    f"{writer} wrote {end.number} facts to {log}, a replay makes {made}"
                )
        for inbox in self._inboxes.values():
            if inbox.next is not None:
                raise self._diverged(
                    f"{inbox.next.log} was told something after fact {inbox.next.after}, a replay "
                    f"makes {inbox.heard}"
                )

    def _diverged(self, what: str) -> Diverged:
        others = [f"{version}" for version in self._log.ended.logic if version != LOGIC_VERSION]
        by = f"; logic {', '.join(others)} wrote it, this is {LOGIC_VERSION}" if others else ""
        return Diverged(f"{self._log.path}: {what}{by}")


class _Bus:
    """Where one stage writes."""

    def __init__(self, replay: LineReplay, writer: str) -> None:
        self._replay = replay
        self._writer = writer

    def write(self, log: str, fact: Event) -> None:
        """Hand on what the stage made."""
        self._replay.made(self._writer, log, fact)

    def read(self, log: str, reader: Reader) -> None:
        """Nothing: a stage is handed its inbox."""


class _Inbox:
    """One stage and what is said to it in between; `heard` counts what it heard in turn."""

    def __init__(self, host: Host, log: LineLog, was_fed: Callable[[Event], None]) -> None:
        self.host = host
        self.heard = 0
        self._was_fed = was_fed
        self._given = log.given(host.stage.name)
        self.next: Given | None = next(self._given, None)

    def hear(self, fact: Event) -> None:
        """Take the next fact of whom the stage hears in turn."""
        self.heard += 1
        self._take(fact)

    def give(self) -> None:
        """Take what was said before the next of those."""
        while self.next is not None and self.next.after <= self.heard:
            given, self.next = self.next, next(self._given, None)
            if given.writer == FEED:
                self._was_fed(given.fact)
            self._take(given.fact)

    def _take(self, fact: Event) -> None:
        with contextlib.suppress(Misdirected):  # the service buried it, and stepped on nothing
            self.host.take(fact)
