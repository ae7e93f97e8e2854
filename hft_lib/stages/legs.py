"""The two legs of one account as one state machine, over taker orders.

An account works from its position towards its `goal` with one order a leg at a time, both legs sent
together. What opens is sent whole or not at all: one leg refused refuses both. After `ATTEMPTS_MAX`
rounds, or when inputs go stale, the goal shrinks to the largest multiple that both held legs cover,
so that no leg stays unhedged.
"""

import numpy as np

from hft_lib.exchange.account import SENT, mid
from hft_lib.exchange.fills import whole_lots
from hft_lib.kernel import kernel
from hft_lib.risk.gate import APPROVED, judge

ATTEMPTS_MAX = 3  # rounds of remainders before what is unhedged is unwound
RETRY_NS = 1_000_000_000  # between rounds that close and found no size
UNWIND = 5
ORDERED, FILLED, REFUSED, HANDED_OVER, FLATTENED = 1, 2, 3, 4, 5

# What the kernels hand back: one row a fact, in order.
Outcome = np.dtype(
    [
        ("kind", np.int64),
        ("time_ns", np.int64),
        ("account", np.int64),
        ("leg", np.int64),
        ("side", np.float64),
        ("quantity", np.float64),
        ("price", np.float64),
        ("fee", np.float64),
        ("slippage", np.float64),
        ("reason", np.int64),
        ("reduce_only", np.int64),
        ("purpose", np.int64),
        ("attempt", np.int64),
        ("sequence", np.int64),
    ]
)


@kernel
def outcome(out, n, kind, time_ns, a, i):
    """Row `n` of `out`, cleared and begun."""
    row = out[n]
    row.kind, row.time_ns, row.account, row.leg = kind, time_ns, a, i
    row.side = row.quantity = row.price = row.fee = row.slippage = 0.0
    row.reason = row.reduce_only = row.purpose = row.attempt = row.sequence = 0
    return row


@kernel
def hedged_multiple(position, wanted):
    """The largest share, 0 to 1, of `wanted` that lies within both held legs."""
    share = 1.0
    for i in range(2):
        if wanted[i] != 0.0:
            share = min(share, max(0.0, position[i] / wanted[i]))
    return share


@kernel
def aim(account, legs, share):
    """Set the goal to `share` of what is wanted, in whole lots, both legs cut alike: what a coarse
    lot takes from one leg the other gives up too, and less than a lot of one is nothing of either.
    """
    cut = share
    for i in range(2):
        wanted = abs(account.wanted[i])
        if wanted > 0.0:
            cut = min(cut, whole_lots(share * wanted, legs[i].lots_per_unit) / wanted)
    for i in range(2):
        wanted = cut * account.wanted[i]
        quantity = whole_lots(abs(wanted), legs[i].lots_per_unit)
        account.goal[i] = quantity if wanted > 0.0 else -quantity
    if account.goal[0] == 0.0 or account.goal[1] == 0.0:
        account.goal[0] = 0.0
        account.goal[1] = 0.0


@kernel
def at_goal(account, legs):
    """Whether both legs are at their goals, to half a lot."""
    for i in range(2):
        if abs(account.goal[i] - account.position[i]) * legs[i].lots_per_unit >= 0.5:
            return False
    return True


@kernel
def shrink(account, legs):
    """Give up what cannot be hedged: aim at what both held legs cover."""
    share = hedged_multiple(account.position, account.wanted)
    account.multiple *= share
    aim(account, legs, share)
    account.purpose = UNWIND
    account.attempts = 0
    if account.goal[0] == 0.0 and account.goal[1] == 0.0:
        account.direction = 0
        account.wanted[0] = 0.0
        account.wanted[1] = 0.0


@kernel
def work(legs, account, orders, limits, a, time_ns, stale, halted, latency_ns, response_ns, out, n):
    """One round of account row `a` towards its goal; returns the number of rows in `out`."""
    if account.under_way != 0:
        return n
    if at_goal(account, legs):
        account.attempts = 0
        return n
    if time_ns < account.retry_at_ns:
        return n
    if account.attempts >= ATTEMPTS_MAX or stale:
        shrink(account, legs)
        if at_goal(account, legs):
            return n
    n, allowed = judge_legs(legs, account, limits, a, time_ns, stale, halted, out, n)
    if not allowed:
        return n
    account.attempts += 1
    account.retry_at_ns = time_ns + RETRY_NS if account.attempts >= ATTEMPTS_MAX else time_ns
    for i in range(2):
        n = send(
            legs,
            account,
            orders,
            limits,
            a,
            i,
            time_ns,
            stale,
            halted,
            latency_ns,
            response_ns,
            out,
            n,
        )
    return n


@kernel
def round_order(legs, account, i):
    """(side, quantity, reduce_only) of leg `i`'s next order; quantity 0 where it is at its goal."""
    change = account.goal[i] - account.position[i]
    lots = np.rint(abs(change) * legs[i].lots_per_unit)
    quantity = lots / legs[i].lots_per_unit
    side = 1.0 if change > 0.0 else -1.0
    reduces = account.position[i] * side < 0.0 and quantity <= abs(account.position[i])
    return side, quantity, reduces


@kernel
def judge_legs(legs, account, limits, a, time_ns, stale, halted, out, n):
    """(rows, allowed): whether the round may be sent; what opens goes whole or not at all."""
    for i in range(2):
        side, quantity, reduces = round_order(legs, account, i)
        if quantity == 0.0 or reduces:
            continue
        reason = judge(legs, account, limits, i, side, quantity, False, stale, halted)
        if reason != APPROVED:
            n = refuse(account, a, i, reason, time_ns, out, n)
            give_up_opening(account, legs)
            return n, False
    return n, True


@kernel
def give_up_opening(account, legs):
    """A refused opening: a flat account drops its wish, another keeps what is hedged."""
    if account.position[0] == 0.0 and account.position[1] == 0.0:
        account.direction = 0
        account.multiple = 0.0
        for i in range(2):
            account.wanted[i] = 0.0
            account.goal[i] = 0.0
        account.attempts = 0
    else:
        account.attempts = ATTEMPTS_MAX


@kernel
def send(
    legs, account, orders, limits, a, i, time_ns, stale, halted, latency_ns, response_ns, out, n
):
    """Send leg `i`'s order of this round, if it has one that the gate approves."""
    side, quantity, reduces = round_order(legs, account, i)
    if quantity == 0.0:
        return n
    reason = judge(legs, account, limits, i, side, quantity, reduces, stale, halted)
    if reason != APPROVED:
        return refuse(account, a, i, reason, time_ns, out, n)
    account.sequence += 1
    account.under_way += 1
    account.refusal = APPROVED
    order = orders[a, i]
    order.state = SENT
    order.side = side
    order.quantity = quantity
    order.mid = mid(legs[i])
    order.arrives_ns = time_ns + latency_ns
    order.answered_ns = time_ns + latency_ns + response_ns
    row = outcome(out, n, ORDERED, time_ns, a, i)
    row.side = side
    row.quantity = quantity
    row.reduce_only = 1 if reduces else 0
    row.purpose = account.purpose
    row.attempt = account.attempts
    row.sequence = account.sequence
    return n + 1


@kernel
def refuse(account, a, i, reason, time_ns, out, n):
    """Tell a refusal once, until another reason or an approval follows."""
    if account.refusal == reason:
        return n
    account.refusal = reason
    row = outcome(out, n, REFUSED, time_ns, a, i)
    row.reason = reason
    row.purpose = account.purpose
    return n + 1
