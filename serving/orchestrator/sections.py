"""The sections of the page, each a piece of HTML made of what was gathered and of nothing else."""

from collections.abc import Iterator
from html import escape
from typing import Any

from hft_lib.evop.telling import name_of
from hft_lib.market.pairs import currency_of
from hft_lib.plots.markup import cell, code, head, prose, table
from hft_lib.plots.words import count, minute, money, number, second
from serving.orchestrator.alerts import Alert, alerts, is_alarmed, quantity
from serving.orchestrator.evidence import open_test
from serving.orchestrator.gathering import EXECUTION, Gathered
from serving.orchestrator.model_health import health
from serving.orchestrator.seen import PairSeen, SlotSeen
from serving.runtime.latch import ABSENT, UNREADABLE

PAIRS_SHOWN_MAX = 50  # a page for eyes; the rest is counted
ROLES = {
    "champion": "champion, capital follows it",
    "test": "under test",
    "explorer": "explorer",
    "predecessor": "predecessor",
    "free": "its set has no role any more",
}
NUMBER, WORD, TEXT = "number", "word", "text"


def sections(now: Gathered) -> dict[str, str]:
    """The content of every section that changes, by its name."""
    return {
        "now": latch(now) + cards(now) + needs(now),
        "positions": positions(now),
        "slots": slots(now),
        "evidence": evidence(now),
        "health": health(now),
        "decisions": decisions(now),
        "services": services(now),
    }


# --- now ---


def latch(now: Gathered) -> str:
    """What the latch says, who said so and why, and what execution was told."""
    told = now.execution.get("latch", {}) if not now.execution_silent else {}
    lines = []
    word = now.word
    if word is None:
        halted, why = True, f"{UNREADABLE}: {now.word_why}" if now.word_why else ABSENT
        lines.append(f"{why}, which means halted")
    else:
        halted = not word.run
        lines.append(f"By {word.operator} at {second(word.time_ns)}: {word.reason}")
    if told and bool(told.get("halted")) != halted:
        does = "halted" if told.get("halted") else "running"
        lines.append(f"Execution is still {does}: it was not told yet")
    if not told:
        lines.append("What execution was told is not known: it is silent")
    closes = halted and word is not None and word.flatten
    runs = not halted and not told.get("halted") and _is_ready(now, EXECUTION)
    let_go = "RUNNING" if runs else "NOT RUNNING"
    says = "HALTED, closing what is held" if closes else "HALTED" if halted else let_go
    if not halted and not runs:
        lines.append("The latch lets it go, and execution does not run")
    undo = "<code>hft reset-kill</code> lets it go" if halted else "<code>hft kill</code> halts it"
    kind = "running" if runs else "halted"
    said = "".join(f"<p>{escape(line)}.</p>" for line in lines)
    return (
        f'<div class="latch {kind}"><p class="word">{says}</p>{said}'
        f'<p class="quiet">{undo}; it is at {escape(now.where)}.</p></div>'
    )


def _is_ready(now: Gathered, name: str) -> bool:
    return any(row["ready"] for row in now.services if row["service"] == name)


def cards(now: Gathered) -> str:
    """Three numbers: what capital made, how far it fell, how many services are ready."""
    capital = [row for row in now.execution.get("holdings", []) if row["account"] == "capital"]
    made: dict[str, float] = {}
    fallen: dict[str, float] = {}
    for row in capital:
        currency = currency_of(row["pair"])
        made[currency] = made.get(currency, 0.0) + row["equity_quote"]
        fallen[currency] = max(fallen.get(currency, 0.0), row["drawdown_max_quote"])
    ready = sum(bool(row["ready"]) for row in now.services)
    stale = now.execution_silent
    of = (
        f"capital of {count(len(capital), 'pair')}" if capital else "execution has told nothing yet"
    )
    at = f", line time {minute(now.line_ns)}" if now.line_ns else ""
    missing = [row["service"] for row in now.services if not row["ready"]]
    return (
        '<dl class="three">'
        + _card("PnL after costs", _moneys(made), of + at, stale)
        + _card("Worst drawdown of a pair", _moneys(fallen), "since the line began", stale)
        + _card(
            "Services ready",
            f"{ready} of {len(now.services)}" if now.services else "not known",
            "not ready: " + ", ".join(missing) if missing else "",
            bool(now.services_why),
        )
        + "</dl>"
    )


def _moneys(amounts: dict[str, float]) -> str:
    return ", ".join(money(value, name) for name, value in amounts.items()) or "not known"


def _card(name: str, value: str, note: str, stale: bool) -> str:
    kind = ' class="stale"' if stale else ""
    return (
        f'<div{kind}><dt>{escape(name)}</dt><dd class="figure">{escape(value)}</dd>'
        f'<dd class="band">{escape(note)}</dd></div>'
    )


