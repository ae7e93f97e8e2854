"""The ledger of a run of one process: what its journal holds, as far as it is whole."""

from pathlib import Path

import msgspec
from sqlalchemy import Engine

from serving.ledger.database import FILE, LedgerError, drop_remains, upgrade
from serving.ledger.tables import RECORDS
from serving.ledger.writer import Moved, Writer, throw_away
from serving.runtime import journal
from serving.runtime.journal import Changed, Place

SOURCE = "journal"
# Two verbs that ask at once take turns; more often than this is not a race any more.
_TRIES_MAX = 20


def line_of(path: Path) -> str:
    """The name of a journal's line: its run and what its first frame says."""
    return f"{journal.read_header(path).run_id}-{journal.first_place(path).chain:08x}"


def url_beside(path: Path) -> str:
    """The database of a journal's own ledger: a file beside it."""
    return f"sqlite:///{path.absolute().parent / FILE}"


def catch_up(engine: Engine, path: Path) -> str:
    """Project what the journal holds beyond the ledger; returns the name of its line.

    Raises LedgerError where the ledger is of another journal.
    """
    line = line_of(path)
    for _ in range(_TRIES_MAX):
        try:
            _project(Writer(engine, line, SOURCE), path)
            return line
        except Moved:
            continue
    raise LedgerError(f"the ledger of {line} must be written by one at a time, was by many")


def rebuild(engine: Engine, path: Path) -> str:
    """Throw the ledger of a journal away and build it again; returns the name of its line."""
    line = line_of(path)
    drop_remains(engine)
    upgrade(engine)
    throw_away(engine, line)
    return catch_up(engine, path)


def _project(writer: Writer, path: Path) -> None:
    at = begun = msgspec.msgpack.decode(writer.mark, type=Place) if writer.mark else None
    try:
        for at, fact in journal.follow(path, begun or journal.first_place(path), RECORDS):
            if fact is not None:
                writer.take(at.frames, fact)
            if writer.due:
                writer.commit(at.frames, msgspec.msgpack.encode(at))
    except Changed as error:
        raise LedgerError(f"{error}: begin again with `hft ledger rebuild`") from error
    except msgspec.MsgspecError as error:
        raise LedgerError(
            f"journal {path} was written by another version of this program: "
            f"read it with that one ({error})"
        ) from error
    if at is not None and at.frames > writer.read:
        writer.commit(at.frames, msgspec.msgpack.encode(at))
