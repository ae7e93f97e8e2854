"""`hft replay`: one function of tape and parameters, whoever asks."""

import csv
import hashlib
from pathlib import Path

import pytest

from tests.cli.conftest import Verb

ORDERS = "time_ns,account,pair,leg,side,type,quantity,price,client_order_id"
FILLS = "time_ns,account,pair,leg,side,quantity,price,fee_quote,liquidity,client_order_id,trade_id"
MONEY = ("pnl", "fees", "funding", "borrow", "turnover", "max_drawdown")
BORROW = ("--assume-borrow", "0.05")


def test_the_answer_has_every_key_of_the_contract(hft: Verb, tape: Path, params: Path) -> None:
    answer = hft("replay", "--tape", tape, "--params", params, "--json")
    assert answer.code == 0
    known = answer.json
    assert all(isinstance(known[f"{name}_quote"], float) for name in MONEY)
    assert all(isinstance(known[name], int) for name in ("events", "orders", "fills"))
    assert known["orders"] > 0 and known["seconds"] > 0.0
    assert isinstance(known["rejected"], dict) and isinstance(known["sharpe_annual"], float)
    assert len(known["orders_sha256"]) == 64


def test_the_hash_is_that_of_the_sorted_orders(
    hft: Verb, tape: Path, params: Path, tmp_path: Path
) -> None:
    orders, fills = tmp_path / "orders.csv", tmp_path / "fills.csv"
    files = ("--orders", orders, "--fills", fills)
    known = hft("replay", "--tape", tape, "--params", params, *BORROW, *files, "--json").json
    header, *lines = orders.read_bytes().decode().splitlines(keepends=True)
    rows = list(csv.DictReader([header, *lines]))
    keys = [(int(row["time_ns"]), row["client_order_id"]) for row in rows]
    assert header == ORDERS + "\n" and len(lines) == known["orders"]
    assert {row["account"] for row in rows} >= {"capital", "slot-0", "slot-1"}
    ranked = [line for _, line in sorted(zip(keys, lines))]
    assert hashlib.sha256("".join(ranked).encode()).hexdigest() == known["orders_sha256"]
    assert fills.read_text().splitlines()[0] == FILLS
    assert len(fills.read_text().splitlines()) == known["fills"] + 1
    again = hft("replay", "--tape", tape, "--params", params, *BORROW, "--json").json
    assert again["orders_sha256"] == known["orders_sha256"]


def test_overlap_with_the_fit_is_said(hft: Verb, tape: Path, params: Path, tmp_path: Path) -> None:
    def in_sample(*window: str) -> bool:
        return bool(
            hft("replay", "--tape", tape, "--params", params, *window, "--json").json["in_sample"]
        )

    assert in_sample()
    assert in_sample("--start", "2024-01-03T23:00:00Z")
    assert not in_sample("--start", "2024-01-04T00:00:00Z")
    assert "yes: the fit saw" in hft("replay", "--tape", tape, "--params", params).out


def test_a_table_is_whole_or_not_there(hft: Verb, tape: Path, params: Path, tmp_path: Path) -> None:
    damaged = damage(tape, tmp_path / "damaged")
    orders = tmp_path / "orders.csv"
    answer = hft("replay", "--tape", damaged, "--params", params, "--orders", orders)
    assert answer.code == 2 and "damaged in row group" in answer.sentence
    assert not list(tmp_path.glob("*orders*")) and not list(tmp_path.glob(".*orders*"))


def damage(tape: Path, copy: Path) -> Path:
    """A copy of the tape with 64 bytes of its rows set to zero."""
    copy.mkdir()
    for file in tape.iterdir():
        content = bytearray(file.read_bytes())
        if file.suffix == ".parquet":
            middle = len(content) // 2
            content[middle : middle + 64] = bytes(64)
        (copy / file.name).write_bytes(content)
    return copy


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_tape_that_is_not_whole_is_refused(
    hft: Verb, tape: Path, params: Path, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "tape").mkdir()
    for file in tape.iterdir():
        kept = file.read_bytes() if file.suffix == ".json" or content is None else content
        half = kept[: len(kept) // 2] if content is None and file.suffix == ".parquet" else kept
        (tmp_path / "tape" / file.name).write_bytes(half)
    answer = hft("replay", "--tape", tmp_path / "tape", "--params", params)
    assert answer.code == 2 and "no whole Parquet file" in answer.sentence


def test_a_missing_tape_is_named(hft: Verb, params: Path) -> None:
    answer = hft("replay", "--tape", "nowhere", "--params", params)
    assert answer.code == 2 and "nowhere is not a tape" in answer.sentence


def test_what_makes_no_sense_is_refused(hft: Verb, tape: Path, params: Path) -> None:
    base = ("replay", "--tape", tape, "--params", params)
    for option in (
        ("--start", "2030-01-01"),
        ("--end", "2024-01-01"),
        ("--start", "soon"),
        ("--assume-borrow", "nan"),
        ("--assume-borrow", "inf"),
        ("--assume-borrow", "-1"),
        ("--orders", "nowhere/orders.csv"),
        ("--orders", "."),
        ("--pair", "SYN/USDT~SYN/USDT:USDT"),
    ):
        answer = hft(*base, *option)
        assert answer.code == 2, option
        assert option[1] in answer.sentence
