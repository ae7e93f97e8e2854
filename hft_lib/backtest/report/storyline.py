"""The storyline: the steps of a run that is told as one, each with its day, reason and figure."""

from collections.abc import Sequence

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.story import Step
from hft_lib.plots.markup import prose
from hft_lib.plots.words import day

DAY_NS = 86_400_000_000_000
_NOTE = (
    "<p>Days are counted from the first of the run. The market changed on its own days, and each "
    "move is EVOP\N{RIGHT SINGLE QUOTATION MARK}s, by its rules: "
    "<code>hft evop explain N</code> recomputes decision N from its record.</p>"
)


def storyline(record: RunRecord, steps: Sequence[Step]) -> str:
    """The steps as a list, in order of time; a decision's number is what `explain` takes."""
    return f'<ol class="story">{"".join(_item(record, step) for step in steps)}</ol>{_NOTE}'


def _item(record: RunRecord, step: Step) -> str:
    passed = max((step.time_ns - record.start_ns) // DAY_NS, 0)
    return (
        f'<li><p class="when"><b>Day {passed}</b> {day(step.time_ns)}</p>'
        f"<div><p><strong>{prose(step.title)}.</strong> {prose(step.text)}</p>"
        f'<p class="proof">{_proof(step)}</p></div></li>'
    )


def _proof(step: Step) -> str:
    """What there is to see of a step: its evidence, decision and version, and the figure."""
    parts = [prose(step.evidence)] if step.evidence else []
    parts += [f"decision {step.number}"] if step.number is not None else []
    parts += [f"version {prose(step.version)}"] if step.version else []
    parts += [f'<a href="#{step.figure}">{step.figure}</a>'] if step.figure else []
    return " \N{MIDDLE DOT} ".join(parts)
