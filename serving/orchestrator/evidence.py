"""The evidence of an open test, by the functions that the decision itself and the report use."""

import math
from functools import lru_cache
from html import escape

from hft_lib.backtest.report.evidence import e_values
from hft_lib.backtest.report.verdict import continues
from hft_lib.evop import guards
from hft_lib.evop.policy import DAY_NS
from hft_lib.evop.record import Verdict, judge
from hft_lib.plots.markup import cell, facts, folded, head, prose, table
from hft_lib.plots.words import count, minute, number, percent
from serving.orchestrator.drawing import evidence_path
from serving.orchestrator.seen import TestSeen

BP = 1e4
TESTS_KEPT = 64  # more than a page shows


@lru_cache(maxsize=TESTS_KEPT)
def open_test(name: str, test: TestSeen) -> str:
    """The test of the set `name`: a sentence, a drawing, the figures that it is decided by, and the
    guards.
    """
    case, verdict = test.case, judge(test.case)
    path = [float(value) for value in e_values(case)]
    least, e = case.policy.blocks_min, number(verdict.e, 3)
    sentence = continues(name, len(case.blocks), least, e, case.threshold)
    end_ns = [block.end_ns for block in case.blocks]
    drawing = evidence_path(name, end_ns, path, case.threshold, case.policy.drop_below)
    figures = facts((title, escape(said)) for title, said in _figures(test, verdict, path))
    return (
        f'<p class="finding">{prose(sentence[0].upper() + sentence[1:])}</p>{drawing}{figures}'
        f"{folded('Guards of a promotion, as they stand', _guards(verdict))}"
    )


def _figures(test: TestSeen, verdict: Verdict, path: list[float]) -> list[tuple[str, str]]:
    case, policy = test.case, test.case.policy
    days = (case.time_ns - test.began_ns) / DAY_NS
    active = verdict.evidence.active if verdict.evidence is not None else 0
    ahead = _ahead(guards.differences(case))
    chance = percent(min(1.0, 1.0 / max([1.0, *path])))
    e, blocks = number(verdict.e, 3), count(len(case.blocks), "whole day")
    life = f"{number(days, 3)} days of {policy.life_days}, since {minute(test.began_ns)}"
    return [
        ("Now", f"e of {e} after {blocks}, {active} of them with a difference"),
        ("Promoted at", f"e of {number(case.threshold)}, and every guard passed"),
        ("Dropped below", f"e of {number(policy.drop_below)}"),
        ("Were it no better", f"e would ever come this high with a chance of at most {chance}"),
        ("Ahead of the champion", ahead),
        ("Age", f"{life}; test {test.number} of at most {policy.tests_a_year} a year"),
        ("Would hold it back", ", ".join(verdict.failing) or "nothing"),
    ]


def _ahead(v: list[float]) -> str:
    """The mean difference and its standard error."""
    if not v:
        return "no whole day yet"
    mean = math.fsum(v) / len(v)
    said = f"{number(mean * BP, 3)} bp of the capital a day on average"
    if len(v) < 2:
        return said
    squares = math.fsum((one - mean) * (one - mean) for one in v)
    error = math.sqrt(squares / (len(v) - 1) / len(v))
    return f"{said}, \N{PLUS-MINUS SIGN} {number(error * BP, 3)} bp of standard error"


def _guards(verdict: Verdict) -> str:
    columns = [("guard", "word"), ("passed", "word"), ("threshold", "number"), ("inputs", "text")]
    rows = [
        [
            head(guard.name, "word"),
            cell("yes" if guard.verdict else "no", "word"),
            cell(number(guard.threshold), "number"),
            cell(
                ", ".join(f"{name} {number(each)}" for name, each in guard.inputs.items()), "text"
            ),
        ]
        for guard in verdict.guards
    ]
    return table("As of the last day that ended", columns, rows)
