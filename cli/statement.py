"""`hft statement`: what a day brought every account, held against the fills it is made of."""

import datetime
import math
from typing import Annotated, Any

import msgspec
import typer

from cli import options
from cli.console import emit, text
from cli.context import iso
from cli.errors import BadInput, Failed
from cli.ledgers import LineOption, open_ledger
from hft_lib.evop.policy import DAY_NS
from serving.runtime.settings import Settings

SUMMED = ("orders", "fills", "turnover_quote", "fees_quote", "slippage_quote")
SUMMED_IF_KNOWN = ("funding_quote", "borrow_quote", "pnl_quote", "equity_quote")


def statement(
    context: typer.Context,
    day: Annotated[str, typer.Option(help="A UTC day, such as 2024-08-08.")],
    journal: options.JournalOption = None,
    line: LineOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Say what a UTC day brought each account of each pair, and hold it against its fills.

    Read from the ledger: of the line on Kafka, or of the latest run's journal. Exit 1 where a
    closed day differs from its fills and the day before by half a cent or more.

    Example: hft statement --day 2024-08-08 --json
    """
    settings: Settings = context.obj
    number = parse_day(day)
    with open_ledger(settings, journal, line) as (connection, name):
        document = document_of(connection, name, number)
    emit(document, as_json, print_statement)
    if not document["reconciled"]:
        wrong = [item["account"] for item in document["accounts"] if item["differences"]]
        raise Failed(f"the day does not reconcile: {', '.join(wrong)}; see `differences`")


def document_of(connection: Any, line: str, day: int) -> dict[str, Any]:
    """The statement of one day as a document; BadInput where the ledger has no row of it."""
    from serving.ledger import books

    accounts = books.statement(connection, line, day)
    if not accounts:
        known = books.days_of(connection, line)
        held = f"from {_iso_day(known[0])} to {_iso_day(known[1])}" if known else "no day yet"
        raise BadInput(f"the ledger of {line} has nothing of {_iso_day(day)}: it holds {held}")
    capital = [item for item in accounts if item.slot < 0]
    total: dict[str, Any] = {name: _sum(capital, name) for name in SUMMED}
    for name in SUMMED_IF_KNOWN:
        known_all = all(getattr(item, name) is not None for item in capital)
        total[name] = _sum(capital, name) if known_all else None
    return {
        "day": _iso_day(day),
        "start": iso(day * DAY_NS),
        "end": iso((day + 1) * DAY_NS),
        "line": line,
        "as_of": iso(books.as_of_ns(connection, line)),
        "closed": any(item.closed for item in accounts),
        "reconciled": not any(item.differences for item in accounts),
        "capital": total,
        "accounts": [msgspec.to_builtins(item) for item in accounts],
    }


def parse_day(given: str) -> int:
    """Days since 1970 of an ISO 8601 day; BadInput for anything else."""
    try:
        found = datetime.date.fromisoformat(given)
    except ValueError as error:
        raise BadInput(f"--day must be a UTC day such as 2024-08-08, was {given!r}") from error
    return found.toordinal() - datetime.date(1970, 1, 1).toordinal()


def _iso_day(day: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def _sum(accounts: list[Any], name: str) -> Any:
    values = [getattr(item, name) for item in accounts]
    return sum(values) if name in ("orders", "fills") else math.fsum(values)


def print_statement(known: dict[str, Any]) -> None:
    """The statement, for people: a row an account, capital first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = text()
    state = "closed" if known["closed"] else f"not closed, as of {known['as_of'][11:19]}"
    console.print(f"[bold]{known['day']}[/bold] UTC, {state}; line {known['line']}")
    pairs = sorted({item["pair"] for item in known["accounts"]})
    for pair in pairs:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=pair)
        table.title_justify = "left"
        table.add_column("account", no_wrap=True)
        for heading in ("fills", "turnover", "fees", "slip", "funding", "borrow", "PnL", "equity"):
            table.add_column(heading, justify="right", no_wrap=True)
        for item in known["accounts"]:
            if item["pair"] == pair:
                table.add_row(*_cells(item))
        console.print(table)
    verdict = "every closed account agrees with its fills to the cent"
    console.print(verdict if known["reconciled"] else "[red]figures differ from the fills[/red]")


def _cells(item: dict[str, Any]) -> list[str]:
    ended = (
        "" if item["closed"] or item["pnl_quote"] is not None else f" (gen {item['generation']})"
    )
    figures = ("turnover", "fees", "slippage", "funding", "borrow", "pnl", "equity")
    money = [_money(item[f"{name}_quote"], 0 if name == "turnover" else 2) for name in figures]
    return [f"{item['account']}{ended}", str(item["fills"]), *money]


def _money(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
