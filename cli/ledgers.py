"""Where a verb finds the ledger: of the line on Kafka, or of a run's journal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import stderr
from cli.runs import latest_journal
from serving.runtime.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

LineOption = Annotated[
    str | None,
    typer.Option("--line", help="A line on Kafka, where the database holds several."),
]


@contextmanager
def open_ledger(
    settings: Settings, journal: Path | None, line: str | None
) -> Iterator[tuple["Connection", str]]:
    """The ledger to read, and the name of its line.

    It is brought up to date first. Where the log of a line on Kafka, or its database, cannot be
    reached for that, the ledger is read as it is, with a word on stderr; raises LedgerError where
    there is none.
    """
    from serving.ledger import books, database, journal_source, kafka_source

    if journal is None and settings.kafka_bootstrap_servers is not None:
        url = kafka_source.url_of(settings)
        why = _brought_up(settings.kafka_bootstrap_servers, url)
        if why and not database.is_there(url):
            raise database.LedgerError(f"there is no ledger yet, and its log gives none: {why}")
        if why:
            stderr.print(f"the ledger is as it was: {why}", markup=False, soft_wrap=True)
        with database.open_database(url).connect() as connection:
            database.check_version(connection)
            yield connection, books.line_in(connection, kafka_source.SOURCE, line)
        return
    path = journal or latest_journal(settings)
    engine = database.open_database(settings.database_url or journal_source.url_beside(path))
    database.upgrade(engine)
    name = journal_source.catch_up(engine, path)
    with engine.connect() as connection:
        yield connection, name


def _brought_up(servers: str, url: str) -> str:
    """Project what the log holds; why that could not be, empty where it was."""
    from sqlalchemy.exc import SQLAlchemyError

    from serving.ledger.database import LedgerError
    from serving.ledger.kafka_source import AWAY, Following
    from serving.runtime.chain import Diverged

    following = Following(servers, url)
    try:
        following.to_end(threading.Event())
    except (*AWAY, SQLAlchemyError, LedgerError, Diverged) as error:
        return following.sentence_of(error)
    return ""
