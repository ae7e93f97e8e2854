"""The slots of a pair and what EVOP knows of it: stable rows over which the roles move.

A row is `free`, or holds the `champion`, an `explorer`, the set under `test`, or the `predecessor`
that can take the capital back. Of explorers and test there are never more than the challengers that
the line allows.
"""

import msgspec

from hft_lib.events import AccountBlock, BlockClosed, Registered
from hft_lib.evop.design import Design
from hft_lib.evop.guards import Gap, PairedBlock
from hft_lib.evop.record import DesignRecord, SlotRecord
from hft_lib.parameters import Limits, Parameters, Reference

FREE, CHAMPION, EXPLORER, TEST, PREDECESSOR = "free", "champion", "explorer", "test", "predecessor"
CAPITAL = -1
HISTORY_BLOCKS_MAX = 365  # volatilities and gaps of a year
QUEUE_MAX = 256  # candidates waiting; more than a line can test in decades


class Slot(msgspec.Struct, kw_only=True):
    """One row. `alias` is empty for a set that the design made; `arrival` orders the candidates."""

    slot: int
    role: str = FREE
    generation: int = 0
    parameters: Parameters | None = None
    parameters_sha256: str = ""
    alias: str = ""
    model_version: str = ""
    run_id: str = ""
    git_commit: str = ""
    tape_sha256: str = ""
    effective_ns: int = 0
    arrival: int = 0
    step: list[float] = []
    reference: Reference | None = None


class Test(msgspec.Struct, kw_only=True):
    """An open test: the e-process restarts with it. `refused` is the last reason written down."""

    __test__ = False

    slot: int
    began_ns: int
    threshold: float
    number: int
    blocks: list[PairedBlock] = []
    refused: str = ""
    e: float = 1.0


class Pair(msgspec.Struct, kw_only=True):
    """All that EVOP holds of one pair.

    `changed_ns` is when the capital pointer last moved, `handed_over_ns` when the capital account
    was at its new slot's position (0: not yet). `watch` are the blocks of the predecessor against
    the champion's twin, `gap_blocks` those of the twin against the live account. `pending` sums
    blocks whose marks were stale.
    """

    pair: str
    capital_quote: float
    limits: Limits
    s0: float
    slots: list[Slot]
    slots_version: int = 0
    arrivals: int = 0
    queue: list[Registered] = []
    changed_ns: int = 0
    decision_id: str = ""
    handed_over_ns: int = 0
    test: Test | None = None
    watch: list[PairedBlock] = []
    watch_until_ns: int = 0
    gap_blocks: list[PairedBlock] = []
    gap: Gap = Gap()
    frozen: bool = False
    barred: dict[str, int] = {}
    design: Design | None = None
    volatilities: list[float] = []
    alarm_ns: int = 0
    block_end_ns: int = 0
    pending: list[AccountBlock] = []
    pending_start_ns: int = 0


# --- roles ---


def holder(pair: Pair, role: str) -> Slot | None:
    """The slot that holds a role of which there is at most one."""
    return next((slot for slot in pair.slots if slot.role == role), None)


def challengers(pair: Pair) -> list[Slot]:
    """Explorers and the set under test."""
    return [slot for slot in pair.slots if slot.role in (EXPLORER, TEST)]


def candidates(pair: Pair) -> list[Slot]:
    """Registered sets that wait for the test slot, in order of arrival."""
    waiting = [slot for slot in pair.slots if slot.role == EXPLORER and slot.alias]
    return sorted(waiting, key=lambda slot: slot.arrival)


def room(pair: Pair) -> int:
    """How many more challengers the line allows.

    Rows less champion, predecessor and those that run.
    """
    return len(pair.slots) - 2 - len(challengers(pair))


def lowest_free(pair: Pair) -> Slot:
    """The lowest free row; there is one while there is `room`."""
    return next(slot for slot in pair.slots if slot.role == FREE)


def known(pair: Pair, parameters_sha256: str) -> Slot | None:
    """The slot that runs this very set."""
    return next(
        (s for s in pair.slots if s.role != FREE and s.parameters_sha256 == parameters_sha256), None
    )


def barred_until(pair: Pair, one_sha256: str, other_sha256: str) -> int:
    """Until when this pair of sets may not change places, 0 where it may."""
    return pair.barred.get(bar_key(one_sha256, other_sha256), 0)


