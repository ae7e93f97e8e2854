"""Evidence on daily blocks: a betting e-process with three stakes, bounded by the risk limits.

    floor = max(s0, L_max / c)
    s     = max(sqrt(s2), floor)          v = 0 is no observation and skips all of this
    y     = min(max(v / s, -c), c)
    w_j  *= 1 + lam_j y                   lam = 1/c, 1/(2c), 1/(4c); w(0) = 1/2, 1/4, 1/4
    e     = w_1 + w_2 + w_3
    s2   += a (min((v - v_prev)^2 / 2, c^2 s2) - s2)   after the bet, not on the first

s0: sd of active blocks in calibration; L_max: largest fall of v in a block; s: the scale bet with;
a = 0.02; s2(0) = s0^2.

v is a paired difference of one block, a fraction of the capital share. If E[v | past] <= 0 and v >=
-L_max, e is a non-negative supermartingale, so P(e ever reaches T) <= 1/T (Ville 1939): no
variance, shape or independence is assumed, and the process may be stopped or continued by any rule.
Capping gains at c only lowers e. Waudby-Smith & Ramdas (2024), Estimating means of bounded random
variables by betting, sec. 4.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.evop.policy import Bets
from hft_lib.kernel import kernel
from hft_lib.rows import Rows

Vector = npt.NDArray[np.float64]

EVIDENCE = np.dtype(
    [
        ("w1", np.float64),  # wealth of the largest stake
        ("w2", np.float64),
        ("w3", np.float64),
        ("s2", np.float64),  # scale estimate, squared, of the same unit as v
        ("v_prev", np.float64),  # the last active v
        ("floor", np.float64),  # the least scale that may be bet with
        ("blocks", np.int64),  # blocks seen, the empty ones too
        ("active", np.int64),  # blocks bet on: v was not zero
    ]
)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One e-process as plain numbers, for records and pages."""

    w: tuple[float, float, float]
    e: float
    s2: float
    v_prev: float
    floor: float
    blocks: int
    active: int


def constants(bets: Bets) -> Vector:
    """The constants as the kernel reads them: c, a, then the three stakes; (5,)."""
    return np.array((bets.clip, bets.decay, *bets.stakes), dtype=np.float64)


def begin(rows: Rows, index: int, bets: Bets, s0: float, loss_max: float) -> None:
    """Make row `index` a fresh e-process with wealth 1.

    `s0` and `loss_max` (L_max) are of the unit of v; an unknown `s0` (0) takes the floor in its
    place.
    """
    floor = scale_floor(bets, s0, loss_max)
    first = s0 if s0 > 0.0 else floor
    rows[index] = (*bets.shares, first * first, 0.0, floor, 0, 0)


def scale_floor(bets: Bets, s0: float, loss_max: float) -> float:
    """The least scale: no block can then fall below -c times it.

    Raises ValueError where there is none.
    """
    floor = max(s0, loss_max / bets.clip)
    if not (floor > 0.0 and math.isfinite(floor)):
        raise ValueError(f"the floor of the scale must be positive and finite, was {floor}")
    return floor


@kernel
def observe(rows: Rows, index: int, v: float, const: Vector) -> float:
    """Bet on one block's difference `v` in row `index`, then learn its scale; return e.

    The row changes in place.
    """
    row = rows[index]
    row["blocks"] += 1
    if v != 0.0:
        clip = const[0]
        s2 = row["s2"]
        y = min(max(v / max(math.sqrt(s2), row["floor"]), -clip), clip)
        row["w1"] *= 1.0 + const[2] * y
        row["w2"] *= 1.0 + const[3] * y
        row["w3"] *= 1.0 + const[4] * y
        if row["active"] > 0:
            change = v - row["v_prev"]
            row["s2"] = s2 + const[1] * (min(change * change / 2.0, clip * clip * s2) - s2)
        row["v_prev"] = v
        row["active"] += 1
    return row["w1"] + row["w2"] + row["w3"]


@kernel
def run(rows: Rows, index: int, differences: Vector, const: Vector, e: Vector) -> None:
    """`observe` over `differences` (time,), the same step.

    `e` (time,) receives the value after each.
    """
    for i in range(differences.shape[0]):
        e[i] = observe(rows, index, differences[i], const)


def view(rows: Rows, index: int) -> Evidence:
    """Row `index` as plain numbers."""
    w1, w2, w3, s2, v_prev, floor, blocks, active = rows[index].item()
    return Evidence(
        w=(w1, w2, w3),
        e=w1 + w2 + w3,
        s2=s2,
        v_prev=v_prev,
        floor=floor,
        blocks=blocks,
        active=active,
    )


def accumulate(
    differences: Vector, bets: Bets, s0: float, loss_max: float
) -> tuple[Evidence, Evidence]:
    """The e-process over `differences` (time,) from its start.

    Before the last block, and after it.
    """
    rows, const = np.zeros(1, EVIDENCE), constants(bets)
    begin(rows, 0, bets, s0, loss_max)
    count = max(len(differences) - 1, 0)
    run(rows, 0, differences[:count], const, np.empty(count))
    before = view(rows, 0)
    if len(differences) > 0:
        observe(rows, 0, float(differences[-1]), const)
    return before, view(rows, 0)
