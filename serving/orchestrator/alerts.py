"""What needs a hand, or a look, now: one sentence each, with what to do."""

from collections.abc import Iterator
from typing import Any

import msgspec

from hft_lib.evop.policy import DAY_NS
from hft_lib.plots.words import MINUS, count, minute, number
from serving.orchestrator.gathering import Gathered
from serving.orchestrator.model_health import champions_off
from serving.orchestrator.seen import PairSeen
from serving.runtime.pair_words import in_force

HOLDERS = {
    "latch": "the latch",
    "operator": "an operator",
    "slots": "slots that differ from the line's: an event carried another version than execution's",
}
LOCKS = {
    "day": "it lost a day's limit, and may trade again when the UTC day ends",
    "drawdown": "it fell by the drawdown limit, and stays locked until it is resumed",
}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`urgent` needs a hand, the others a look; names stand in backquotes."""

    urgent: bool
    what: str
    todo: str = ""


def alerts(now: Gathered) -> list[Alert]:
    """All there is, what needs a hand first."""
    found = [
        *_services(now),
        *_capital(now),
        *_registry(now),
        *_relations(now),
        *_models(now),
    ]
    return sorted(found, key=lambda alert: not alert.urgent)


def _services(now: Gathered) -> Iterator[Alert]:
    if now.services_why:
        yield Alert(urgent=True, what=f"Redis does not say who is there: {now.services_why}")
    for row in now.services:
        name = row["service"]
        if not row["ready"]:
            yield Alert(
                urgent=True,
                what=f"`{name}` is not ready: {row['why_not_ready']}",
                todo="Its log says more; `hft status` lists all six",
            )
        if dead := row.get("dead_letters", 0):
            yield Alert(
                urgent=False,
                what=f"`{name}` put {count(dead, 'message')} aside that it could not read",
                todo="They are in the topic `hft.dead-letter`, each with its reason",
            )


def _capital(now: Gathered) -> Iterator[Alert]:
    """Orders, legs and locks, as execution tells them."""
    for order in now.execution.get("under_way", []):
        if order["unknown"] and order["account"] == "capital":
            yield Alert(
                urgent=True,
                what=f"order `{order['client_order_id']}` is UNKNOWN: {order['side']} "
                f"{number(order['quantity'])} of leg {order['leg']} of `{order['pair']}`, "
                "no answer came",
                todo="Its leg waits; `hft trace` with the id tells what led to it",
            )
    for row in now.execution.get("holdings", []):
        if row["account"] == "capital" and (row["y"] == 0.0) != (row["x"] == 0.0):
            yield Alert(
                urgent=True,
                what=f"`{row['pair']}` holds one leg alone: y {quantity(row['y'])}, "
                f"x {quantity(row['x'])}",
                todo=f"The desk closes the gap; `hft flatten {row['pair']}` closes what is held",
            )
    for row in now.execution.get("pairs", []):
        yield from _held_back(now, row)
    for name, rows in now.execution.get("left_out", {}).items():
        if rows:
            yield Alert(urgent=False, what=f"execution leaves {count(rows, 'row')} of {name} out")


def _held_back(now: Gathered, row: dict[str, Any]) -> Iterator[Alert]:
    pair = row["pair"]
    resume = f"`hft pair resume {pair}`"
    if "operator" in row["held_by"]:
        word = in_force(now.pair_words, pair)
        by = f", by {word.operator} at {minute(word.time_ns)}: {word.reason}" if word else ""
        does = "halted and closed" if row["flatten"] else "halted"
        yield Alert(urgent=True, what=f"`{pair}` is {does}{by}", todo=f"{resume} lets it go")
    if "slots" in row["held_by"]:
        yield Alert(
            urgent=True,
            what=f"`{pair}` is held back by {HOLDERS['slots']}",
            todo=f"{resume} lets it go",
        )
    if row["locked"]:
        what = f"`{pair}` is locked: {LOCKS.get(row['locked'], row['locked'])}"
        yield Alert(
            urgent=True, what=what, todo=f"{resume} lets it go" if row["locked"] != "day" else ""
        )


def _registry(now: Gathered) -> Iterator[Alert]:
    """MLflow as the registry's edge tells of it: the line goes on without."""
    told = now.registry
    waiting = [f"`{pair}`" for pair in told.get("aliases_waiting", [])]
    wait = f"; aliases of {', '.join(waiting)} wait to be moved" if waiting else ""
    if why := told.get("why", ""):
        yield Alert(
            urgent=bool(waiting),
            what=f"the model registry is away: {why}{wait}",
            todo="Trading goes on with the champion of the log; what waits is done when it is back",
        )
    elif waiting:
        why = told.get("refused", "")
        yield Alert(
            urgent=True,
            what=f"aliases of {', '.join(waiting)} are not where the log says"
            + f": {why}" * bool(why),
            todo="The log is the truth; `hft models list` shows both",
        )
    elif why := told.get("refused", ""):
        yield Alert(urgent=False, what=f"a version of the model registry cannot be used: {why}")
    for edit in told.get("edited", []):
        yield Alert(
            urgent=False,
            what=f"an alias of `{edit['pair']}` was moved by hand, found at {edit['found']}: "
            f"{edit['what']}",
            todo="`hft models promote` moves capital; an alias moves none",
        )


def _relations(now: Gathered) -> Iterator[Alert]:
    alarmed = now.execution.get("alarms", [])
    for pair in alarmed:
        yield Alert(urgent=False, what=f"`{pair}`: its relation was held to break today")
    for seen in now.seen.pairs if now.seen is not None else ():
        if seen.frozen:
            yield Alert(
                urgent=True,
                what=f"`{seen.pair}` promotes nothing: the live account does not do what its twin "
                "says",
                todo="Capital was halted and its twin was not, or the fills flatter: find which, "
                f"then `hft pair resume {seen.pair}`",
            )
        if seen.pair not in alarmed and is_alarmed(seen):
            yield Alert(
                urgent=False,
                what=f"`{seen.pair}`: its relation was held to break in the day that ended at "
                f"{minute(seen.alarm_ns)}",
            )


def _models(now: Gathered) -> Iterator[Alert]:
    for pair, what in champions_off(now):
        yield Alert(
            urgent=False,
            what=f"`{pair}`: {what}",
            todo="`hft pipeline run calibration` fits it anew, and registers what passes the gate",
        )


def is_alarmed(seen: PairSeen) -> bool:
    """Whether one of the last three days had an alarm, which holds promotions back."""
    quiet_days = seen.test.case.policy.alarm_quiet_days if seen.test is not None else 3
    return 0 < seen.alarm_ns and seen.block_end_ns - seen.alarm_ns < quiet_days * DAY_NS


def quantity(value: float) -> str:
    """Base units as the verbs print them, with a minus sign that is one."""
    return f"{value + 0.0:g}".replace("-", MINUS)
