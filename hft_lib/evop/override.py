"""What an operator asks of EVOP: the capital to another set, or back to the predecessor.

A word overrides the evidence and no rule. What it comes to is judged by `judge` as everything else
is, and written down with the operator and the reason: as a `promote` or `rollback` like those of
evidence, or as a `refuse` that says which rule.
"""

from hft_lib.events import MoveAsked
from hft_lib.evop import operation, slots, turn
from hft_lib.evop.guards import Asked, Case, PairedBlock
from hft_lib.evop.policy import promotion_threshold
from hft_lib.evop.record import judge
from hft_lib.evop.slots import CHAMPION, PREDECESSOR, Pair, Slot
from hft_lib.evop.turn import State, Turn

MOVES = ("promote", "rollback")


def heard(state: State, pair: Pair, event: MoveAsked) -> Turn:
    """The answer to a word, begun: it acts when it is heard, not before what was decided last."""
    decided_ns = pair.block_end_ns + state.lead_ns if pair.block_end_ns else 0
    at_ns = max(event.time_ns, decided_ns, pair.changed_ns)
    return turn.begin(state, pair, at_ns, at_ns, at_ns)


def answer(now: Turn, event: MoveAsked) -> None:
    """Do what was asked for, or refuse it, and write down which."""
    case, chosen = case_of(now, event)
    verdict, operator = judge(case), (event.operator, event.reason)
    if verdict.decision == "refuse":
        turn.record(now, "refuse", case, verdict, chosen, operator=operator)
        return
    assert chosen is not None, "what is seated has a row"
    if event.move == "promote":
        _void_another(now.pair, chosen)
        operation.promote(now, case, verdict, chosen, operator)
    else:
        operation.roll_back(now, case, verdict, chosen, operator)


def case_of(now: Turn, event: MoveAsked) -> tuple[Case, Slot | None]:
    """What there is to judge of one of `MOVES`, and the row that was named."""
    move, wanted = event.move, event.wanted
    assert move in MOVES, f"move must be one of {', '.join(MOVES)}, was {move!r}"
    pair, policy = now.pair, now.state.policy
    if move == "rollback":
        chosen, blocks = slots.holder(pair, PREDECESSOR), pair.watch
        threshold, began_ns = policy.rollback_threshold, pair.changed_ns
    else:
        chosen = slots.named(pair, wanted)
        blocks, began_ns = _tested(pair, chosen)
        threshold = promotion_threshold(policy, len(now.state.pairs))
    asked = Asked(
        move=move,
        wanted=wanted,
        slot=chosen.slot if chosen is not None else -1,
        role=chosen.role if chosen is not None else "",
        warm_ns=slots.warm_from(chosen) if chosen is not None else 0,
        word_ns=event.word_ns,
    )
    until_ns = _barred_ns(pair, chosen)
    return turn.case(now, "asked", blocks, threshold, began_ns, until_ns, asked), chosen


def _tested(pair: Pair, chosen: Slot | None) -> tuple[list[PairedBlock], int]:
    """The blocks of what was named and when they begin, where it is under test."""
    test = pair.test
    if chosen is None or test is None or test.slot != chosen.slot:
        return [], 0
    return test.blocks, test.began_ns


def _barred_ns(pair: Pair, chosen: Slot | None) -> int:
    if chosen is None or slots.holder(pair, CHAMPION) is None:
        return 0
    return operation.barred_ns(pair, chosen.parameters_sha256)


def _void_another(pair: Pair, chosen: Slot) -> None:
    """The test of another set was against a champion that goes: it ends without a verdict."""
    if pair.test is not None and pair.test.slot != chosen.slot:
        operation.void_test(pair)
