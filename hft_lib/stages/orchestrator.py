"""EVOP as a stage: assigns slots, gathers evidence block by block, promotes, rolls back.

In: `Registered`, `RegistryRead`, `BlockClosed`, `HandedOver`, `Resumed`, `MoveAsked`. Out: control
for the head of the line, effective at the block's end plus the lead, or when an operator asked for
it; a record of every decision; and, last in the answer to every block and to the registry's last
word, `Decided`.
"""

from typing import assert_never

from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    Decided,
    DecisionRecorded,
    Event,
    Fact,
    HandedOver,
    MoveAsked,
    Promoted,
    Registered,
    RegistryRead,
    Resumed,
    RolledBack,
    SlotAssigned,
)
from hft_lib.evop import design as designs
from hft_lib.evop import override, slots, turn
from hft_lib.evop.guards import Gap, PairedBlock
from hft_lib.evop.operation import decide_block, seat_candidates
from hft_lib.evop.policy import YEAR_DAYS
from hft_lib.evop.slots import CHAMPION, PREDECESSOR, Pair, Slot
from hft_lib.evop.turn import State, Turn
from hft_lib.line import LineConfig, PairConfig
from hft_lib.stage import Stage


def start(config: LineConfig) -> State:
    """Nothing assigned, nothing known.

    Raises ValueError where a count or a unit is out of its range.
    """
    if config.challengers_max < 0:
        raise ValueError(f"challengers_max must be at least 0, was {config.challengers_max}")
    pairs = [_start_pair(pair, config) for pair in config.pairs]
    return State(policy=config.policy, lead_ns=round(config.lead_s * 1e9), pairs=pairs)


def step(state: State, event: Event) -> tuple[Event, ...]:
    """Answer one fact of the inbox: control and records, `Decided` where the feed waits for one."""
    state.inbox_offset += 1
    match event:
        case Registered():
            return register(state, event)
        case RegistryRead():
            return (Decided(event.time_ns, event.pair, event.time_ns),)
        case BlockClosed():
            return close(state, event)
        case HandedOver():
            return hand_over(state, event)
        case Resumed():
            return resume(state, event)
        case MoveAsked():
            return ask(state, event)
        case Fact():
            return ()
        case _:
            assert_never(event)


def register(state: State, event: Registered) -> tuple[Event, ...]:
    """The first champion gets slot 0 and the capital.

    Every other set waits for a challenger's row.
    """
    pair = _pair(state, event.pair)
    if pair is None:
        return ()
    known = slots.known(pair, event.parameters_sha256)
    if known is not None:
        known.model_version, known.run_id = event.model_version, event.run_id
        return ()
    now = turn.begin(state, pair, event.time_ns, event.time_ns, event.time_ns)
    if slots.holder(pair, CHAMPION) is None and event.alias == CHAMPION:
        _enthrone(now, event)
    elif slots.is_new(pair, event.parameters_sha256):
        pair.queue.append(event)
    seat_candidates(now)
    return tuple(now.facts)


def close(state: State, event: BlockClosed) -> tuple[Event, ...]:
    """Take a block as evidence, decide what it decides, and say so."""
    pair = _pair(state, event.pair)
    if pair is None:
        return ()
    now = turn.begin(state, pair, event.time_ns, event.end_ns, event.end_ns + state.lead_ns)
    champion = slots.holder(pair, CHAMPION)
    if champion is not None and event.end_ns > pair.block_end_ns:
        _observe(pair, champion, event)
        if not event.flagged:
            decide_block(now)
    now.facts.append(Decided(event.time_ns, event.pair, event.end_ns))
    return tuple(now.facts)


def hand_over(state: State, event: HandedOver) -> tuple[Event, ...]:
    """The capital account stands where its slot does.

    Closes the decision, and the live-twin gap counts from here.
    """
    pair = _pair(state, event.pair)
    champion = slots.holder(pair, CHAMPION) if pair else None
    if pair is None or champion is None:
        return ()
    if (event.slot, event.generation) != (champion.slot, champion.generation):
        return ()
    pair.handed_over_ns = event.time_ns
    now = turn.begin(state, pair, event.time_ns, event.time_ns, event.time_ns)
    reason = f"closes {pair.decision_id}"
    turn.record_given(now, "handover", reason, handover_cost_quote=event.cost_quote)
    return tuple(now.facts)


def resume(state: State, event: Resumed) -> tuple[Event, ...]:
    """The operator says that the fills were refitted.

    Promotions thaw, and the gap is measured anew: of the pair that he names. That the latch is let
    go, which a host may say by itself, thaws none.
    """
    pair = _pair(state, event.pair)
    if pair is None or not pair.frozen:
        return ()
    pair.frozen, pair.gap, pair.gap_blocks = False, Gap(), []
    now = turn.begin(state, pair, event.time_ns, event.time_ns, event.time_ns)
    turn.record_given(now, "thaw", "resumed", (event.operator, event.reason))
    return tuple(now.facts)


