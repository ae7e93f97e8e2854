"""The compiled half of execution: what falls due, then what the complete moment decides, over all
accounts of a pair.

Rows 0 to n-1 of `accounts` are the slots' shadow accounts, row n is the capital account.

All that it holds of a pair lies in one row, a `sheet_type`: what a tick of many pairs costs is what
it reads of the memory, and an array of its own each would have as much of numpy's as of ours.
"""

from functools import cache
from typing import Any

import numpy as np

from hft_lib.exchange.account import (
    EXECUTED,
    NONE,
    SENT,
    SHORT_NONE,
    Account,
    Leg,
    Order,
    X,
    Y,
    accrue,
    book,
    is_idle,
    mark,
    mid,
    open_block,
    pay_funding,
)
from hft_lib.exchange.fills import near_lots, take, whole_lots
from hft_lib.kernel import kernel
from hft_lib.models.special import log
from hft_lib.risk.gate import LOT, NO_BORROW, NOT_FINITE, Limits
from hft_lib.stages.legs import (
    FILLED,
    FLATTENED,
    HANDED_OVER,
    Outcome,
    aim,
    at_goal,
    hedged_multiple,
    outcome,
    refuse,
    work,
)
from hft_lib.strategy.decision import ENTER, Params, decide, edge_cost_ratio, notional

PURPOSES = ("hold", "enter", "exit", "stop", "break", "unwind", "hand-over", "loss", "flatten")
HANDOVER, LOSS, FLATTEN = 6, 7, 8
NEVER_NS = np.iinfo(np.int64).max
OUTCOMES_A_ROW = 8  # facts that one event makes of an account at most

Desk = np.dtype(
    [
        ("capital_slot", np.int64),  # -1 until the first promotion
        ("halted", np.int64),  # holds back the capital account's new risk
        ("flatten", np.int64),
        ("next_due_ns", np.int64),
        ("order_latency_ns", np.int64),
        ("response_latency_ns", np.int64),
        ("handover_ns_max", np.int64),
        ("capital", np.float64),
        ("watch_all", np.int64),  # marks or limits changed: at the next moment idle accounts too
    ]
)

# What the line forecasts, as a slot trades on it.
Forecast = np.dtype(
    [
        ("intercept", np.float64),
        ("hedge_ratio", np.float64),
        ("spread_sd", np.float64),
        ("size", np.float64),
        ("run_length", np.float64),
        ("z", np.float64),  # of the spread, at the last moment
        ("live", np.int32),
        ("alarm", np.int32),
    ]
)


_DESK, _LEG, _LIMITS, _FORECAST, _PARAMS, _ACCOUNT, _ORDER, _OUTCOME = (
    kind.itemsize // 8 for kind in (Desk, Leg, Limits, Forecast, Params, Account, Order, Outcome)
)


@cache
def sheet_type(slots: int) -> np.dtype[Any]:
    """The row of one pair with so many slots; `parts` is the compiled code's way into it."""
    rows = slots + 1
    return np.dtype(
        [
            ("rows", np.int64),
            ("desk", Desk, (1,)),
            ("legs", Leg, (2,)),
            ("limits", Limits, (1,)),
            ("forecasts", Forecast, (slots,)),
            ("strategies", Params, (slots,)),
            ("accounts", Account, (rows,)),
            ("orders", Order, (rows, 2)),
            ("out", Outcome, (OUTCOMES_A_ROW * rows,)),
        ]
    )


@kernel
def parts(sheet):
    """(desk, legs, limits, forecasts, strategies, accounts, orders, out) of a sheet's words."""
    rows = sheet[0]
    at = 1
    desk = sheet[at : at + _DESK].view(Desk)
    at += _DESK
    legs = sheet[at : at + 2 * _LEG].view(Leg)
    at += 2 * _LEG
    limits = sheet[at : at + _LIMITS].view(Limits)
    at += _LIMITS
    forecasts = sheet[at : at + (rows - 1) * _FORECAST].view(Forecast)
    at += (rows - 1) * _FORECAST
    strategies = sheet[at : at + (rows - 1) * _PARAMS].view(Params)
    at += (rows - 1) * _PARAMS
    accounts = sheet[at : at + rows * _ACCOUNT].view(Account)
    at += rows * _ACCOUNT
    orders = sheet[at : at + 2 * rows * _ORDER].view(Order).reshape((rows, 2))
    at += 2 * rows * _ORDER
    out = sheet[at : at + OUTCOMES_A_ROW * rows * _OUTCOME].view(Outcome)
    return desk, legs, limits, forecasts, strategies, accounts, orders, out


