"""The record of a run: the facts that a report needs, in columns, with where they came from.

A run may be 300 days of hours or six minutes of ticks. Nothing here is recomputed but by
`hft_lib`'s own functions, and what the facts do not hold is absent, not guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    DecisionRecorded,
    Event,
    Fill,
    Halted,
    HandedOver,
    Marked,
    Promoted,
    Rejected,
    Resumed,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
)
from hft_lib.evop.record import Record, decode_record
from hft_lib.health.window import SlotValues
from hft_lib.market.pairs import currency_of
from hft_lib.parameters import Assumptions, Parameters, parameter_sha256
from hft_lib.plots import Moment

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
CAPITAL = "capital"


@dataclass(frozen=True)
class TapeInfo:
    """The tape of a run. `source` is what its manifest says of where the rows came from."""

    sha256: str
    start_ns: int
    end_ns: int
    rows: int
    symbols: tuple[str, ...]
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """The `Marked` facts of a run while a slot was followed, (time,) each; equities (time,
    accounts), capital last.

    `known` is true where the forecasts are: before the first pointer they are 0.
    """

    time_ns: Times
    capital_slot: Times
    y_mid: Vector
    x_mid: Vector
    intercept: Vector
    hedge_ratio: Vector
    innovation: Vector
    spread: Vector
    spread_sd: Vector
    run_length: Vector
    recent_probability: Vector
    alarm: Flags
    warm: Flags
    equities_quote: Vector
    drawdown_max_quote: Vector

    @property
    def known(self) -> Flags:
        """Where the followed slot's forecasts are."""
        return (self.capital_slot >= 0) & (self.spread_sd > 0.0)

    @property
    def capital_quote(self) -> Vector:
        """Equity of the capital account (time,), counted from 0."""
        equity: Vector = self.equities_quote[:, -1]
        return equity


@dataclass(frozen=True)
class Decision:
    """A decision of EVOP; `record` is None where its text is not one that this version reads."""

    time_ns: int
    decision_id: str
    kind: str
    record: Record | None


@dataclass(frozen=True)
class Rejects:
    """Like refusals: how often, on which subjects, and the first of them."""

    stage: str
    reason: str
    count: int
    subjects: tuple[str, ...]
    first_ns: int
    last_ns: int
    first_subject: str
    first_detail: str


@dataclass(frozen=True)
class RunRecord:
    """What one run of one pair left. `names` gives the name of a parameter set by its hash.

    `turns` are the times at which a made-up market changed its nature. `health` is what the slots'
    models are judged by at its end, empty where nobody kept it.
    """

    pair: str
    names: Mapping[str, str]
    params: Mapping[str, Parameters]
    tape: TapeInfo
    fit_window: tuple[int, int] | None
    versions: Mapping[str, str]
    commit: str
    commands: tuple[str, ...]
    assumptions: Assumptions
    capital_quote: float
    config: Mapping[str, Any]
    seed: int
    marks: Marks
    fills: tuple[Fill, ...]
    capital_orders: tuple[CapitalOrder, ...]
    shadow_orders: int
    blocks: tuple[BlockClosed, ...]
    assigned: tuple[SlotAssigned, ...]
    moves: tuple[Promoted | RolledBack, ...]
    decisions: tuple[Decision, ...]
    handed_over: tuple[HandedOver, ...]
    rejects: tuple[Rejects, ...]
    halts: tuple[Halted | Resumed, ...]
    turns: tuple[Moment, ...] = ()
    health: tuple[SlotValues, ...] = ()

    @classmethod
    def from_facts(
        cls,
        facts: Iterable[Event],
        *,
        pair: str,
        params: Mapping[str, Parameters],
        tape: TapeInfo,
        fit_window: tuple[int, int] | None,
        versions: Mapping[str, str],
        commit: str,
        commands: Sequence[str],
        assumptions: Assumptions,
        capital_quote: float,
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        turns: Sequence[Moment] = (),
        health: Sequence[SlotValues] = (),
    ) -> "RunRecord":
        """Collect the facts of `pair` from the record log of a run; other facts and pairs are
        passed over.

        `params` holds the named parameter sets, the champion first; `fit_window` is (start_ns,
        end_ns) of the calibration, `capital_quote` the capital share, `commands` the lines that
        reproduce the run.
        """
        found = _Collected()
        for fact in facts:
            found.add(fact, pair)
        return cls(
            pair=pair,
            names=_first_names(params),
            params=dict(params),
            tape=tape,
            fit_window=fit_window,
            versions=dict(versions),
            commit=commit,
            commands=tuple(commands),
            assumptions=assumptions,
            capital_quote=capital_quote,
            config=dict(config or {}),
            seed=seed,
            marks=_columns(found.marks),
            fills=tuple(found.fills),
            capital_orders=tuple(found.capital_orders),
            shadow_orders=found.shadow_orders,
            blocks=tuple(found.blocks),
            assigned=tuple(found.assigned),
            moves=tuple(found.moves),
            decisions=tuple(found.decisions),
            handed_over=tuple(found.handed_over),
            rejects=tuple(_grouped(found.rejected)),
            halts=tuple(found.halts),
            turns=tuple(turns),
            health=tuple(health),
        )

    @property
    def is_synthetic(self) -> bool:
        """Whether the tape was made up and not recorded."""
        return "synthetic" in self.tape.source

    @property
    def currency(self) -> str:
        """The quote currency, as the symbols name it."""
        return currency_of(self.pair)

    @property
    def start_ns(self) -> int:
        """Time of the first mark, else of the tape's start."""
        return int(self.marks.time_ns[0]) if self.marks.time_ns.size else self.tape.start_ns

    @property
    def end_ns(self) -> int:
        """Time of the last mark, else of the tape's end."""
        return int(self.marks.time_ns[-1]) if self.marks.time_ns.size else self.tape.end_ns


