"""`hft flatten` and `hft pair halt | resume`: an operator's words about pairs. None needs Kafka."""

import getpass
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli import options
from cli.audited import audited, must_be_said
from cli.console import command, emit, print_rows, stderr
from cli.context import check_pair, iso
from cli.errors import BadInput, Failed
from cli.kill import warn_of_loss
from cli.runs import journals, read_header
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, DirectoryError
from serving.adapters.redis_latch import latch_of
from serving.runtime import pair_words
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import ABSENT, UNREADABLE, Latch, Word
from serving.runtime.pair_words import ALL
from serving.runtime.settings import Settings

OperatorOption = Annotated[
    str | None, typer.Option("--operator", help="Who says so; by default this user.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
PairArgument = Annotated[str, typer.Argument(help="Y~X, such as BTC/USDT:USDT~BTC/USDT.")]

app = typer.Typer(help="Hold one pair's capital back, or let it go.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Hold one pair's capital back, or let it go."""


def flatten(
    context: typer.Context,
    pair: Annotated[str | None, typer.Argument(help="Y~X; every pair where none is named.")] = None,
    operator: OperatorOption = None,
    reason: ReasonOption = "flattened by hand",
    as_json: options.JsonOption = False,
) -> None:
    """Close what capital holds of a pair, or of all, and open nothing until `hft pair resume`.

    Held as `hft kill` is, in Redis or in a file under HFT_HOME, through restarts of everything.

    Example: hft flatten BTC/USDT:USDT~BTC/USDT --reason "delisting on Friday"
    """
    _halt(context.obj, pair or ALL, True, operator, reason, as_json)


@app.command("halt")
def halt(
    context: typer.Context,
    pair: PairArgument,
    operator: OperatorOption = None,
    reason: ReasonOption = "halted by hand",
    as_json: options.JsonOption = False,
) -> None:
    """Take no new risk in a pair until `hft pair resume`; what is open may be reduced.

    Held in Redis, or in a file under HFT_HOME where REDIS_URL is unset, through restarts of
    everything.

    Example: hft pair halt BTC/USDT:USDT~BTC/USDT --reason "the funding looks wrong"
    """
    _halt(context.obj, pair, False, operator, reason, as_json)


@app.command("resume")
def resume(
    context: typer.Context,
    pair: PairArgument,
    operator: Annotated[str, typer.Option(help="Who lets it go.")],
    reason: Annotated[str, typer.Option(help="Why it is safe again.")],
    as_json: options.JsonOption = False,
) -> None:
    """Let a pair take new risk again: after a halt, a drawdown, or a freeze of its promotions.

    What the latch holds (`hft kill`) stays held.

    Example: hft pair resume BTC/USDT:USDT~BTC/USDT --operator ada --reason "looked at, all well"
    """
    settings: Settings = context.obj
    latch = latch_of(settings)
    with audited(settings, "pair resume", {"pair": pair}, operator, reason):
        must_be_said(operator, reason)
        _check(settings, pair)
        word = _written(
            lambda: pair_words.resume(latch, pair, operator, reason), f"{pair} stays as it is"
        )
    emit({**document(latch, pair, word), "latch": _latch_word(latch)}, as_json, _print)


def document(latch: Latch, pair: str, word: Word) -> dict[str, Any]:
    """A word about a pair (null: about all), for a program."""
    return {
        "pair": None if pair == ALL else pair,
        "word": "run" if word.run else "halt",
        "flatten": word.flatten,
        "operator": word.operator,
        "reason": word.reason,
        "since": iso(word.time_ns),
        "where": latch.pairs_where,
    }


# --- leaves ---


def _halt(
    settings: Settings,
    pair: str,
    closes: bool,
    operator: str | None,
    reason: str,
    as_json: bool,
) -> None:
    latch, name = latch_of(settings), operator or getpass.getuser()
    verb = "flatten" if closes else "pair halt"
    with audited(settings, verb, {"pair": None if pair == ALL else pair}, name, reason):
        if pair != ALL:
            _check(settings, pair)
        word = _written(
            lambda: pair_words.halt(latch, pair, closes, name, reason),
            "`hft kill` halts the whole line",
        )
    warn_of_loss(latch, "halt")
    emit(document(latch, pair, word), as_json, _print)


def _written(write: Callable[[], Word], otherwise: str) -> Word:
    try:
        return write()
    except Unreadable as error:
        raise Failed(f"the words about pairs cannot be written: {error}: {otherwise}") from error


def _check(settings: Settings, pair: str) -> None:
    """A slip of the keyboard must not pass for a halt: BadInput where the line has no such pair,
    and a warning where nobody says which pairs it has.
    """
    check_pair(pair)
    known, is_sure = _line_pairs(settings)
    if pair in known:
        return
    if is_sure:
        raise BadInput(f"the line has no pair {pair}, it has {', '.join(known)}")
    had = f", the latest run had {', '.join(known)}" if known else ""
    stderr.print(
        f"warning: nobody says whether the line has a pair {pair}{had}",
        markup=False,
        soft_wrap=True,
    )


def _line_pairs(settings: Settings) -> tuple[tuple[str, ...], bool]:
    """The pairs of the line as far as they are known, and whether it has no others."""
    if settings.redis_url is None:
        latest = journals(settings)[:1]
        had = [item.pair for path in latest for item in read_header(path).config.pairs]
        return settings.pairs or tuple(had), bool(settings.pairs)
    try:
        documents = Directory(connect(settings.redis_url), settings.redis_url).documents()
    except DirectoryError:
        documents = {}  # to write the word is what matters: that fails by itself, or not
    shown = documents.get("execution", {})
    if "pairs" in shown and not shown["left_out"]["pairs"]:
        return tuple(row["pair"] for row in shown["pairs"]), True
    return settings.pairs, bool(settings.pairs)


def _latch_word(latch: Latch) -> str:
    try:
        word = latch.read()
    except Unreadable as error:
        return f"halt, {UNREADABLE}: {error}"
    if word is None:
        return f"halt, {ABSENT}"
    return "run" if word.run else f"halt, by {word.operator}"


def _print(known: dict[str, Any]) -> None:
    pair = known["pair"] or "every pair"
    what = known["word"] + (", and close" if known["flatten"] else "")
    by = f"{what}, by {known['operator']} at {known['since']}: {known['reason']}"
    rows = [("pair", pair), ("word", by), ("where", known["where"])]
    if known["word"] == "halt":
        named = known["pair"] or "PAIR"
        again = ("hft", "pair", "resume", named, "--operator", "NAME", "--reason", "WHY")
        rows.append(("undo", command(*again)))
    elif known["latch"] != "run":
        rows.append(("note", f"the latch holds every pair all the same: {known['latch']}"))
    print_rows(rows)
