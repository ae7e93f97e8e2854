"""What EVOP does at a block's close, in this order.

Gap, rollback, test, explorers, candidates, the next test.
"""

from hft_lib.events import Promoted, RolledBack
from hft_lib.evop import design as designs
from hft_lib.evop import guards, slots, turn
from hft_lib.evop.guards import Case
from hft_lib.evop.policy import DAY_NS
from hft_lib.evop.record import Verdict, judge
from hft_lib.evop.slots import EXPLORER, FREE, PREDECESSOR, TEST, Pair, Slot
from hft_lib.evop.turn import Turn, champion_of
from hft_lib.parameters import parameter_sha256


def decide_block(now: Turn) -> None:
    """Decide all that the block just closed decides."""
    _decide_gap(now)
    _decide_rollback(now)
    _decide_test(now)
    _explore(now)
    seat_candidates(now)
    _begin_test(now)


def seat_candidates(now: Turn) -> None:
    """Give waiting sets the free challenger rows, in order of arrival."""
    pair = now.pair
    if slots.holder(pair, slots.CHAMPION) is None:
        return
    while pair.queue and slots.room(pair) > 0:
        event = pair.queue.pop(0)
        pair.arrivals += 1
        content = slots.registered(event, pair.arrivals)
        turn.seat(now, slots.lowest_free(pair), EXPLORER, content)


# --- the decisions ---


def _decide_gap(now: Turn) -> None:
    pair = now.pair
    if pair.frozen or not pair.gap_blocks:
        return
    case = turn.case(now, "gap", pair.gap_blocks, now.state.policy.gap_threshold)
    verdict = judge(case)
    if verdict.decision == "freeze":
        pair.frozen = True
        turn.record(now, "freeze", case, verdict, _void_test(pair))


def _decide_rollback(now: Turn) -> None:
    pair, policy = now.pair, now.state.policy
    predecessor = slots.holder(pair, PREDECESSOR)
    if predecessor is None:
        return
    case = turn.case(now, "rollback", pair.watch, policy.rollback_threshold, pair.changed_ns)
    verdict = judge(case)
    if verdict.decision == "rollback":
        _roll_back(now, case, verdict, predecessor)
    elif now.now_ns >= pair.watch_until_ns:
        predecessor.role, pair.watch = FREE, []


def _decide_test(now: Turn) -> None:
    pair, test = now.pair, now.pair.test
    if test is None:
        return
    challenger = pair.slots[test.slot]
    barred_ns = _barred_ns(pair, challenger.parameters_sha256)
    case = turn.case(now, "test", test.blocks, test.threshold, test.began_ns, barred_ns)
    verdict = judge(case)
    test.e = verdict.e
    if verdict.decision == "promote":
        _promote(now, case, verdict, challenger)
    elif verdict.decision in ("drop", "expire"):
        _retire(now, case, verdict, challenger)
    elif verdict.decision == "refuse" and verdict.reason != test.refused:
        turn.record(now, "refuse", case, verdict, challenger)
    test.refused = verdict.reason


def _explore(now: Turn) -> None:
    """At the end of a period learn from the explorers, and send them out anew."""
    design, policy = now.pair.design, now.state.policy.design
    if design is None:
        return
    if design.started_ns == 0:
        _send_explorers(now)
    elif now.now_ns >= design.started_ns + policy.period_days * DAY_NS:
        designs.study(design, policy)
        _send_explorers(now)


def _begin_test(now: Turn) -> None:
    """Give the free test slot to the first candidate, else to the step that the design wants."""
    pair = now.pair
    if pair.test is not None or not _has_its_turn(now):
        return
    for candidate in slots.candidates(pair):
        case = turn.begin_case(now, _barred_ns(pair, candidate.parameters_sha256))
        verdict = judge(case)
        if verdict.decision == "test":
            _open_test(now, case, verdict, candidate)
            return
    content = _recommended(pair)
    if content is not None and slots.room(pair) > 0:
        case = turn.begin_case(now, _barred_ns(pair, content.parameters_sha256))
        verdict = judge(case)
        if verdict.decision == "test":
            row = slots.lowest_free(pair).slot
            turn.seat(now, pair.slots[row], TEST, content)
            _open_test(now, case, verdict, pair.slots[row])


def _has_its_turn(now: Turn) -> bool:
    """Whether the budget also covers the pairs before this one whose block has not come yet.

    Ties go by `PAIRS`.
    """
    state, pair = now.state, now.pair
    ahead = 0
    for other in state.pairs[: state.pairs.index(pair)]:
        is_due = other.block_end_ns < now.now_ns and other.test is None and not other.frozen
        ahead += is_due and _wants_test(other)
    case = turn.begin_case(now, 0)
    spent = guards.budget(case).inputs["spent"]
    return spent + (ahead + 1) / case.threshold <= state.policy.alpha + guards.BUDGET_TOLERANCE