@kernel
def settle_sheet(sheet, until_ns):
    """`settle` of a sheet."""
    desk, legs, _, _, _, accounts, orders, out = parts(sheet)
    return settle(desk, legs, accounts, orders, until_ns, out)


@kernel
def forecast_sheet(sheet, hedges, volatilities, risks):
    """`take_forecasts` of a sheet."""
    take_forecasts(parts(sheet)[3], hedges, volatilities, risks)


@kernel
def trade_sheet(
    sheet, time_ns, stale,
    y_bid, y_bid_size, y_ask, y_ask_size, y_ns, x_bid, x_bid_size, x_ask, x_ask_size, x_ns,
):  # fmt: skip
    """`trade` of a sheet."""
    desk, legs, limits, forecasts, strategies, accounts, orders, out = parts(sheet)
    return trade(
        desk, legs, limits, forecasts, strategies, accounts, orders, out, time_ns, stale,
        y_bid, y_bid_size, y_ask, y_ask_size, y_ns, x_bid, x_bid_size, x_ask, x_ask_size, x_ns,
    )  # fmt: skip


@kernel
def take_forecasts(forecasts, hedges, volatilities, risks):
    """Take what the line forecasts for each slot."""
    for s in range(forecasts.shape[0]):
        forecast = forecasts[s]
        forecast.intercept = hedges[s].intercept
        forecast.hedge_ratio = hedges[s].hedge_ratio
        forecast.live = hedges[s].live
        forecast.spread_sd = volatilities[s].spread_sd
        forecast.size = risks[s].size
        forecast.run_length = risks[s].run_length
        forecast.alarm = risks[s].alarm


@kernel
def settle(desk, legs, accounts, orders, until_ns, out):
    """Run the arrivals and answers of orders due at or before `until_ns`, each at its own time;
    returns rows of `out`.
    """
    n = 0
    while True:
        due_ns, a, i = earliest(accounts, orders)
        desk[0].next_due_ns = due_ns
        if due_ns > until_ns:
            return n
        order = orders[a, i]
        if order.state == SENT:
            order.filled, order.price = take(legs[i], order.side, order.quantity)
            order.state = EXECUTED
        else:
            order.state = NONE
            accounts[a].under_way -= 1
            if order.filled > 0.0:
                n = fill(legs, accounts[a], order, a, i, out, n)


@kernel
def earliest(accounts, orders):
    """(time, account, leg) of what falls due next; the account and leg of lowest number first."""
    due_ns, at, leg = NEVER_NS, 0, 0
    for a in range(orders.shape[0]):
        for i in range(2 if accounts[a].under_way != 0 else 0):
            order = orders[a, i]
            if order.state == NONE:
                continue
            time_ns = order.arrives_ns if order.state == SENT else order.answered_ns
            if time_ns < due_ns:
                due_ns, at, leg = time_ns, a, i
    return due_ns, at, leg


@kernel
def fill(legs, account, order, a, i, out, n):
    """Book an answered order and write its row."""
    fee = order.filled * order.price * legs[i].taker_fee_rate
    slippage = order.side * (order.price - order.mid) * order.filled
    accrue(account, legs, order.answered_ns)
    book(account, i, order.side, order.filled, order.price, fee, slippage)
    account.position[i] = near_lots(account.position[i], legs[i].lots_per_unit)
    row = outcome(out, n, FILLED, order.answered_ns, a, i)
    row.side = order.side
    row.quantity = order.filled
    row.price = order.price
    row.fee = fee
    row.slippage = slippage
    return n + 1


@kernel
def trade(
    desk, legs, limits, forecasts, strategies, accounts, orders, out, time_ns, stale,
    y_bid, y_bid_size, y_ask, y_ask_size, y_ns, x_bid, x_bid_size, x_ask, x_ask_size, x_ns,
):  # fmt: skip
    """Take the tops of a complete moment, decide and work every account; returns the number of rows
    in `out`.
    """
    y, x = legs[Y], legs[X]
    y.bid, y.bid_size, y.ask, y.ask_size, y.time_ns = y_bid, y_bid_size, y_ask, y_ask_size, y_ns
    x.bid, x.bid_size, x.ask, x.ask_size, x.time_ns = x_bid, x_bid_size, x_ask, x_ask_size, x_ns
    log_y = log(mid(y)) if y.bid > 0.0 else 0.0
    log_x = log(mid(x)) if x.bid > 0.0 else 0.0
    n = 0
    for s in range(accounts.shape[0] - 1):
        if accounts[s].live != 0:
            n = trade_slot(
                desk[0], legs, limits[0], forecasts[s], strategies[s], accounts, orders, out,
                time_ns, stale, log_y, log_x, s, n,
            )  # fmt: skip
    if desk[0].capital_slot >= 0:
        n = trade_capital(desk[0], legs, limits[0], accounts, orders, out, time_ns, stale, n)
    desk[0].watch_all = 0
    if n > 0:
        desk[0].next_due_ns = earliest(accounts, orders)[0]
    return n


