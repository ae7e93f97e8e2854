"""What an account holds and what it paid: rows of arrays, booked by fills, marked to mids.

Equity is cash plus positions at their mids, counted from 0 at the start: the capital share is not
part of it. Money is in the quote currency, positions in base units. Legs are columns: 0 is y, 1 is
x.
"""

import numpy as np

from hft_lib.kernel import kernel

Y, X = 0, 1
SHORT_NONE, SHORT_BORROW, SHORT_PERP = 0, 1, 2
NS_PER_YEAR = 365.0 * 86_400.0 * 1e9

# The best prices of one leg with the terms of its instrument.
Leg = np.dtype(
    [
        ("bid", np.float64),
        ("bid_size", np.float64),
        ("ask", np.float64),
        ("ask_size", np.float64),
        ("time_ns", np.int64),  # receive time of the top, 0 before the first
        ("stale_after_ns", np.int64),
        ("taker_fee_rate", np.float64),
        ("lots_per_unit", np.float64),  # 1 / quantity step, in base units
        ("notional_min", np.float64),
        ("short", np.int64),
        ("borrow_rate_annual", np.float64),
    ]
)

# The order is that of use: a tick of a flat account reads the first eight words, of one that holds
# something the next eight too, so that many accounts fit into the processor's caches.
Account = np.dtype(
    [
        # every tick
        ("position", np.float64, (2,)),
        # the position worked towards: `wanted`, or the part that can be hedged
        ("goal", np.float64, (2,)),
        ("cash", np.float64),
        ("equity", np.float64),  # at the last marks
        ("warm_at_ns", np.int64),
        ("live", np.int8),
        # 1 until the day ends (daily loss), 2 until an operator resumes (drawdown)
        ("locked", np.int8),
        ("under_way", np.int8),  # orders sent and not answered
        ("attempts", np.int8),
        ("direction", np.int8),  # +1 long the spread, -1 short, 0 flat
        ("stopped", np.int8),  # side of the last stop, until z has come back
        ("block_active", np.int8),
        ("purpose", np.int8),
        # every tick of what is held
        ("wanted", np.float64, (2,)),  # the position decided on
        ("accrued_at_ns", np.int64),  # of what is held, else when it last was
        ("equity_peak", np.float64),
        ("drawdown_max", np.float64),
        ("block_equity", np.float64),
        ("block_peak", np.float64),
        ("block_drawdown", np.float64),
        # the two-leg machine, and the capital account's hand-over from one slot to another
        ("entered_at_ns", np.int64),
        ("multiple", np.float64),  # share of the followed slot's wanted position
        ("handing_over", np.int64),  # 1: orders under way end first, 2: the position follows
        ("handover_started_ns", np.int64),
        ("handover_costs", np.float64),
        ("retry_at_ns", np.int64),
        ("sequence", np.int64),
        ("refusal", np.int64),  # the last reason told, so that a standing refusal is told once
        # what holdings cost
        ("fees", np.float64),
        ("slippage", np.float64),
        ("funding", np.float64),
        ("borrow", np.float64),
        ("turnover", np.float64),
        # the running block, a UTC day
        ("block_fees", np.float64),
        ("block_slippage", np.float64),
        ("block_funding", np.float64),
        ("block_borrow", np.float64),
        ("block_turnover", np.float64),
        ("slot", np.int64),  # the row of the slot that it trades; capital: the slot that it follows
        ("whole_from_ns", np.int64),  # a block that starts earlier is not whole
    ]
)

# One order under way a leg and account: taker orders need no more.
NONE, SENT, EXECUTED = 0, 1, 2
Order = np.dtype(
    [
        ("state", np.int64),
        ("side", np.float64),  # +1 buy, -1 sell
        ("quantity", np.float64),
        ("mid", np.float64),  # at the decision: slippage is measured against it
        ("arrives_ns", np.int64),
        ("answered_ns", np.int64),
        ("filled", np.float64),
        ("price", np.float64),
    ]
)


@kernel
def mid(leg):
    """Mean of best bid and ask; 0 where there is no top yet."""
    return 0.5 * (leg.bid + leg.ask)


@kernel
def is_idle(account):
    """Whether neither time nor prices change it: it holds nothing and was marked since it did."""
    return (
        account.position[Y] == 0.0 and account.position[X] == 0.0 and account.equity == account.cash
    )


@kernel
def accrue(account, legs, time_ns):
    """Charge the borrowing of short spot positions from the last accrual to `time_ns`, at the mids
    before it.
    """
    elapsed_ns = time_ns - account.accrued_at_ns
    account.accrued_at_ns = time_ns
    for i in range(2):
        leg = legs[i]
        if account.position[i] < 0.0 and leg.short == SHORT_BORROW and elapsed_ns > 0:
            cost = (
                -account.position[i]
                * mid(leg)
                * leg.borrow_rate_annual
                * (elapsed_ns / NS_PER_YEAR)
            )
            account.borrow += cost
            account.cash -= cost


@kernel
def book(account, i, side, quantity, price, fee, slippage):
    """Book a fill of leg `i`."""
    account.position[i] += side * quantity
    account.cash -= side * quantity * price + fee
    account.fees += fee
    account.slippage += slippage
    account.turnover += quantity * price
    account.block_active = 1


@kernel
def pay_funding(account, i, rate, price):
    """Settle a perpetual's funding: longs pay `rate` times the position's value at `price` to
    shorts.
    """
    paid = rate * account.position[i] * price
    account.funding += paid
    account.cash -= paid


@kernel
def mark(account, legs):
    """Mark the account to the mids; returns its equity."""
    equity = account.cash
    for i in range(2):
        if account.position[i] != 0.0:
            equity += account.position[i] * mid(legs[i])
            account.block_active = 1
    account.equity = equity
    account.equity_peak = max(account.equity_peak, equity)
    account.drawdown_max = max(account.drawdown_max, account.equity_peak - equity)
    account.block_peak = max(account.block_peak, equity)
    account.block_drawdown = max(account.block_drawdown, account.block_peak - equity)
    return equity


@kernel
def open_block(account):
    """Start the next block from the marks of now."""
    account.block_equity = account.equity
    account.block_fees = account.fees
    account.block_slippage = account.slippage
    account.block_funding = account.funding
    account.block_borrow = account.borrow
    account.block_turnover = account.turnover
    account.block_peak = account.equity
    account.block_drawdown = 0.0
    account.block_active = 1 if account.position[Y] != 0.0 or account.position[X] != 0.0 else 0
