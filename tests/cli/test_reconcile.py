"""`hft reconcile` over a run's journal."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from cli import reconcile
from serving.ledger import tables
from serving.ledger.database import open_database
from serving.ledger.journal_source import url_beside
from tests.cli.conftest import Verb


@pytest.fixture
def run(hft: Verb, tape: Path, params: Path) -> Path:
    """The journal of a run over eight days."""
    return Path(hft("run", "--tape", tape, "--params", params, "--json").json["journal"])


def test_a_run_reconciles_and_no_venue_is_claimed(hft: Verb, run: Path):
    known = hft("reconcile", "--json").json
    assert known["reconciled"] and known["differences"] == [] == known["unknown_orders"]
    assert known["accounts"] > 2 and known["fills"] > 0 and known["accounts_left_out"] == 0
    assert not known["venue"]["compared"] and "EXCHANGE is simulated" in known["venue"]["why"]
    (run.parent / "snapshot").unlink()
    assert hft("reconcile", "--journal", run, "--json").json["reconciled"], "the journal is enough"
    told = hft("reconcile")
    assert told.code == 0 and "every account holds what its fills come to" in told.out
    assert max(map(len, told.out.splitlines())) <= 100


def test_what_differs_is_named_with_both_figures_and_ends_with_1(hft: Verb, run: Path):
    hft("reconcile")
    fills = tables.FILLS.c
    with open_database(url_beside(run)).begin() as connection:
        ours = (fills.account == "capital") & (fills.leg == "y")
        connection.execute(update(tables.FILLS).where(ours).values(quantity=fills.quantity * 2))
        connection.execute(update(tables.FILLS).where(ours).values(side="buy"))
    answer = hft("reconcile", "--json")
    assert answer.code == 1
    (found,) = json.loads(answer.out)["differences"]
    assert (found["account"], found["leg"]) == ("capital", "y")
    assert f"capital leg y: execution holds {found['held']:.12g}, its fills come to " in answer.err
    assert f"{found['filled']:.12g}" in answer.err
    assert "they differ" in hft("reconcile").out


def test_a_ledger_that_lacks_fills_is_no_agreement(hft: Verb, run: Path):
    hft("reconcile")
    with open_database(url_beside(run)).begin() as connection:
        connection.execute(delete(tables.FILLS).where(tables.FILLS.c.trade_id == 1))
    answer = hft("reconcile", "--json")
    assert answer.code == 1 and "hft ledger rebuild" in answer.sentence
    hft("ledger", "rebuild")
    assert hft("reconcile").code == 0


def test_an_order_of_unknown_fate_or_an_account_left_out_ends_with_1(
    hft: Verb, run: Path, monkeypatch: pytest.MonkeyPatch
):
    real = reconcile._held_by_journal(run)
    order: dict[str, Any] = {
        "pair": "A/USDT:USDT~A/USDT",
        "account": "capital",
        "leg": "y",
        "side": "buy",
        "quantity": 1.0,
        "client_order_id": "habc",
        "answered_ns": 10**18,
        "unknown": True,
    }
    quiet = {**order, "client_order_id": "hdef", "unknown": False}
    lost = {**real, "under_way": [quiet, order]}
    monkeypatch.setattr(reconcile, "_held_by_journal", lambda path: lost)
    answer = hft("reconcile", "--json")
    assert answer.code == 1 and "the fate of order habc" in answer.err
    known = json.loads(answer.out)
    assert known["orders_under_way"] == 2
    assert [item["client_order_id"] for item in known["unknown_orders"]] == ["habc"]
    cut = {**real, "holdings": real["holdings"][:1], "left_out": {"holdings": 3, "under_way": 0}}
    monkeypatch.setattr(reconcile, "_held_by_journal", lambda path: cut)
    answer = hft("reconcile", "--json")
    assert answer.code == 1 and "not compared: 3 accounts, beyond" in answer.err
    many = {**real, "left_out": {"holdings": 0, "under_way": 2}}
    monkeypatch.setattr(reconcile, "_held_by_journal", lambda path: many)
    answer = hft("reconcile", "--json")
    assert answer.code == 1 and "not compared: 2 orders under way, beyond" in answer.err


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "REDIS_URL must be set")],
)
def test_what_execution_does_not_say_is_asked_for(
    hft: Verb, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
):
    monkeypatch.setenv(variable, value)
    answer = hft("reconcile")
    assert answer.code == 2 and said in answer.sentence


def test_a_venue_that_this_release_cannot_ask_is_refused(
    hft: Verb, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("EXCHANGE", "binance"), ("BINANCE_API_KEY", "k")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BINANCE_API_SECRET", "s")
    answer = hft("reconcile")
    assert answer.code == 2 and "EXCHANGE must be simulated or paper" in answer.sentence


def test_without_a_run_there_is_nothing_to_compare(hft: Verb):
    assert hft("reconcile").code == 2
