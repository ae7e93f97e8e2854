"""Where a verb finds the ledger: of the line on Kafka, or of a run's journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

    A journal's ledger is brought up to date first; that of a line on Kafka stands where what
    follows the line has brought it. Raises LedgerError where there is none.
    """
    from serving.ledger import books, database, journal_source, kafka_source

    if journal is None and settings.kafka_bootstrap_servers is not None:
        url = kafka_source.url_of(settings)
        database.must_be_there(url)
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
