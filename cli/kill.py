"""`hft kill` and `hft reset-kill`: the latched halt of all new risk. Neither needs Kafka."""

import getpass
import time
from typing import Annotated, Any

import typer

from cli import options
from cli.audited import audited, must_be_said
from cli.console import command, emit, print_rows, stderr
from cli.context import iso
from cli.errors import Failed
from serving.adapters.redis_latch import RedisLatch, latch_of
from serving.runtime import latch as latches
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import Latch, Word
from serving.runtime.settings import Settings


def kill(
    context: typer.Context,
    flatten: Annotated[bool, typer.Option("--flatten", help="Also close what is held.")] = False,
    operator: Annotated[str | None, typer.Option(help="Who says so; by default this user.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "killed by hand",
    as_json: options.JsonOption = False,
) -> None:
    """Halt all new risk until `hft reset-kill`; what is open is cancelled and may be reduced.

    The latch is in Redis, or a file under HFT_HOME where REDIS_URL is unset. It stays pulled
    through restarts of everything.

    Example: hft kill --flatten --reason "the venue answers twice"
    """
    settings: Settings = context.obj
    latch = latch_of(settings)
    name = operator or getpass.getuser()
    with audited(settings, "kill", {"flatten": flatten}, name, reason, whatever=True):
        try:
            word = latches.kill(latch, flatten, name, reason, time.time_ns())
        except Unreadable as error:
            raise Failed(
                f"the latch cannot be written: {error}. A line that cannot read it either halts "
                "by itself; else stop execution"
            ) from error
    warn_of_loss(latch, "kill")
    emit(document(latch, word), as_json, _print)


def reset_kill(
    context: typer.Context,
    operator: Annotated[str, typer.Option(help="Who lets it go.")],
    reason: Annotated[str, typer.Option(help="Why it is safe again.")],
    as_json: options.JsonOption = False,
) -> None:
    """Let the latch go: the line may take new risk again. What a pair's own halt holds stays held.

    Example: hft reset-kill --operator ada --reason "the venue is well, positions reconciled"
    """
    latch = latch_of(context.obj)
    with audited(context.obj, "reset-kill", {}, operator, reason):
        must_be_said(operator, reason)
        try:
            word = latches.reset(latch, operator, reason, time.time_ns())
        except Unreadable as error:
            raise Failed(f"the latch cannot be written: {error}: the line stays halted") from error
    emit(document(latch, word), as_json, _print)


def document(latch: Latch, word: Word) -> dict[str, Any]:
    """The latch's word, for a program."""
    return {
        "latch": "run" if word.run else "halt",
        "flatten": word.flatten,
        "operator": word.operator,
        "reason": word.reason,
        "since": iso(word.time_ns),
        "where": latch.where,
    }


def warn_of_loss(latch: Latch, what: str) -> None:
    """A server that comes back with an older state would let go: say so beside a kill or a halt."""
    if not isinstance(latch, RedisLatch):
        return
    try:
        durable = latch.is_durable()
    except Unreadable:
        durable = False
    if not durable:
        stderr.print(
            "warning: Redis keeps no append-only file (appendonly no): a restart of it may forget "
            f"this {what}",
            markup=False,
            soft_wrap=True,
        )


def _print(known: dict[str, Any]) -> None:
    what = known["latch"] + (", and close" if known["flatten"] else "")
    rows = [
        ("latch", f"{what}, by {known['operator']} at {known['since']}: {known['reason']}"),
        ("where", known["where"]),
    ]
    if known["latch"] == "halt":
        again = command("hft", "reset-kill", "--operator", "NAME", "--reason", "WHY")
        rows.append(("undo", again))
    print_rows(rows)
