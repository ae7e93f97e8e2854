"""How the models of all slots do, as the volatility service tells it; what of it is an alert."""

from collections.abc import Iterator
from html import escape
from typing import Any

from hft_lib.evop.slots import CHAMPION
from hft_lib.plots.health import ASPECTS, health_figures, health_sentence, health_table
from hft_lib.plots.health import health_terms as terms
from hft_lib.plots.markup import prose
from hft_lib.plots.words import count, second
from serving.orchestrator.gathering import Gathered
from serving.orchestrator.seen import PairSeen, SlotSeen

OFF = "off"
SUBJECTS = {"whiteness": "innovations", "calibration": "forecasts", "drift": "data"}


def health(now: Gathered) -> str:
    """The slots of every pair in words, the figures behind them, and what the words stand for."""
    shown = [row for row in now.health if _has_role(now, row)]
    rows = sorted(shown, key=lambda row: (row["pair"], row["slot"]))
    if not rows:
        silent = "The volatility service has told of no slot yet."
        return f'<p class="quiet">{silent}</p>'
    tables = "".join(_pair(now, pair, rows) for pair in dict.fromkeys(row["pair"] for row in rows))
    stale = ' class="stale"' if now.health_silent else ""
    left = now.health_left_out
    notes = [f"{count(left, 'slot')} more, no further from good, are not shown here."] * bool(left)
    if now.health_silent:
        notes.append(f"garch_model is silent since {second(now.health_ns)}: these may be old.")
    said = "".join(f'<p class="quiet">{prose(note)}</p>' for note in notes)
    return f"<div{stale}><p>{health_sentence(rows)}</p>{tables}</div>{said}{terms()}"


def _pair(now: Gathered, pair: str, rows: list[dict[str, Any]]) -> str:
    ours = [row for row in rows if row["pair"] == pair]
    named = [(row, seen_slot(now, row)) for row in ours]
    heads = [_head(row, slot) for row, slot in named]
    names = [_name(row, slot) for row, slot in named]
    return health_table(pair, ours, heads) + health_figures(ours, names)


def _head(row: dict[str, Any], slot: SlotSeen | None) -> str:
    role = slot.role if slot is not None else "free"
    return f'<th scope="row" class="word role-{escape(role)}">{escape(_name(row, slot))}</th>'


def _name(row: dict[str, Any], slot: SlotSeen | None) -> str:
    return f"{row['slot']}, {slot.role}" if slot is not None else str(row["slot"])


def seen_slot(now: Gathered, row: dict[str, Any]) -> SlotSeen | None:
    """The slot of a row as EVOP holds it; None where another generation runs there by now."""
    pairs: tuple[PairSeen, ...] = now.seen.pairs if now.seen is not None else ()
    return next(
        (
            slot
            for pair in pairs
            for slot in pair.slots
            if pair.pair == row["pair"]
            and (slot.slot, slot.generation) == (row["slot"], row["generation"])
        ),
        None,
    )


def _has_role(now: Gathered, row: dict[str, Any]) -> bool:
    """A slot whose set was dropped runs on until the next one comes: nobody needs to look at it."""
    if now.seen is None:
        return True
    slots = [
        slot.slot for pair in now.seen.pairs if pair.pair == row["pair"] for slot in pair.slots
    ]
    return row["slot"] in slots


def champions_off(now: Gathered) -> Iterator[tuple[str, str]]:
    """Each pair whose champion's model is off, with a sentence of what is."""
    for row in now.health:
        slot = seen_slot(now, row)
        if row["state"] != OFF or slot is None or slot.role != CHAMPION:
            continue
        off = [
            f"{SUBJECTS[name]} {row[name]['words']}"
            for name in ASPECTS
            if row[name]["state"] == OFF
        ]
        yield row["pair"], f"the champion's model is off: {'; '.join(off)}"
