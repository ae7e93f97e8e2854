"""`hft tape export`: what a live line on Kafka was fed, as a tape."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import console
from cli.context import iso
from cli.errors import BadInput
from cli.tape_text import render_live
from serving.runtime.settings import Settings


def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory of the tape.")],
    replace: Annotated[bool, typer.Option(help="Replace the tape that is at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write what a live line on Kafka was fed as a tape, while it runs or after it.

    Every message that it received is a row, with both its times; what was refused is in
    `rejected.jsonl`. With `line` beside them `hft replay --verify` makes every fact again, and
    holds it against the line's.

    Example: hft tape export --out live && hft replay --tape live --verify live/line
    """
    from serving.line_export import NoLine, export
    from serving.line_log import FILE

    settings: Settings = context.obj
    servers = settings.kafka_bootstrap_servers
    if servers is None:
        raise BadInput("hft tape export needs KAFKA_BOOTSTRAP_SERVERS, it was unset")
    began_s = time.perf_counter()
    try:
        with console.progress("reading the line's log") as task:
            tape, found = export(servers, out, replace, _teller(task))
    except NoLine as error:
        raise BadInput(str(error)) from error
    document = {
        "rows": tape.rows,
        "symbols": tape.symbols,
        "tape_sha256": tape.sha256,
        "out": str(out),
        "line": found.line,
        "journal": str(out / FILE),
        "start": iso(tape.start_ns),
        "end": iso(tape.end_ns),
        "rejected": dict(sorted(found.rejected.items())),
        "given": found.given,
        "seconds": round(time.perf_counter() - began_s, 3),
    }
    console.emit(document, as_json, _render)


def _teller(task: console.Task) -> Callable[[int], Callable[[int], None]]:
    """What moves the line of progress on, once it is known how much there is."""

    def begin(messages: int) -> Callable[[int], None]:
        task.describe(f"reading {messages:,} messages of the line's log")
        return task.advance

    return begin


def _render(document: dict[str, Any]) -> None:
    render_live(document)
    words = ("hft", "replay", "--tape", Path(document["out"]))
    verify = console.command(*words, "--verify", Path(document["journal"]))
    console.text().print(f"verify: {verify}", markup=False, soft_wrap=True)