@kernel
def trade_slot(
    desk, legs, limits, forecast, strategy, accounts, orders, out,
    time_ns, stale, log_y, log_x, s, n,
):  # fmt: skip
    """Mark, decide and work one slot's shadow account."""
    account = accounts[s]
    watch(account, legs, limits, desk, time_ns)
    sd = forecast.spread_sd
    priced = legs[Y].bid > 0.0 and legs[X].bid > 0.0
    if not stale and priced and forecast.live != 0 and sd > 0.0 and sd < np.inf:
        n = decide_slot(
            account, legs, forecast, strategy, desk.capital, log_y, log_x, time_ns, s, out, n
        )
    return work(
        legs, account, orders, limits, s, time_ns, stale, False,
        desk.order_latency_ns, desk.response_latency_ns, out, n,
    )  # fmt: skip


@kernel
def trade_capital(desk, legs, limits, accounts, orders, out, time_ns, stale, n):
    """Mark the capital account, let it follow its slot, and work it."""
    row = accounts.shape[0] - 1
    capital = accounts[row]
    watch(capital, legs, limits, desk, time_ns)
    n = follow(desk, capital, accounts[desk.capital_slot], legs, time_ns, row, out, n)
    return work(
        legs, capital, orders, limits, row, time_ns, stale, desk.halted != 0,
        desk.order_latency_ns, desk.response_latency_ns, out, n,
    )  # fmt: skip


@kernel
def watch(account, legs, limits, desk, time_ns):
    """Accrue, mark, and lock the account where a loss limit is reached."""
    if is_idle(account) and desk.watch_all == 0:
        return
    capital = desk.capital
    accrue(account, legs, time_ns)
    equity = mark(account, legs)
    if account.locked == 0 and equity - account.block_equity <= -limits.daily_loss_max * capital:
        account.locked = 1
    if account.equity_peak - equity >= limits.drawdown_max * capital:
        account.locked = 2
    if account.locked != 0 and (account.wanted[Y] != 0.0 or account.wanted[X] != 0.0):
        want(account, legs, 0.0, 0.0, LOSS)
        account.direction = 0
        account.multiple = 0.0  # capital opens again with the followed slot's next entry


@kernel
def want(account, legs, y, x, purpose):
    """Want a new position and aim at the whole of it."""
    account.wanted[Y] = y
    account.wanted[X] = x
    account.purpose = purpose
    account.attempts = 0
    account.retry_at_ns = 0
    aim(account, legs, 1.0)


@kernel
def decide_slot(account, legs, forecast, strategy, capital, log_y, log_x, time_ns, s, out, n):
    """Let a slot's strategy decide; returns the number of rows in `out`."""
    sd, hedge_ratio = forecast.spread_sd, forecast.hedge_ratio
    z = (log_y - forecast.intercept - hedge_ratio * log_x) / sd
    forecast.z = z
    if account.locked != 0 or time_ns < account.warm_at_ns:
        return n
    ratio = edge_cost_ratio(z, strategy.exit_z, sd, round_trip_cost(legs, hedge_ratio))
    direction, account.stopped, purpose = decide(
        strategy, account.direction, account.stopped, z, forecast.alarm != 0, ratio
    )
    if direction == account.direction:
        return n
    if direction == 0:
        account.direction = 0
        want(account, legs, 0.0, 0.0, purpose)
        return n
    value = direction * notional(strategy, sd, forecast.size, capital)
    y = value / mid(legs[Y])
    x = -hedge_ratio * value / mid(legs[X])
    return enter(account, legs, direction, y, x, time_ns, s, out, n)


@kernel
def round_trip_cost(legs, hedge_ratio):
    """Fees and spread of opening and closing both legs, as a share of the y leg's value."""
    y, x = legs[Y], legs[X]
    half_y = 0.5 * (y.ask - y.bid) / mid(y)
    half_x = 0.5 * (x.ask - x.bid) / mid(x)
    return 2.0 * (y.taker_fee_rate + half_y + abs(hedge_ratio) * (x.taker_fee_rate + half_x))


