"""Each fault of a venue, by its number, against the real feed and the real line.

`FAULT_SEEDS=20` runs twenty markets of each in place of two, `FAULT_REPORT=FILE` writes what each
of them came to, a JSON object a line.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.live import gate, watch
from tests.market.fed_line import RECOVERY_S, FedLine, Stored, assert_true, reached
from tests.market.generated import STANDARD, Generated
from tests.market.listing import Payload
from tests.market.plans import random_plan
from tests.market.server import Market

SEEDS = range(1, int(os.environ.get("FAULT_SEEDS", "2")) + 1)
AT_ONCE = min(len(SEEDS), 4)  # markets side by side: most of a run is waiting
PACE = 4.0
AFTER_S = 0.3  # goes on, once all is well
Seen = Callable[[FedLine, Stored], bool]


def told(*reasons: str) -> Seen:
    """That each of these is on record."""
    return lambda line, stored: all(stored.reasons[reason] for reason in reasons)


def reconnected(line: FedLine, stored: Stored) -> bool:
    """That a connection was lost and made again."""
    return line.feed.figures.reconnects.total() > 0 and stored.reasons["DISCONNECTED"] > 0


def backfilled(line: FedLine, stored: Stored) -> bool:
    """That trades were fetched by id."""
    return line.feed.figures.backfilled.total() > 0


def banned(line: FedLine, stored: Stored) -> bool:
    """That the feed kept still for a while."""
    return line.feed.figures.ban_s > 0


def nothing_wrong(line: FedLine, stored: Stored) -> bool:
    """That the market's own moves are no faults: the connection stood, and no book was begun
    again.
    """
    return not line.feed.figures.reconnects and not line.feed.figures.resyncs.total()


def both(*seen: Seen) -> Seen:
    """That all of them are so."""
    return lambda line, stored: all(one(line, stored) for one in seen)


@dataclass(frozen=True)
class Case:
    """A fault: what is injected, for how long the line goes on under it, what is to be seen."""

    number: str
    faults: tuple[Payload, ...]
    seen: Seen
    for_s: float = 1.0
    patch: tuple[tuple[dict, object, object], ...] = field(default=())

    def __str__(self) -> str:
        return self.number


def fault(name: str, **asked: Any) -> Payload:
    """A fault as `Market.inject` takes it."""
    return {"name": name, **asked}


GAP = fault("gap", count=1)
MISSED = fault("missed", count=3)
CASES = (
    Case("F01 dropped connections", (fault("drop"),), reconnected),
    Case("F02 a connection closed by the venue", (fault("drop", how="close"),), reconnected),
    Case("F03 the end of a connection's day", (fault("day_end"),), reconnected),
    Case("F04 refused connections", (fault("refuse"),), both(reconnected, backfilled)),
    Case("F05 refused handshakes", (fault("refuse_stream"), fault("drop")), reconnected),
    Case("F06 refused subscriptions", (fault("refuse_subscribe"), fault("drop")), reconnected),
    Case("F07 terminated streams", (fault("terminated"),), reconnected),
    Case("F08 gaps in the book", (fault("gap", rate=0.3),), told("DEPTH_GAP")),
    Case("F09 missed trades", (fault("missed", rate=0.4),), backfilled),
    Case(
        "F10 a stale snapshot",
        (GAP, fault("stale_snapshot", behind=200)),
        told("DEPTH_GAP", "STALE_SNAPSHOT"),
        for_s=1.5,
    ),
    Case("F11 duplicates", (fault("duplicate", rate=0.5),), told("DUPLICATE")),
    Case("F12 disorder", (fault("disorder", rate=0.3),), told("DISORDER")),
    Case("F13 corrupt frames", (fault("corrupt", rate=0.2),), told("BROKEN_FRAME")),
    Case("F14 prices that are no number", (fault("poison", rate=0.3),), told("NAN")),
    Case("F15 messages in parts", (fault("partial", pause_s=0.01, rate=0.3),), nothing_wrong),
    Case("F16 a message cut off", (fault("partial", how="cut", count=1),), reconnected),
    Case("F17 silence", (fault("silence"),), both(told("DEPTH_GAP"), backfilled)),
    Case(
        "F18 silence over an open connection",
        (fault("silence"),),
        reconnected,
        for_s=4.0,
        patch=((vars(watch), "SILENCE_S", 3.0), (vars(watch), "SILENCE_S_MIN", 3.0)),
    ),
    Case("F19 frozen prices", (fault("freeze"),), nothing_wrong),
    Case("F20 a one-sided book", (fault("one_sided"),), both(told("PRICE"), nothing_wrong)),
    Case("F21 a jump of a fifth", (fault("jump", share=0.2, back=True),), nothing_wrong),
    Case("F22 maintenance", (fault("maintenance"),), both(reconnected, backfilled)),
    Case("F23 a 429", (fault("too_many", retry_after_s=1, count=1), GAP), banned),
    Case(
        "F24 a 429 without a time",
        (fault("too_many", count=1), GAP),
        banned,
        patch=((gate.RETRY_S, 429, 1.5),),
    ),
    Case("F25 a 418", (fault("ban", ban_s=2, count=1), GAP, MISSED), banned),
    Case("F26 a ban and no connection", (fault("ban", ban_s=1, count=1), fault("drop")), banned),
    Case("F27 a clock that is off", (fault("clock"),), told("CLOCK_OFFSET", "CLOCK_JUMP")),
    Case("F28 other filters", (fault("filters", step_size="0.01"),), nothing_wrong),
    Case("F29 a halted symbol", (fault("halt", venue="spot"),), told("HALTED"), for_s=1.5),
    Case(
        "F30 broken answers",
        (
            *(fault(name, count=1) for name in ("reset", "cut_json", "cut_body", "garbage_body")),
            fault("gap", rate=0.3),
            MISSED,
        ),
        told("DEPTH_GAP"),
        for_s=1.5,
    ),
    Case("F31 all of them", (), lambda line, stored: bool(stored.rejected), for_s=4.0),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_leaves_nothing_wrong_behind(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known, key, value in case.patch:
        monkeypatch.setitem(known, key, value)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {seed: pool.submit(run, case, seed, tmp_path / f"{seed}") for seed in SEEDS}
    failed = {seed: done.exception() for seed, done in runs.items()}
    errors = {seed: error for seed, error in failed.items() if isinstance(error, Exception)}
    wrong = [{"fault": case.number, "seed": seed, "error": f"{errors[seed]}"} for seed in errors]
    report(wrong + [done.result() for seed, done in runs.items() if seed not in errors])
    if errors:
        raise ExceptionGroup(f"{case} with seeds {list(errors)}", list(errors.values()))


def run(case: Case, seed: int, folder: Path) -> Payload:
    """One market with the fault, from its begin until everything is well again."""
    instruments = tuple(one for one in STANDARD if one.symbol == "BTCUSDT")
    with Market(Generated(seed, instruments), pace=PACE) as market:
        line = FedLine(market, folder)
        with line:
            line.begin()
            struck = begin(case, seed, market)
            line.run(case.for_s)
            market.clear()
            mark = reached(market)
            took_s = line.until(f"{case}, seed {seed}", lambda: line.is_beyond(mark), RECOVERY_S)
            line.run(AFTER_S)
        stored = line.stored()
        assert_true(stored, market)
        assert market.violations() == []
        assert 2 * sum(market.hits(number) > 0 for number in struck) >= len(struck)
        assert not stored.reasons["TRADES_LOST"]
        assert case.seen(line, stored), (stored.reasons, line.feed.figures.__dict__)
    return {
        "fault": case.number,
        "seed": seed,
        "recovery_s": round(took_s, 3),
        "facts": len(stored.facts),
        "backfilled": line.feed.figures.backfilled.total(),
        "resyncs": line.feed.figures.resyncs.total(),
        "reconnects": line.feed.figures.reconnects.total(),
        "steps": len(stored.steps),
        "rejected": dict(stored.reasons),
    }


def begin(case: Case, seed: int, market: Market) -> list[int]:
    """Inject what the case says; the numbers of the faults that have to strike."""
    if not case.faults:
        market.plan(random_plan(seed, case.for_s, each_s=0.4))
        return []
    return [market.inject(**{"seed": seed, **one}) for one in case.faults]


def report(runs: list[Payload]) -> None:
    """Write what the runs came to, where that is asked for."""
    path = os.environ.get("FAULT_REPORT")
    if path is None:
        return
    with Path(path).open("a", encoding="utf-8") as file:
        for one in runs:
            file.write(json.dumps(one) + "\n")
