"""What the tests of the ledger share: the story as a journal, and a ledger's rows to compare."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, Table, select

from serving.ledger import tables
from serving.ledger.database import open_database, upgrade
from serving.ledger.journal_source import SOURCE, line_of
from serving.ledger.writer import Writer
from serving.runtime import journal
from serving.runtime.journal import Header, Journal, Place
from tests.builders import story_config, told

Rows = dict[str, list[tuple[Any, ...]]]


def write_story(path: Path, run_id: str = "story") -> Path:
    """The story's journal: what the edges brought and what left the line."""
    header = Header(
        run_id=run_id,
        config=story_config(),
        config_sha256="c",
        git_commit="g",
        tape="tape",
        tape_sha256="t",
        start_ns=0,
        end_ns=0,
        params_sha256="p",
        command="run",
    )
    with Journal(path, header) as written:
        for log, fact in told().kept:
            written.append(log, fact)
    return path


def database_at(url: str) -> Engine:
    """A ledger's database with its tables."""
    engine = open_database(url)
    upgrade(engine)
    return engine


def rows_of(engine: Engine, line: str) -> Rows:
    """Every row of a line, in the order of its keys."""
    with engine.connect() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(
                    select(table).where(table.c.line == line).order_by(*_keys(table))
                )
            ]
            for table in tables.TABLES
        }


def _keys(table: Table) -> list[Any]:
    return list(table.primary_key)


def batches(path: Path, after: Place | None, dice: random.Random) -> Iterator[list[Any]]:
    """The places and records of a journal beyond `after`, in parts of any size."""
    part: list[Any] = []
    wanted = dice.randint(1, 300)
    for item in journal.follow(path, after or journal.first_place(path), "hft.records"):
        part.append(item)
        if len(part) == wanted:
            yield part
            part, wanted = [], dice.randint(1, 300)
    yield part


def built_in_parts(engine: Engine, path: Path, dice: random.Random, lives: int) -> str:
    """Build a journal's ledger, its process dying before, within and after commits; its line.

    `engine` may raise at any statement: the life ends there, and the next begins at the database.
    """
    line = line_of(path)
    for life in range(lives + 1):
        writer = Writer(engine, line, SOURCE)
        after = msgspec.msgpack.decode(writer.mark, type=Place) if writer.mark else None
        commits_left = dice.randint(0, 3) if life < lives else -1
        for part in batches(path, after, dice):
            for place, fact in part:
                if fact is not None:
                    writer.take(place.frames, fact)
            if commits_left == 0:
                break  # killed with a batch in hand
            if part:
                writer.commit(part[-1][0].frames, msgspec.msgpack.encode(part[-1][0]))
            commits_left -= 1
    return line
