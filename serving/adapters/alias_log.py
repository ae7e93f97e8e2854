"""Where the log of a line says that each alias of the registry ought to point."""

from collections.abc import Iterable

import msgspec

from hft_lib.events import Event, Promoted, RolledBack, SlotAssigned
from hft_lib.lineage import CHAMPION, PREDECESSOR
from hft_lib.parameters import Parameters


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot ran when the pointer moved; `version` is empty for a set that EVOP designed."""

    pair: str
    time_ns: int
    slot: int
    generation: int
    version: str
    parameters: Parameters | None
    decision_id: str


class Standing(msgspec.Struct):
    """A pair as the log tells it: who runs in each slot, where each alias ought to point.

    `past` are the versions that the log has ever pointed the champion's alias to.
    """

    slots_version: int = -1
    seats: dict[int, SlotAssigned] = {}
    aliases: dict[str, Held | None] = {}
    past: set[str] = set()


def folded(facts: Iterable[Event]) -> dict[str, Standing]:
    """Each pair as a whole log leaves it."""
    standings: dict[str, Standing] = {}
    for fact in facts:
        fold(standings, fact)
    return standings


def fold(standings: dict[str, Standing], fact: Event) -> bool:
    """Take a fact into its pair's standing; True where an alias may have to move.

    A repeat changes nothing.
    """
    match fact:
        case SlotAssigned():
            _seat(standings.setdefault(fact.pair, Standing()), fact)
            return False
        case Promoted() | RolledBack():
            return _point(standings.setdefault(fact.pair, Standing()), fact)
        case _:
            return False


def _seat(standing: Standing, fact: SlotAssigned) -> None:
    known = standing.seats.get(fact.slot)
    if known is None or known.generation < fact.generation:
        standing.seats[fact.slot] = fact


def _point(standing: Standing, fact: Promoted | RolledBack) -> bool:
    if fact.slots_version <= standing.slots_version:
        return False
    standing.slots_version = fact.slots_version
    before, after = standing.aliases.get(CHAMPION), _held(standing, fact)
    standing.aliases[CHAMPION] = after
    standing.past.add(after.version)
    if isinstance(fact, RolledBack):
        standing.aliases[PREDECESSOR] = None
    elif before is not None:
        # The first champion of a run has none here, and the alias of an earlier run stays.
        standing.aliases[PREDECESSOR] = before
    return True


def _held(standing: Standing, fact: Promoted | RolledBack) -> Held:
    seat = standing.seats.get(fact.slot)
    is_there = seat is not None and seat.generation == fact.generation
    return Held(
        pair=fact.pair,
        time_ns=fact.time_ns,
        slot=fact.slot,
        generation=fact.generation,
        version=fact.model_version,
        parameters=seat.parameters if seat and is_there else None,
        decision_id=fact.decision_id,
    )
