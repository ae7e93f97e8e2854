"""The storyline: the steps of a run that is told as one, each with its day, reason and figure."""

from collections.abc import Sequence

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.story import Step
from hft_lib.plots.markup import prose, table
from hft_lib.plots.words import day

DAY_NS = 86_400_000_000_000
_FIGURES = {
    "equity": "equity",
    "evidence": "evidence",
    "spread": "spread",
}


def storyline(record: RunRecord, steps: Sequence[Step]) -> str:
    """The steps as a table, in order of time; a decision's number is what `explain` takes."""
    columns = [("day", "number"), ("date", "word"), ("what happened", "")]
    columns += [
        ("evidence", "word"),
        ("decision", "number"),
        ("version", "number"),
        ("shown", "word"),
    ]
    rows = [_row(record, step) for step in steps]
    note = (
        "<p>Nobody chose these moments: the market changed on its days, and each move is EVOP's, "
        "by its rules. <code>hft evop explain N</code> recomputes decision N from its record.</p>"
    )
    return table("What happened, and why", columns, rows) + note


def _row(record: RunRecord, step: Step) -> list[str]:
    passed = (step.time_ns - record.start_ns) // DAY_NS
    number = "" if step.number is None else str(step.number)
    place = _FIGURES.get(step.figure, "")
    link = f'<a href="#{place}">{place}</a>' if place else ""
    return [
        f'<td class="number">{max(passed, 0)}</td>',
        f'<td class="word">{day(step.time_ns)}</td>',
        f"<td><strong>{prose(step.title)}.</strong> {prose(step.text)}</td>",
        f'<td class="word">{prose(step.evidence)}</td>',
        f'<td class="number">{number}</td>',
        f'<td class="number">{prose(step.version)}</td>',
        f'<td class="word">{link}</td>',
    ]
