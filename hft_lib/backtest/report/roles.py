"""Who was what, and when: the slots' tenures over a run, their names, their curves and what they
paid.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hft_lib.backtest.record import CAPITAL, Decision, RunRecord
from hft_lib.events import Fill, Promoted, RolledBack, SlotAssigned
from hft_lib.parameters import Parameters, Set
from hft_lib.plots import Curve, Levels, Moment
from hft_lib.plots.words import number

CENT = 0.005
NS = 1_000_000_000


@dataclass(frozen=True)
class Tenure:
    """One parameter set in one slot while its role did not change."""

    slot: int
    generation: int
    role: str
    start_ns: int
    end_ns: int
    name: str
    sha256: str
    parameters: Parameters

    @property
    def account(self) -> str:
        """The account that it traded."""
        return f"slot-{self.slot}"


@dataclass(frozen=True)
class Costs:
    """What an account earned and paid, quote currency. `open_day` is funding and borrowing since
    the last block.
    """

    name: str
    role: str
    net: float
    slippage: float
    fees: float
    funding: float
    borrow: float
    open_day: float
    turnover: float
    fills: int

    @property
    def paid(self) -> float:
        """All costs together."""
        return self.slippage + self.fees + self.funding + self.borrow + self.open_day

    @property
    def gross(self) -> float:
        """What was earned before costs."""
        return self.net + self.paid


def tenures(record: RunRecord) -> list[Tenure]:
    """Every slot's roles in order of time."""
    open_by_slot: dict[int, Tenure] = {}
    done: list[Tenure] = []

    def close(slot: int, at_ns: int, role: str | None = None) -> None:
        held = open_by_slot.pop(slot, None)
        if held is None:
            return
        if at_ns > held.start_ns:
            done.append(replace(held, end_ns=at_ns))
        if role is not None:
            open_by_slot[slot] = replace(held, role=role, start_ns=max(at_ns, held.start_ns))

    for at_ns, event in _in_order(record):
        match event:
            case SlotAssigned():
                close(event.slot, at_ns)
                open_by_slot[event.slot] = _seated(record, event)
            case Promoted() | RolledBack():
                after = "predecessor" if isinstance(event, Promoted) else None
                for held in [t for t in open_by_slot.values() if t.role == "champion"]:
                    if held.slot != event.slot:
                        close(held.slot, at_ns, after)
                close(event.slot, at_ns, "champion")
            case Decision():
                slot, role = _decided_role(event)
                if slot in open_by_slot and open_by_slot[slot].role != "champion":
                    close(slot, at_ns, role)
    for slot in list(open_by_slot):
        close(slot, record.end_ns + 1)
    return sorted(done, key=lambda tenure: (tenure.start_ns, tenure.slot))


def _in_order(
    record: RunRecord,
) -> list[tuple[int, SlotAssigned | Promoted | RolledBack | Decision]]:
    control = [(fact.effective_ns, 0, fact) for fact in (*record.assigned, *record.moves)]
    decided = [(each.time_ns, 1, each) for each in record.decisions if each.record is not None]
    ordered = sorted([*control, *decided], key=lambda item: item[:2])
    return [(at_ns, event) for at_ns, _, event in ordered]


def _decided_role(decision: Decision) -> tuple[int, str | None]:
    """Slot and new role of a decision's challenger; slot -1 where it changes none."""
    assert decision.record is not None
    challenger = decision.record.challenger
    if challenger is None or decision.kind not in ("test", "drop", "expire"):
        return -1, None
    return challenger.slot, "test" if decision.kind == "test" else None


def _seated(record: RunRecord, event: SlotAssigned) -> Tenure:
    return Tenure(
        slot=event.slot,
        generation=event.generation,
        role=event.role,
        start_ns=event.effective_ns,
        end_ns=0,
        name=set_name(record, event.parameters_sha256, event.slot, event.generation),
        sha256=event.parameters_sha256,
        parameters=event.parameters,
    )


def set_name(record: RunRecord, sha256: str, slot: int, generation: int) -> str:
    """The name a parameter set was given, else where and when it ran: `explorer 2.3`."""
    return record.names.get(sha256, f"explorer {slot}.{generation}")


def differences(
    base: Parameters, other: Parameters
) -> list[tuple[str, float | None, float | None]]:
    """(dotted name, value in `base`, in `other`) of every parameter in which they differ."""
    return [
        (name, one, two)
        for (name, one), (_, two) in zip(leaves(base), leaves(other), strict=True)
        if one != two
    ]


