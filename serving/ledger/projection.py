"""From facts to rows: pure, the same facts in the same order give the same rows.

What a later row depends on (what an account holds, which day of a pair is open) is two small
tables, held here between batches and read back at a start.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Table

from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    DecisionRecorded,
    Event,
    Fill,
    Marked,
    Promoted,
    Rejected,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
)
from hft_lib.evop.policy import DAY_NS
from serving.ledger import tables

Row = dict[str, Any]
CAPITAL = "capital"
_NOT_YET = -1


class Rows(msgspec.Struct):
    """What a batch of facts comes to: rows to insert, counts to add, rows to put in place."""

    written: dict[Table, list[Row]]
    rejected: dict[tuple[int, str, str, str], int]
    latest: dict[Table, list[Row]]
    records: int
    time_ns: int


class Projection:
    """The rows of one line, fact by fact, from the state that its ledger is in."""

    def __init__(
        self, line: str, pairs: Iterable[Mapping[str, Any]], positions: Iterable[Mapping[str, Any]]
    ) -> None:
        self._line = line
        self._pairs: dict[str, Row] = {row["pair"]: dict(row) for row in pairs}
        self._positions: dict[tuple[str, str, str], Row] = {
            (row["pair"], row["account"], row["leg"]): dict(row) for row in positions
        }
        self._clear()

    def _clear(self) -> None:
        self._written: dict[Table, list[Row]] = {}
        self._rejected: Counter[tuple[int, str, str, str]] = Counter()
        self._changed_pairs: set[str] = set()
        self._changed_positions: set[tuple[str, str, str]] = set()
        self.records = 0
        self._time_ns = 0

    def take(self, place: int, fact: Event) -> None:
        """Project one fact that stands at `place` of the log; other kinds leave no row."""
        self.records += 1
        self._time_ns = max(self._time_ns, getattr(fact, "time_ns", 0))
        match fact:
            case CapitalOrder() | ShadowOrder():
                self._insert(tables.ORDERS, place, asdict(fact), day=self._day(fact))
            case Fill():
                self._insert(tables.FILLS, place, asdict(fact), day=self._day(fact))
                self._hold(fact)
            case BlockClosed():
                self._close(place, fact)
            case Marked():
                self._mark(fact)
            case DecisionRecorded():
                self._insert(tables.DECISIONS, place, asdict(fact))
            case SlotAssigned():
                self._insert(tables.ASSIGNMENTS, place, asdict(fact))
            case Promoted() | RolledBack():
                kind = "promote" if isinstance(fact, Promoted) else "rollback"
                self._insert(tables.MOVES, place, asdict(fact), kind=kind)
            case Rejected():
                day, subject = fact.time_ns // DAY_NS, _stored(fact.subject)
                self._rejected[day, fact.stage, fact.reason, subject] += fact.count

    def drain(self) -> Rows:
        """What came since the last call, to be written in one transaction."""
        rows = Rows(
            written=self._written,
            rejected=dict(self._rejected),
            latest={
                tables.PAIRS: [dict(self._pairs[key]) for key in sorted(self._changed_pairs)],
                tables.POSITIONS: [
                    dict(self._positions[key]) for key in sorted(self._changed_positions)
                ],
            },
            records=self.records,
            time_ns=self._time_ns,
        )
        self._clear()
        return rows

    # --- leaves ---

    def _insert(self, table: Table, place: int, values: Row, **more: Any) -> None:
        row = {"line": self._line, "place": place, **values, **more}
        known = {name: _stored(row[name]) for name in _NAMES[table]}
        self._written.setdefault(table, []).append(known)

    def _pair(self, name: str, time_ns: int) -> Row:
        row = self._pairs.get(name)
        if row is None:
            row = self._pairs[name] = {
                "line": self._line,
                "pair": name,
                "first_ns": time_ns,
                "closed_ns": _NOT_YET,
                "marked_ns": _NOT_YET,
                "capital_slot": _NOT_YET,
                "y_mid": None,
                "x_mid": None,
                "drawdown_max_quote": None,
                "equities_quote": "[]",
            }
        self._changed_pairs.add(name)
        return row

    def _day(self, fact: CapitalOrder | ShadowOrder | Fill) -> int:
        """The day whose block `fact` is in: what is of midnight and stands before the block's end
        in the log belongs to the day that ends.
        """
        pair = self._pair(fact.pair, fact.time_ns)
        day, since_ns = divmod(fact.time_ns, DAY_NS)
        ends_now = since_ns == 0 and pair["closed_ns"] < fact.time_ns
        return day - 1 if ends_now and pair["first_ns"] < fact.time_ns else day

    def _hold(self, fill: Fill) -> None:
        key = (fill.pair, fill.account, fill.leg)
        held = self._positions.get(key)
        if held is None or (fill.account != CAPITAL and held["generation"] != fill.generation):
            held = self._positions[key] = {
                "line": self._line,
                "pair": fill.pair,
                "account": fill.account,
                "leg": fill.leg,
                "quantity": 0.0,
                "entry_price": None,
                "fills": 0,
            }
        traded = fill.quantity if fill.side == "buy" else -fill.quantity
        before = held["quantity"]
        after = exact_sum(before, traded)
        held |= {
            "generation": fill.generation,
            "quantity": after,
            "entry_price": entry_price(before, held["entry_price"], traded, fill.price, after),
            "time_ns": fill.time_ns,
            "fills": held["fills"] + 1,
        }
        self._changed_positions.add(key)

    def _close(self, place: int, block: BlockClosed) -> None:
        pair = self._pair(block.pair, block.start_ns)
        pair["closed_ns"] = block.end_ns
        whole = asdict(block)
        for account in block.accounts:
            values = {**whole, **asdict(account)}
            self._insert(tables.BLOCKS, place, values, day=block.end_ns // DAY_NS - 1)

    def _mark(self, fact: Marked) -> None:
        self._pair(fact.pair, fact.time_ns).update(
            marked_ns=fact.time_ns,
            capital_slot=fact.capital_slot,
            y_mid=_stored(fact.y_mid),
            x_mid=_stored(fact.x_mid),
            drawdown_max_quote=_stored(fact.drawdown_max_quote),
            equities_quote=msgspec.json.encode(fact.equities_quote).decode(),
        )


_NAMES = {table: tuple(table.columns.keys()) for table in tables.WRITTEN_ONCE}


def _stored(value: Any) -> Any:
    """The value as both databases hold it: SQLite has no NaN, PostgreSQL no NUL in a text."""
    match value:
        case float():
            return None if math.isnan(value) else value
        case str():
            return value.replace("\0", "\ufffd")
        case _:
            return value


def exact_sum(held: float, traded: float) -> float:
    """The float nearest to the sum of two floats as they print: whole lots stay whole lots, and
    what was bought and sold again is 0.

    >>> exact_sum(0.1, 0.2), 0.1 + 0.2
    (0.3, 0.30000000000000004)
    """
    return float(Decimal(repr(held)) + Decimal(repr(traded)))


def entry_price(
    before: float, price_before: float | None, traded: float, price: float, after: float
) -> float | None:
    """Mean price at which the open position was entered: a reduction leaves it, a position that
    turned over was entered by the last fill.
    """
    if after == 0.0:
        return None
    if before == 0.0 or price_before is None or (before > 0.0) != (after > 0.0):
        return price
    if (before > 0.0) != (traded > 0.0):
        return price_before
    return (before * price_before + traded * price) / (before + traded)
