"""The sequence of one book's changes: none is passed on that does not follow.

A change follows where `previous_id` is the `last_id` before it. On spot a change names no previous
one and follows where its first id is the next; on USD-margined futures ids are shared by all
symbols and each change names the one before it. Both are `previous_id` here. A snapshot at id L is
continued by the first change with `previous_id <= L < last_id`
(Binance, How to manage a local order book correctly).

A venue whose stream brings the whole book by itself, before its changes, needs no such joining.

Without a snapshot changes wait. A snapshot is told only once a change continues it: one that a
venue served stale never is, so that no wrong book is ever told.
"""

from hft_lib.events import Depth, MarketEvent, Rejected
from hft_lib.market.live.items import flaw

HELD_MAX = 10_000  # changes that wait for a snapshot; Binance sends ten a second
OLD_MAX = 10  # old changes in a row: then the id that they are old against was wrong
REFUSED_MAX = 2  # snapshots refused before what waits is doubted instead


class Book:
    """The state of one symbol's sequence; `wants_snapshot` says that it waits for one."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last_id = 0
        self.resyncs = 0
        self._held: list[Depth] = []
        self._snapshot: Depth | None = None
        self._old = self._refused = 0

    @property
    def is_synced(self) -> bool:
        """Whether a book was told that every change since has followed."""
        return self.last_id > 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot has to be asked for: changes wait, and none is there to continue."""
        return not self.is_synced and self._snapshot is None and bool(self._held)

    def discard(self) -> None:
        """Forget the book: the connection was lost, or its sequence broken."""
        if self.is_synced:
            self.resyncs += 1
        self.last_id = self._old = self._refused = 0
        self._snapshot = None
        self._held.clear()

    def begin(self, whole: Depth) -> list[MarketEvent | Rejected]:
        """What follows from a whole book that the stream itself brought: it is current there."""
        self.discard()
        self.last_id = whole.last_id
        return [whole]

    def take(self, change: Depth) -> list[MarketEvent | Rejected]:
        """What follows from the next change."""
        if not self.is_synced:
            return self._hold(change)
        if change.previous_id == self.last_id < change.last_id:
            self.last_id, self._old = change.last_id, 0
            return [change]
        if change.last_id <= self.last_id:
            return self._refuse_old(change)
        detail = (
            f"change {change.last_id} follows {change.previous_id}, the last was {self.last_id}"
        )
        self.discard()
        return [flaw(change.time_ns, "DEPTH_GAP", self.symbol, detail), *self._hold(change)]

    def _refuse_old(self, change: Depth) -> list[MarketEvent | Rejected]:
        reason = "DUPLICATE" if change.last_id == self.last_id else "DISORDER"
        told = flaw(
            change.time_ns, reason, self.symbol, f"change {change.last_id} after {self.last_id}"
        )
        self._old += 1
        if self._old < OLD_MAX:
            return [told]
        self.discard()
        return [told, *self._hold(change)]

    def _hold(self, change: Depth) -> list[MarketEvent | Rejected]:
        if self._held and change.last_id <= self._held[-1].last_id:
            detail = f"change {change.last_id} after {self._held[-1].last_id}"
            return [flaw(change.time_ns, "DUPLICATE", self.symbol, detail)]
        if len(self._held) >= HELD_MAX:
            del self._held[0]
        self._held.append(change)
        return self._join(change.time_ns) if self._snapshot is not None else []

    def restore(self, snapshot: Depth) -> list[MarketEvent | Rejected]:
        """What follows from a snapshot; one that nobody asked for is left out."""
        if self.is_synced:
            return []
        self._snapshot = snapshot
        return self._join(snapshot.time_ns)

    def _join(self, time_ns: int) -> list[MarketEvent | Rejected]:
        """The snapshot and the changes after it, once one continues it."""
        snapshot = self._snapshot
        assert snapshot is not None, "there is nothing to continue"
        later = [change for change in self._held if change.last_id > snapshot.last_id]
        self._held = later
        if not later:
            return []  # nothing has come that would show it current
        broken = _break(snapshot.last_id, later)
        if broken is not None:
            return self._refuse(time_ns, snapshot, broken)
        self._held, self._snapshot = [], None
        self.last_id, self._refused = later[-1].last_id, 0
        return [snapshot, *later]

    def _refuse(self, time_ns: int, snapshot: Depth, broken: int) -> list[MarketEvent | Rejected]:
        self._snapshot = None
        self._refused += 1
        first = self._held[broken]
        detail = f"snapshot {snapshot.last_id}, then {first.previous_id} to {first.last_id}"
        if broken:  # what waits has itself a gap: only what comes after it can be continued
            del self._held[:broken]
        elif self._refused >= REFUSED_MAX:
            self._held.clear()
            self._refused = 0
        return [flaw(time_ns, "STALE_SNAPSHOT", self.symbol, detail)]


def _break(last_id: int, changes: list[Depth]) -> int | None:
    """The place of the first change that does not follow; None where all do."""
    for place, change in enumerate(changes):
        follows = change.previous_id == last_id if place else change.previous_id <= last_id
        if not follows:
            return place
        last_id = change.last_id
    return None
