"""What the ledger says: the accounts of one day, and what is held now.

Every figure is read from rows and none is kept. Sums of money are taken exactly rounded
(`math.fsum`), so that they do not depend on the order in which a database gives the rows.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, Table, func, select

from hft_lib.evop.policy import DAY_NS
from hft_lib.market.pairs import legs_of
from serving.ledger import tables
from serving.ledger.database import LedgerError
from serving.ledger.projection import CAPITAL

CENT = 0.01
# What is worth less than this is the rounding of a sum and no position.
FLAT_QUOTE = 1e-6
_PAID = {"fees_quote": "fee_quote", "slippage_quote": "slippage_quote"}
# An account's life: a slot that is assigned anew starts flat, capital has one life.
Life: TypeAlias = tuple[str, str, int]
Row: TypeAlias = Mapping[str, Any]


class AccountDay(msgspec.Struct, frozen=True, kw_only=True):
    """One account over one UTC day, in the quote currency.

    A closed day has the figures of its `BlockClosed`; `differences` holds what they differ by from
    the rows of orders, fills and the day before, where it is half a cent or more. Of a day that is
    not closed, what no row says is None.
    """

    pair: str
    account: str
    slot: int
    generation: int
    closed: bool
    orders: int
    fills: int
    turnover_quote: float
    fees_quote: float
    slippage_quote: float
    funding_quote: float | None
    borrow_quote: float | None
    pnl_quote: float | None
    equity_quote: float | None
    drawdown_quote: float | None
    flagged: bool
    differences: dict[str, float]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of one account at the last mark: quantity in base units, the rest in quote."""

    pair: str
    account: str
    leg: str
    symbol: str
    quantity: float
    entry_price: float | None
    mid: float | None
    value_quote: float | None
    unrealised_quote: float | None


class AccountNow(msgspec.Struct, frozen=True, kw_only=True):
    """One account of a pair at the last mark; `equity_quote` counts from 0 at its start."""

    pair: str
    account: str
    slot: int
    generation: int
    model_version: str
    marked_ns: int
    equity_quote: float | None
    holdings: tuple[Holding, ...]

    @property
    def is_flat(self) -> bool:
        """Whether it holds nothing."""
        return not self.holdings


def line_in(connection: Connection, source: str, wanted: str | None = None) -> str:
    """The name of the line of `source` in a database: the wanted one, or the only one.

    Raises LedgerError where that is not one.
    """
    found = connection.scalars(
        select(tables.LINES.c.line).where(tables.LINES.c.source == source).order_by("line")
    ).all()
    if wanted in found or (wanted is None and len(found) == 1):
        return wanted or found[0]
    names = ", ".join(found) or "none"
    raise LedgerError(f"name one of the database's lines with --line, it holds: {names}")


def as_of_ns(connection: Connection, line: str) -> int:
    """The time of the last record of a line that is in its ledger; 0 before the first."""
    query = select(tables.LINES.c.time_ns).where(tables.LINES.c.line == line)
    return int(connection.scalar(query) or 0)


def decisions(connection: Connection, line: str, last: int | None = None) -> list[str]:
    """The records of a line's decisions as JSON, in order; the `last` ones alone where that is
    said.
    """
    known = tables.DECISIONS.c
    query = select(known.record).where(known.line == line).order_by(known.place.desc())
    found = connection.scalars(query if last is None else query.limit(last)).all()
    return [str(record) for record in reversed(found)]


def days_of(connection: Connection, line: str) -> tuple[int, int] | None:
    """First and last day of a line's rows, as days since 1970; None without any."""
    found: list[int] = []
    for table in (tables.ORDERS, tables.BLOCKS):
        bounds = select(func.min(table.c.day), func.max(table.c.day)).where(table.c.line == line)
        found += [day for day in connection.execute(bounds).one() if day is not None]
    return (min(found), max(found)) if found else None


# --- one day ---


def statement(connection: Connection, line: str, day: int) -> list[AccountDay]:
    """Every account over `day` (days since 1970), by pair and account; empty without a row."""
    fills: dict[Life, list[Row]] = defaultdict(list)
    orders: dict[Life, int] = defaultdict(int)
    for row in _rows(connection, tables.FILLS, line, day=day):
        fills[_life(row)].append(row)
    for row in _rows(connection, tables.ORDERS, line, day=day):
        orders[_life(row)] += 1
    blocks = {_life(row): row for row in _rows(connection, tables.BLOCKS, line, day=day)}
    before = {_life(row): row for row in _rows(connection, tables.BLOCKS, line, day=day - 1)}
    now = {
        (item.pair, item.account, item.generation if item.slot >= 0 else -1): item
        for item in accounts_now(connection, line)
        if item.marked_ns // DAY_NS == day
    }
    lives = fills.keys() | orders.keys() | blocks.keys() | now.keys()
    return [
        _account_day(life, orders[life], fills[life], blocks.get(life), before.get(life), now)
        for life in sorted(lives)
    ]


