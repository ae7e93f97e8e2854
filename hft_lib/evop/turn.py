"""One answer of EVOP as it grows.

The state it changes, the control and the records that it sends out.
"""

import msgspec

from hft_lib.events import DecisionRecorded, Event, Promoted, RolledBack, SlotAssigned
from hft_lib.evop.guards import Case, Charge, PairedBlock
from hft_lib.evop.policy import DAY_NS, YEAR_DAYS, Policy, loss_max, promotion_threshold
from hft_lib.evop.record import (
    RECORD_VERSION,
    DesignRecord,
    Record,
    Verdict,
    encode_record,
    judge,
    policy_sha256,
)
from hft_lib.evop.slots import CHAMPION, Pair, Slot, design_record, holder, slot_record


class State(msgspec.Struct, kw_only=True):
    """EVOP over a line: its pairs in `PAIRS` order, and the tests charged to the trailing year.

    `inbox_offset` is that of the last event seen, `decisions` the number of records written.
    """

    policy: Policy
    lead_ns: int
    pairs: list[Pair]
    charges: list[Charge] = []
    inbox_offset: int = -1
    decisions: int = 0


class Turn(msgspec.Struct, kw_only=True):
    """The answer to one event.

    `now_ns` is the moment decided about, `effective_ns` when control acts.
    """

    state: State
    pair: Pair
    time_ns: int
    now_ns: int
    effective_ns: int
    design_before: DesignRecord | None
    facts: list[Event]


def begin(state: State, pair: Pair, time_ns: int, now_ns: int, effective_ns: int) -> Turn:
    """An answer with nothing in it yet."""
    return Turn(
        state=state,
        pair=pair,
        time_ns=time_ns,
        now_ns=now_ns,
        effective_ns=effective_ns,
        design_before=design_record(pair.design),
        facts=[],
    )


def champion_of(pair: Pair) -> Slot:
    """The champion's slot; only called where there is one."""
    champion = holder(pair, CHAMPION)
    assert champion is not None, f"{pair.pair} has no champion"
    return champion


# --- control ---


def seat(turn: Turn, slot: Slot, role: str, content: Slot) -> None:
    """Give `slot` a new generation with the parameter set and origin of `content`.

    The rest of the row is reset.
    """
    pair, parameters = turn.pair, content.parameters
    assert parameters is not None
    source = holder(pair, CHAMPION)
    is_warm = source is not None and source is not slot and source.effective_ns < turn.effective_ns
    seated = msgspec.structs.replace(
        content,
        slot=slot.slot,
        role=role,
        generation=slot.generation + 1,
        effective_ns=turn.effective_ns,
    )
    pair.slots[slot.slot] = seated
    pair.slots_version += 1
    turn.facts.append(
        SlotAssigned(
            time_ns=turn.time_ns,
            effective_ns=turn.effective_ns,
            pair=pair.pair,
            slot=seated.slot,
            generation=seated.generation,
            role=role,
            parameters=parameters,
            parameters_sha256=seated.parameters_sha256,
            model_version=seated.model_version,
            run_id=seated.run_id,
            copy_from=source.slot if source is not None and is_warm else -1,
            warmup_s=parameters.strategy.warmup_s,
            slots_version=pair.slots_version,
            reference=seated.reference,
        )
    )


def point(turn: Turn, slot: Slot, kind: type[Promoted] | type[RolledBack]) -> None:
    """Move the capital pointer; evidence starts again with the first whole block after it."""
    pair = turn.pair
    pair.slots_version += 1
    pair.changed_ns, pair.handed_over_ns = turn.effective_ns, 0
    pair.gap_blocks = []
    turn.facts.append(
        kind(
            time_ns=turn.time_ns,
            effective_ns=turn.effective_ns,
            pair=pair.pair,
            slot=slot.slot,
            generation=slot.generation,
            model_version=slot.model_version,
            decision_id=pair.decision_id,
            slots_version=pair.slots_version,
        )
    )


# --- cases ---


