"""The ledger of the story that `tests.builders` tells, made once."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from serving.ledger import books
from serving.ledger.journal_source import SOURCE, catch_up
from tests.ledger_world import database_at, write_story


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("run")
    made = database_at(f"sqlite:///{folder / 'ledger.db'}")
    catch_up(made, write_story(folder / "journal"))
    return made


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose changes are taken back."""
    with engine.connect() as opened:
        yield opened


@pytest.fixture
def line(connection: Connection) -> str:
    return books.line_in(connection, SOURCE)
