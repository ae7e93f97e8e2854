"""`hft trace`: from an order of a table to all that led to it."""

import csv
from pathlib import Path

import pytest

from cli.trace import Source, document
from cli.trace_line import rows
from serving.ledger.database import open_database, upgrade
from serving.ledger.journal_source import catch_up, url_beside
from tests.cli.conftest import Verb

KEYS = {
    "order_id",
    "pair",
    "account",
    "slot",
    "model_version",
    "run_id",
    "git_commit",
    "tape_sha256",
    "config_sha256",
    "features",
    "verdict",
    "decision",
}

# What a ledger does not hold: how the line was begun, and a set's numbers.
OF_THE_LOG = {"git_commit", "tape_sha256", "config_sha256", "parameters", "journal", "line"}


def test_every_kind_of_order_is_traced(hft: Verb, tape: Path, params: Path) -> None:
    known = hft("run", "--tape", tape, "--params", params, "--json").json
    hft("replay", "--tape", tape, "--params", params, "--orders", "o.csv", "--fills", "f.csv")
    fills = list(csv.DictReader(Path("f.csv").open()))
    first = {row["account"]: row for row in csv.DictReader(Path("o.csv").open())}
    assert {"capital", "slot-0", "slot-1"} <= set(first)
    for account, order in first.items():
        traced = hft("trace", order["client_order_id"], "--json").json
        assert set(traced) >= KEYS
        assert traced["account"] == account and traced["order_id"] == order["client_order_id"]
        assert traced["order"]["quantity"] == float(order["quantity"])
        assert traced["tape_sha256"] == known["tape_sha256"]
        assert traced["config_sha256"] == known["config_sha256"]
        assert traced["features"]["spread_sd"] > 0.0
        assert traced["verdict"]["gate"] == "APPROVED"
        ours = [fill for fill in fills if fill["client_order_id"] == order["client_order_id"]]
        assert [fill["price"] for fill in traced["fills"]] == [float(f["price"]) for f in ours]
    told = hft("trace", first["capital"]["client_order_id"])
    assert told.code == 0 and max(map(len, told.out.splitlines())) <= 100


def test_a_ledger_says_of_an_order_what_its_log_says(hft: Verb, tape: Path, params: Path) -> None:
    hft("run", "--tape", tape, "--params", params)
    hft("replay", "--tape", tape, "--params", params, "--orders", "o.csv")
    path = max(Path("home").rglob("journal"))
    database = open_database(url_beside(path))
    upgrade(database)
    line = catch_up(database, path)
    last = {row["account"]: row["client_order_id"] for row in csv.DictReader(Path("o.csv").open())}
    assert {"capital", "slot-0", "slot-1"} <= set(last)
    with database.connect() as connection:
        for order in last.values():
            found = rows(connection, line, order)
            assert found is not None
            ours = document(Source(line=line), *found)
            theirs = hft("trace", order, "--json").json
            assert ours["fills"] and ours["role"]
            for name in theirs.keys() - OF_THE_LOG - {"verdict"}:
                assert ours[name] == theirs[name], name
        assert rows(connection, line, "nosuch") is None


def test_an_order_is_found_beside_a_broken_journal(hft: Verb, tape: Path, params: Path) -> None:
    hft("run", "--tape", tape, "--params", params, "--out", "home/good")
    hft("run", "--tape", tape, "--params", params, "--out", "home/broken")
    hft("replay", "--tape", tape, "--params", params, "--orders", "o.csv")
    order = next(csv.DictReader(Path("o.csv").open()))["client_order_id"]
    broken = Path("home/broken/journal")
    broken.write_bytes(b"HFTJ1\n" + b"\xfe" * 100)
    assert hft("trace", order, "--json").json["journal"].endswith("good/journal")
    answer = hft("trace", "nosuch")
    assert answer.code == 2 and "no order 'nosuch' in the 2 journals" in answer.sentence
    assert "broken/journal" in answer.sentence


@pytest.mark.parametrize("journal", ["nowhere", "text"])
def test_what_is_no_journal_is_refused(hft: Verb, tmp_path: Path, journal: str) -> None:
    (tmp_path / "text").write_text("hello")
    answer = hft("trace", "--journal", journal, "h0")
    assert answer.code == 2 and journal in answer.sentence
