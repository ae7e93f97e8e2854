"""The ledger of a journal: killed anywhere, begun again, it has the same rows."""

import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import OperationalError

from hft_lib.events import BlockClosed, CapitalOrder, Fill, Marked, Rejected, ShadowOrder
from serving.ledger import tables
from serving.ledger.database import LedgerError
from serving.ledger.journal_source import SOURCE, catch_up, line_of, rebuild, url_beside
from serving.ledger.writer import Moved, Writer
from serving.runtime import journal
from tests.builders import told
from tests.ledger_world import Rows, built_in_parts, database_at, rows_of, write_story


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_story(tmp_path_factory.mktemp("run") / "journal")


@pytest.fixture(scope="module")
def whole(path: Path) -> Rows:
    """The rows of a ledger that was built in one go."""
    engine = database_at(url_beside(path))
    return rows_of(engine, catch_up(engine, path))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return database_at(f"sqlite:///{tmp_path / 'ledger.db'}")


def counted(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_every_record_has_its_row(whole: Rows):
    line = told()
    orders = line.records(CapitalOrder) + line.records(ShadowOrder)
    assert {row[1] for row in whole["orders"]} == {order.client_order_id for order in orders}
    assert len(whole["orders"]) == len(orders) > 0
    assert len(whole["fills"]) == len(line.records(Fill)) > 0
    blocks = [account for block in line.records(BlockClosed) for account in block.accounts]
    assert len(whole["blocks"]) == len(blocks) > 0
    assert sum(row[-1] for row in whole["rejections"]) == sum(
        fact.count for fact in line.records(Rejected)
    )
    assert len(whole["pairs"]) == 2 and len(line.records(Marked)) > 2
    assert whole["decisions"] and whole["assignments"] and whole["moves"]


def test_a_row_holds_the_record_bit_for_bit(whole: Rows):
    names = tables.FILLS.columns.keys()
    rows = {
        (row["pair"], row["account"], row["leg"], row["trade_id"]): row
        for row in (dict(zip(names, values, strict=True)) for values in whole["fills"])
    }
    for fill in told().records(Fill):
        row = rows[fill.pair, fill.account, fill.leg, fill.trade_id]
        known = msgspec.structs.asdict(fill)
        assert {name: row[name] for name in known} == known


def test_what_is_held_is_what_execution_holds(whole: Rows):
    names = tables.POSITIONS.columns.keys()
    rows = [dict(zip(names, values, strict=True)) for values in whole["positions"]]
    desks = told().hosts["execution"].state.pairs
    compared = 0
    for row in rows:
        desk = desks[row["pair"]]
        capital = row["account"] == "capital"
        number = len(desk.accounts) - 1 if capital else int(row["account"].removeprefix("slot-"))
        if capital or desk.identities[number].generation == row["generation"]:
            held = desk.accounts[number]["position"]["yx".index(row["leg"])]
            assert row["quantity"] == held, row
            compared += held != 0.0
    assert compared > 0


@pytest.mark.parametrize("seed", range(10))
def test_killed_between_commits_it_has_the_rows_of_one_go(
    engine: Engine, path: Path, whole: Rows, seed: int
):
    line = built_in_parts(engine, path, random.Random(seed), lives=8)
    catch_up(engine, path)
    assert rows_of(engine, line) == whole


@pytest.mark.parametrize("seed", range(10))
def test_killed_within_a_transaction_it_has_the_rows_of_one_go(
    engine: Engine, path: Path, whole: Rows, seed: int
):
    dice = random.Random(seed)
    left = [dice.randint(1, 12)]

    @event.listens_for(engine, "before_cursor_execute")
    def _die(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OperationalError("killed", {}, sqlite3.OperationalError("killed"))

    deaths = 0
    while True:
        try:
            built_in_parts(engine, path, dice, lives=0)
            break
        except OperationalError:
            deaths += 1
            left[0] = dice.randint(1, 40) if deaths < 6 else 10**9
    event.remove(engine, "before_cursor_execute", _die)
    assert deaths > 0
    assert rows_of(engine, line_of(path)) == whole


def test_a_ledger_that_is_thrown_away_is_rebuilt_to_the_same_rows(
    engine: Engine, path: Path, whole: Rows, tmp_path: Path
):
    other = write_story(tmp_path / "journal", run_id="other")
    kept = rows_of(engine, catch_up(engine, other))
    line = catch_up(engine, path)
    with engine.begin() as connection:
        connection.execute(tables.FILLS.delete().where(tables.FILLS.c.line == line))
        connection.execute(tables.POSITIONS.update().values(quantity=7.0))
    assert rows_of(engine, line) != whole
    assert rebuild(engine, path) == line
    assert rows_of(engine, line) == whole
    rebuild(engine, other)
    assert rows_of(engine, line_of(other)) == kept, "another line's rows were touched"


def test_writers_at_once_write_each_record_once(engine: Engine, path: Path, whole: Rows):
    failed: list[BaseException] = []

    def run() -> None:
        try:
            catch_up(engine, path)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert rows_of(engine, line_of(path)) == whole


def test_a_writer_that_was_overtaken_writes_nothing(engine: Engine, path: Path, whole: Rows):
    line = line_of(path)
    slow = Writer(engine, line, SOURCE)
    places = list(journal.follow(path, journal.first_place(path), "hft.records"))
    place, fact = next(item for item in places if item[1] is not None)
    assert fact is not None
    slow.take(place.frames, fact)
    catch_up(engine, path)
    with pytest.raises(Moved):
        slow.commit(place.frames, msgspec.msgpack.encode(place))
    assert rows_of(engine, line) == whole


def test_a_journal_that_grows_is_followed_from_where_it_was(
    engine: Engine, path: Path, whole: Rows
):
    grown = path.parent / "grown"
    content = path.read_bytes()
    for size in (len(content) // 3, len(content) // 2, len(content)):
        grown.write_bytes(content[:size])
        catch_up(engine, grown)
    assert rows_of(engine, line_of(path)) == whole


def test_a_ledger_of_another_journal_of_the_name_is_refused(engine: Engine, path: Path):
    changed = path.parent / "changed"
    content = path.read_bytes()
    changed.write_bytes(content)
    catch_up(engine, changed)
    changed.write_bytes(content[: len(content) // 2])
    with pytest.raises(LedgerError, match="is not the one that was read.*hft ledger rebuild"):
        catch_up(engine, changed)
    rebuild(engine, changed)
    assert 0 < counted(engine, tables.FILLS) < len(told().records(Fill))


def test_a_log_that_says_a_thing_twice_is_refused_and_nothing_of_the_batch_is_kept(
    engine: Engine, path: Path
):
    writer = Writer(engine, "line", SOURCE)
    fill = told().records(Fill)[0]
    writer.take(1, fill)
    writer.commit(1, b"one")
    writer.take(2, told().records(Fill)[1])
    writer.take(3, fill)
    with pytest.raises(LedgerError, match="must say each thing once"):
        writer.commit(3, b"three")
    assert counted(engine, tables.FILLS) == 1
    assert Writer(engine, "line", SOURCE).read == 1