def needs(now: Gathered) -> str:
    """What needs a hand or a look, or that nothing does."""
    found = alerts(now)
    if not found:
        return '<p class="calm">Nothing needs a hand.</p>'
    return f'<ul class="alerts">{"".join(_alert(alert) for alert in found)}</ul>'


def _alert(alert: Alert) -> str:
    kind, word = ("urgent", "Now") if alert.urgent else ("look", "Look")
    todo = f'<span class="todo">{prose(alert.todo)}.</span>' if alert.todo else ""
    return f'<li class="{kind}"><b>{word}</b> <span>{prose(alert.what)}.</span> {todo}</li>'


# --- positions ---


def positions(now: Gathered) -> str:
    """What every account holds and made, capital first."""
    rows = now.execution.get("holdings", [])
    if not rows:
        return _quiet("Execution has told of no account yet.")
    roles = {
        (pair.pair, slot.slot): slot
        for pair in (now.seen.pairs if now.seen is not None else ())
        for slot in pair.slots
    }
    silent = f" Execution is silent since {second(now.execution_ns)}: these may be old."
    note = (
        "Base units by fills; PnL after costs at the last mark, counted from 0 at the account's "
        f"start.{silent if now.execution_silent else ''}"
    )
    columns = [("account", WORD), ("PnL", NUMBER), ("y", NUMBER), ("x", NUMBER)]
    columns += [("largest fall", NUMBER), ("role", TEXT)]
    tables = "".join(
        table(f"{pair}: {count(fills, 'fill')}", columns, lines)
        for pair, fills, lines in _positions(rows, roles)
    )
    kind = ' class="stale"' if now.execution_silent else ""
    return f"<div{kind}>{tables}</div>{_quiet(note)}{_left_out(rows)}"


def _positions(
    rows: list[dict[str, Any]], roles: dict[tuple[str, int], SlotSeen]
) -> Iterator[tuple[str, int, list[list[str]]]]:
    """Each pair that is shown, the fills of all its accounts, a row an account."""
    for pair in _shown(list(dict.fromkeys(row["pair"] for row in rows))):
        ours = [row for row in rows if row["pair"] == pair]
        yield pair, ours[0]["fills"], [_position(row, roles) for row in ours]


def _position(row: dict[str, Any], roles: dict[tuple[str, int], SlotSeen]) -> list[str]:
    seen = roles.get((row["pair"], row["slot"]))
    is_capital = row["account"] == "capital"
    role = "capital" if is_capital else seen.role if seen is not None else "free"
    currency = currency_of(row["pair"])
    return [
        f'<th scope="row" class="word role-{role}">{escape(row["account"])}</th>',
        cell(money(row["equity_quote"], currency), NUMBER),
        cell(quantity(row["y"]), NUMBER),
        cell(quantity(row["x"]), NUMBER),
        cell(money(row["drawdown_max_quote"], currency), NUMBER),
        cell("the money" if is_capital else f"shadow, {ROLES.get(role, role)}", TEXT),
    ]


def _left_out(rows: list[dict[str, Any]]) -> str:
    return _more(len({row["pair"] for row in rows}))


# --- slots ---


def slots(now: Gathered) -> str:
    """Which set runs in each slot of each pair, as what, and since when."""
    if now.seen is None:
        return _quiet(_not_seen(now))
    columns = [("slot", WORD), ("role", TEXT), ("state", WORD), ("since", WORD)]
    columns += [("set", TEXT), ("differs by", TEXT), ("generation", NUMBER)]
    parts = []
    for pair in _shown(now.seen.pairs):
        rows = [_slot(pair, slot, now.line_ns) for slot in pair.slots]
        parts.append(table(pair.pair, columns, rows) if rows else _quiet(f"{pair.pair}: no set."))
        parts.append(_quiet(_pointer(pair)))
    return "".join(parts) + _more(len(now.seen.pairs))


def _slot(pair: PairSeen, slot: SlotSeen, line_ns: int) -> list[str]:
    role = ROLES.get(slot.role, slot.role)
    if slot.role == "predecessor" and pair.watch_until_ns:
        role = f"predecessor, may take the capital back until {minute(pair.watch_until_ns)}"
    return [
        f'<th scope="row" class="word role-{escape(slot.role)}">{slot.slot}</th>',
        cell(role, TEXT),
        cell(slot_state(slot, line_ns), WORD),
        cell(minute(slot.effective_ns), WORD),
        cell(slot.name, TEXT),
        cell(slot.apart, TEXT),
        cell(str(slot.generation), NUMBER),
    ]


def slot_state(slot: SlotSeen, line_ns: int) -> str:
    """ASSIGNED until it acts, WARMING until its filters know enough, then TRADING."""
    if line_ns < slot.effective_ns:
        return "ASSIGNED"
    if line_ns < slot.warm_ns:
        return f"WARMING until {minute(slot.warm_ns)}"
    return "TRADING"