# --- collecting ---


def _first_names(params: Mapping[str, Parameters]) -> dict[str, str]:
    """The name of each set by its hash; of equal sets the first one's."""
    names: dict[str, str] = {}
    for name, each in params.items():
        names.setdefault(parameter_sha256(each), name)
    return names


class _Collected:
    """Facts as they come, by kind."""

    def __init__(self) -> None:
        self.marks: list[Marked] = []
        self.fills: list[Fill] = []
        self.capital_orders: list[CapitalOrder] = []
        self.shadow_orders = 0
        self.blocks: list[BlockClosed] = []
        self.assigned: list[SlotAssigned] = []
        self.moves: list[Promoted | RolledBack] = []
        self.decisions: list[Decision] = []
        self.handed_over: list[HandedOver] = []
        self.rejected: list[Rejected] = []
        self.halts: list[Halted | Resumed] = []

    def add(self, fact: Event, pair: str) -> None:
        """Keep `fact` unless it is of another pair."""
        if isinstance(fact, Rejected):
            owner = fact.subject.split("/capital")[0].split("/slot-")[0]
            if owner == pair or "~" not in owner:
                self.rejected.append(fact)
        elif getattr(fact, "pair", None) in (pair, "") and type(fact) in _ADD:
            _ADD[type(fact)](self, fact)


def _add_shadow(found: _Collected, _: Any) -> None:
    found.shadow_orders += 1


_ADD: dict[type, Any] = {
    Marked: lambda found, fact: found.marks.append(fact),
    Fill: lambda found, fact: found.fills.append(fact),
    CapitalOrder: lambda found, fact: found.capital_orders.append(fact),
    ShadowOrder: _add_shadow,
    BlockClosed: lambda found, fact: found.blocks.append(fact),
    SlotAssigned: lambda found, fact: found.assigned.append(fact),
    Promoted: lambda found, fact: found.moves.append(fact),
    RolledBack: lambda found, fact: found.moves.append(fact),
    DecisionRecorded: lambda found, fact: found.decisions.append(_decision(fact)),
    HandedOver: lambda found, fact: found.handed_over.append(fact),
    Halted: lambda found, fact: found.halts.append(fact),
    Resumed: lambda found, fact: found.halts.append(fact),
}


def _decision(fact: DecisionRecorded) -> Decision:
    try:
        record: Record | None = decode_record(fact.record)
    except msgspec.MsgspecError:
        record = None
    return Decision(fact.time_ns, fact.decision_id, fact.kind, record)


def _columns(facts: Sequence[Marked]) -> Marks:
    """Columns of the marks; accounts that a run did not have yet are NaN."""
    width = max((len(fact.equities_quote) for fact in facts), default=1)
    equities = np.full((len(facts), width), np.nan)
    for row, fact in enumerate(facts):
        slots = len(fact.equities_quote) - 1
        equities[row, :slots] = fact.equities_quote[:-1]
        equities[row, -1] = fact.equities_quote[-1]
    columns: dict[str, Any] = {}
    for name in Marks.__dataclass_fields__:
        if name != "equities_quote":
            kind = _KINDS.get(name, np.float64)
            columns[name] = np.array([getattr(fact, name) for fact in facts], dtype=kind)
    return Marks(equities_quote=equities, **columns)


_KINDS: dict[str, Any] = {
    "time_ns": np.int64,
    "capital_slot": np.int64,
    "alarm": np.bool_,
    "warm": np.bool_,
}


def _grouped(facts: Sequence[Rejected]) -> list[Rejects]:
    """Refusals by stage and reason, the most frequent first."""
    groups: dict[tuple[str, str], list[Rejected]] = {}
    for fact in facts:
        groups.setdefault((fact.stage, fact.reason), []).append(fact)
    rejects = [
        Rejects(
            stage=stage,
            reason=reason,
            count=sum(fact.count for fact in group),
            subjects=tuple(sorted({fact.subject for fact in group})),
            first_ns=group[0].time_ns,
            last_ns=group[-1].time_ns,
            first_subject=group[0].subject,
            first_detail=group[0].detail,
        )
        for (stage, reason), group in groups.items()
    ]
    return sorted(rejects, key=lambda each: (-each.count, each.stage, each.reason))
