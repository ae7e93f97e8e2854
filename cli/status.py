"""`hft status`: the six services as their heartbeats tell, and the latch."""

import time
from typing import Any

import typer
from rich.table import Table

from cli import options
from cli.console import emit, print_rows, text
from cli.context import iso
from cli.errors import Failed
from cli.kill import document as latch_document
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, DirectoryError, roll_call
from serving.adapters.redis_latch import latch_of
from serving.runtime.latch import ABSENT, UNREADABLE, Latch, Unreadable
from serving.runtime.settings import Settings


def status(context: typer.Context, as_json: options.JsonOption = False) -> None:
    """Show the six services, ready or why not, and the latch; exit 1 where one is not ready.

    The services tell Redis (REDIS_URL) once a second. Without it there is the latch alone: the
    line of one process (`hft run`) shows itself.

    Example: hft status --json
    """
    settings: Settings = context.obj
    known: dict[str, Any] = {"latch": read_latch(latch_of(settings)), "services": []}
    known["mode"] = "embedded" if settings.redis_url is None else "services"
    why = ""
    if settings.redis_url is not None:
        try:
            known["services"] = _services(
                Directory(connect(settings.redis_url), settings.redis_url)
            )
        except DirectoryError as error:
            why = f"Redis does not say who is there: {error}"
    emit(known, as_json, _print)
    missing = [row["service"] for row in known["services"] if not row["ready"]]
    if why or missing:
        raise Failed(why or f"not ready: {', '.join(missing)}")


def read_latch(latch: Latch) -> dict[str, Any]:
    """What the latch says; where it says nothing, why, which means halted."""
    try:
        word = latch.read()
    except Unreadable as error:
        return {"latch": "halt", "where": latch.where, "reason": f"{UNREADABLE}: {error}"}
    if word is None:
        return {"latch": "halt", "where": latch.where, "reason": ABSENT}
    return latch_document(latch, word)


def _services(directory: Directory) -> list[dict[str, Any]]:
    rows = roll_call(directory.entries(), directory.documents(), time.time_ns())
    return [
        {name: value for name, value in row.items() if name != "since_ns"}
        | ({"since": iso(row["since_ns"])} if "since_ns" in row else {})
        for row in rows
    ]


def _print(known: dict[str, Any]) -> None:
    if known["services"]:
        table = Table(box=None, pad_edge=False)
        for title in ("service", "state", "lag", "epoch", "read", "port", "pid"):
            table.add_column(title, justify="left" if title in ("service", "state") else "right")
        for row in known["services"]:
            state = "ready" if row["ready"] else row["why_not_ready"]
            figures = (str(row.get(key, "")) for key in ("lag", "epoch", "read", "port", "pid"))
            table.add_row(row["service"], state, *figures)
        text().print(table)
    latch = known["latch"]
    by = f", by {latch['operator']} at {latch['since']}" if "operator" in latch else ""
    print_rows((("latch", f"{latch['latch']}{by}: {latch['reason']}"), ("where", latch["where"])))