def _pointer(pair: PairSeen) -> str:
    moved = (
        f"The capital follows its slot since {minute(pair.changed_ns)} ({pair.decision_id})."
        if pair.decision_id
        else "The capital follows no slot yet."
    )
    waiting = f" {count(pair.waiting, 'set')} waiting for a test." if pair.waiting else ""
    return moved + waiting


# --- evidence ---


def evidence(now: Gathered) -> str:
    """The open test of each pair: how sure, how long, how far from the capital."""
    if now.seen is None:
        return _quiet(_not_seen(now))
    parts = []
    for pair in _shown(now.seen.pairs):
        parts.append(f"<h3>{escape(pair.pair)}</h3>")
        if pair.frozen:
            parts.append("<p>Promotions are frozen, and with them tests.</p>")
        elif pair.test is None:
            parts.append("<p>No set is under test.</p>")
        else:
            name = next(slot.name for slot in pair.slots if slot.slot == pair.test.slot)
            parts.append(open_test(name, pair.test))
        if is_alarmed(pair):
            parts.append(_quiet(f"The last day with an alarm ended at {minute(pair.alarm_ns)}."))
    budget = (
        f"The year's tests, all pairs together, were charged {number(now.seen.spent, 3)} of the "
        f"{number(now.seen.alpha, 3)} that bounds the chance of any false promotion in a year."
    )
    return "".join(parts) + _more(len(now.seen.pairs)) + _quiet(budget)


# --- decisions ---


def decisions(now: Gathered) -> str:
    """The latest decisions, newest first, each with its reason and how to look further."""
    columns = [("N", NUMBER), ("time", WORD), ("pair", TEXT), ("decision", WORD), ("set", TEXT)]
    columns += [("e", NUMBER), ("of", NUMBER), ("reason", TEXT), ("look further", TEXT)]
    several = now.seen is not None and len(now.seen.pairs) > 1
    if not several:
        columns.pop(2)
    rows = [_decision(line, several) for line in now.decisions]
    shown = table("Latest decisions, newest first", columns, rows) if rows else ""
    if now.decisions_why:
        shown += _quiet(f"Older ones are not shown: {now.decisions_why}.")
    elif not rows:
        shown += _quiet("No decision yet." if now.seen is not None else _not_seen(now))
    return shown


def _decision(line: dict[str, Any], several: bool) -> list[str]:
    who = line["challenger"] or line["champion"]
    by = f", by {line['operator']}" if line["operator"] else ""
    explain = f"hft evop explain {line['number']}"
    return [
        head(str(line["number"]), NUMBER),
        cell(minute(line["time_ns"]), WORD),
        *([cell(line["pair"], TEXT)] if several else []),
        cell(line["kind"], WORD),
        cell(name_of(who), TEXT),
        cell(number(line["e"], 3) if line["e"] is not None else "", NUMBER),
        cell(number(line["threshold"]) if line["threshold"] is not None else "", NUMBER),
        cell(line["reason"] + by, TEXT),
        f'<td class="text">{code(explain)}</td>',
    ]


# --- services ---


def services(now: Gathered) -> str:
    """The six services: ready or why not, and how far behind."""
    columns = [("service", WORD), ("state", TEXT), ("lag", NUMBER), ("read", NUMBER)]
    columns += [("set aside", NUMBER), ("epoch", NUMBER), ("since", WORD), ("where", WORD)]
    shown = table("Services, by their heartbeats", columns, [_service(row) for row in now.services])
    if not now.services:
        shown = _quiet("No service has told of itself yet.")
    why = f"Redis does not say who is there: {now.services_why}." if now.services_why else ""
    kind = ' class="stale"' if now.services_why else ""
    return f"<div{kind}>{shown}</div>{_quiet(why) if why else ''}"


def _service(row: dict[str, Any]) -> list[str]:
    ready = row["ready"]
    state = "ready" if ready else row["why_not_ready"]
    figures = (row.get(name) for name in ("lag", "read", "dead_letters", "epoch"))
    since = second(row["since_ns"]) if "since_ns" in row else ""
    where = f"{row['host']}:{row['port']}" if "port" in row else ""
    return [
        head(row["service"], WORD),
        f'<td class="text {"good" if ready else "bad"}">{escape(state)}</td>',
        *(cell(f"{value:,}" if value is not None else "", NUMBER) for value in figures),
        cell(since, WORD),
        cell(where, WORD),
    ]


# --- leaves ---


def _not_seen(now: Gathered) -> str:
    why = now.why_not_ready
    return f"Not known yet: the orchestrator {why}." if why else "Not known yet."


def _quiet(text: str) -> str:
    return f'<p class="quiet">{prose(text)}</p>'


def _shown(items: Any) -> Any:
    return items[:PAIRS_SHOWN_MAX]


def _more(pairs: int) -> str:
    left = pairs - PAIRS_SHOWN_MAX
    return _quiet(f"{count(left, 'pair')} more are not shown here.") if left > 0 else ""
