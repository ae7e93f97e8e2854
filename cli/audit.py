"""`hft audit`: who moved capital or halted it, from where and why, and what became of it."""

from typing import Annotated, Any

import typer
from rich.table import Table

from cli import options
from cli.console import emit, text
from cli.context import iso
from cli.errors import Failed
from serving.adapters.redis_audit import trail_of
from serving.runtime.audit import ENTRIES_MAX, Unwritable, last_rows


def audit(
    context: typer.Context,
    last: Annotated[int, typer.Option(help="How many.", min=1, max=ENTRIES_MAX)] = 50,
    as_json: options.JsonOption = False,
) -> None:
    """The last verbs that moved capital, or tried to: who, from where, why, what became of it.

    The trail is in Redis, or a file under HFT_HOME where REDIS_URL is unset. `untold` is a verb of
    which nobody said how it ended.

    Example: hft audit --last 10
    """
    trail = trail_of(context.obj)
    try:
        found = last_rows(trail, last)
    except Unwritable as error:
        raise Failed(f"the audit trail cannot be read: {error}") from error
    for row in found:
        row["time"] = iso(row.pop("time_ns"))
    emit({"records": found, "where": trail.where}, as_json, _print)


def _print(known: dict[str, Any]) -> None:
    table = Table("time", "verb", "of", "outcome", "operator", "who, where", "why", box=None)
    for row in known["records"]:
        what = ", ".join(f"{name} {value}" for name, value in row["what"].items() if value)
        said = f"{row['reason']}: {row['detail']}" if row["detail"] else row["reason"]
        who = f"{row['who']} on {row['host']}"
        cells = (row["time"], row["verb"], what, row["outcome"], row["operator"], who, said)
        # A person's words are shown as they are, not read as colours.
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    text().print(table)
