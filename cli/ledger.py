"""`hft ledger`: the SQL ledger behind its log."""

import contextlib
import threading
from typing import Annotated, Any

import typer

from cli import interrupt, options
from cli.console import emit, print_rows
from cli.context import iso
from cli.errors import BadInput
from cli.runs import latest_journal
from serving.runtime.addresses import masked
from serving.runtime.settings import Settings

END_POLL_S = 0.2  # how late an end that was asked for is seen

app = typer.Typer(help="The SQL ledger, a projection of the log.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The SQL ledger, a projection of the log."""


@app.command()
def rebuild(
    context: typer.Context,
    journal: options.JournalOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Throw a line's ledger away and build it again from its log, to the same rows.

    The log is Kafka's where KAFKA_BOOTSTRAP_SERVERS is set and no journal is named, else a run's
    journal.

    Example: hft ledger rebuild --json
    """
    from serving.ledger import database, journal_source, kafka_source

    settings: Settings = context.obj
    if journal is None and settings.kafka_bootstrap_servers is not None:
        url = kafka_source.url_of(settings)
        following = kafka_source.Following(settings.kafka_bootstrap_servers, url)
        line = following.rebuild(threading.Event())
    else:
        path = journal or latest_journal(settings)
        url = settings.database_url or journal_source.url_beside(path)
        engine = database.open_database(url)
        line = journal_source.rebuild(engine, path)
    emit(_document(url, line), as_json, _print)


@app.command()
def follow(
    context: typer.Context,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End where the log ends now.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Keep the ledger of the line on Kafka up to date, in a process of its own, until interrupted.

    Where DATABASE_URL is set the orchestrator's process does this; a second one does no harm.

    Example: hft ledger follow --until-end --json
    """
    from serving.ledger import kafka_source

    settings: Settings = context.obj
    if settings.kafka_bootstrap_servers is None:
        raise BadInput("hft ledger follow needs KAFKA_BOOTSTRAP_SERVERS, it was unset")
    if until_end:
        url = kafka_source.url_of(settings)
        following = kafka_source.Following(settings.kafka_bootstrap_servers, url)
        emit(_document(url, following.to_end(threading.Event())), as_json, _print)
        return
    with (
        contextlib.suppress(KeyboardInterrupt),  # an end that was asked for is done, not failed
        kafka_source.followed(settings, settings.kafka_bootstrap_servers),
    ):
        while True:
            interrupt.sleep(END_POLL_S)


def _document(url: str, line: str) -> dict[str, Any]:
    from sqlalchemy import func, select

    from serving.ledger import books, database, tables

    with database.open_database(url).connect() as connection:
        counts = {
            table.name: connection.scalar(
                select(func.count()).select_from(table).where(table.c.line == line)
            )
            for table in tables.TABLES
            if table is not tables.LINES
        }
        as_of = iso(books.as_of_ns(connection, line))
    return {"line": line, "database": masked(url), "as_of": as_of, "rows": counts}


def _print(known: dict[str, Any]) -> None:
    rows = ", ".join(f"{count:,} {name}" for name, count in known["rows"].items())
    print_rows(
        (
            ("ledger", f"{known['line']}, as of {known['as_of']}"),
            ("in", known["database"]),
            ("rows", rows),
        )
    )
