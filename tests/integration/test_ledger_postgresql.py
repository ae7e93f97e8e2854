"""The ledger in PostgreSQL: the rows that SQLite has, though its writers and itself are killed."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text

from serving.ledger import database
from serving.ledger.journal_source import catch_up, line_of, rebuild
from serving.ledger.tables import LINES, METADATA
from tests.builders import told
from tests.cli.conftest import HFT, ROOT
from tests.integration.postgresql import Postgresql, running
from tests.ledger_world import Rows, built_in_parts, database_at, rows_of, write_story

pytestmark = pytest.mark.slow
KILLS = 5
# Builds a journal's ledger, some records a commit: whenever it is killed, one is under way.
BUILDER = """
import sys
from pathlib import Path
from serving.ledger import journal_source, writer
from serving.ledger.database import open_database, upgrade
writer.BATCH_RECORDS_MAX = 5
engine = open_database(sys.argv[1])
upgrade(engine)
journal_source.catch_up(engine, Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_story(tmp_path_factory.mktemp("run") / "journal")


@pytest.fixture(scope="module")
def whole(path: Path) -> Rows:
    """The rows of a ledger that was built in one go, in SQLite."""
    engine = database_at(f"sqlite:///{path.parent / 'whole.db'}")
    return rows_of(engine, catch_up(engine, path))


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def engine(url: str) -> Engine:
    return database_at(url)


def test_models_and_migrations_agree(engine: Engine):
    with engine.connect() as connection:
        options = {"version_table": database.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_both_databases_hold_the_same_rows(engine: Engine, path: Path, whole: Rows):
    line = catch_up(engine, path)
    assert rows_of(engine, line) == whole
    rebuild(engine, path)
    assert rows_of(engine, line) == whole


@pytest.mark.parametrize("lost", ["fills", "lines", database.VERSION_TABLE])
def test_a_ledger_that_lost_a_table_is_rebuilt(engine: Engine, path: Path, whole: Rows, lost: str):
    line = catch_up(engine, path)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {lost}"))
    rebuild(engine, path)
    assert rows_of(engine, line) == whole


@pytest.mark.parametrize("seed", range(3))
def test_killed_between_commits_it_has_the_rows_of_one_go(
    engine: Engine, path: Path, whole: Rows, seed: int
):
    line = built_in_parts(engine, path, random.Random(seed), lives=8)
    assert rows_of(engine, line) == whole


def test_killed_anywhere_the_process_leaves_a_ledger_that_the_next_goes_on_with(
    url: str, path: Path, whole: Rows
):
    dice = random.Random(4)
    engine, line = database_at(url), line_of(path)
    seen = [0]
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILDER, url, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        while _records(engine, line) <= seen[-1]:
            assert process.poll() is None, "it ended with nothing done"
            time.sleep(0.01)
        time.sleep(dice.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        seen.append(_records(engine, line))
    total = len([record for record in told().leaving if record[0] == "hft.records"])
    assert 0 < seen[1] < seen[-1] < total, "it was never killed within"
    catch_up(engine, path)
    assert rows_of(engine, line) == whole


def _records(engine: Engine, line: str) -> int:
    with engine.connect() as connection:
        query = select(LINES.c.records).where(LINES.c.line == line)
        return int(connection.scalar(query) or 0)


def test_a_server_that_is_killed_costs_a_sentence_and_no_row(
    postgresql: Postgresql, path: Path, whole: Rows, tmp_path: Path
):
    url = postgresql.new_database()
    engine = database_at(url)
    with engine.connect() as connection:
        postgresql.kill()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": url}
        environment["HFT_HOME"] = str(tmp_path)
        words = [*HFT, "positions", "--journal", str(path), "--json"]
        began = time.monotonic()
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert time.monotonic() - began < 30.0
        connection.invalidate()
    postgresql.start()
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout)["line"] == line_of(path)
    assert rows_of(engine, line_of(path)) == whole