def is_new(pair: Pair, parameters_sha256: str) -> bool:
    """Whether a set that runs in no row may queue.

    It is not queued yet, and the queue is not full.
    """
    queued = (event.parameters_sha256 == parameters_sha256 for event in pair.queue)
    return not any(queued) and len(pair.queue) < QUEUE_MAX


def bar_key(one_sha256: str, other_sha256: str) -> str:
    """Name of an unordered pair of sets."""
    return "~".join(sorted((one_sha256, other_sha256)))


def registered(event: Registered, arrival: int) -> Slot:
    """A registered set as a row's content."""
    return Slot(
        slot=-1,
        parameters=event.parameters,
        parameters_sha256=event.parameters_sha256,
        alias=event.alias,
        model_version=event.model_version,
        run_id=event.run_id,
        git_commit=event.git_commit,
        tape_sha256=event.tape_sha256,
        arrival=arrival,
        reference=event.reference,
    )


# --- blocks ---


def merged(pair: Pair, event: BlockClosed) -> tuple[int, dict[int, AccountBlock]]:
    """Start and accounts by slot of the block, with what flagged blocks before it left pending."""
    pending = {account.slot: account for account in pair.pending}
    accounts = {
        account.slot: _sum(pending.get(account.slot), account, bool(pair.pending))
        for account in event.accounts
    }
    return (pair.pending_start_ns if pair.pending else event.start_ns), accounts


def paired(own: AccountBlock, base: AccountBlock, event: BlockClosed) -> PairedBlock:
    """One account's block against another's."""
    return PairedBlock(
        end_ns=event.end_ns,
        change_quote=own.equity_change_quote,
        base_change_quote=base.equity_change_quote,
        cost_quote=own.fees_quote + own.slippage_quote,
        base_cost_quote=base.fees_quote + base.slippage_quote,
        turnover_quote=own.turnover_quote,
        base_turnover_quote=base.turnover_quote,
        volatility=event.volatility_mean,
    )


def is_whole(slot: Slot, account: AccountBlock) -> bool:
    """Whether the slot's present generation ran, warm, through the whole block."""
    return slot.role != FREE and account.whole and account.generation == slot.generation


def with_block(gap: Gap, block: PairedBlock) -> Gap:
    """The sums with one more block of twin against live."""
    g, t = block.change_quote - block.base_change_quote, block.turnover_quote
    return Gap(gap.blocks + 1, gap.g + g, gap.t + t, gap.gg + g * g, gap.gt + g * t, gap.tt + t * t)


def _sum(before: AccountBlock | None, now: AccountBlock, is_pending: bool) -> AccountBlock:
    if before is None or before.generation != now.generation:
        return msgspec.structs.replace(now, whole=now.whole and not is_pending)
    return msgspec.structs.replace(
        now,
        equity_change_quote=before.equity_change_quote + now.equity_change_quote,
        fees_quote=before.fees_quote + now.fees_quote,
        slippage_quote=before.slippage_quote + now.slippage_quote,
        funding_quote=before.funding_quote + now.funding_quote,
        borrow_quote=before.borrow_quote + now.borrow_quote,
        turnover_quote=before.turnover_quote + now.turnover_quote,
        drawdown_quote=max(before.drawdown_quote, now.drawdown_quote),
        active=before.active or now.active,
        whole=before.whole and now.whole,
    )


# --- for the record ---


def slot_record(slot: Slot | None) -> SlotRecord | None:
    """The slot as it stands."""
    if slot is None or slot.parameters is None:
        return None
    return SlotRecord(
        slot=slot.slot,
        generation=slot.generation,
        role=slot.role,
        alias=slot.alias,
        parameters=slot.parameters,
        parameters_sha256=slot.parameters_sha256,
        coded=tuple(slot.step),
        model_version=slot.model_version,
        run_id=slot.run_id,
        git_commit=slot.git_commit,
        tape_sha256=slot.tape_sha256,
    )


def design_record(design: Design | None) -> DesignRecord | None:
    """The belief as it stands."""
    if design is None:
        return None
    return DesignRecord(
        names=tuple(design.names),
        units=tuple(design.units),
        radius=design.radius,
        gradient=tuple(design.gradient),
        covariance=tuple(tuple(row) for row in design.covariance),
    )