@kernel
def enter(account, legs, direction, y, x, time_ns, s, out, n):
    """Want the position (y, x) from flat, unless a leg cannot be shorted, is no number or below a
    lot.
    """
    for i in range(2):
        short = (y if i == Y else x) < 0.0
        if short and legs[i].short == SHORT_NONE:
            return refuse(account, s, i, NO_BORROW, time_ns, out, n)
    if not (abs(y) < np.inf and abs(x) < np.inf):
        return refuse(account, s, X if abs(y) < np.inf else Y, NOT_FINITE, time_ns, out, n)
    want(account, legs, y, x, ENTER)
    if account.goal[Y] == 0.0 or account.goal[X] == 0.0:
        want(account, legs, 0.0, 0.0, ENTER)
        small = Y if whole_lots(abs(y), legs[Y].lots_per_unit) == 0.0 else X
        return refuse(account, s, small, LOT, time_ns, out, n)
    account.direction = direction
    account.entered_at_ns = time_ns
    return n


@kernel
def follow(terms, capital, twin, legs, time_ns, row, out, n):
    """Let the capital account follow the slot it points at; returns the number of rows in `out`."""
    busy = capital.under_way != 0
    if capital.handing_over == 1 and not busy:
        capital.handing_over = 2
        capital.multiple = hedged_multiple(capital.position, twin.wanted)
        if twin.wanted[Y] == 0.0 and twin.wanted[X] == 0.0:
            capital.multiple = 0.0
    if twin.entered_at_ns == time_ns and capital.handing_over != 1:
        capital.multiple = 1.0
        if capital.whole_from_ns == NEVER_NS:
            capital.whole_from_ns = time_ns
    late = (
        capital.handing_over == 2 and time_ns - capital.handover_started_ns >= terms.handover_ns_max
    )
    if late or terms.flatten != 0:
        capital.multiple = 0.0
    if capital.locked == 0 and capital.handing_over != 1:
        copy_wanted(terms, capital, twin, legs)
    if capital.handing_over == 2 and at_goal(capital, legs) and not busy:
        n = end_handover(capital, time_ns, row, late, out, n)
    return n


@kernel
def copy_wanted(terms, capital, twin, legs):
    """Want the capital's multiple of what the followed slot wants."""
    y = capital.multiple * twin.wanted[Y]
    x = capital.multiple * twin.wanted[X]
    if y != capital.wanted[Y] or x != capital.wanted[X]:
        purpose = twin.purpose
        if capital.handing_over != 0:
            purpose = HANDOVER
        if terms.flatten != 0:
            purpose = FLATTEN
        want(capital, legs, y, x, purpose)


@kernel
def end_handover(capital, time_ns, row, late, out, n):
    """The capital account is where the new slot is: say so, with what it cost."""
    capital.handing_over = 0
    written = outcome(out, n, FLATTENED if late else HANDED_OVER, time_ns, row, 0)
    written.fee = capital.fees + capital.slippage - capital.handover_costs
    return n + 1


@kernel
def start_handover(accounts, time_ns):
    """Begin to bring the capital account to the slot that it now follows."""
    capital = accounts[accounts.shape[0] - 1]
    capital.handing_over = 1
    capital.handover_started_ns = time_ns
    capital.handover_costs = capital.fees + capital.slippage
    capital.whole_from_ns = NEVER_NS  # until the next entry that it makes whole


@kernel
def mark_all(desk, legs, accounts, time_ns):
    """Accrue and mark every live account at `time_ns`."""
    desk[0].watch_all = 1
    for a in range(accounts.shape[0]):
        if accounts[a].live != 0:
            accrue(accounts[a], legs, time_ns)
            mark(accounts[a], legs)


@kernel
def open_blocks(accounts):
    """Start the next block of every account; a daily-loss lock ends with its day."""
    for a in range(accounts.shape[0]):
        open_block(accounts[a])
        if accounts[a].locked == 1:
            accounts[a].locked = 0


@kernel
def settle_funding(legs, accounts, i, rate):
    """Settle leg `i`'s funding on what every account holds, at the mid."""
    for a in range(accounts.shape[0]):
        if accounts[a].live != 0 and accounts[a].position[i] != 0.0:
            pay_funding(accounts[a], i, rate, mid(legs[i]))


@kernel
def unlock(desk, accounts):
    """The operator lets the capital account trade again after a drawdown, measured from here."""
    desk[0].watch_all = 1
    capital = accounts[accounts.shape[0] - 1]
    capital.locked = 0
    capital.equity_peak = capital.equity