def _wants_test(pair: Pair) -> bool:
    if slots.holder(pair, slots.CHAMPION) is None:
        return False
    return bool(slots.candidates(pair)) or _recommended(pair) is not None


def _barred_ns(pair: Pair, parameters_sha256: str) -> int:
    return slots.barred_until(pair, champion_of(pair).parameters_sha256, parameters_sha256)


# --- the moves ---


def _open_test(now: Turn, case: Case, verdict: Verdict, challenger: Slot) -> None:
    challenger.role = TEST
    number = turn.charge(now, case.threshold)
    now.pair.test = slots.Test(
        slot=challenger.slot, began_ns=now.now_ns, threshold=case.threshold, number=number
    )
    turn.record(now, "test", case, verdict, challenger)


def _promote(now: Turn, case: Case, verdict: Verdict, challenger: Slot) -> None:
    pair, policy = now.pair, now.state.policy
    if pair.design is not None:
        designs.moved(pair.design, policy.design)
    turn.record(now, "promote", case, verdict, challenger)
    old = slots.holder(pair, PREDECESSOR)
    if old is not None:
        old.role = FREE
    champion_of(pair).role, challenger.role = PREDECESSOR, slots.CHAMPION
    pair.test, pair.watch = None, []
    pair.watch_until_ns = now.effective_ns + policy.rollback_days * DAY_NS
    turn.point(now, challenger, Promoted)
    _send_explorers(now)


def _roll_back(now: Turn, case: Case, verdict: Verdict, predecessor: Slot) -> None:
    pair, policy, champion = now.pair, now.state.policy, champion_of(now.pair)
    if pair.design is not None:
        designs.held(pair.design, policy.design)
    turn.record(now, "rollback", case, verdict, predecessor)
    _void_test(pair)
    key = slots.bar_key(champion.parameters_sha256, predecessor.parameters_sha256)
    live = {name: until_ns for name, until_ns in pair.barred.items() if until_ns > now.now_ns}
    pair.barred = {**live, key: now.now_ns + policy.barred_days * DAY_NS}
    champion.role, predecessor.role, pair.watch = FREE, slots.CHAMPION, []
    turn.point(now, predecessor, RolledBack)
    _send_explorers(now)


def _retire(now: Turn, case: Case, verdict: Verdict, challenger: Slot) -> None:
    pair = now.pair
    if pair.design is not None and not challenger.alias:
        designs.held(pair.design, now.state.policy.design)
    turn.record(now, verdict.decision, case, verdict, challenger)
    challenger.role, pair.test = FREE, None


def _void_test(pair: Pair) -> Slot | None:
    """End the open test without a verdict.

    A candidate waits for a new one, a made set gives its row up.
    """
    if pair.test is None:
        return None
    challenger = pair.slots[pair.test.slot]
    challenger.role, pair.test = (EXPLORER if challenger.alias else FREE), None
    return challenger


# --- the design ---


def _send_explorers(now: Turn) -> None:
    """Send out new explorers on the rows that candidates and the test slot leave."""
    pair, design = now.pair, now.pair.design
    if design is None:
        return
    for arm in design.arms:
        if pair.slots[arm.slot].role == EXPLORER:
            pair.slots[arm.slot].role = FREE
    design.started_ns, design.arms, design.samples = now.now_ns, [], []
    seat_candidates(now)
    count = slots.room(pair) - (0 if pair.test else 1)  # one row is kept for the test
    for step in designs.explorer_steps(design, max(count, 0)):
        content = _made(pair, step)
        if content is not None:
            row = slots.lowest_free(pair).slot
            turn.seat(now, pair.slots[row], EXPLORER, content)
            arm = designs.Arm(slot=row, generation=pair.slots[row].generation, step=content.step)
            design.arms.append(arm)


def _recommended(pair: Pair) -> Slot | None:
    step = designs.test_step(pair.design) if pair.design is not None else None
    return _made(pair, step) if step is not None else None


def _made(pair: Pair, step: designs.Numbers) -> Slot | None:
    """The set at `step` from the champion as a row's content.

    None where no part of the step keeps the bounds.
    """
    champion = champion_of(pair)
    centre = champion.parameters
    assert pair.design is not None and centre is not None
    placed = designs.placed(centre, pair.design, step)
    if placed is None:
        return None
    return Slot(
        slot=-1,
        parameters=placed[0],
        parameters_sha256=parameter_sha256(placed[0]),
        step=placed[1],
        reference=champion.reference,
    )
