"""Rows and the position in the log, in one transaction: each record is applied once.

Whoever is killed, and whenever, leaves a ledger that stands at one place of its log. A second
writer of the same line finds the position moved and begins again behind it: nothing is written
twice, and nothing needs a lock that outlives its owner.
"""

import time
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from hft_lib.events import Event
from serving.ledger import tables
from serving.ledger.database import LedgerError, upsert
from serving.ledger.projection import Projection, Rows

# Records of one transaction: some tens of milliseconds of a database's time.
BATCH_RECORDS_MAX = 2_000
# A record waits no longer than this for others to join it.
BATCH_AGE_S_MAX = 1.0
_START = 0


class Moved(LedgerError):
    """Another writer was here: the ledger is further than we are, or was begun again."""


class Writer:
    """The ledger of one line while its log is read; after any error another one is made."""

    def __init__(self, engine: Engine, line: str, source: str) -> None:
        self.line = line
        self._engine = engine
        self._source = source
        self._since_s = 0.0
        with engine.connect() as connection:
            # The position first: whoever writes between the two reads makes our commit fail.
            found = connection.execute(select(tables.LINES).where(tables.LINES.c.line == line))
            row = found.mappings().one_or_none()
            self.read: int = row["read"] if row is not None else _START
            self.mark: bytes = row["mark"] if row is not None else b""
            self._is_new = row is None
            self._projection = Projection(
                line, _of(connection, tables.PAIRS, line), _of(connection, tables.POSITIONS, line)
            )

    def take(self, place: int, fact: Event) -> None:
        """Project the record at `place` of the log."""
        if not self._projection.records:
            self._since_s = time.monotonic()
        self._projection.take(place, fact)

    @property
    def waiting(self) -> int:
        """Records that were taken and are no rows yet."""
        return self._projection.records

    @property
    def due(self) -> bool:
        """Whether what was taken is to be committed now."""
        records = self.waiting
        old = time.monotonic() - self._since_s >= BATCH_AGE_S_MAX
        return records >= BATCH_RECORDS_MAX or (records > 0 and old)

    def commit(self, read: int, mark: bytes) -> None:
        """Write what was taken, and that the log was read up to `read`; `mark` goes on there.

        Raises Moved where another writer was here, LedgerError where the log says a thing twice.
        """
        rows = self._projection.drain()
        with self._engine.begin() as connection:
            self._move(connection, read, mark, rows)
            try:
                _write(connection, self.line, rows)
            except IntegrityError as error:
                raise LedgerError(
                    f"the log of {self.line} must say each thing once, and the ledger stand where "
                    f"its rows do, was: {error.orig}; `hft ledger rebuild` begins again"
                ) from error
        self.read, self.mark, self._is_new = read, mark, False

    def _move(self, connection: Connection, read: int, mark: bytes, rows: Rows) -> None:
        lines = tables.LINES
        if self._is_new:
            row = {"line": self.line, "source": self._source, "read": read, "mark": mark}
            row |= {"records": rows.records, "time_ns": rows.time_ns}
            try:
                connection.execute(insert(lines), row)
            except IntegrityError as error:
                raise Moved(f"another writer began the ledger of {self.line}") from error
            return
        new = {"read": read, "mark": mark, "records": lines.c.records + rows.records}
        latest = update(lines).where(lines.c.line == self.line, lines.c.read == self.read)
        if connection.execute(latest.values(**new)).rowcount != 1:
            raise Moved(f"another writer moved the ledger of {self.line} from {self.read}")
        later = update(lines).where(lines.c.line == self.line, lines.c.time_ns < rows.time_ns)
        connection.execute(later.values(time_ns=rows.time_ns))


def throw_away(engine: Engine, line: str) -> None:
    """Leave nothing of a line in the ledger: what follows its log builds it again."""
    with engine.begin() as connection:
        for table in tables.TABLES:  # the position first, as every writer does
            connection.execute(delete(table).where(table.c.line == line))


def _of(connection: Connection, table: Any, line: str) -> list[Any]:
    return list(connection.execute(select(table).where(table.c.line == line)).mappings())


def _write(connection: Connection, line: str, rows: Rows) -> None:
    for table, written in rows.written.items():
        connection.execute(insert(table), written)
    keys = ("day", "stage", "reason", "subject")
    refused = [
        {"line": line, **dict(zip(keys, key, strict=True)), "count": count}
        for key, count in rows.rejected.items()
    ]
    upsert(connection, tables.REJECTIONS, refused, add="count")
    for table, latest in rows.latest.items():
        upsert(connection, table, latest)
