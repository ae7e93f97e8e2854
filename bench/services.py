"""What the services cost: a tick to its order, many pairs, hops of Kafka, all six, a soak.

    .venv/bin/python bench/services.py [--part tick|restored|pairs|hops|six|kill|soak] [--json]

`tick`  one process: from the arrival of a market event to the approved order that it leads to.
`restored` one process: a tick's cost in a line that its snapshots restored, and in one that they
        were taken of.
`pairs` one process: a tick's cost with 1 to 500 pairs, each of the same ticks: of a line by itself,
        and of lines that hold 500 pairs together, whose state fills the caches alike.
`hops`  five processes on a broker of their own (scripts/kafka.sh), 200 messages a second through
        our bus, and the same through bare confluent-kafka, in turn.
`six`   the six processes with a broker and Redis, over a tape as fast as they go.
`kill`  how soon a kill is in execution's inbox, and stepped on, while ticks come.
`soak`  the six over a million events: memory, handles and lag, early and late.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import kafka_hops, kafka_six  # noqa: E402
from bench.replay import new_line  # noqa: E402
from hft_lib.events import MarketEvent, Order, TimePassed  # noqa: E402
from hft_lib.market import synthetic  # noqa: E402
from hft_lib.market.merge import feed_events  # noqa: E402
from hft_lib.market.tape import Tape  # noqa: E402
from hft_lib.stage import Line, Stage, restore, snapshot  # noqa: E402

Fed = MarketEvent | TimePassed  # what a feed brings
TICKS = 200_000
TICKS_A_PAIR = 2_000
TICKS_RESTORED = 100_000
PAIRS = (1, 10, 100, 500)
MOMENTS = 400  # in which lines that hold as many pairs as the most take a tick of each in turn
ROUNDS = 3
TICK_US_P50, TICK_US_P99 = 60.0, 250.0  # what is aimed at


def tick_to_order(folder: Path) -> list[dict[str, Any]]:
    """One row: microseconds from a market event to the order that it leads to."""
    tape = synthetic_tape(folder, TICKS)
    line = new_line(tape.start_ns)
    took_us, all_us = [], []
    for event in feed_events(tape):
        began_ns = time.perf_counter_ns()
        left = line.post("ingestion", event)
        us = (time.perf_counter_ns() - began_ns) / 1e3
        all_us.append(us)
        if any(isinstance(fact, Order) for _, fact in left):
            took_us.append(us)
    warm = len(took_us) // 10  # orders that compile and warm
    p50, p99 = np.percentile(took_us[warm:], (50, 99))
    return [
        {
            "name": "tick to order, one process, six slots",
            "orders": len(took_us) - warm,
            "p50_us": round(float(p50), 1),
            "p99_us": round(float(p99), 1),
            "all_ticks_p50_us": round(float(np.percentile(all_us, 50)), 1),
            "target_p50_us": TICK_US_P50,
            "target_p99_us": TICK_US_P99,
        }
    ]


def cost_once_restored(folder: Path) -> list[dict[str, Any]]:
    """One row: microseconds a tick before and after a restart, the least of rounds in turn."""
    events = list(feed_events(synthetic_tape(folder, TICKS_RESTORED)))
    begun, rest = events[: len(events) // 2], events[len(events) // 2 :]
    rounds = []
    for _ in range(ROUNDS):
        line = new_line(begun[0].time_ns)
        for event in begun:
            line.post("ingestion", event)
        again = Line(
            (
                msgspec.structs.replace(stage, start=partial(_restored, stage, line.states))
                for stage in line.stages.values()
            ),
            None,
        )
        rounds.append([_posted_us(again, rest), _posted_us(line, rest)])
    us, before_us = np.min(rounds, axis=0).tolist()
    return [
        {
            "name": "a tick in a restored line",
            "us_per_tick": round(us, 2),
            "before_us_per_tick": round(before_us, 2),
            "ratio": round(us / before_us, 2),
        }
    ]


def _restored(stage: Stage[Any, Any], states: Mapping[str, Any], _: None) -> Any:
    """What the snapshot of a stage's state restores."""
    return restore(stage, snapshot(states[stage.name]))


def _posted_us(line: Line, events: Sequence[Fed]) -> float:
    """Microseconds a tick."""
    gc.collect()
    began = time.perf_counter()
    for event in events:
        line.post("ingestion", event)
    return 1e6 * (time.perf_counter() - began) / len(events)


