"""`hft status`: the six services as their heartbeats tell, the latch, the pairs that are held."""

import time
from typing import Any

import typer
from rich.table import Table

from cli import options
from cli.console import emit, print_rows, text
from cli.context import iso
from cli.errors import Failed
from cli.halts import document as pair_document
from cli.kill import document as latch_document
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, DirectoryError, Entry, roll_call
from serving.adapters.redis_latch import latch_of
from serving.runtime.latch import ABSENT, UNREADABLE, Latch, Unreadable
from serving.runtime.pair_words import ALL, in_force
from serving.runtime.settings import Settings


def status(context: typer.Context, as_json: options.JsonOption = False) -> None:
    """Show the six services, ready or why not, the latch, which pairs are held back, how models do.

    Exit 1 where a service is not ready.

    The services tell Redis (REDIS_URL) once a second. Without it there is the latch alone: the
    line of one process (`hft run`) shows itself.

    Example: hft status --json
    """
    settings: Settings = context.obj
    latch = latch_of(settings)
    known: dict[str, Any] = {"latch": read_latch(latch), "services": []}
    known["mode"] = "embedded" if settings.redis_url is None else "services"
    why, documents = "", {}
    if settings.redis_url is not None:
        directory = Directory(connect(settings.redis_url), settings.redis_url)
        try:
            documents = directory.documents()
            known["services"] = _services(directory.entries(), documents)
        except DirectoryError as error:
            why = f"Redis does not say who is there: {error}"
    known["pairs"] = read_pairs(latch, documents.get("execution", {}).get("pairs", []))
    known["models"] = documents.get("garch_model", {}).get("health", [])
    emit(known, as_json, _print)
    missing = [row["service"] for row in known["services"] if not row["ready"]]
    if why or missing:
        raise Failed(why or f"not ready: {', '.join(missing)}")


def read_latch(latch: Latch) -> dict[str, Any]:
    """What the latch says; where it says nothing, why, which means halted."""
    try:
        word = latch.look().word  # as execution looks: one that is unreadable halts all
    except Unreadable as error:
        return {"latch": "halt", "where": latch.where, "reason": f"{UNREADABLE}: {error}"}
    if word is None:
        return {"latch": "halt", "where": latch.where, "reason": ABSENT}
    return latch_document(latch, word)


def read_pairs(latch: Latch, held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pairs that operators spoke of, a row a pair (null: all), and those of `held`
    (`shown.held_back`): what was said last of each, and what execution holds.
    """
    try:
        words = latch.look().pairs
    except Unreadable:
        return held  # the latch's row says why
    rows = {row["pair"]: row for row in held}
    names = sorted(rows.keys() | words.keys())
    return [
        {
            **(pair_document(latch, name, word) if (word := in_force(words, name)) else {}),
            **rows.get(name, {}),
            "pair": None if name == ALL else name,
        }
        for name in names
    ]


def _services(
    entries: dict[str, Entry], documents: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = roll_call(entries, documents, time.time_ns())
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
    rows = [("latch", f"{latch['latch']}{by}: {latch['reason']}"), ("where", latch["where"])]
    rows += [("pair", said) for row in known["pairs"] if (said := _pair_sentence(row))]
    rows += [("model", model_sentence(row)) for row in known["models"]]
    print_rows(rows)


def model_sentence(row: dict[str, Any]) -> str:
    """How one slot's model does (`SlotHealth.document`): its state, and what is not good of it."""
    aspects = {"whiteness": "innovations", "calibration": "forecasts", "drift": "data"}
    wrong = [
        f"{subject} {row[name]['words']}"
        for name, subject in aspects.items()
        if row[name]["state"] != "good"
    ]
    said = "; ".join(dict.fromkeys(wrong))
    return f"{row['pair']} slot {row['slot']}: {row['state']}{f', {said}' if said else ''}"


def _pair_sentence(row: dict[str, Any]) -> str:
    """What holds a pair back; empty where nothing of its own does."""
    halted = row.get("word") == "halt"
    why = [f"halt, by {row['operator']} at {row['since']}: {row['reason']}"] if halted else []
    if row.get("locked"):
        why.append(f"locked, {row['locked']}")
    if "slots" in row.get("held_by", ()):
        why.append("halted, another slot table than the line's")
    if halted and "held_by" in row and "operator" not in row["held_by"]:
        why.append("execution was not told yet")
    return f"{row['pair'] or 'every one'}: {'; '.join(why)}" if why else ""
