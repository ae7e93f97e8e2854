"""`hft trace` of an order of the six services: what their ledger and the line say of it."""

from collections.abc import Sequence
from typing import Any

from cli.ledgers import open_ledger
from cli.trace import Source, decision_of, document
from serving.runtime.settings import Settings

# What is said where the line was opened, and nowhere else.
OPENED = ("git_commit", "tape_sha256", "config_sha256")
NO_COMMIT = "the program that opened the line knew or kept none"


def find(settings: Settings, order_id: str, unread: list[str]) -> dict[str, Any] | None:
    """All that is known of the order; None where the line has no such order, or cannot be asked:
    then `unread` is told why.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from serving.ledger.database import LedgerError

    try:
        with open_ledger(settings, None, None) as (connection, line):
            found = rows(connection, line, order_id)
    except (LedgerError, SQLAlchemyError) as error:
        unread.append(" ".join(str(error).partition("[SQL:")[0].split()))
        return None
    if found is None:
        return None
    return document(_source(settings, line, found[0].pair), *found)


def rows(
    connection: Any, line: str, order_id: str
) -> tuple[Any, Any, Any, Any, Sequence[Any]] | None:
    """The order, its slot's assignment, the pointer's last move to that slot, the decision of that
    move, and the fills; None where the ledger has no such order.
    """
    from sqlalchemy import Table, select

    from serving.ledger import tables

    def all_of(table: Table, **wanted: Any) -> Sequence[Any]:
        where = [table.c[name] == value for name, value in ({"line": line} | wanted).items()]
        return connection.execute(select(table).where(*where).order_by(table.c.place)).all()

    order = next(iter(all_of(tables.ORDERS, client_order_id=order_id)), None)
    if order is None:
        return None
    seat = {"pair": order.pair, "slot": order.slot, "generation": order.generation}
    slot = next(iter(all_of(tables.ASSIGNMENTS, **seat)), None)
    moves = [row for row in all_of(tables.MOVES, **seat) if row.place < order.place]
    moved = moves[-1] if moves else None
    decision = {"pair": order.pair, "decision_id": decision_of(order.account, moved)}
    recorded = next(iter(all_of(tables.DECISIONS, **decision)), None)
    return order, slot, moved, recorded, all_of(tables.FILLS, client_order_id=order_id)


def _source(settings: Settings, line: str, pair: str) -> Source:
    """What the line was opened with; no more than its name where the broker does not say, and why
    each thing is not known.
    """
    from serving.adapters.kafka_snapshots import Snapshots
    from serving.runtime.chained import BusError
    from serving.runtime.identity import content_sha256
    from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened

    snapshots = Snapshots(str(settings.kafka_bootstrap_servers), "trace")
    try:
        opened, feed = snapshots.read(LINE, LineOpened), snapshots.read(FEED, FeedOpened)
    except BusError as error:
        return Source(line=line, unknown=dict.fromkeys(OPENED, str(error)))
    if opened is None:
        return Source(line=line, unknown=dict.fromkeys(OPENED, "the line is not open"))
    return Source(
        git_commit=opened.git_commit,
        tape_sha256=feed.tape_sha256 if feed is not None else "",
        config_sha256=content_sha256(opened.config),
        limits=next((item.limits for item in opened.config.pairs if item.pair == pair), None),
        line=line,
        unknown={} if opened.git_commit else {"git_commit": NO_COMMIT},
    )
