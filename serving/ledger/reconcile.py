"""What execution holds against the sums of its fills, of one point: the same count of fills.

Execution says how many fills of a pair brought it where it is (`runtime.shown`), the log has the
fills of a pair in that order, and the ledger has them as the log has. So both sides are of one
point although the line goes on between the looks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, func, select

from hft_lib.market.pairs import legs_of
from serving.ledger import tables
from serving.ledger.projection import CAPITAL

LEGS = ("y", "x")
# Both sides add up whole lots: more than the rounding of what was traded is a fill that one lacks.
ROUNDING_SHARE_MAX = 1e-9
# A capital account has one life, a slot's ends where it is assigned anew.
_ONE_LIFE = 0
_Life: TypeAlias = tuple[str, int]
Row: TypeAlias = Mapping[str, Any]


class Behind(Exception):
    """The ledger does not have all fills yet that execution has booked; the message says which."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A leg of an account whose two figures are not the same, in base units; `held` is None where
    execution has no such account.
    """

    pair: str
    account: str
    leg: str
    symbol: str
    held: float | None
    filled: float


class _Traded:
    """The fills of one leg in one life of an account: what they come to, and how much moved."""

    def __init__(self) -> None:
        self.net = Decimal(0)
        self.moved = Decimal(0)

    def add(self, side: str, quantity: float) -> None:
        traded = Decimal(repr(quantity))
        self.net += traded if side == "buy" else -traded
        self.moved += traded

    def is_near(self, held: float) -> bool:
        allowed = float(self.moved) * ROUNDING_SHARE_MAX
        return abs(float(Decimal(repr(held)) - self.net)) <= allowed


def compare(
    connection: Connection, line: str, holdings: Iterable[Row], is_whole: bool = True
) -> list[Difference]:
    """Every leg that execution's `holdings` (`shown.holdings`) and the fills of `line` differ in.

    Where `is_whole` says that no account was left out of `holdings`, one that has fills and is not
    in it is a difference too. Raises Behind where fills are missing at the ledger's end.
    """
    by_pair: dict[str, list[Row]] = defaultdict(list)
    for row in holdings:
        by_pair[row["pair"]].append(row)
    found: list[Difference] = []
    for pair, rows in by_pair.items():
        traded = _traded(connection, line, pair, rows[0]["fills"])
        for row in rows:
            found += _account(pair, row, traded)
        if is_whole:
            found += _unknown(pair, {row["account"] for row in rows}, traded)
    if is_whole:
        for pair in sorted(set(_pairs(connection, line)) - by_pair.keys()):
            found += _unknown(pair, set(), _traded(connection, line, pair, None))
    return found


def _traded(
    connection: Connection, line: str, pair: str, count: int | None
) -> dict[_Life, dict[str, _Traded]]:
    """The first `count` fills of a pair (None: all), by life of an account and by leg."""
    fills = tables.FILLS.c
    ours = (fills.line == line) & (fills.pair == pair)
    had = connection.scalar(select(func.count()).where(ours)) or 0
    if count is not None and had < count:
        raise Behind(f"the ledger has {had} fills of {pair}, execution has booked {count}")
    columns = (fills.account, fills.generation, fills.leg, fills.side, fills.quantity)
    query = select(*columns).where(ours).order_by(fills.place).limit(count)
    found: dict[_Life, dict[str, _Traded]] = defaultdict(lambda: defaultdict(_Traded))
    for account, generation, leg, side, quantity in connection.execute(query):
        found[_life(account, generation)][leg].add(side, quantity)
    return found


def _life(account: str, generation: int) -> _Life:
    return account, _ONE_LIFE if account == CAPITAL else generation


def _account(
    pair: str, row: Row, traded: Mapping[_Life, Mapping[str, _Traded]]
) -> list[Difference]:
    legs = traded.get(_life(row["account"], row["generation"]), {})
    sums = {leg: legs.get(leg, _Traded()) for leg in LEGS}
    return [
        _difference(pair, row["account"], leg, row[leg], known)
        for leg, known in sums.items()
        if not known.is_near(row[leg])
    ]


def _unknown(
    pair: str, known: set[str], traded: Mapping[_Life, Mapping[str, _Traded]]
) -> list[Difference]:
    """What fills left in accounts that execution does not have."""
    return [
        _difference(pair, account, leg, None, legs[leg])
        for (account, _), legs in sorted(traded.items())
        for leg in LEGS
        if account not in known and leg in legs and legs[leg].net != 0
    ]


def _difference(
    pair: str, account: str, leg: str, held: float | None, known: _Traded
) -> Difference:
    return Difference(
        pair=pair,
        account=account,
        leg=leg,
        symbol=legs_of(pair)[LEGS.index(leg)],
        held=held,
        filled=float(known.net),
    )


def _pairs(connection: Connection, line: str) -> list[str]:
    fills = tables.FILLS.c
    return list(connection.scalars(select(fills.pair).where(fills.line == line).distinct()))
