"""`hft reconcile`: what execution holds against the sums of its fills."""

import time
from pathlib import Path
from typing import Any

import msgspec
import typer

from cli import options
from cli.console import emit, print_rows, text
from cli.context import iso
from cli.errors import BadInput, Failed
from cli.ledgers import LineOption, open_ledger
from cli.runs import latest_journal, recomputed
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, DirectoryError
from serving.runtime import shown
from serving.runtime.settings import Settings

# What execution has booked is on its way to the log for some milliseconds.
TRIES_MAX, TRY_S = 10, 0.5
_SIMULATED = "EXCHANGE is {}: execution makes the fills itself, there is no venue's record"


def reconcile(
    context: typer.Context,
    journal: options.JournalOption = None,
    line: LineOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Hold what every account has against the sum of its fills; list orders of unknown fate.

    Execution says itself what it holds (over Redis), or a run's journal gives it; the fills are
    those of the ledger. Exit 1 where a leg differs, an account was not compared, or the fate of an
    order is unknown.

    Example: hft reconcile --json
    """
    settings: Settings = context.obj
    if settings.exchange not in ("simulated", "paper"):
        raise BadInput(
            "EXCHANGE must be simulated or paper for hft reconcile in this release, was "
            f"{settings.exchange}"
        )
    over_kafka = journal is None and settings.kafka_bootstrap_servers is not None
    path = None if over_kafka else journal or latest_journal(settings)
    held = _held_by_execution(settings) if path is None else _held_by_journal(path)
    known = document_of(settings, path, line, held)
    emit(known, as_json, _print)
    if not known["reconciled"]:
        raise Failed(_sentence(known))


def document_of(
    settings: Settings, journal: Path | None, line: str | None, held: dict[str, Any]
) -> dict[str, Any]:
    """The comparison of `held` (`shown.document`) with the ledger, as a document."""
    name, as_of_ns, found = _compared(settings, journal, line, held)
    unknown = [_order(row) for row in held["under_way"] if row["unknown"]]
    left_out = held["left_out"]["holdings"]
    return {
        "line": name,
        "as_of": iso(as_of_ns),
        "reconciled": not (found or unknown or left_out or held["left_out"]["under_way"]),
        "accounts": len(held["holdings"]),
        "accounts_left_out": left_out,
        "orders_left_out": held["left_out"]["under_way"],
        "fills": sum({row["pair"]: row["fills"] for row in held["holdings"]}.values()),
        "differences": [msgspec.to_builtins(item) for item in found],
        "orders_under_way": len(held["under_way"]) + held["left_out"]["under_way"],
        "unknown_orders": unknown,
        "venue": {"compared": False, "why": _SIMULATED.format(settings.exchange)},
    }


def _compared(
    settings: Settings, journal: Path | None, line: str | None, held: dict[str, Any]
) -> tuple[str, int, list[Any]]:
    """The ledger's line, its last record's time, and what differs in it."""
    from serving.ledger import books
    from serving.ledger.reconcile import Behind, compare

    is_whole = not held["left_out"]["holdings"]
    tries = TRIES_MAX if journal is None else 1
    while True:
        with open_ledger(settings, journal, line) as (connection, name):
            try:
                found = compare(connection, name, held["holdings"], is_whole)
                return name, books.as_of_ns(connection, name), found
            except Behind as why:
                tries -= 1
                if not tries:
                    raise Failed(f"{why}: see `hft ledger rebuild`") from why
        time.sleep(TRY_S)


def _held_by_execution(settings: Settings) -> dict[str, Any]:
    """What execution said last, as its heartbeat left it in Redis."""
    if settings.redis_url is None:
        raise BadInput("REDIS_URL must be set: execution says there what it holds, it was unset")
    try:
        documents = Directory(connect(settings.redis_url), settings.redis_url).documents()
    except DirectoryError as error:
        raise Failed(f"Redis does not say what execution holds: {error}") from error
    found = documents.get("execution")
    if found is None or "holdings" not in found:
        why = "no heartbeat" if found is None else found.get("why_not_ready") or "it left it out"
        raise Failed(f"execution does not say what it holds: {why}")
    return found


def _held_by_journal(path: Path) -> dict[str, Any]:
    """What execution holds where a journal ends, with nothing left out."""
    state = recomputed(path)["execution"]
    lists = {"holdings": shown.holdings(state), "under_way": shown.under_way(state)}
    return {**lists, "left_out": dict.fromkeys(lists, 0)}


def _order(row: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in row.items() if name not in ("answered_ns", "unknown")}
    return {**known, "answer_due": iso(row["answered_ns"])}


def _sentence(known: dict[str, Any]) -> str:
    """The first of what is not as it must be."""
    for item in known["differences"]:
        held = "has no such account" if item["held"] is None else f"holds {item['held']:.12g}"
        return (
            f"{item['pair']} {item['account']} leg {item['leg']}: execution {held}, its fills "
            f"come to {item['filled']:.12g}{_more(known['differences'])}"
        )
    for order in known["unknown_orders"]:
        return (
            f"the fate of order {order['client_order_id']} of {order['pair']} {order['account']} "
            f"is unknown{_more(known['unknown_orders'])}"
        )
    many = {"accounts": known["accounts_left_out"], "orders under way": known["orders_left_out"]}
    left_out = " and ".join(f"{count} {what}" for what, count in many.items() if count)
    return f"not compared: {left_out}, beyond what execution shows: see `hft replay --verify`"


def _more(items: list[Any]) -> str:
    return f", and {len(items) - 1} more" if len(items) > 1 else ""


def _print(known: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = text()
    console.print(f"As of {known['as_of']}; line {known['line']}")
    if known["differences"]:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for heading in ("pair", "account", "symbol"):
            table.add_column(heading, overflow="fold")
        for heading in ("execution", "fills"):
            table.add_column(heading, justify="right", no_wrap=True)
        for item in known["differences"]:
            held = "none" if item["held"] is None else f"{item['held']:.12g}"
            table.add_row(
                item["pair"], item["account"], item["symbol"], held, f"{item['filled']:.12g}"
            )
        console.print(table)
    agree = "every account holds what its fills come to"
    rows = [
        ("books", "they differ" if known["differences"] else f"{agree} ({known['fills']:,} fills)"),
        ("orders", f"{known['orders_under_way']} under way"),
        ("venue", known["venue"]["why"]),
    ]
    rows += [("unknown", order["client_order_id"]) for order in known["unknown_orders"]]
    print_rows(rows)
