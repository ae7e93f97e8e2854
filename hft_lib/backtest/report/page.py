"""The report as one HTML file: offline, in light and dark, on a phone, by keyboard, on paper."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from hft_lib.backtest.record import CAPITAL, RunRecord
from hft_lib.backtest.report import (
    assumptions,
    figures,
    health,
    models,
    roles,
    storyline,
    tables,
    verdict,
)
from hft_lib.backtest.report.evidence import begun_tests
from hft_lib.backtest.story import Step
from hft_lib.plots.markup import page_style, prose
from hft_lib.plots.words import duration, minute

_MADE_UP = " The market is made up: no figure here says what a real one would pay."
STORY = ("story", "Storyline")  # of a run that is told as one
SECTIONS = (
    ("verdict", "Verdict"),
    ("money", "Equity after costs"),
    ("evidence-section", "Evidence"),
    ("trades", "Spread and trades"),
    ("models", "Models"),
    ("health", "Model health"),
    ("costs", "Costs and assumptions"),
    ("quality", "Data quality"),
    ("reproduce", "Reproduce"),
)


def write_report(
    record: RunRecord, path: Path | str, now: datetime, story: Sequence[Step] = ()
) -> None:
    """Write the report of `record` to `path` at once: a reader sees the old file or the whole new
    one. Of a `story` its steps stand below the verdict.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_text(render(record, now, story), encoding="utf-8")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def render(record: RunRecord, now: datetime, story: Sequence[Step] = ()) -> str:
    """The whole report as HTML; `now` (aware) is printed as the time of writing and enters nothing
    else.
    """
    bodies, shown = _bodies(record), [*SECTIONS]
    if story:
        bodies[STORY[0]] = storyline.storyline(record, story)
        shown.insert(1, STORY)
    sections = "\n".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{bodies[name]}</section>'
        for name, title in shown[1:]
    )
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(record.pair)}: report of a run</title>
<link rel="icon" href="data:,">
<style>{page_style()}{_asset("report.css")}</style>
</head>
<body>
<a class="skip" href="#verdict">To the verdict</a>
{_header(record, now)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
<section aria-labelledby="verdict"><h2 id="verdict">Verdict</h2>
{bodies["verdict"]}</section>
{sections}
</main>
<script>{_asset("report.js")}</script>
</body>
</html>
"""


def verdict_text(record: RunRecord) -> str:
    """The verdict of the report as plain text, for a terminal."""
    held, made = roles.tenures(record), begun_tests(record)
    return verdict.sentence(record, held, made).replace("`", "")


def _asset(name: str) -> str:
    return files("hft_lib.backtest.report").joinpath(name).read_text(encoding="utf-8")


def _header(record: RunRecord, now: datetime) -> str:
    made_up = _MADE_UP if record.is_synthetic else ""
    length = duration((record.end_ns - record.start_ns) / 1e9)
    return f"""<header>
<h1>{escape(record.pair)}</h1>
<p>{minute(record.start_ns)} to {minute(record.end_ns)}, {length}. All times are UTC, all money is
{escape(record.currency)}.{made_up} Written {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC.</p>
</header>"""


def _bodies(record: RunRecord) -> dict[str, str]:
    """The content of each section by its name."""
    held, made = roles.tenures(record), begun_tests(record)
    paid, known = roles.costs(record, held), figures.known_marks(record)
    drawn = [
        draw(record, held, known) for draw in (models.hedge, models.volatility, models.run_length)
    ]
    capital = next(row for row in paid if row.role == CAPITAL)
    return {
        "verdict": _verdict(
            verdict.sentence(record, held, made), verdict.three_numbers(record, capital)
        ),
        "money": figures.equity(record, held),
        "evidence-section": figures.evidence_paths(record, made) + tables.decisions(record),
        "trades": figures.spread(record, held, known),
        "models": "".join(drawn) + tables.parameters(record, held),
        "health": health.health(record, held),
        "costs": tables.costs(record, paid) + assumptions.assumptions(record, capital),
        "quality": tables.rejects(record),
        "reproduce": tables.reproduce(record),
    }


def _verdict(sentence: str, numbers: list[verdict.Figure]) -> str:
    cards = "".join(
        f'<div><dt>{escape(each.name)}</dt><dd class="figure">{escape(each.value)}</dd>'
        f'<dd class="band">{escape(each.band)}</dd></div>'
        for each in numbers
    )
    return f'<p class="verdict">{prose(sentence)}</p>\n<dl class="three">{cards}</dl>'
