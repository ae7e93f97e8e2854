"""The compiled loop of a back-test: what six stages do with one pair's ticks, in one.

It calls the stages' own kernels, over the stages' own arrays; what of a tick is not a kernel there,
cleaning, alignment and what execution counts, is here as numbers, for the plain case alone. The
first row that is not plain, or that control or the end of a day comes before, ends the loop: the
stages take that one.
"""

import numpy as np

from hft_lib.backtest.fused_rows import DEPTH, MARK, OTHER, QUOTE, TIME, TRADE, X, Y
from hft_lib.health.window import take as take_window
from hft_lib.kernel import kernel
from hft_lib.stages.desk import parts, settle, take_forecasts, trade
from hft_lib.stages.garch_model import observe_slots as observe_volatilities
from hft_lib.stages.kalman_filter import observe_slots as observe_hedges
from hft_lib.stages.risk_manager import correlated_size
from hft_lib.stages.risk_manager import observe_slots as observe_risks

# A `cleaning.SymbolState`, in numbers.
KNOWN = np.dtype(
    [
        ("top", np.float64, (4,)),  # bid, its size, ask, its size
        ("quote_ns", np.int64),
        ("quote_exchange_ns", np.int64),
        ("update_id", np.int64),
        ("update_suspect", np.int64),
        ("update_believed_ns", np.int64),
        ("update_is_sure", np.int64),
        ("trade_id", np.int64),
        ("trade_suspect", np.int64),
        ("trade_believed_ns", np.int64),
        ("trade_is_sure", np.int64),
        ("trade_exchange_ns", np.int64),
        ("depth_id", np.int64),
        ("depth_suspect", np.int64),
        ("depth_believed_ns", np.int64),
        ("depth_is_sure", np.int64),
        ("has_offset", np.int64),
        ("offset_ns", np.int64),
        ("late_since_ns", np.int64),
        ("stale_after_ns", np.float64),
        ("gap_ns", np.int64),
    ]
)

# What cleaning goes by (`market.cleaning`): handed over, for compiled code holds its constants.
RULES = np.dtype(
    [
        ("clock_jump_ns_max", np.int64),
        ("late_ns", np.int64),
        ("updates_a_second_max", np.int64),
        ("trades_a_second_max", np.int64),
    ]
)

# Where the pair is: on ingestion's clock and grid, in its moment, in execution's block; and whether
# a leg is still to bring its first quote: until then it is stale, and nothing is told of that. The
# last four say why the loop ended: what was settled and traded, in rows of their arrays, and
# whether the models stepped and execution looked at them.
PLACE = np.dtype(
    [
        ("time_ns", np.int64),
        ("grid_ns", np.int64),
        ("grid_index", np.int64),
        ("is_stale", np.int64),
        ("is_waiting", np.int64),
        ("is_open", np.int64),
        ("moments", np.int64),
        ("volatility_sum", np.float64),
        ("volatility_count", np.int64),
        ("alarm", np.int64),
        ("settled", np.int64),
        ("traded", np.int64),
        ("stepped", np.int64),
        ("looked", np.int64),
    ]
)


@kernel
def follows(last, new, suspect, a_second_max):
    """Whether an id is the next beyond doubt, at whatever time it comes."""
    return new == 0 or (suspect == 0 and 0 < last < new and new - last <= a_second_max)


@kernel
def is_plain_quote(rules, known, row):
    """Whether cleaning has nothing to say of a quote; a leg's first is for the stages."""
    if known.quote_ns == 0:
        return False
    bid, bid_size, ask, ask_size = row.values[0], row.values[1], row.values[2], row.values[3]
    if not (0.0 < bid <= ask < np.inf and 0.0 <= bid_size < np.inf and 0.0 <= ask_size < np.inf):
        return False
    if row.time_ns - known.quote_ns > known.gap_ns:
        return False
    if row.number == 0 and row.exchange_ns != 0 and row.exchange_ns <= known.quote_exchange_ns:
        return False
    if not follows(known.update_id, row.number, known.update_suspect, rules.updates_a_second_max):
        return False
    return is_in_time(rules, known, row, rules.clock_jump_ns_max)