def cost_by_pairs(folder: Path) -> list[dict[str, Any]]:
    """A row for each number of pairs: microseconds a tick, and the ratio to one pair's.

    One pair's state stays in the processor's own caches and that of 500 does not, which costs what
    the machine's memory does. `together` leaves this out: as many pairs as the most, in as many
    lines as it takes. Each number is the median of rounds in which all numbers take equally many
    ticks in turn.
    """
    tape = synthetic_tape(folder, TICKS_A_PAIR)
    base = list(feed_events(tape))
    _run(tape.start_ns, base, 1)  # compiles and warms
    together = _together_us(tape.start_ns, base[:MOMENTS])
    rounds: list[list[float]] = []
    for number in range(ROUNDS):
        rounds.append([_mean_us(tape.start_ns, base, count) for count in PAIRS])
        print(f"round {number + 1} of {ROUNDS}: {rounds[-1]}", file=sys.stderr, flush=True)
    medians = np.median(rounds, axis=0).tolist()
    return [
        {
            "name": f"a tick, {count} pairs",
            "pairs": count,
            "us_per_tick": round(us, 2),
            "ratio_to_one_pair": round(us / medians[0], 2),
            "lines_together": max(PAIRS) // count,
            "together_us_per_tick": round(together_us, 2),
            "together_ratio_to_one_pair": round(together_us / together[0], 2),
        }
        for count, us, together_us in zip(PAIRS, medians, together, strict=True)
    ]


def _together_us(start_ns: int, base: Sequence[Fed]) -> list[float]:
    """Microseconds a tick of as many pairs as the most, in lines of each number of pairs."""
    coins = _coins(max(PAIRS))
    lines = [
        [_line_of(start_ns, coins[at : at + count]) for at in range(0, len(coins), count)]
        for count in PAIRS
    ]
    posts = [
        [line.post for line in each for _ in range(count)]
        for each, count in zip(lines, PAIRS, strict=True)
    ]
    gc.collect()
    moments = []
    for event in base:
        if isinstance(event, TimePassed):
            for line in (line for each in lines for line in each):
                line.post("ingestion", event)
        else:
            moments.append([_moment_us(each, list(_many(event, coins))) for each in posts])
    warm = len(moments) // 10
    medians: list[float] = np.median(moments[warm:], axis=0).tolist()
    return medians


def _moment_us(posts: Sequence[Callable[[str, Fed], object]], events: Sequence[Fed]) -> float:
    """Microseconds a tick of one moment, each event to its own coin's line."""
    began = time.perf_counter()
    for post, event in zip(posts, events, strict=True):
        post("ingestion", event)
    return 1e6 * (time.perf_counter() - began) / len(events)


def _mean_us(start_ns: int, base: Sequence[Fed], count: int) -> float:
    """Microseconds a tick, over as many ticks as the most pairs have in one run."""
    runs = max(PAIRS) // count
    return round(sum(_run(start_ns, base, count) for _ in range(runs)) / runs, 2)


def _run(start_ns: int, base: Sequence[Fed], count: int) -> float:
    """Microseconds a tick where each of `count` pairs has the ticks of `base`.

    The events of a moment are made right before it, untimed, as a decoder makes them.
    """
    coins = _coins(count)
    line = _line_of(start_ns, coins)
    gc.collect()
    took_s, ticks = 0.0, 0
    for event in base:
        events = list(_many(event, coins))
        began = time.perf_counter()
        for each in events:
            line.post("ingestion", each)
        took_s += time.perf_counter() - began
        ticks += len(events)
    return 1e6 * took_s / ticks


def _coins(count: int) -> list[str]:
    return [f"C{number:03d}" for number in range(count)]


def _line_of(start_ns: int, coins: Sequence[str]) -> Line:
    """A line of one pair a coin."""
    return new_line(start_ns, tuple(f"{coin}/USDT:USDT~{coin}/USDT" for coin in coins))


def _many(event: Fed, coins: Sequence[str]) -> Iterator[Fed]:
    """The event for every coin, a nanosecond apart."""
    if isinstance(event, TimePassed):
        yield event
        return
    for place, coin in enumerate(coins):
        symbol = event.symbol.replace("SYN", coin)
        yield msgspec.structs.replace(event, symbol=symbol, time_ns=event.time_ns + place)


def synthetic_tape(folder: Path, ticks: int) -> Tape:
    """A tape of synthetic ticks."""
    path = folder / f"ticks-{ticks}"
    synthetic.write(7, path, synthetic.ticks(ticks, spread_half_life_s=10.0))
    return Tape.open(path)


PARTS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "tick": tick_to_order,
    "restored": cost_once_restored,
    "pairs": cost_by_pairs,
    "hops": kafka_hops.rows,
    "six": kafka_six.rows,
    "kill": kafka_six.kills,
    "soak": kafka_six.soak,
}


def main() -> None:
    """Measure the parts that were asked for and print their rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for part in options.part or PARTS:
            rows += PARTS[part](Path(folder))
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("; ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
