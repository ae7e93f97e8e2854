"""`hft statement`, `hft positions` and `hft ledger` over a run's journal."""

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from hft_lib.events import BlockClosed
from hft_lib.evop.policy import DAY_NS
from serving.ledger import tables
from serving.ledger.database import open_database
from serving.ledger.journal_source import url_beside
from serving.runtime.journal import read_records
from tests.cli.conftest import Verb

DAY = "2024-01-06"


@pytest.fixture
def run(hft: Verb, tape: Path, params: Path) -> Path:
    """The journal of a run over eight days."""
    return Path(hft("run", "--tape", tape, "--params", params, "--json").json["journal"])


def test_a_statement_has_the_figures_of_the_days_block(hft: Verb, run: Path) -> None:
    blocks = [fact for fact in read_records(run) if isinstance(fact, BlockClosed)]
    traded = 0
    for block in blocks:
        day = block.start_ns // DAY_NS
        known = hft("statement", "--day", f"2024-01-{day - 19722:02d}", "--json").json
        assert known["closed"] and known["reconciled"] and known["day"][:4] == "2024"
        capital = next(each for each in block.accounts if each.slot < 0)
        for name in ("fees", "slippage", "funding", "borrow", "turnover", "equity"):
            assert known["capital"][f"{name}_quote"] == getattr(capital, f"{name}_quote")
        assert known["capital"]["pnl_quote"] == capital.equity_change_quote
        assert len(known["accounts"]) == len(block.accounts)
        traded += known["capital"]["fills"]
    assert len(blocks) >= 7 and traded > 0


def test_what_does_not_reconcile_is_said_and_ends_with_1(hft: Verb, run: Path) -> None:
    assert hft("statement", "--day", DAY).code == 0
    with open_database(url_beside(run)).begin() as connection:
        fee = tables.FILLS.c.fee_quote
        connection.execute(update(tables.FILLS).values(fee_quote=fee + 1.0))
    answer = hft("statement", "--day", DAY, "--json")
    assert answer.code == 1 and "does not reconcile: capital" in answer.err
    known = json.loads(answer.out)
    assert not known["reconciled"] and "fees_quote" in known["accounts"][0]["differences"]
    rebuilt = hft("ledger", "rebuild", "--json").json
    assert rebuilt["rows"]["fills"] > 0 and rebuilt["line"] == known["line"]
    assert hft("statement", "--day", DAY, "--json").json["reconciled"]


def test_positions_are_listed_for_every_account(hft: Verb, run: Path) -> None:
    known = hft("positions", "--journal", run, "--json").json
    accounts = {item["account"]: item for item in known["accounts"]}
    assert {"capital", "slot-0", "slot-1"} <= set(accounts)
    held = {item["account"] for item in known["positions"]}
    assert held == {name for name, item in accounts.items() if not item["flat"]}
    for item in known["positions"]:
        assert item["value_quote"] == item["quantity"] * item["mid"]
    told = hft("positions")
    assert told.code == 0 and max(map(len, told.out.splitlines())) <= 100
    assert all(name in told.out for name in accounts)


def test_a_statement_for_people_fits_the_screen(hft: Verb, run: Path) -> None:
    told = hft("statement", "--day", DAY)
    assert told.code == 0 and max(map(len, told.out.splitlines())) <= 100
    assert "agrees with its fills to the cent" in told.out


@pytest.mark.parametrize("day", ["2024-13-01", "yesterday", "2024-01-06T00:00:00Z"])
def test_what_is_no_day_is_refused(hft: Verb, home: Path, day: str) -> None:
    answer = hft("statement", "--day", day)
    assert answer.code == 2 and day in answer.sentence


def test_a_day_that_the_ledger_does_not_hold_is_refused(hft: Verb, run: Path) -> None:
    answer = hft("statement", "--day", "2020-02-29")
    assert answer.code == 2
    assert "has nothing of 2020-02-29: it holds from 2024-01-0" in answer.sentence


def test_without_a_run_or_a_ledger_a_sentence_says_what_makes_one(
    hft: Verb, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = hft("positions")
    assert answer.code == 2 and "no run under" in answer.sentence
    answer = hft("ledger", "follow")
    assert answer.code == 2 and "KAFKA_BOOTSTRAP_SERVERS" in answer.sentence
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    answer = hft("positions")
    assert answer.code == 1 and "no ledger yet, and its log gives none" in answer.sentence
    assert not home.exists()


def test_a_named_database_takes_the_ledgers_of_many_runs(
    hft: Verb, run: Path, tape: Path, params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{run.parent / 'all.db'}")
    other = hft("run", "--tape", tape, "--params", params, "--json").json["journal"]
    lines = {hft("positions", "--journal", path, "--json").json["line"] for path in (run, other)}
    assert len(lines) == 2
    assert not (run.parent / "ledger.db").exists()