def case(
    turn: Turn,
    process: str,
    blocks: list[PairedBlock],
    threshold: float,
    began_ns: int = 0,
    barred_until_ns: int = 0,
) -> Case:
    """All that a decision about `blocks` depends on, as it stands now."""
    pair, policy = turn.pair, turn.state.policy
    return Case(
        process=process,
        pair=pair.pair,
        time_ns=turn.now_ns,
        policy=policy,
        pairs=tuple(other.pair for other in turn.state.pairs),
        capital_quote=pair.capital_quote,
        s0=pair.s0,
        loss_max=0.0 if process == "gap" else _loss_max(pair, policy),
        limits=pair.limits,
        threshold=threshold,
        began_ns=began_ns,
        blocks=tuple(blocks),
        volatilities=tuple(pair.volatilities) if process == "test" else (),
        alarm_ns=pair.alarm_ns,
        changed_ns=pair.changed_ns,
        barred_until_ns=barred_until_ns,
        frozen=pair.frozen,
        gap=pair.gap,
        charges=tuple(turn.state.charges) if process == "begin" else (),
    )


def begin_case(turn: Turn, barred_until_ns: int) -> Case:
    """The case of a test that would begin now."""
    threshold = promotion_threshold(turn.state.policy, len(turn.state.pairs))
    return case(turn, "begin", [], threshold, turn.now_ns, barred_until_ns)


def charge(turn: Turn, threshold: float) -> int:
    """Charge a test to the trailing year; its number among the pair's tests of that year."""
    state, oldest_ns = turn.state, turn.now_ns - YEAR_DAYS * DAY_NS
    of_the_year = [past for past in state.charges if past.time_ns > oldest_ns]
    state.charges = [*of_the_year, Charge(turn.now_ns, turn.pair.pair, threshold)]
    return sum(past.pair == turn.pair.pair for past in state.charges)


def _loss_max(pair: Pair, policy: Policy) -> float:
    parameters = champion_of(pair).parameters
    assert parameters is not None
    return loss_max(policy, pair.limits, parameters.strategy.gross_fraction_max)


# --- records ---


def record(
    turn: Turn,
    kind: str,
    judged: Case,
    verdict: Verdict,
    challenger: Slot | None,
    reason: str = "",
    operator: tuple[str, str] = ("", ""),
    handover_cost_quote: float | None = None,
) -> None:
    """Write one decision down, with the number that comes next.

    A control fact made after it carries its id.
    """
    state, pair = turn.state, turn.pair
    state.decisions += 1
    decision_id = f"evop-{state.decisions}"
    is_move = kind in ("start", "promote", "rollback")
    if is_move:
        pair.decision_id = decision_id
    written = Record(
        version=RECORD_VERSION,
        number=state.decisions,
        decision_id=decision_id,
        kind=kind,
        reason=reason or verdict.reason,
        pair=pair.pair,
        time_ns=turn.time_ns,
        inbox_offset=state.inbox_offset,
        effective_ns=turn.effective_ns if is_move else 0,
        policy_sha256=policy_sha256(judged),
        champion=slot_record(holder(pair, CHAMPION)),
        challenger=slot_record(challenger),
        test_number=pair.test.number if pair.test else 0,
        case=judged,
        verdict=verdict,
        design_before=turn.design_before,
        design_after=design_record(pair.design),
        lesson=pair.design.lesson if pair.design else None,
        operator=operator[0],
        reason_given=operator[1],
        handover_cost_quote=handover_cost_quote,
    )
    content = encode_record(written)
    turn.facts.append(DecisionRecorded(turn.time_ns, pair.pair, decision_id, kind, content))


def record_given(
    turn: Turn,
    kind: str,
    reason: str,
    operator: tuple[str, str] = ("", ""),
    handover_cost_quote: float | None = None,
) -> None:
    """Write down what came from outside: no evidence led to it."""
    given = case(turn, "given", [], 0.0)
    record(turn, kind, given, judge(given), None, reason, operator, handover_cost_quote)