def _account_day(
    life: Life,
    orders: int,
    fills: list[Row],
    block: Row | None,
    before: Row | None,
    now: Mapping[Life, AccountNow],
) -> AccountDay:
    pair, account, generation = life
    equity_before = before["equity_quote"] if before is not None else 0.0
    told = {name: math.fsum(fill[paid] for fill in fills) for name, paid in _PAID.items()}
    told["turnover_quote"] = math.fsum(fill["quantity"] * fill["price"] for fill in fills)
    if block is not None:
        said = {name: block[name] for name in (*told, "funding_quote", "borrow_quote")}
        said |= {"equity_quote": block["equity_quote"], "pnl_quote": block["equity_change_quote"]}
        told["equity_quote"] = equity_before + block["equity_change_quote"]
        figures = {**said, "drawdown_quote": block["drawdown_quote"]}
    else:
        said, running = {}, now.get(life)
        equity = running.equity_quote if running is not None else None
        figures = {**told, "funding_quote": None, "borrow_quote": None, "drawdown_quote": None}
        figures |= {"equity_quote": equity}
        figures |= {"pnl_quote": equity - equity_before if equity is not None else None}
    return AccountDay(
        pair=pair,
        account=account,
        slot=_slot(account),
        generation=_generation(generation, block, now.get(life)),
        closed=block is not None,
        orders=orders,
        fills=len(fills),
        flagged=bool(block is not None and block["flagged"]),
        differences={
            name: value - told[name]
            for name, value in said.items()
            if name in told and not abs(value - told[name]) < CENT / 2
        },
        **figures,
    )


def _generation(generation: int, block: Row | None, running: AccountNow | None) -> int:
    """A slot's own; capital has that of the slot that it follows, -1 where no row says which."""
    if generation >= 0:
        return generation
    if block is not None:
        return int(block["generation"])
    return running.generation if running is not None else -1


def _life(row: Row) -> Life:
    account = row["account"]
    return row["pair"], account, -1 if account == CAPITAL else row["generation"]


def _slot(account: str) -> int:
    return -1 if account == CAPITAL else int(account.removeprefix("slot-"))


# --- now ---


def accounts_now(connection: Connection, line: str) -> list[AccountNow]:
    """Capital and every assigned slot of each pair at the pair's last mark."""
    held = {
        (row["pair"], row["account"], row["leg"]): row
        for row in _rows(connection, tables.POSITIONS, line)
    }
    assigned: dict[str, dict[int, Row]] = defaultdict(dict)
    by_time = sorted(
        _rows(connection, tables.ASSIGNMENTS, line),
        key=lambda row: (row["effective_ns"], row["place"]),
    )
    pairs = {row["pair"]: row for row in _rows(connection, tables.PAIRS, line)}
    for row in by_time:
        if row["pair"] in pairs and row["effective_ns"] <= _last_ns(pairs[row["pair"]]):
            assigned[row["pair"]][row["slot"]] = row
    found = []
    for name in sorted(pairs):
        slots = assigned[name]
        follows = slots.get(pairs[name]["capital_slot"])
        found.append(_account_now(pairs[name], CAPITAL, follows, held))
        found += [
            _account_now(pairs[name], f"slot-{slot}", slots[slot], held) for slot in sorted(slots)
        ]
    return found


def _last_ns(pair: Row) -> int:
    return int(max(pair["marked_ns"], pair["closed_ns"], pair["first_ns"]))


def _account_now(
    pair: Row, account: str, assigned: Row | None, held: Mapping[tuple[str, str, str], Row]
) -> AccountNow:
    generation = assigned["generation"] if assigned is not None else -1
    equities = msgspec.json.decode(pair["equities_quote"])
    slot = _slot(account)
    rows = [held.get((pair["pair"], account, leg)) for leg in ("y", "x")]
    ours = [
        row for row in rows if row and (account == CAPITAL or row["generation"] == generation)
    ]  # fmt: skip
    holdings = [_holding(pair, row) for row in ours if row["quantity"] != 0.0]
    return AccountNow(
        pair=pair["pair"],
        account=account,
        slot=slot,
        generation=generation,
        model_version=assigned["model_version"] if assigned is not None else "",
        marked_ns=pair["marked_ns"],
        equity_quote=equities[slot] if slot < len(equities) and equities else None,
        holdings=tuple(item for item in holdings if not _is_dust(item)),
    )


def _holding(pair: Row, row: Row) -> Holding:
    mid, entry, quantity = pair[f"{row['leg']}_mid"], row["entry_price"], row["quantity"]
    known = mid is not None and entry is not None
    return Holding(
        pair=pair["pair"],
        account=row["account"],
        leg=row["leg"],
        symbol=legs_of(pair["pair"])["yx".index(row["leg"])],
        quantity=quantity,
        entry_price=entry,
        mid=mid,
        value_quote=quantity * mid if mid is not None else None,
        unrealised_quote=quantity * (mid - entry) if known else None,
    )


def _is_dust(holding: Holding) -> bool:
    return holding.value_quote is not None and abs(holding.value_quote) < FLAT_QUOTE


def _rows(connection: Connection, table: Table, line: str, **where: Any) -> list[Row]:
    query = select(table).where(table.c.line == line)
    for name, value in where.items():
        query = query.where(table.c[name] == value)
    return [dict(row) for row in connection.execute(query).mappings()]
