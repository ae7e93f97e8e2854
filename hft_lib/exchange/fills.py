"""Taker fills of the simulated exchange: a market order takes the opposite top's size and the rest
is cancelled.

`TopOfBook` errs both ways: it never pays for the second level, and never trades against it.
"""

import numpy as np

from hft_lib.kernel import kernel


@kernel
def take(leg, side, quantity):
    """(filled, price) of a market order against the top of `leg`; (0, 0) where there is none."""
    price = leg.ask if side > 0.0 else leg.bid
    available = leg.ask_size if side > 0.0 else leg.bid_size
    if not price > 0.0:
        return 0.0, 0.0
    filled = whole_lots(min(quantity, available), leg.lots_per_unit)
    return filled, price if filled > 0.0 else 0.0


@kernel
def near_lots(position, lots_per_unit):
    """`position` freed from the rounding of its sum: what closes it whole must not exceed it by a
    last bit.
    """
    lots = position * lots_per_unit
    whole = np.rint(lots)
    return whole / lots_per_unit if abs(lots - whole) < 1e-6 else position


@kernel
def whole_lots(quantity, lots_per_unit):
    """`quantity` (0 or more) cut to whole lots; half a billionth of a lot, and two last bits, are
    forgiven as rounding.
    """
    lots = quantity * lots_per_unit
    return np.floor(lots + (5e-10 + 4.5e-16 * lots)) / lots_per_unit