@kernel
def is_plain_trade(rules, known, row):
    """Whether cleaning has nothing to say of a trade, and none is missing before it."""
    price, size = row.values[0], row.values[1]
    if not (0.0 < price < np.inf and 0.0 < size < np.inf):
        return False
    if row.number > known.trade_id + 1:
        return False
    if not follows(known.trade_id, row.number, known.trade_suspect, rules.trades_a_second_max):
        return False
    return is_in_time(rules, known, row, rules.late_ns)


@kernel
def is_plain_depth(rules, known, row):
    """Whether cleaning has nothing to say of a change of the book: none is missing before it."""
    if row.number == 0 or row.previous > known.depth_id:
        return False
    return follows(known.depth_id, row.number, known.depth_suspect, rules.updates_a_second_max)


@kernel
def is_in_time(rules, known, row, late_ns_max):
    """Whether the clocks have not moved against each other."""
    if row.exchange_ns <= 0 or known.has_offset == 0:
        return row.exchange_ns >= 0  # one before 1970 is for the stages
    moved_ns = row.time_ns - row.exchange_ns - known.offset_ns
    return -rules.clock_jump_ns_max <= moved_ns <= late_ns_max


@kernel
def take(known, row):
    """Take a plain row that a venue brought."""
    if row.kind == DEPTH:
        known.depth_is_sure = 1
        known.depth_believed_ns = row.time_ns
        known.depth_id = row.number
    if row.kind == DEPTH or row.kind == MARK:
        return
    if row.exchange_ns != 0:
        known.has_offset = 1
        known.offset_ns = row.time_ns - row.exchange_ns
    if row.kind == QUOTE:
        take_quote(known, row)
    else:
        take_trade(known, row)


@kernel
def take_quote(known, row):
    """Take the top of a plain quote and, where it has one, its id."""
    known.top[:] = row.values
    known.quote_ns = row.time_ns
    known.quote_exchange_ns = row.exchange_ns
    if row.number != 0:
        known.update_is_sure = 1
        known.update_believed_ns = row.time_ns
        known.update_id = row.number


@kernel
def take_trade(known, row):
    """Take the id of a plain trade, where it has one."""
    known.late_since_ns = 0
    if row.number != 0:
        known.trade_is_sure = 1
        known.trade_believed_ns = row.time_ns
        known.trade_id = row.number
        known.trade_exchange_ns = row.exchange_ns


@kernel
def is_stale(known, row):
    """Whether a leg is stale once `row` is taken."""
    for i in range(2):
        is_new = row.kind == QUOTE and row.leg == i
        age_ns = 0 if is_new else row.time_ns - known[i].quote_ns
        if age_ns > known[i].stale_after_ns:
            return True
    return False


@kernel
def is_plain(rules, known, row):
    """Whether the stages would take the row and say nothing of it."""
    if row.kind == QUOTE:
        return is_plain_quote(rules, known[row.leg], row)
    if row.kind == TRADE:
        return is_plain_trade(rules, known[row.leg], row)
    if row.kind == MARK:
        return 0.0 < row.values[0] < np.inf
    return is_plain_depth(rules, known[row.leg], row)


@kernel
def enter(rules, known, place, row, stop_ns):
    """Take a row in, if it is for the loop; returns whether it was."""
    if row.kind == OTHER or row.time_ns >= stop_ns or row.time_ns < place.time_ns:
        return False
    if row.kind != TIME:
        stale = 1 if is_stale(known, row) else 0
        if not is_plain(rules, known, row) or (place.is_waiting == 0 and stale != place.is_stale):
            return False
        place.is_stale = stale
        take(known[row.leg], row)
    place.time_ns = row.time_ns
    return True


