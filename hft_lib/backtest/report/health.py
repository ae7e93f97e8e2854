"""How the models of all slots did at the end of the run, in words, figures and small drawings."""

from collections.abc import Sequence
from html import escape

import numpy as np

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report.roles import Tenure, set_name
from hft_lib.health.verdict import judge
from hft_lib.health.window import SlotValues
from hft_lib.parameters import parameter_sha256
from hft_lib.plots.health import health_figures, health_sentence, health_table, health_terms
from hft_lib.plots.markup import head
from hft_lib.plots.small import followings, shape
from hft_lib.plots.words import duration


def health(record: RunRecord, held: list[Tenure]) -> str:
    """A row and two drawings a slot that runs at the end; a sentence where nothing was kept."""
    if not record.health:
        return "<p>No grid step of a model was kept to judge it by.</p>"
    rows = [judge(record.pair, values).document() for values in record.health]
    names = [name_of(record, values, held) for values in record.health]
    drawings = "".join(_drawn(names, values) for names, values in _apart(record, names))
    return (
        f"<p>{health_sentence(rows)} {_window(record)}</p>"
        + health_table("Each slot's model", rows, [head(name, "word") for name in names])
        + f'<div class="smalls">{drawings}</div>'
        + "<p>First, how many innovations fell into each tenth of the distribution that was "
        "forecast; then their autocorrelation. What is right stays within the band 95 times of a "
        "hundred.</p>" * bool(drawings) + health_figures(rows, names) + health_terms()
    )


def name_of(record: RunRecord, values: SlotValues, held: list[Tenure]) -> str:
    """The name of the set that runs in a slot, with its last role."""
    last = [one for one in held if (one.slot, one.generation) == (values.slot, values.generation)]
    if last:
        named = last[-1]
        return named.name if named.role == named.name else f"{named.name} ({named.role})"
    assigned = [
        fact
        for fact in record.assigned
        if (fact.slot, fact.generation) == (values.slot, values.generation)
    ]
    if not assigned:
        return f"slot {values.slot}"
    sha256 = parameter_sha256(assigned[-1].parameters)
    return set_name(record, sha256, values.slot, values.generation)


def _window(record: RunRecord) -> str:
    """What the rows are of."""
    steps = max(int(np.count_nonzero(np.isfinite(one.gaps_s))) for one in record.health)
    grids = [params.grid_ms for params in record.params.values()]
    length = f", {duration(steps * grids[0] / 1e3)}," if grids else ""
    return f"They are judged by the last {steps} grid steps{length} and after their warm-up."


def _apart(record: RunRecord, names: Sequence[str]) -> list[tuple[list[str], SlotValues]]:
    """Each different series of scores with the names of all slots that have it: sets that differ in
    their strategy alone share their models.
    """
    found: dict[bytes, tuple[list[str], SlotValues]] = {}
    for name, values in zip(names, record.health, strict=True):
        found.setdefault(values.scores.tobytes(), ([], values))[0].append(name)
    return list(found.values())


def _drawn(names: Sequence[str], values: SlotValues) -> str:
    name, scores = ", ".join(names), values.scores[np.isfinite(values.scores)]
    drawings = shape(name, scores) + followings(name, scores)
    return f"<div><h3>{escape(name)}</h3><div>{drawings}</div></div>" if drawings else ""
