"""`hft positions`: what each account holds, by its fills."""

from typing import Any

import msgspec
import typer

from cli import options
from cli.console import emit, text
from cli.context import iso
from cli.ledgers import LineOption, open_ledger
from serving.runtime.settings import Settings


def positions(
    context: typer.Context,
    journal: options.JournalOption = None,
    line: LineOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """List what every account holds, at which price it was entered, and what that is worth.

    Read from the ledger: of the line on Kafka, or of the latest run's journal. Valued at the last
    mark, which is that of the models' grid.

    Example: hft positions --json
    """
    settings: Settings = context.obj
    with open_ledger(settings, journal, line) as (connection, name):
        document = document_of(connection, name)
    emit(document, as_json, print_positions)


def document_of(connection: Any, line: str) -> dict[str, Any]:
    """What is held now, as a document."""
    from serving.ledger import books

    accounts = books.accounts_now(connection, line)
    return {
        "line": line,
        "as_of": iso(books.as_of_ns(connection, line)),
        "accounts": [
            {
                "pair": item.pair,
                "account": item.account,
                "slot": item.slot,
                "generation": item.generation,
                "model_version": item.model_version,
                "marked": iso(item.marked_ns) if item.marked_ns >= 0 else None,
                "equity_quote": item.equity_quote,
                "flat": item.is_flat,
            }
            for item in accounts
        ],
        "positions": [
            msgspec.to_builtins(holding) for item in accounts for holding in item.holdings
        ],
    }


def print_positions(known: dict[str, Any]) -> None:
    """The positions, for people: a row an account and leg."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = text()
    console.print(f"As of {known['as_of']}; line {known['line']}")
    for pair in sorted({item["pair"] for item in known["accounts"]}):
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=pair)
        table.title_justify = "left"
        table.add_column("account", no_wrap=True)
        table.add_column("symbol", overflow="fold")
        for heading in ("quantity", "entered at", "mid", "value", "open PnL", "equity"):
            table.add_column(heading, justify="right", no_wrap=True)
        for account in known["accounts"]:
            if account["pair"] == pair:
                _add_rows(table, account, known["positions"])
        console.print(table)
    if not known["accounts"]:
        console.print("no account has traded yet")


def _add_rows(table: Any, account: dict[str, Any], positions: list[dict[str, Any]]) -> None:
    equity = f"{account['equity_quote']:,.2f}" if account["equity_quote"] is not None else ""
    ours = [
        held
        for held in positions
        if (held["pair"], held["account"]) == (account["pair"], account["account"])
    ]
    if not ours:
        table.add_row(account["account"], "flat", "", "", "", "", "", equity)
    for number, held in enumerate(ours):
        table.add_row(
            account["account"] if number == 0 else "",
            held["symbol"],
            f"{held['quantity']:g}",
            *(_shown(held[name]) for name in ("entry_price", "mid")),
            *(_shown(held[name], 2) for name in ("value_quote", "unrealised_quote")),
            equity if number == 0 else "",
        )


def _shown(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.8g}" if digits is None else f"{value:,.{digits}f}"
