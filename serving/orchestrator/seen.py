"""What the page shows of EVOP: a copy of plain values, made by the thread that steps the stage.

Nothing of it changes any more, so that other threads may read it while the stage steps on.
"""

import msgspec

from hft_lib.backtest.report.roles import described
from hft_lib.evop import slots, turn
from hft_lib.evop.guards import Case
from hft_lib.evop.policy import DAY_NS, YEAR_DAYS
from hft_lib.evop.slots import CHAMPION, FREE, Pair, Slot
from hft_lib.evop.telling import name_of
from hft_lib.evop.turn import State


class SlotSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a pair that is not free: what runs there, from when, and warm from when.

    `apart` says in which parameters it differs from the champion.
    """

    slot: int
    role: str
    generation: int
    name: str
    model_version: str
    parameters_sha256: str
    apart: str
    effective_ns: int
    warm_ns: int


class TestSeen(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The open test: its number in the trailing year, the case that it is judged by, its evidence
    and what that must reach.

    Each look makes its own, and only that one is equal to it: what was made of it is found again.
    """

    __test__ = False

    slot: int
    number: int
    began_ns: int
    case: Case
    e: float
    threshold: float


class PairSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One pair as EVOP holds it; times are those of the line, 0 where there is none.

    `changed_ns` is when the capital pointer last moved, `alarm_ns` the end of the last block with
    an alarm.
    """

    pair: str
    slots: tuple[SlotSeen, ...]
    test: TestSeen | None
    waiting: int
    frozen: bool
    alarm_ns: int
    block_end_ns: int
    changed_ns: int
    decision_id: str
    watch_until_ns: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """EVOP at one moment: its pairs, how many decisions it made, what the year's tests cost."""

    pairs: tuple[PairSeen, ...]
    decisions: int
    spent: float
    alpha: float


def look(state: State) -> Seen:
    """A copy of what the page shows of `state`."""
    newest_ns = max((pair.block_end_ns for pair in state.pairs), default=0)
    oldest_ns = newest_ns - YEAR_DAYS * DAY_NS
    return Seen(
        pairs=tuple(_pair(state, pair) for pair in state.pairs),
        decisions=state.decisions,
        spent=sum(1.0 / past.threshold for past in state.charges if past.time_ns > oldest_ns),
        alpha=state.policy.alpha,
    )


def _pair(state: State, pair: Pair) -> PairSeen:
    champion = slots.holder(pair, CHAMPION)
    return PairSeen(
        pair=pair.pair,
        slots=tuple(_slot(slot, champion) for slot in pair.slots if slot.role != FREE),
        test=_test(state, pair, champion),
        waiting=len(pair.queue) + len(slots.candidates(pair)),
        frozen=pair.frozen,
        alarm_ns=pair.alarm_ns,
        block_end_ns=pair.block_end_ns,
        changed_ns=pair.changed_ns,
        decision_id=pair.decision_id,
        watch_until_ns=pair.watch_until_ns if slots.holder(pair, slots.PREDECESSOR) else 0,
    )


def _slot(slot: Slot, champion: Slot | None) -> SlotSeen:
    own = slot.parameters
    base = champion.parameters if champion is not None else None
    assert own is not None, "a row that is not free runs a set"
    named = {
        "slot": slot.slot,
        "alias": slot.alias,
        "parameters_sha256": slot.parameters_sha256,
        "model_version": slot.model_version,
    }
    return SlotSeen(
        slot=slot.slot,
        role=slot.role,
        generation=slot.generation,
        name=name_of(named),
        model_version=slot.model_version,
        parameters_sha256=slot.parameters_sha256,
        apart=described(base, own) if base is not None and slot is not champion else "",
        effective_ns=slot.effective_ns,
        warm_ns=slot.effective_ns + round(own.strategy.warmup_s * 1e9),
    )


def _test(state: State, pair: Pair, champion: Slot | None) -> TestSeen | None:
    test = pair.test
    if test is None or champion is None:
        return None
    sets = champion.parameters_sha256, pair.slots[test.slot].parameters_sha256
    now = turn.begin(state, pair, pair.block_end_ns, pair.block_end_ns, 0)
    barred_ns = slots.barred_until(pair, *sets)
    case = turn.case(now, "test", test.blocks, test.threshold, test.began_ns, barred_ns)
    return TestSeen(
        slot=test.slot,
        number=test.number,
        began_ns=test.began_ns,
        case=case,
        e=test.e,
        threshold=test.threshold,
    )
