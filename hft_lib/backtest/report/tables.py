"""The report's tables: costs, decisions, parameters, what was rejected, and how to make the run
again.
"""

import json
from html import escape

from hft_lib.backtest.record import Decision, RunRecord
from hft_lib.backtest.report.roles import Costs, Tenure, leaves
from hft_lib.plots.markup import cell, code, facts, folded, head, table
from hft_lib.plots.words import count, day, minute, money, number, percent, second

ROWS_OPEN = 20
SETS_MAX = 8


def costs(record: RunRecord, rows: list[Costs]) -> str:
    """What every account earned before costs, paid, and kept."""
    currency, open_day = record.currency, any(row.open_day for row in rows)
    columns = [("account", "word"), ("before costs", "number"), ("spread and slippage", "number")]
    columns += [(name, "number") for name in ("fees", "funding", "borrowing")]
    columns += [("funding and borrowing, unfinished day", "number")] if open_day else []
    columns += [("after costs", "number"), ("eaten", "number"), ("turnover", "number")]
    columns += [("fills", "number")]
    body = []
    for row in rows:
        paid = [-row.slippage, -row.fees, -row.funding, -row.borrow]
        paid += [-row.open_day] if open_day else []
        amounts = [row.gross, *paid, row.net]
        eaten = percent(max(row.paid, 0.0) / row.gross) if row.gross > 0.0 else "no gain"
        body.append(
            [head(_account_name(row), "word"), *(cell(_amount(x), "number") for x in amounts)]
            + [cell(eaten if row.fills else "", "number"), cell(_amount(row.turnover), "number")]
            + [cell(f"{row.fills:,}", "number")]
        )
    notes = (
        f"<p>Costs are negative, what was received is positive. Spread and slippage are "
        f"measured from the mid at the decision to the fill. {_funding_note(record, open_day)}</p>"
    )
    return table(f"Costs by account, {currency}", columns, body) + notes


def _funding_note(record: RunRecord, open_day: bool) -> str:
    if open_day:
        return (
            "Funding and borrowing since the last UTC midnight follow from fills and marks "
            "and are not told apart."
        )
    if not record.blocks:
        return "No block closed; by fills and marks no funding and no borrowing fell due."
    blocks = count(len(record.blocks), "closed block")
    return f"Funding and borrowing are those of {blocks}; after them none fell due."


def _account_name(row: Costs) -> str:
    return row.name if row.role in ("capital", "explorer", row.name) else f"{row.name} ({row.role})"


def _amount(value: float) -> str:
    return money(value, "").strip("\N{NO-BREAK SPACE}")


# --- decisions ---


def decisions(record: RunRecord) -> str:
    """Every decision of EVOP with its evidence and the guards that held it back."""
    if not record.decisions:
        return "<p>EVOP decided nothing in this run.</p>"
    columns = [("time", "word"), ("decision", "word"), ("set", "word"), ("blocks", "number")]
    columns += [("e", "number"), ("threshold", "number"), ("why", ""), ("guards not passed", "")]
    made = table(
        "Decisions of EVOP", columns, [_decision(record, each) for each in record.decisions]
    )
    if len(record.decisions) > ROWS_OPEN:
        return folded(f"All {len(record.decisions)} decisions", made)
    return made


def _decision(record: RunRecord, each: Decision) -> list[str]:
    start = [cell(minute(each.time_ns), "word"), head(each.kind, "word")]
    found = each.record
    if found is None:
        return [
            *start,
            *(cell("") for _ in range(4)),
            cell("a record of another version"),
            cell(""),
        ]
    judged = found.verdict.evidence is not None
    challenger = found.challenger
    name = record.names.get(challenger.parameters_sha256, "") if challenger else ""
    if challenger and not name:
        name = f"explorer {challenger.slot}.{challenger.generation}"
    more = f" (operator {found.operator}: {found.reason_given})" if found.operator else ""
    if found.handover_cost_quote is not None:
        more += f", at a cost of {money(found.handover_cost_quote, record.currency)}"
    return [
        *start,
        cell(name, "word"),
        cell(str(len(found.case.blocks)) if judged else "", "number"),
        cell(number(found.verdict.e, 3) if judged else "", "number"),
        cell(number(found.case.threshold) if judged or each.kind == "test" else "", "number"),
        cell(found.reason + more, "text"),
        cell(", ".join(name.replace("_", " ") for name in found.verdict.failing)),
    ]


# --- parameters ---


