"""`hft models promote` and `hft models rollback`: an operator's word about a pair's capital."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cli import options
from cli.audited import audited, must_be_said
from cli.console import command, emit, print_rows, text
from cli.context import check_pair, iso
from cli.errors import BadInput, Failed, Refused
from cli.standing import Standing, standing
from hft_lib.events import MoveAsked
from hft_lib.evop import override, slots
from hft_lib.evop.record import Verdict, judge
from hft_lib.evop.slots import Pair, Slot
from hft_lib.evop.telling import line_of, name_of
from hft_lib.lineage import CHAMPION, PREDECESSOR
from serving.adapters.redis_latch import latch_of, moves_of
from serving.runtime.kept_words import Unreadable
from serving.runtime.model_words import ask
from serving.runtime.pair_words import in_force
from serving.runtime.settings import Settings

OperatorOption = Annotated[str, typer.Option("--operator", help="Who says so.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
PairOption = Annotated[
    str | None, typer.Option("--pair", help="Y~X; by default the line's only pair.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would happen, and say nothing to the line.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for the answer.", min=0.0, max=3600.0)
]
WAIT_S = 20.0


def promote(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(help="A version, a candidate's name, or 8 digits of a set's hash.")
    ],
    operator: OperatorOption,
    reason: ReasonOption,
    pair: PairOption = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = WAIT_S,
    journal: options.JournalOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Give the capital of a pair to a set that runs in one of its slots, whatever the evidence.

    The old champion stays beside it as predecessor. Exit 3 where a rule refuses: not in a slot,
    warming, promotions frozen, rolled back lately. The record is `hft evop explain`'s, with
    operator and reason. The word is told once, through restarts of everything.

    Example: hft models promote 4 --operator ada --reason "the venue's fees changed" --dry-run
    """
    if version in (CHAMPION, PREDECESSOR):
        raise BadInput(f"name a version, a candidate or a hash: {version} is a role that moves")
    asked = MoveAsked(0, pair or "", "promote", version, operator, reason, 0)
    _move(context.obj, asked, journal, dry_run, wait, as_json)


