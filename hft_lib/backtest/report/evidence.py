"""The e-values of every test of a run, from the decisions' records and, for what no record closed,
from the blocks.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.backtest.record import Decision, RunRecord
from hft_lib.backtest.report.roles import set_name
from hft_lib.evop import guards, slots
from hft_lib.evop.evidence import EVIDENCE, begin, constants, run
from hft_lib.evop.guards import Case, PairedBlock
from hft_lib.evop.policy import DAY_NS
from hft_lib.evop.record import Record
from hft_lib.plots import EvidencePath, Shade

ENDS = {
    "promote": "promoted",
    "drop": "dropped",
    "expire": "expired",
    "rollback": "void: rolled back",
    "freeze": "void: frozen",
}


@dataclass(frozen=True)
class Test:
    """One test: how it began, how it ended (None: it runs), its blocks and its path."""

    __test__ = False

    begun: Record
    ended: Decision | None
    blocks: tuple[PairedBlock, ...]
    path: EvidencePath


def begun_tests(record: RunRecord) -> list[Test]:
    """Every test that a record says began, in order."""
    return [
        _test(record, decision.record, record.decisions[i + 1 :])
        for i, decision in enumerate(record.decisions)
        if decision.kind == "test"
        and decision.record is not None
        and decision.record.challenger is not None
    ]


def _test(record: RunRecord, begun: Record, later: tuple[Decision, ...]) -> Test:
    ended = next((each for each in later if each.kind in ENDS), None)
    until_ns = ended.time_ns if ended else record.end_ns + 1
    closing = ended.record if ended else None
    if closing is not None and closing.case.process == "test":
        case = closing.case
    else:
        case = _with_blocks(begun.case, paired_blocks(record, begun, until_ns))
    challenger = begun.challenger
    assert challenger is not None
    name = set_name(record, challenger.parameters_sha256, challenger.slot, challenger.generation)
    path = EvidencePath(
        name=name,
        began_ns=begun.case.time_ns,
        end_ns=np.array([block.end_ns for block in case.blocks], dtype=np.int64),
        e=e_values(case),
        threshold=begun.case.threshold,
        drop_below=begun.case.policy.drop_below,
    )
    if ended is not None:
        path = replace(path, outcome=ENDS[ended.kind], outcome_ns=ended.time_ns)
    return Test(begun, ended, case.blocks, path)


def watches(record: RunRecord) -> list[EvidencePath]:
    """The e-value of every predecessor that got the capital back, against who had taken it."""
    return [
        EvidencePath(
            name=set_name(
                record,
                known.challenger.parameters_sha256,
                known.challenger.slot,
                known.challenger.generation,
            ),
            began_ns=known.case.began_ns,
            end_ns=np.array([block.end_ns for block in known.case.blocks], dtype=np.int64),
            e=e_values(known.case),
            threshold=known.case.threshold,
            drop_below=0.0,
            outcome_ns=known.time_ns,
            watch=True,
        )
        for known in (each.record for each in record.decisions if each.kind == "rollback")
        if known is not None and known.challenger is not None
    ]


def _with_blocks(case: Case, blocks: list[PairedBlock]) -> Case:
    return msgspec.structs.replace(case, blocks=tuple(blocks))


def e_values(case: Case) -> npt.NDArray[np.float64]:
    """e after each block of the case, (blocks,)."""
    v = np.array(guards.differences(case), dtype=np.float64)
    rows, e = np.zeros(1, EVIDENCE), np.empty(v.size)
    if v.size:
        begin(rows, 0, case.policy.bets, case.s0, case.loss_max)
        run(rows, 0, v, constants(case.policy.bets), e)
    return e


def paired_blocks(record: RunRecord, begun: Record, until_ns: int) -> list[PairedBlock]:
    """The blocks whole for the test and the champion's twin that closed before `until_ns`, as EVOP
    pairs them.
    """
    challenger, champion, case = begun.challenger, begun.champion, begun.case
    assert challenger is not None and champion is not None
    pair = slots.Pair(
        pair=case.pair, capital_quote=case.capital_quote, limits=case.limits, s0=case.s0, slots=[]
    )
    paired = []
    for block in record.blocks:
        start_ns, accounts = slots.merged(pair, block)
        pair.pending = list(accounts.values()) if block.flagged else []
        pair.pending_start_ns = start_ns if block.flagged else 0
        inside = start_ns >= max(case.time_ns, case.changed_ns) and block.end_ns < until_ns
        own, twin = accounts.get(challenger.slot), accounts.get(champion.slot)
        if block.flagged or not inside or own is None or twin is None:
            continue
        same = (own.generation, twin.generation) == (challenger.generation, champion.generation)
        if own.whole and twin.whole and same and block.capital_slot == champion.slot:
            paired.append(slots.paired(own, twin, block))
    return paired


def shades(record: RunRecord, made: list[Test]) -> list[Shade]:
    """Warm-ups before a test's first block, and flagged blocks."""
    flagged = [Shade(b.start_ns, b.end_ns, "flagged") for b in record.blocks if b.flagged]
    warming = []
    for test in made:
        starts_ns = test.blocks[0].end_ns - DAY_NS if test.blocks else record.end_ns
        if starts_ns > test.path.began_ns:
            warming.append(Shade(test.path.began_ns, starts_ns, "warm-up"))
    return flagged + warming
