"""A run told as steps: what happened on which day, by which decision, and why.

A step is found in the run's record or it is not told: nothing here knows how the run ought to go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hft_lib.backtest.record import Decision, RunRecord
from hft_lib.evop.record import Record, SlotRecord
from hft_lib.plots.words import count, day, number

_MEANS = {"rollback": " (s0 is the scale of a day's bet)"}


@dataclass(frozen=True)
class Step:
    """One step. `name` is stable, `title` and `text` are for people, names in backquotes; `number`
    is the decision's, `version` that of the set it is about, `figure` the id of what shows it.
    """

    name: str
    time_ns: int
    title: str
    text: str
    number: int | None = None
    version: str = ""
    evidence: str = ""
    figure: str = ""


@dataclass(frozen=True)
class Turn:
    """A change of the market: its name, when, the word that marks it in figures, what changed."""

    name: str
    time_ns: int
    word: str
    text: str


@dataclass(frozen=True)
class Cast:
    """Whose steps are told: the sets by their names in the run."""

    bad: str
    better: str
    lucky: str


def story(
    record: RunRecord, cast: Cast, begun: Sequence[Step], turns: Sequence[Turn]
) -> list[Step]:
    """The steps of a run in order of time: what `begun` it, the market's turns, EVOP's moves."""
    found = [*begun, *(_turned(turn) for turn in turns), *_decided(record, cast)]
    return sorted(found, key=lambda step: step.time_ns)


def served(record: RunRecord) -> Step | None:
    """The start: the registry's champion gets the capital."""
    first = _first(record, "start", None)
    if first is None:
        return None
    decision, known = first
    slots = {fact.slot for fact in record.assigned if fact.effective_ns <= known.case.time_ns}
    champion = known.champion
    assert champion is not None, "a start is recorded with the set that it gives the capital to"
    return Step(
        name="served",
        time_ns=decision.time_ns,
        title=f"`{_name(record, known)}` gets the capital",
        text=f"Six services in one process trade it and {count(len(slots) - 1, 'set')} in shadow.",
        number=known.number,
        version=champion.model_version,
        figure="equity",
    )


def _turned(turn: Turn) -> Step:
    return Step(turn.name, turn.time_ns, turn.word, turn.text, figure="spread")


def _decided(record: RunRecord, cast: Cast) -> Iterator[Step]:
    dropped = _first(record, "drop", cast.bad)
    if dropped is not None:
        yield _step(record, dropped, "bad_dropped", "`{}` is dropped")
    better = _first(record, "promote", cast.better)
    if better is not None:
        yield _step(record, better, "better_promoted", "`{}` takes the capital")
        shadow = _in_shadow(record, better)
        if shadow is not None:
            yield shadow
    lucky = _first(record, "promote", cast.lucky)
    if lucky is None:
        return
    yield _step(record, lucky, "lucky_promoted", "`{}` takes the capital")
    back = _first(record, "rollback", None, lucky[0].time_ns)
    if back is not None and back[1].champion and _named(record, back[1].champion) == cast.lucky:
        title = f"`{cast.lucky}` is rolled back to `{{}}`"
        yield _step(record, back, "lucky_rolled_back", title)


def _step(record: RunRecord, found: tuple[Decision, Record], name: str, title: str) -> Step:
    decision, known = found
    case, challenger = known.case, known.challenger
    assert challenger is not None, f"a {known.kind} is of a set"
    days = count(len(case.blocks), "day")
    refused = _refused(record, case.began_ns)
    held = f" Until then guards held it back: {', '.join(refused)}." if refused else ""
    return Step(
        name=name,
        time_ns=decision.time_ns,
        title=title.format(_named(record, challenger)),
        text=f"After {days} of evidence: {known.reason}{_MEANS.get(known.kind, '')}.{held}",
        number=known.number,
        version=challenger.model_version,
        evidence=_evidence(known),
        figure="evidence",
    )


def _evidence(known: Record) -> str:
    """The figure that decided, beside its bar."""
    case, verdict = known.case, known.verdict
    e, policy = f"e = {number(verdict.e, 3)}", case.policy
    if known.kind == "drop":
        return f"{e}, least {number(policy.drop_below)}"
    if known.kind == "rollback" and verdict.e < case.threshold and verdict.evidence is not None:
        behind = sum(verdict.v) / (case.s0 if case.s0 > 0.0 else verdict.evidence.floor)
        return f"{number(behind, 3)} s0 behind, limit {number(policy.hard_loss_s0)}; {e}"
    return f"{e}, threshold {number(case.threshold)}"


def _refused(record: RunRecord, began_ns: int) -> list[str]:
    """The guards that held back the test that began then."""
    said = [
        each.record.reason.removeprefix("held back by ")
        for each in record.decisions
        if each.kind == "refuse" and each.record and each.record.case.began_ns == began_ns
    ]
    return sorted({guard.replace("_", " ") for text in said for guard in text.split(", ")})


def _in_shadow(record: RunRecord, promoted: tuple[Decision, Record]) -> Step | None:
    """The set that gave the capital away goes on in its slot: told from the blocks it closed."""
    decision, known = promoted
    old = known.champion
    if old is None:
        return None
    until_ns = min(
        (move.time_ns for move in record.moves if move.time_ns > decision.time_ns),
        default=record.end_ns + 1,
    )
    rows = [
        (block, account)
        for block in record.blocks
        if decision.time_ns < block.end_ns <= until_ns
        for account in block.accounts
        if (account.slot, account.generation) == (old.slot, old.generation) and account.whole
    ]
    if not rows:
        return None
    active = sum(account.active for _, account in rows)
    ending = "the run ended" if until_ns > record.end_ns else "the capital moved again"
    return Step(
        name="predecessor_in_shadow",
        time_ns=rows[0][0].end_ns,
        title=f"`{_named(record, old)}` stays in shadow",
        text=(
            f"The predecessor keeps slot {old.slot}, warm, should it be needed again: it traded "
            f"on {active} of {count(len(rows), 'whole day')} until {ending} on "
            f"{day(min(until_ns, record.end_ns))}."
        ),
        number=known.number,
        version=old.model_version,
        figure="equity",
    )


def _first(
    record: RunRecord, kind: str, name: str | None, after_ns: int = 0
) -> tuple[Decision, Record] | None:
    """The first decision of `kind` about the set `name` (None for any), later than `after_ns`."""
    for each in record.decisions:
        known = each.record
        if each.kind != kind or known is None or each.time_ns <= after_ns:
            continue
        if name is None or (known.challenger and _named(record, known.challenger) == name):
            return each, known
    return None


def _name(record: RunRecord, known: Record) -> str:
    return _named(record, known.champion) if known.champion else ""


def _named(record: RunRecord, slot: SlotRecord) -> str:
    return record.names.get(slot.parameters_sha256, f"slot {slot.slot}")
