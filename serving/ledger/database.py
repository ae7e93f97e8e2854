"""A ledger's database: reached within bounds, its tables brought to this version at the start."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from serving.ledger.tables import METADATA

MIGRATIONS = Path(__file__).parent / "migrations"
# The name of a ledger that is a file.
FILE = "ledger.db"
# Who waits for a database longer than this is told, and tries again later.
CONNECT_S_MAX = 5
LOCK_S_MAX = 10
STATEMENT_S_MAX = 60
# Not Alembic's usual name: MLflow keeps its own version there, and may share the database.
VERSION_TABLE = "ledger_version"
_UPGRADE_LOCK = 0x6866746C  # "hftl": one process upgrades at a time


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message is one sentence with what to do."""


def open_database(url: str) -> Engine:
    """An engine on the database at `url`, SQLite or PostgreSQL; nothing is connected yet."""
    named = make_url(url)
    if named.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    options = f"-c lock_timeout={LOCK_S_MAX}s -c statement_timeout={STATEMENT_S_MAX}s"
    return create_engine(
        named.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,  # one connection at a time, rarely: a server's slots are few
        connect_args={
            "connect_timeout": CONNECT_S_MAX,
            "application_name": "hft-ledger",
            "options": options,
            # A server that vanished answers nothing: the kernel gives up, not a day later.
            "tcp_user_timeout": LOCK_S_MAX * 1000,
        },
    )


def _open_sqlite(url: str) -> Engine:
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_S_MAX})

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _record: object) -> None:
        # Readers do not wait for the writer. A commit that a power cut takes back is read again
        # from the log: it took its position along.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def is_there(url: str) -> bool:
    """Whether a ledger's file exists: to open one would make it. A server is asked itself."""
    named = make_url(url)
    return named.get_backend_name() != "sqlite" or Path(named.database or "").is_file()


def upgrade(engine: Engine) -> None:
    """Bring the tables to this version, in one transaction; nothing where they are.

    Raises LedgerError for tables of a version that this program does not know, or that are not all
    there.
    """
    _make_folder(engine)
    with engine.begin() as connection:
        if _revision(connection) == head():
            _must_be_whole(connection)
            return
    with engine.connect() as connection, _alone(connection):
        _known(_revision(connection))
        command.upgrade(_config(connection), "head")


def drop_remains(engine: Engine) -> None:
    """Where a table is lost drop the others too, so that `upgrade` makes all of them again.

    The rows of every line go, for those that were lost were every line's; whoever follows its log
    makes them again.
    """
    _make_folder(engine)
    names = {*METADATA.tables, VERSION_TABLE}
    with engine.connect() as connection, _alone(connection):
        there = names & set(inspect(connection).get_table_names())
        if there < names and _revision(connection) in (None, head()):
            for name in sorted(there):
                connection.exec_driver_sql(f"DROP TABLE {name}")


def check_version(connection: Connection) -> None:
    """Raise LedgerError unless the tables are of this version."""
    found = _revision(connection)
    if found is None:
        raise LedgerError("the database holds no ledger yet: nothing was projected into it")
    if found != head():
        _known(found)
        raise LedgerError(
            f"the ledger's tables are of version {found}, this program needs {head()}: whoever "
            "writes the ledger brings them up at its start"
        )


def head() -> str:
    """The version that this program's tables have."""
    return str(_scripts().get_current_head())


def upsert(
    connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]], add: str = ""
) -> None:
    """Put rows in place of those of their keys; the column `add` is added to what was there."""
    values = [dict(row) for row in rows]
    if not values:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    new = {
        column.name: insert.excluded[column.name] for column in table.c if column.name not in keys
    }
    if add:
        new[add] = table.c[add] + insert.excluded[add]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=new), values)


# --- leaves ---


def _make_folder(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        Path(engine.url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def _known(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise LedgerError(
            f"the ledger's tables are of version {revision}, which this program does not know: "
            "use the newer program, or another database (DATABASE_URL) and `hft ledger rebuild`"
        )


def _must_be_whole(connection: Connection) -> None:
    missing = METADATA.tables.keys() - set(inspect(connection).get_table_names())
    if missing:
        raise LedgerError(
            f"the ledger must have all its tables, {', '.join(sorted(missing))} is missing: "
            "`hft ledger rebuild` makes them again"
        )


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """One transaction in which nobody else upgrades."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
    yield
    connection.commit()