def ask(state: State, event: MoveAsked) -> tuple[Event, ...]:
    """Answer an operator's word about the capital, once."""
    pair = _pair(state, event.pair)
    if pair is None or event.word_ns <= pair.word_ns:
        return ()
    pair.word_ns = event.word_ns
    now = override.heard(state, pair, event)
    override.answer(now, event)
    return tuple(now.facts)


# --- leaves ---


def _start_pair(pair: PairConfig, config: LineConfig) -> Pair:
    if not pair.capital_quote > 0.0:
        raise ValueError(f"capital_quote must be positive, was {pair.capital_quote}")
    units = pair.evop.units
    return Pair(
        pair=pair.pair,
        capital_quote=pair.capital_quote,
        limits=pair.limits,
        s0=pair.evop.s0_quote / pair.capital_quote,
        slots=[Slot(slot=row) for row in range(config.slots)],
        design=designs.begin(units, config.policy.design) if units else None,
    )


def _pair(state: State, name: str) -> Pair | None:
    return next((pair for pair in state.pairs if pair.pair == name), None)


def _enthrone(now: Turn, event: Registered) -> None:
    turn.seat(now, now.pair.slots[0], CHAMPION, slots.registered(event, 0))
    turn.record_given(now, "start", "the registry's champion")
    turn.point(now, now.pair.slots[0], Promoted)
    now.pair.handed_over_ns = now.effective_ns  # an account that is flat has nothing to hand over


def _observe(pair: Pair, champion: Slot, event: BlockClosed) -> None:
    """Add the block to every series that it is whole for.

    A flagged one is kept and added to the next.
    """
    start_ns, accounts = slots.merged(pair, event)
    pair.block_end_ns = event.end_ns
    pair.alarm_ns = event.end_ns if event.alarm else pair.alarm_ns
    if event.flagged:
        pair.pending, pair.pending_start_ns = list(accounts.values()), start_ns
        return
    pair.pending, pair.pending_start_ns = [], 0
    pair.volatilities = [*pair.volatilities, event.volatility_mean][-slots.HISTORY_BLOCKS_MAX :]
    twin = accounts.get(champion.slot)
    is_settled = event.capital_slot == champion.slot and start_ns >= pair.changed_ns
    if twin is not None and is_settled and slots.is_whole(champion, twin):
        _observe_slots(pair, twin, accounts, start_ns, event)
        _observe_gap(pair, twin, accounts.get(slots.CAPITAL), start_ns, event)


def _observe_slots(
    pair: Pair,
    twin: AccountBlock,
    accounts: dict[int, AccountBlock],
    start_ns: int,
    event: BlockClosed,
) -> None:
    whole = {
        slot.slot: slots.paired(accounts[slot.slot], twin, event)
        for slot in pair.slots
        if slot.slot in accounts and slots.is_whole(slot, accounts[slot.slot])
    }
    test, predecessor = pair.test, slots.holder(pair, PREDECESSOR)
    if test is not None and test.slot in whole and start_ns >= test.began_ns:
        test.blocks.append(whole[test.slot])
    if predecessor is not None and predecessor.slot in whole:
        pair.watch.append(whole[predecessor.slot])
    if pair.design is not None and all(arm.slot in whole for arm in pair.design.arms):
        blocks = [whole[arm.slot] for arm in pair.design.arms]
        pair.design.samples.append(_sample(pair, blocks, twin))


def _sample(pair: Pair, blocks: list[PairedBlock], twin: AccountBlock) -> list[float]:
    changes = [block.change_quote - block.base_change_quote for block in blocks]
    return [change / pair.capital_quote for change in (*changes, twin.equity_change_quote)]


def _observe_gap(
    pair: Pair, twin: AccountBlock, live: AccountBlock | None, start_ns: int, event: BlockClosed
) -> None:
    if live is None or not live.whole or not 0 < pair.handed_over_ns <= start_ns:
        return
    block = slots.paired(twin, live, event)
    pair.gap = slots.with_block(pair.gap, block)
    is_full = len(pair.gap_blocks) >= YEAR_DAYS  # a year is one process of false alarms
    pair.gap_blocks = [block] if is_full else [*pair.gap_blocks, block]


CONTROL: tuple[str, ...] = ("ingestion", "hft.registry", "hft.records")
STAGE: Stage[State, LineConfig] = Stage(
    name="orchestrator",
    state_type=State,
    start=start,
    step=step,
    routes={
        SlotAssigned: CONTROL,
        Promoted: CONTROL,
        RolledBack: CONTROL,
        DecisionRecorded: ("hft.records",),
        Decided: ("ingestion",),
    },
)
