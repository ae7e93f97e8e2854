"""A lease: of execution and orchestrator there is one alone, and a second one says who it is.

The holder renews it at a third of its time. A process whose lease another one has taken ends at
once: the other has a later epoch, and what this one still said would not be heard. Where the place
that keeps leases cannot be reached the holder goes on and claims again when it is back; a start
waits for it.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import structlog

# A process that was killed on another machine keeps its successor waiting this long.
TTL_S = 3.0
RENEW_S = TTL_S / 3
# Renewed within its time, somebody is there.
REFUSE_S = 1.5 * TTL_S
LOOK_S = 0.2
_log = structlog.get_logger(__name__)


class Unreachable(Exception):
    """The place that keeps leases does not answer; the message says why."""


class Held(Exception):
    """Another process holds the lease; the message says who."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A process: where and since when it runs; `place` names the space in which its `pid` counts,
    `born` the process's own start in it, both empty where the system does not tell.
    """

    service: str
    host: str
    pid: int
    place: str
    born: str
    since_ns: int
    token: str

    def sentence(self) -> str:
        """Who it is, for people."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.since_ns / 1e9))
        return f"process {self.pid} on {self.host}, since {since} UTC"


class Lease(Protocol):
    """One lease; each raises Unreachable where the place does not answer."""

    def holder(self) -> Holder | None:
        """Who holds it."""

    def claim(self, holder: Holder, over: Holder | None = None) -> Holder:
        """Take it where it is free, is the claimant's or `over`'s; returns who has it."""

    def renew(self, holder: Holder) -> Holder:
        """Keep it; returns who has it, or has had it since it ended by itself."""

    def release(self, holder: Holder) -> None:
        """Give it back, if it is the holder's."""


def this_process(service: str) -> Holder:
    """This process as a holder."""
    return Holder(
        service=service,
        host=socket.gethostname(),
        pid=os.getpid(),
        place=_place(),
        born=_born(os.getpid()),
        since_ns=time.time_ns(),
        token=uuid4().hex,
    )


class Keeper:
    """Keeps `lease` for `me`; `lost` is called, on the keeper's thread, when another has it."""

    def __init__(self, lease: Lease, me: Holder, lost: Callable[[Holder], None]) -> None:
        self._lease = lease
        self._me = me
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._error = ""

    def acquire(self, stop: threading.Event, waits: Callable[[str], None]) -> bool:
        """Take the lease and keep it; False where `stop` came first.

        Raises Held where another process renews it. `waits` is told what is waited for.
        """
        seen_s = time.monotonic()
        while not stop.is_set():
            try:
                holder = self._claim(stop)
            except Unreachable as error:
                waits(f"the lease can be had: {error}")
                if str(error) != self._error:
                    _log.warning("waits for the lease", service=self._me.service, why=str(error))
                self._error = str(error)
                seen_s = time.monotonic()
                stop.wait(LOOK_S)
                continue
            if holder == self._me:
                self._thread.start()
                return True
            if time.monotonic() - seen_s > REFUSE_S:
                raise Held(f"there is one {self._me.service} alone: {holder.sentence()}")
            waits(f"the lease of {holder.sentence()} ends")
            stop.wait(LOOK_S)
        return False

    def close(self) -> None:
        """Give the lease back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(RENEW_S)
        try:
            self._lease.release(self._me)
        except Unreachable as error:
            _log.warning("the lease was not given back, it ends by itself", why=str(error))

    def _claim(self, stop: threading.Event) -> Holder:
        found = self._lease.holder()
        if self._error:
            # Nobody could renew meanwhile: whoever held it has the first right to it.
            self._error = ""
            stop.wait(TTL_S)
            found = self._lease.holder()
        if found is not None and is_dead(found):
            _log.info("the lease of a process that ended is taken over", of=found.sentence())
            return self._lease.claim(self._me, found)
        return self._lease.claim(self._me)

    def _run(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                holder = self._lease.renew(self._me)
            except Unreachable as error:
                self._error = str(error)
                continue
            self._error = ""
            if holder != self._me:
                self._lost(holder)
                return

    # --- what the pages show ---

    def why(self) -> str:
        """Why the lease cannot be relied on; empty where it can."""
        return f"the lease cannot be renewed: {self._error}" if self._error else ""

    def document(self) -> dict[str, Any]:
        """Who holds the lease."""
        return {"lease": {"holder": self._me.sentence(), "why": self._error}}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        return {"hft_lease_renewed": ("1 while the lease is renewed", float(not self._error))}


def is_dead(holder: Holder) -> bool:
    """Whether a holder is a process of this place that ended; False where nobody can tell."""
    if not holder.place or holder.place != _place() or not holder.born:
        return False
    return _born(holder.pid) != holder.born


def _place() -> str:
    """This boot's space of process numbers; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process started, in ticks since the boot; empty where there is none, or it ended."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    fields = told.rpartition(")")[2].split()  # after the name, which may hold anything
    return "" if fields[0] in "ZX" else fields[19]