@kernel
def grid_steps(place, row):
    """How many intervals the models step: some at the first complete moment past a grid point."""
    if row.kind == TIME:
        return 0
    place.is_open = row.more
    if row.more != 0 or place.is_stale != 0:
        return 0
    place.moments += 1
    index = row.time_ns // place.grid_ns
    if index <= place.grid_index:
        return 0
    steps = index - place.grid_index if place.grid_index != 0 else 1
    place.grid_index = index
    return steps


@kernel
def step_models(
    known, place, time_ns, steps, filters, filter_states, hedges,
    models, model_states, horizons, live, volatilities, window, clock, warm_ns,
    detector_params, detectors, watches, risks, log_mids, returns, stepped_ns, products, pair_row,
):  # fmt: skip
    """Step what the three model stages hold of the pair."""
    y_mid = 0.5 * (known[Y].top[0] + known[Y].top[2])
    x_mid = 0.5 * (known[X].top[0] + known[X].top[2])
    observe_hedges(filters, filter_states, hedges, y_mid, x_mid, steps)
    observe_volatilities(models, model_states, horizons, live, volatilities, hedges, steps)
    take_window(
        window, clock, warm_ns, live, hedges, volatilities,
        y_mid, x_mid, time_ns, steps, place.moments,
    )  # fmt: skip
    size = correlated_size(
        log_mids, returns, stepped_ns, products, pair_row, y_mid, time_ns, place.grid_ns
    )
    observe_risks(detector_params, detectors, watches, risks, volatilities, time_ns, size)
    place.moments = 0
    place.stepped = 1


@kernel
def note(place, slot, volatilities, risks):
    """Keep what a block says of its models, as `execution.load` does."""
    if slot >= 0:
        place.volatility_sum += volatilities[slot].spread_sd
        place.volatility_count += 1
        if risks[slot].alarm != 0:
            place.alarm = 1


@kernel(nogil=True)
def run(
    rows, first, stop_ns, rules, known, place,
    filters, filter_states, hedges,
    models, model_states, horizons, live, volatilities, window, clock, warm_ns,
    detector_params, detectors, watches, risks, log_mids, returns, stepped_ns, products, pair_row,
    sheet, settled, traded,
):  # fmt: skip
    """Take rows from `first` on, up to the one after which there is something to tell, or before
    the one that is for the stages: at or past `stop_ns`, or not plain; returns its place.
    """
    here, i = place[0], first
    here.settled = here.traded = here.stepped = here.looked = 0
    y, x = known[Y], known[X]
    desk, legs, limits, forecasts, strategies, accounts, orders, _ = parts(sheet)
    while i < rows.shape[0] and here.settled == 0 and here.traded == 0:
        row = rows[i]
        if not enter(rules[0], known, here, row, stop_ns):
            break
        i += 1
        steps = grid_steps(here, row)
        if steps > 0:
            step_models(
                known, here, row.time_ns, steps, filters, filter_states, hedges,
                models, model_states, horizons, live, volatilities, window, clock, warm_ns,
                detector_params, detectors, watches, risks,
                log_mids, returns, stepped_ns, products, pair_row,
            )  # fmt: skip
        if row.time_ns >= desk[0].next_due_ns:
            here.settled = settle(desk, legs, accounts, orders, row.time_ns, settled)
        if row.kind == TIME or row.more != 0:
            continue
        if here.looked == 0 or steps > 0:
            take_forecasts(forecasts, hedges, volatilities, risks)
        here.looked = 1
        if steps > 0:
            note(here, desk[0].capital_slot, volatilities, risks)
        here.traded = trade(
            desk, legs, limits, forecasts, strategies, accounts, orders, traded,
            row.time_ns, here.is_stale != 0,
            y.top[0], y.top[1], y.top[2], y.top[3], y.quote_ns,
            x.top[0], x.top[1], x.top[2], x.top[3], x.quote_ns,
        )  # fmt: skip
    return i