def parameters(record: RunRecord, held: list[Tenure]) -> str:
    """The champion's parameters beside those of the challengers; what differs is set off."""
    sets = {name: params for name, params in record.params.items()}
    for tenure in held:
        if tenure.sha256 not in record.names and tenure.role in ("champion", "test"):
            sets.setdefault(tenure.name, tenure.parameters)
    if not sets:
        return "<p>No parameter set was named.</p>"
    shown = dict(list(sets.items())[:SETS_MAX])
    columns = [("parameter", "word"), *((name, "number") for name in shown)]
    apart: list[list[str]] = []
    alike: list[list[str]] = []
    for values in zip(*(leaves(params) for params in shown.values()), strict=True):
        base = values[0][1]
        row = [head(values[0][0], "word"), *(_parameter(v, base) for _, v in values)]
        (alike if all(value == base for _, value in values) else apart).append(row)
    left = len(sets) - len(shown)
    made = [
        table("Parameters in which the sets differ", columns, apart) if apart else "",
        f"<p>{count(left, 'further set')} not shown.</p>" if left else "",
        folded(
            f"{len(alike)} parameters that {'all sets share' if apart else 'the run used'}",
            table("Parameters", columns, alike),
        ),
    ]
    return "".join(made)


def _parameter(value: float | None, base: float | None) -> str:
    text = "none" if value is None else number(value)
    return cell(text, "number changed" if value != base else "number")


# --- data quality ---


def rejects(record: RunRecord) -> str:
    """What was refused, by reason, with the first example of each."""
    if not record.rejects:
        return "<p>Nothing was rejected: no input, and no order.</p>"
    columns = [("reason", "word"), ("by", "word"), ("count", "number"), ("concerns", "")]
    columns += [("first", "word"), ("first example", "")]
    rows = [
        [
            head(each.reason, "word"),
            cell(each.stage, "word"),
            cell(f"{each.count:,}", "number"),
            cell(_listed(each.subjects)),
            cell(second(each.first_ns), "word"),
            cell(f"{each.first_subject}: {each.first_detail}", "text"),
        ]
        for each in record.rejects
    ]
    total = sum(each.count for each in record.rejects)
    inputs = sum(each.count for each in record.rejects if each.stage == "ingestion")
    words = (
        f"Of {record.tape.rows:,} rows of the tape the feed's side refused or flagged {inputs:,}; "
        f"{count(total - inputs, 'order or intent', 'orders and intents')} met a refusal later."
    )
    return f"<p>{words}</p>" + table("What was rejected", columns, rows)


def _listed(subjects: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(subjects) - most} more" if len(subjects) > most else ""
    return ", ".join(subjects[:most]) + more


# --- reproduce ---


def reproduce(record: RunRecord) -> str:
    """The exact commands, and what they must find."""
    tape = record.tape
    fit = record.fit_window
    rows = [
        ("tape", f"{code(tape.sha256)}<br>{tape.rows:,} rows, {escape(', '.join(tape.symbols))}"),
        ("tape window", f"{second(tape.start_ns)} to {second(tape.end_ns)}"),
        ("fitting window", f"{second(fit[0])} to {second(fit[1])}" if fit else "none given"),
        ("run", f"{second(record.start_ns)} to {second(record.end_ns)}"),
        ("in sample", _in_sample(record)),
        ("commit", code(record.commit) if record.commit else "not in a repository"),
        ("seed", str(record.seed)),
        ("capital share", money(record.capital_quote, record.currency)),
        ("versions", escape(", ".join(f"{k} {v}" for k, v in sorted(record.versions.items())))),
        ("parameter sets", "<br>".join(f"{escape(n)} {code(h)}" for h, n in record.names.items())),
    ]
    lines = escape("\n".join(record.commands)) or "no command was given"
    made = f"<pre>{lines}</pre>{facts(rows)}"
    if record.config:
        content = json.dumps(record.config, indent=2, sort_keys=True, default=str)
        made += folded("Configuration", f"<pre>{escape(content)}</pre>")
    return made


def _in_sample(record: RunRecord) -> str:
    fit = record.fit_window
    if fit is None:
        return "unknown: no fitting window was given"
    if fit[0] <= record.end_ns and record.start_ns <= fit[1]:
        return (
            "<strong>yes: the run overlaps the window that its parameters were fitted on</strong>"
        )
    return f"no: the run begins after {day(fit[1])}" if fit[1] < record.start_ns else "no"
