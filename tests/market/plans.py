"""Seeded plans: faults in combinations over a span of time, for `Market.plan` or `--plan`."""

from random import Random
from typing import Any

from tests.market.listing import VENUES, Payload

# What each fault may be told, and for how long it lasts: in seconds, None where it is over at once.
# Counts and rates are such that a market under a plan is a bad one and not a dead one.
KINDS: dict[str, tuple[Payload, float | None]] = {
    "gap": ({"rate": 0.3}, 1.0),
    "missed": ({"rate": 0.3}, 1.0),
    "duplicate": ({"rate": 0.5}, 2.0),
    "disorder": ({"rate": 0.3}, 2.0),
    "corrupt": ({"rate": 0.05}, 2.0),
    "poison": ({"rate": 0.05}, 2.0),
    "partial": ({"rate": 0.2, "pause_s": 0.01}, 2.0),
    "silence": ({}, 2.0),
    "stale_snapshot": ({"behind": 10}, 2.0),
    "freeze": ({}, 2.0),
    "one_sided": ({}, 1.5),
    "jump": ({"share": 0.2, "back": True}, 3.0),
    "halt": ({}, 2.0),
    "drop": ({}, None),
    "day_end": ({}, None),
    "terminated": ({}, None),
    "refuse": ({}, 1.5),
    "maintenance": ({}, 2.0),
    "refuse_subscribe": ({"count": 1}, 2.0),
    "too_many": ({"retry_after_s": 2, "count": 1}, 2.0),
    "ban": ({"ban_s": 4.0, "count": 1}, 4.0),
    "slow": ({"delay_s": 0.5}, 2.0),
    "cut_json": ({"rate": 0.5}, 1.0),
    "cut_body": ({"rate": 0.5}, 1.0),
    "garbage_body": ({"rate": 0.5}, 1.0),
    "reset": ({"rate": 0.5}, 1.0),
    "clock": ({"offset_s": 7.0}, 3.0),
    "filters": ({"min_notional": "50"}, 3.0),
}
# These are of the whole address: a market cannot be aimed at.
WHOLE = ("refuse", "clock")


def random_plan(
    seed: int, duration_s: float, each_s: float = 2.0, names: tuple[str, ...] = tuple(KINDS)
) -> list[Payload]:
    """Faults of these names, one each `each_s` on average, aimed at one market or at both.

    None begins in the last quarter, none lasts into the last tenth: recovery can be seen.
    """
    random, plan, at_s = Random(seed), [], 0.0
    while (at_s := at_s + random.expovariate(1 / each_s)) < duration_s * 0.75:
        name = random.choice(names)
        options, lasts_s = KINDS[name]
        entry: dict[str, Any] = {"name": name, "at_s": round(at_s, 3), **options}
        entry["seed"] = random.randrange(1_000_000)
        if lasts_s is not None:
            entry["for_s"] = min(
                round(lasts_s * random.uniform(0.5, 1.5), 3), round(duration_s * 0.9 - at_s, 3)
            )
        if name not in WHOLE and random.random() < 0.7:
            entry["venue"] = random.choice(VENUES)
        plan.append(entry)
    return plan
