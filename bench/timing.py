"""Two calls that do the same work, ours and a peer's, timed in turn in one process.

A row's `prepare` computes both results first and raises `Unequal` unless they agree: a figure of
speed is worth nothing where the answer is another one. Absolute times move from machine to machine
and from minute to minute; their ratio moves much less, when the two are measured in turn and the
least of several measurements is taken of each. The clock is the process's own, of all its threads:
what a core spends, whatever else runs on the machine, so that a busy one flatters nobody.
"""

import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

MEASURE_S_MIN = 0.005  # a measurement repeats its call until it is this long
ROW_S_MAX = 10.0  # a row that takes longer than this ends early, but not before
REPEATS_MIN = 3
_CALLS_MAX = 1_000_000


class Unequal(Exception):
    """Ours and the peer's results differ by more than the row allows."""

    def __init__(self, what: str, ours: object, peer: object, allowed: str) -> None:
        super().__init__(f"{what}: ours {ours}, peer {peer}, allowed: {allowed}")
        self.ours = ours
        self.peer = peer


@dataclass(frozen=True)
class Case:
    """What a row times: calls without arguments, and how many units of work one call does."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    peer_name: str
    units: int = 1
    peer_units: int | None = None  # as `units` where None


@dataclass(frozen=True)
class Row:
    """A line of the table. `prepare` asserts equal results and gives the calls to time.

    `target_ratio` is the peer's time over ours that is aimed at, None where there is none. Where
    the aim is a time, `target_ns` a unit, the ratio is that of this run's peer to it.
    """

    name: str
    target_ratio: float | None
    prepare: Callable[[], Case]
    target_ns: float | None = None


def require_close(
    what: str, ours: npt.ArrayLike, peer: npt.ArrayLike, rel: float = 0.0, abs: float = 0.0
) -> None:
    """Raise `Unequal` at the worst place where ours is further from the peer's than allowed."""
    mine, theirs = np.atleast_1d(np.asarray(ours, float)), np.atleast_1d(np.asarray(peer, float))
    if mine.shape != theirs.shape:
        raise Unequal(f"{what}, shape", mine.shape, theirs.shape, "none")
    excess = np.abs(mine - theirs) - (abs + rel * np.abs(theirs))
    excess[~(np.isfinite(mine) & np.isfinite(theirs))] = np.inf
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    if excess[worst] > 0.0:
        place = f"{what} at {tuple(map(int, worst))}"
        raise Unequal(place, mine[worst], theirs[worst], f"{rel} relative + {abs}")


def require_at_least(what: str, ours: float, peer: float, short: float) -> None:
    """Raise `Unequal` unless ours reaches the peer's less `short`."""
    if not ours >= peer - short:
        raise Unequal(what, ours, peer, f"at most {short} less")


def race(case: Case, repeats: int) -> tuple[float, float]:
    """Nanoseconds a unit, ours and the peer's: the least of `repeats` measurements in turn."""
    calls = case.ours, case.peer
    timers = [timeit.Timer(call, timer=time.process_time) for call in calls]
    loops = [_loops(timer) for timer in timers]
    least, began = [np.inf, np.inf], time.perf_counter()
    for done in range(1, max(repeats, 1) + 1):
        for side, timer in enumerate(timers):
            least[side] = min(least[side], timer.timeit(loops[side]) / loops[side])
        if done >= REPEATS_MIN and time.perf_counter() - began > ROW_S_MAX:
            break
    return 1e9 * least[0] / case.units, 1e9 * least[1] / (case.peer_units or case.units)


def measure(row: Row, repeats: int) -> dict[str, Any]:
    """One row of the table, its results found equal first."""
    case = row.prepare()
    ours_ns, peer_ns = race(case, repeats)
    target = row.target_ratio if row.target_ns is None else peer_ns / row.target_ns
    return {
        "name": row.name,
        "ours_ns": ours_ns,
        "peer": case.peer_name,
        "peer_ns": peer_ns,
        "ratio": peer_ns / ours_ns,
        "target_ratio": target,
    }


def package(name: str) -> str:
    """A peer by name and version."""
    return f"{name} {version(name)}"


def _loops(timer: timeit.Timer) -> int:
    """Calls that make a measurement long enough; sizing them is the warm-up."""
    loops = 1
    while loops < _CALLS_MAX:
        seconds = timer.timeit(loops)
        if seconds >= MEASURE_S_MIN:
            break
        loops = max(2 * loops, int(loops * 1.2 * MEASURE_S_MIN / max(seconds, 1e-9)))
    return min(loops, _CALLS_MAX)