def rollback(
    context: typer.Context,
    operator: OperatorOption,
    reason: ReasonOption,
    pair: PairOption = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = WAIT_S,
    journal: options.JournalOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Give the capital of a pair back to its predecessor, whose models are still warm.

    The two sets may not change places again for 90 days. Exit 3 where there is no predecessor.

    Example: hft models rollback --operator ada --reason "it trades far more than its twin"
    """
    asked = MoveAsked(0, pair or "", "rollback", "", operator, reason, 0)
    _move(context.obj, asked, journal, dry_run, wait, as_json)


def _move(
    settings: Settings,
    asked: MoveAsked,
    journal: Path | None,
    dry_run: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    what = {"pair": asked.pair or None, "wanted": asked.wanted}
    audit = audited(settings, f"models {asked.move}", what, asked.operator, asked.reason)
    with nullcontext() if dry_run else audit:
        _moved(settings, asked, journal, dry_run, wait_s, as_json)


def _moved(
    settings: Settings,
    asked: MoveAsked,
    journal: Path | None,
    dry_run: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    must_be_said(asked.operator, asked.reason)
    with standing(settings, journal) as line:
        name = _pair_of(line, asked.pair)
        asked = msgspec.structs.replace(asked, time_ns=line.line_ns, pair=name)
        document = {**preview(settings, line, asked), "dry_run": dry_run}
        if not dry_run:
            document |= _said(settings, line, asked, wait_s)
    emit(document, as_json, _print)
    if not dry_run and document["record"] is None:
        raise Failed(
            f"nobody answered in {wait_s:g} s: the word is kept, and is answered when the "
            "orchestrator (or `hft run --resume`) is there"
        )
    if document["decision"] == "refuse":
        raise Refused(f"the {asked.move} is refused: {document['why']}")


def _pair_of(line: Standing, wanted: str) -> str:
    known = [pair.pair for pair in line.state.pairs]
    if not wanted and len(known) != 1:
        raise BadInput(f"which pair? Name it with --pair: the line has {', '.join(known)}")
    name = wanted or known[0]
    check_pair(name)
    if name not in known:
        raise BadInput(f"the line has no pair {name}, it has {', '.join(known)}")
    return name


# --- what would happen ---


def preview(settings: Settings, line: Standing, event: MoveAsked) -> dict[str, Any]:
    """What the line would answer to a word now: judged here as it is judged there."""
    pair = next(pair for pair in line.state.pairs if pair.pair == event.pair)
    now = override.heard(line.state, pair, event)
    case, chosen = override.case_of(now, event)
    verdict = judge(case)
    return {
        "pair": event.pair,
        "move": event.move,
        "wanted": event.wanted,
        "operator": event.operator,
        "reason": event.reason,
        "decision": verdict.decision,
        "why": verdict.reason,
        "champion": _seat(slots.holder(pair, slots.CHAMPION)),
        "becomes_capital": _seat(chosen),
        "time": iso(now.effective_ns),
        "holds": [row for row in line.holdings if row["pair"] == event.pair and row["slot"] < 0],
        "evidence": _evidence(pair, chosen, verdict, case.threshold),
        "held_back": _held_back(settings, event.pair),
        "line": line.where,
    }


def _seat(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {
        "slot": slot.slot,
        "generation": slot.generation,
        "role": slot.role,
        "alias": slot.alias,
        "model_version": slot.model_version,
        "parameters_sha256": slot.parameters_sha256,
        "run_id": slot.run_id,
    }


def _evidence(
    pair: Pair, chosen: Slot | None, verdict: Verdict, threshold: float
) -> dict[str, Any]:
    test, known = pair.test, verdict.evidence
    return {
        "e": known.e if known is not None else None,
        "threshold": threshold,
        "blocks": known.blocks if known is not None else 0,
        "active": known.active if known is not None else 0,
        "under_test": bool(test and chosen is not None and test.slot == chosen.slot),
        "failing": list(verdict.failing),
    }


def _held_back(settings: Settings, pair: str) -> list[str]:
    """Why capital would open nothing there all the same: what operators hold."""
    try:
        word, pairs = latch_of(settings).look()
    except Unreadable as error:
        return [f"the latch cannot be read: {error}"]
    held = [f"the latch, by {word.operator}: {word.reason}"] if word and not word.run else []
    own = in_force(pairs, pair)
    return held + ([f"{own.operator}: {own.reason}"] if own is not None and not own.run else [])


# --- what happened ---


def _said(settings: Settings, line: Standing, event: MoveAsked, wait_s: float) -> dict[str, Any]:
    """Leave the word, and wait for what it comes to."""
    move: Any = event.move
    try:
        word = ask(moves_of(settings), event.pair, move, event.wanted, event.operator, event.reason)
    except Unreadable as error:
        raise Failed(f"the word cannot be written: {error}: the capital stays") from error
    record = line.answer(word.time_ns, wait_s)
    known: dict[str, Any] = {"said": iso(word.time_ns), "record": None}
    if record is not None:
        told = line_of(record)
        known |= {"record": told, "decision": record["kind"], "why": record["reason"]}
        known |= {"becomes_capital": told["challenger"], "time": told["time"]}
    return known


def _print(known: dict[str, Any]) -> None:
    text().print(f"[bold]{known['move']}[/bold] of {known['pair']}", soft_wrap=True)
    evidence, record = known["evidence"], known.get("record")
    e = f"e {evidence['e']:.4g}" if evidence["e"] is not None else "no evidence"
    rows = [
        ("champion", name_of(known["champion"])),
        ("becomes", _becomes(known["becomes_capital"])),
        ("when", f"{known['time']} of the line's time"),
        ("shows", f"{e} of {evidence['threshold']:g}, {evidence['active']} active blocks"),
        ("fails", ", ".join(evidence["failing"]) or "no guard"),
    ]
    rows += [("holds", f"y {row['y']:g}, x {row['x']:g}") for row in known["holds"]]
    rows += [("note", f"capital opens nothing there: {why}") for why in known["held_back"]]
    rows.append(("answer", f"{known['decision']}: {known['why']}"))
    if known["dry_run"]:
        rows.append(("note", "nothing was said to the line: leave --dry-run out"))
    elif record is not None:
        rows.append(("look", command("hft", "evop", "explain", str(record["number"]))))
    print_rows([(f"{label} ", value) for label, value in rows])


def _becomes(seat: dict[str, Any] | None) -> str:
    return f"{name_of(seat)}, generation {seat['generation']}" if seat is not None else "nothing"
