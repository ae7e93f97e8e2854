"""What the last grid points brought of one pair: the numbers that its models are judged by.

One row a grid point, the oldest overwritten: returns of both legs, the mean gap between moments,
and of each slot the score of its innovation and the innovation itself. NaN stands for none. A slot
has values of its own from the end of its warm-up on, and starts over with every parameter set.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector
from hft_lib.models.special import log
from hft_lib.parameters import Reference
from hft_lib.rows import Rows

# The 250 observations over which the Basel Committee (1996) judges a forecast of risk; as 32-bit
# numbers of six slots 15 kB a pair, which every snapshot holds.
WINDOW = 250
SHARED = 3  # columns that are the pair's: return of y, return of x, gap
VALUE_MAX = 1e30  # what is further out is kept as this: out, and finite in 32 bits

Clock = np.dtype(
    [("taken", np.int64), ("time_ns", np.int64), ("log_y", np.float64), ("log_x", np.float64)]
)


class Window(msgspec.Struct):
    """The rows (WINDOW, SHARED + 2 slots) of a pair and what they are continued from.

    `moments` counts complete moments since the last grid point; `references` are what the slots'
    sets were calibrated on, None where that is not known.
    """

    values: Rows
    clock: Rows
    warm_ns: Rows
    generations: Rows
    references: list[Reference | None]
    moments: int = 0


class SlotValues(NamedTuple):
    """What one slot is judged by, oldest first, (time,) each; NaN where there is none."""

    slot: int
    generation: int
    scores: Vector
    innovations: Vector
    returns_y: Vector
    returns_x: Vector
    gaps_s: Vector
    reference: Reference | None


def empty(slots: int) -> Window:
    """Nothing brought yet, no slot assigned."""
    return Window(
        values=np.full((WINDOW, SHARED + 2 * slots), np.nan, np.float32),
        clock=np.zeros(1, Clock),
        warm_ns=np.zeros(slots, np.int64),
        generations=np.zeros(slots, np.int64),
        references=[None] * slots,
    )


def assign(
    window: Window, slot: int, generation: int, warm_ns: int, reference: Reference | None
) -> None:
    """A new set runs in `slot`, warm from `warm_ns` on: what the one before it did is forgotten."""
    slots = len(window.references)
    window.values[:, SHARED + slot] = np.nan
    window.values[:, SHARED + slots + slot] = np.nan
    window.warm_ns[slot], window.generations[slot] = warm_ns, generation
    window.references[slot] = reference


@kernel
def take(values, clock, warm_ns, live, hedges, volatilities, y_mid, x_mid, time_ns, steps, moments):
    """Write the row of a grid point: `steps` intervals and `moments` moments after the last."""
    c, slots = clock[0], live.shape[0]
    row = values[c.taken % values.shape[0]]
    log_y, log_x = log(y_mid), log(x_mid)
    row[0] = row[1] = row[2] = np.nan
    if c.time_ns > 0:
        row[2] = (time_ns - c.time_ns) * 1e-9 / max(moments, 1)
        if steps == 1:
            row[0] = log_y - c.log_y
            row[1] = log_x - c.log_x
    for slot in range(slots):
        row[SHARED + slot] = row[SHARED + slots + slot] = np.nan
        if live[slot] != 0 and time_ns >= warm_ns[slot]:
            row[SHARED + slot] = within(volatilities[slot].score)
            row[SHARED + slots + slot] = within(hedges[slot].innovation)
    c.time_ns, c.log_y, c.log_x = time_ns, log_y, log_x
    c.taken += 1


@kernel
def within(value):
    """`value`, or the largest that is kept; NaN stays NaN."""
    if value > VALUE_MAX:
        return VALUE_MAX
    return -VALUE_MAX if value < -VALUE_MAX else value


def copied(window: Window) -> Window:
    """A copy that does not change any more."""
    return Window(
        values=window.values.copy(),
        clock=window.clock.copy(),
        warm_ns=window.warm_ns.copy(),
        generations=window.generations.copy(),
        references=list(window.references),
        moments=window.moments,
    )


def slots_of(window: Window) -> list[SlotValues]:
    """The values of every slot that was assigned."""
    taken, slots = int(window.clock["taken"][0]), len(window.references)
    rows = np.roll(window.values, -(taken % WINDOW), axis=0) if taken > WINDOW else window.values
    columns = rows.astype(np.float64).T
    return [
        SlotValues(
            slot=slot,
            generation=int(window.generations[slot]),
            scores=columns[SHARED + slot],
            innovations=columns[SHARED + slots + slot],
            returns_y=columns[0],
            returns_x=columns[1],
            gaps_s=columns[2],
            reference=window.references[slot],
        )
        for slot in range(slots)
        if window.generations[slot] > 0
    ]