def leaves(params: Set, prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Every parameter by its dotted name, in order."""
    for name in params.__struct_fields__:
        value = getattr(params, name)
        if isinstance(value, Set):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def described(base: Parameters, other: Parameters, most: int = 3) -> str:
    """What sets `other` apart, in words: `entry z 1.6, exit z 0.3`."""
    changed = differences(base, other)
    words = [
        f"{name.split('.')[-1].replace('_', ' ')} {'none' if value is None else number(value)}"
        for name, _, value in changed[:most]
    ]
    more = f" and {len(changed) - most} more" if len(changed) > most else ""
    return ", ".join(words) + more


# --- what the figures need ---


def curves(record: RunRecord, held: list[Tenure]) -> list[Curve]:
    """Equity of capital and of every tenure."""
    marks = record.marks
    made = [Curve("capital", CAPITAL, marks.time_ns, marks.capital_quote)]
    for tenure in held:
        rows = (marks.time_ns >= tenure.start_ns) & (marks.time_ns < tenure.end_ns)
        if tenure.slot < marks.equities_quote.shape[1] - 1 and rows.any():
            equity = marks.equities_quote[rows, tenure.slot]
            made.append(Curve(curve_name(tenure), tenure.role, marks.time_ns[rows], equity))
    return made


def curve_name(tenure: Tenure) -> str:
    """What a legend calls a tenure."""
    names = {
        "champion": "champion\N{RIGHT SINGLE QUOTATION MARK}s twin",
        "predecessor": "predecessor",
        "test": f"under test: {tenure.name}",
    }
    return names.get(tenure.role, tenure.name)


def moments(record: RunRecord) -> list[Moment]:
    """Turns of the market, promotions, rollbacks and halts, in a word; the first pointer is no
    promotion.
    """
    made = list(record.turns)
    made += [
        Moment(move.effective_ns, "promoted" if isinstance(move, Promoted) else "rolled back")
        for move in record.moves[1:]
    ]
    return made + [
        Moment(halt.time_ns, "halt" if type(halt).__name__ == "Halted" else "resume")
        for halt in record.halts
    ]


def levels(held: list[Tenure]) -> list[Levels]:
    """The followed slot's entry, exit and stop over time."""
    return [
        Levels(
            tenure.start_ns,
            tenure.parameters.strategy.entry_z,
            tenure.parameters.strategy.exit_z,
            tenure.parameters.strategy.stop_z,
        )
        for tenure in held
        if tenure.role == "champion"
    ]


# --- what the table of costs needs ---


def costs(record: RunRecord, held: list[Tenure]) -> list[Costs]:
    """Costs of capital, of each champion and set under test, and of all explorers together."""
    rows = [_capital_costs(record)]
    lives: dict[tuple[int, int], list[Tenure]] = {}
    for tenure in held:
        lives.setdefault((tenure.slot, tenure.generation), []).append(tenure)
    explorers: list[Costs] = []
    for life in lives.values():
        roles = dict.fromkeys(tenure.role for tenure in life if tenure.role != "explorer")
        row = _slot_costs(record, life, ", then ".join(roles) or "explorer")
        (explorers if not roles and _is_made(life[0]) else rows).append(row)
    return rows + ([_total(explorers)] if explorers else [])


def _is_made(tenure: Tenure) -> bool:
    return tenure.name.startswith("explorer ")


def _capital_costs(record: RunRecord) -> Costs:
    marks = record.marks
    net = float(marks.capital_quote[-1]) if marks.time_ns.size else 0.0
    return _costs(record, "capital", CAPITAL, CAPITAL, None, record.end_ns, net)


def _slot_costs(record: RunRecord, life: list[Tenure], role: str) -> Costs:
    marks, last = record.marks, life[-1]
    rows = np.flatnonzero((marks.time_ns >= life[0].start_ns) & (marks.time_ns < last.end_ns))
    net = float(marks.equities_quote[rows[-1], last.slot]) if rows.size else 0.0
    until_ns = int(marks.time_ns[rows[-1]]) if rows.size else last.end_ns
    return _costs(record, last.name, role, last.account, last.generation, until_ns, net)


def _costs(
    record: RunRecord,
    name: str,
    role: str,
    account: str,
    generation: int | None,
    until_ns: int,
    net: float,
) -> Costs:
    fills = [
        fill
        for fill in record.fills
        if fill.account == account
        and fill.time_ns <= until_ns
        and generation in (None, fill.generation)
    ]
    funding = borrow = 0.0
    for block in (block for block in record.blocks if block.end_ns <= until_ns):
        for held in block.accounts:
            if held.account == account and generation in (None, held.generation):
                funding += held.funding_quote
                borrow += held.borrow_quote
    open_day = _financing(record, fills, until_ns, net) - funding - borrow
    return Costs(
        name=name,
        role=role,
        net=net,
        slippage=sum(fill.slippage_quote for fill in fills),
        fees=sum(fill.fee_quote for fill in fills),
        funding=funding,
        borrow=borrow,
        open_day=open_day if abs(open_day) > CENT else 0.0,
        turnover=sum(fill.quantity * fill.price for fill in fills),
        fills=len(fills),
    )


def _financing(record: RunRecord, fills: list[Fill], until_ns: int, net: float) -> float:
    """Funding and borrowing that the fills and marks imply: what is missing from cash and position.

    net = sum(-side quantity price - fee) + position at the mids - funding - borrow
    """
    if not record.marks.time_ns.size:
        return 0.0
    row = max(int(np.searchsorted(record.marks.time_ns, until_ns, side="right")) - 1, 0)
    mids = {"y": record.marks.y_mid[row], "x": record.marks.x_mid[row]}
    worth = 0.0
    for fill in fills:
        side = 1.0 if fill.side == "buy" else -1.0
        worth += side * fill.quantity * (float(mids[fill.leg]) - fill.price) - fill.fee_quote
    return worth - net


def _total(rows: list[Costs]) -> Costs:
    numbers = ("net", "slippage", "fees", "funding", "borrow", "open_day", "turnover")
    sums = {name: float(sum(getattr(row, name) for row in rows)) for name in numbers}
    fills = sum(row.fills for row in rows)
    return Costs(name=f"{len(rows)} explorers together", role="explorer", fills=fills, **sums)
