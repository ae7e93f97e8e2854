"""Models and migrations are one, forwards and back; another version's tables are refused."""

import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, text

from serving.ledger import database
from serving.ledger.database import (
    LedgerError,
    check_version,
    drop_remains,
    open_database,
    upgrade,
)
from serving.ledger.tables import LINES, METADATA, TABLES

LINE = {"line": "line", "source": "", "read": 0, "records": 0, "time_ns": 0, "mark": b""}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path / 'ledger.db'}")


def drift(engine: Engine) -> list[object]:
    """What Alembic would change to come from the migrated tables to the models."""
    with engine.connect() as connection:
        options = {"version_table": database.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, METADATA))


def test_models_and_migrations_agree(engine: Engine):
    upgrade(engine)
    assert drift(engine) == []
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE fills ADD COLUMN strange TEXT"))
    assert drift(engine) != []


def test_the_ledger_can_be_taken_down_to_nothing_and_up_again(engine: Engine):
    upgrade(engine)
    with engine.begin() as connection:
        command.downgrade(database._config(connection), "base")
    assert set(inspect(engine).get_table_names()) == {database.VERSION_TABLE}
    upgrade(engine)
    assert {table.name for table in TABLES} <= set(inspect(engine).get_table_names())
    assert drift(engine) == []


def test_a_second_upgrade_does_nothing_and_eight_at_once_do_it_once(engine: Engine):
    failed: list[BaseException] = []

    def run() -> None:
        try:
            upgrade(engine)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    upgrade(engine)
    assert drift(engine) == []


def test_tables_of_a_version_that_is_not_known_are_refused(engine: Engine):
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {database.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="version 9999, which this program does not know"):
        upgrade(engine)
    with engine.connect() as connection, pytest.raises(LedgerError, match="9999"):
        check_version(connection)


def test_a_database_without_a_ledger_is_not_read(engine: Engine, tmp_path: Path):
    with engine.connect() as connection, pytest.raises(LedgerError, match="holds no ledger yet"):
        check_version(connection)
    assert not database.is_there(f"sqlite:///{tmp_path / 'other.db'}")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("lost", ["fills", "lines", database.VERSION_TABLE])
def test_tables_that_are_not_all_there_are_dropped_and_made_again(engine: Engine, lost: str):
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_others (kept INTEGER)"))
        connection.execute(text(f"DROP TABLE {lost}"))
    drop_remains(engine)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE of_others"))  # was left alone
    assert drift(engine) == []


def test_a_ledger_that_is_not_whole_says_what_is_missing(engine: Engine):
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE fills"))
    with pytest.raises(LedgerError, match="fills is missing: `hft ledger rebuild`"):
        upgrade(engine)


def test_tables_that_are_whole_or_of_another_version_are_left_alone(engine: Engine):
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(insert(LINES), LINE)
    drop_remains(engine)
    with engine.begin() as connection:
        assert connection.execute(select(LINES.c.line)).all() == [("line",)]
        connection.execute(text(f"UPDATE {database.VERSION_TABLE} SET version_num = '9999'"))
        connection.execute(text("DROP TABLE fills"))
    drop_remains(engine)
    with engine.connect() as connection:
        assert connection.execute(select(LINES.c.line)).all() == [("line",)]


def test_the_folder_of_a_file_is_made(tmp_path: Path):
    upgrade(open_database(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}"))
    assert (tmp_path / "home" / "ledger.db").is_file()
