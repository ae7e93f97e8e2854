"""How the slots' models do, as report and live page show it: one table of words, the figures behind
it, and what the words stand for.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hft_lib.health.verdict import NOMINALS, THRESHOLDS, WORDS
from hft_lib.plots.markup import cell, folded, table
from hft_lib.plots.words import count, number, percent

Row = Mapping[str, Any]  # `SlotHealth.document()`
ASPECTS = ("whiteness", "calibration", "drift")
P_LEAST = 1e-4


def health_table(caption: str, rows: Sequence[Row], heads: Sequence[str]) -> str:
    """The slots in words; `heads` are the ready cells that name them."""
    columns = [("slot", "word"), ("innovations", "text"), ("forecasts", "text"), ("data", "text")]
    columns += [("variance, 1 is right", "number")]
    columns += [(f"within {percent(nominal)}", "number") for nominal in NOMINALS]
    columns += [("steps", "number")]
    body = [[head, *_cells(row)] for head, row in zip(heads, rows, strict=True)]
    return table(caption, columns, body)


def _cells(row: Row) -> list[str]:
    verdicts = [_verdict(row[name]["state"], row[name]["words"]) for name in ASPECTS]
    covered = [cell(percent(one) if one is not None else "", "number") for one in row["covered"]]
    variance = cell(_number(row["variance"]), "number")
    return [*verdicts, variance, *covered, cell(f"{row['observations']:,}", "number")]


def _verdict(state: str, words: str) -> str:
    said = words if state in ("good", "unknown") else f"{state}: {words}"
    return f'<td class="text health-{escape(state)}">{escape(said)}</td>'


def health_figures(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The chances and indices behind the words, folded."""
    columns = [("slot", "word"), ("mean", "number")]
    titles = ("mean", "variance", "following", "sizes", "shape")
    columns += [(f"p of {title}", "number") for title in titles]
    columns += [(f"p of {percent(nominal)}", "number") for nominal in NOMINALS]
    columns += [(f"PSI of {words}", "number") for words in WORDS.values()]
    body = []
    for name, row in zip(names, rows, strict=True):
        tests = ("mean_p", "variance_p", "white_p", "sizes_p", "uniform_p")
        chances = [*(row[test] for test in tests), *row["coverage_p"]]
        shifts = [row["shifts"].get(feature, {}).get("psi") for feature in WORDS]
        cells = [cell(name, "word"), cell(_number(row["mean"]), "number")]
        cells += [cell(_chance(one), "number") for one in chances]
        body.append(cells + [cell(_number(one), "number") for one in shifts])
    return folded("The figures behind the words", table("Chances and indices", columns, body))


def health_terms() -> str:
    """What the words stand for, and the thresholds with their sources, folded."""
    limits = "".join(
        f"<li>{escape(one.name)}: {number(one.value)} ({escape(one.source)})</li>"
        for one in THRESHOLDS
    )
    return folded(
        "What the words stand for",
        "<p>Innovations are judged as standard normal values under the slot's own volatility "
        "forecast, one grid step ahead, after its warm-up. <b>Innovations</b>: Ljung and Box's "
        "test (1978), of the values and of their sizes. <b>Forecasts</b>: Kupiec's test (1995) of "
        "how many fell within the 50, 80 and 95 % intervals, Kolmogorov's of the whole shape, and "
        "mean and variance. <b>Data</b>: the population stability index of returns, innovations "
        "and gaps against the calibration's own.</p>"
        f"<ul>{limits}</ul>"
        "<p>Nothing trades on them: they say where to look.</p>",
    )


def health_sentence(rows: Sequence[Row]) -> str:
    """How many slots are off or to be looked at."""
    by = {state: sum(row["state"] == state for row in rows) for state in ("off", "look", "good")}
    if by["off"] or by["look"]:
        said = [f"{by['off']} off"] * bool(by["off"])
        said += [f"{by['look']} to be looked at"] * bool(by["look"])
        return f"Of {count(len(rows), 'slot')} {' and '.join(said)}."
    if by["good"] == len(rows):
        return "Every slot's model does as it says." if rows else ""
    known = f"{by['good']} found good" if by["good"] else "none judged"
    return f"Of {count(len(rows), 'slot')} {known}: of the rest too little is known."


def _number(value: float | None) -> str:
    return number(value, 3) if value is not None else ""


def _chance(value: float | None) -> str:
    if value is None:
        return ""
    return number(value, 2) if value >= P_LEAST else f"< {P_LEAST:g}"
