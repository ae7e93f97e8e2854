"""A made-up market whose truth is known: a perpetual (y) and the spot (x) that it follows, with all that goes wrong.

    log x_t = log x_{t-1} + sqrt(h_t) e_t,              h: GARCH(1,1), doubled on turbulent days
    log y_t = intercept_t + hedge_t log x_t + spread_t
    spread_t = phi spread_{t-1} + sqrt(g_t) u_t,        g: GARCH(1,1), phi = 2^(-step / half-life)

`hedge` and `intercept` are random walks, and the intercept jumps once, late: the relation breaks and holds again at a
new level. Around that: outages, fundings, thin tops, and quotes planted wrong. One seed gives one market, to the bit.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.events import Funding, Instrument, Mark, MarketEvent, Quote
from hft_lib.kernel import kernel
from hft_lib.market.merge import DAY_NS
from hft_lib.market.tape import Tape, TapeWriter

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
BLOCK_ROWS = 16_384
TRUTH = "truth.json"
TRUTH_ROWS = "truth.parquet"


class SyntheticMarket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every magnitude of the market. Standard deviations named `_day` are of one day's change, in log units.

    `irregular` makes the times between steps exponential with mean `step_s` and quotes one leg, at random, a step.
    """

    y_symbol: str = "SYN/USDT:USDT"
    x_symbol: str = "SYN/USDT"
    start_ns: int = 1_704_067_200 * 10**9  # 2024-01-01
    days: float = 300.0
    step_s: float = 60.0
    irregular: bool = False

    price_start: float = 100.0
    price_tick: float = 0.001
    quantity_step: float = 0.001
    half_quoted_spread_bp: float = 0.5
    x_sd_day: float = 0.02
    x_garch_alpha: float = 0.05
    x_garch_beta: float = 0.93

    hedge_start: float = 1.0
    hedge_sd_day: float = 0.0002
    intercept_sd_day: float = 0.0002
    spread_sd: float = 0.0025
    spread_half_life_s: float = 1800.0
    spread_garch_alpha: float = 0.10
    spread_garch_beta: float = 0.85
    turbulent_scale: float = 2.0
    turbulent_start_probability_day: float = 0.04
    turbulent_end_probability_day: float = 0.35
    break_at_fraction: float = 0.85
    break_size: float = 0.015

    outages_per_day: float = 0.03
    outage_hours_min: float = 1.0
    outage_hours_max: float = 6.0
    flaws_per_day: float = 0.15
    size_median: float = 5000.0
    size_log_sd: float = 0.5
    thin_probability: float = 0.01
    thin_size: float = 20.0
    latency_ms_mean: float = 8.0

    taker_fee_rate: float = 0.0002
    maker_fee_rate: float = 0.0
    borrow_rate_annual: float = 0.05
    funding_rate_mean: float = 0.0001
    funding_rate_sd: float = 0.0001
    funding_hours: float = 8.0


class Truth(msgspec.Struct, frozen=True):
    """What the quotes were made from: one row a step, (steps,) each; `turbulent` is 1.0 on turbulent days."""

    time_ns: Times
    x_log_price: Vector
    y_log_price: Vector
    hedge_ratio: Vector
    intercept: Vector
    spread: Vector
    turbulent: Vector
    break_ns: int
    outages: list[tuple[int, int]]
    flaws: dict[str, int]


def ticks(count: int, quotes_per_s: float = 200.0, **changes: Any) -> SyntheticMarket:
    """A market of `count` irregular quotes, for measurements; `changes` are other fields of SyntheticMarket."""
    step_s = 1.0 / quotes_per_s
    return SyntheticMarket(
        days=count * step_s / 86_400.0, step_s=step_s, irregular=True, flaws_per_day=0.0, **changes
    )


def synthesise(
    seed: int, market: SyntheticMarket = SyntheticMarket()
) -> tuple[Iterator[MarketEvent], Truth]:
    """The events of the market of `seed`, in time order, and its truth; the same seed gives the same of both."""
    random = np.random.Generator(np.random.PCG64(seed))
    time_ns = _times(random, market)
    paths = _paths(random, market, time_ns)
    outages = _outages(random, market, time_ns)
    quotes = _quotes(random, market, paths, time_ns, outages)
    flaws = _plant_flaws(random, market, quotes)
    special = _instruments(market) + _fundings(random, market, paths, time_ns)
    truth = Truth(time_ns=time_ns, outages=outages, flaws=flaws, **paths)
    return _events(quotes, (market.x_symbol, market.y_symbol), special), truth


def write(
    seed: int,
    out: Path | str,
    market: SyntheticMarket = SyntheticMarket(),
    progress: Callable[[int], None] | None = None,
) -> Tape:
    """Write the market of `seed` as a tape at `out`, with its truth beside the rows (`truth.json`, `truth.parquet`).

    `progress` is told the rows of each group written. Raises TapeError where `out` is taken.
    """
    events, truth = synthesise(seed, market)
    source = {"synthetic": msgspec.to_builtins(market), "seed": seed}
    with TapeWriter(out, source) as tape:
        tape.write(events, progress)
        write_truth(tape.directory, seed, market, truth)
    return Tape.open(out)


def write_truth(directory: Path, seed: int, market: SyntheticMarket, truth: Truth) -> None:
    """Write what the market was made from: its magnitudes and each day in JSON, each step in Parquet."""
    steps = {
        name: getattr(truth, name)
        for name in ("time_ns", "hedge_ratio", "intercept", "spread", "turbulent")
    }
    pq.write_table(pa.table(steps), directory / TRUTH_ROWS, compression="zstd")
    document = {
        "seed": seed,
        "market": msgspec.to_builtins(market),
        "break_ns": truth.break_ns,
        "outages": truth.outages,
        "flaws": truth.flaws,
        "days": list(_days(truth)),
    }
    content = msgspec.json.format(msgspec.json.encode(document), indent=1)
    (directory / TRUTH).write_bytes(content + b"\n")


def _days(truth: Truth) -> Iterator[dict[str, Any]]:
    """Each UTC day's relation at its end, the spread's standard deviation within it, and its regime."""
    day = truth.time_ns // DAY_NS
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(day)]):
        broke = bool(truth.time_ns[start] <= truth.break_ns <= truth.time_ns[end - 1])
        calm = "turbulent" if truth.turbulent[start] else "calm"
        yield {
            "day": str(np.datetime64(int(day[start]), "D")),
            "hedge_ratio": float(truth.hedge_ratio[end - 1]),
            "intercept": float(truth.intercept[end - 1]),
            "spread_sd": float(np.std(truth.spread[start:end])),
            "regime": "break" if broke else calm,
        }


# --- paths ---


def _times(random: np.random.Generator, market: SyntheticMarket) -> Times:
    count = max(int(round(market.days * 86_400.0 / market.step_s)), 2)
    step_ns = market.step_s * 1e9
    if not market.irregular:
        return market.start_ns + np.arange(1, count + 1) * round(step_ns)
    gaps = random.standard_exponential(count) * step_ns
    return market.start_ns + np.cumsum(np.maximum(gaps.astype(np.int64), 1))


def _paths(
    random: np.random.Generator, market: SyntheticMarket, time_ns: Times
) -> dict[str, Any]:
    count = len(time_ns)
    day_fraction = market.step_s / 86_400.0
    day_root = math.sqrt(day_fraction)
    turbulent = _turbulent(random, market, time_ns)
    scale = np.where(turbulent > 0.0, market.turbulent_scale, 1.0)
    x_returns = scale * _garch(
        random.standard_normal(count), market.x_garch_alpha, market.x_garch_beta
    )
    x_log = math.log(market.price_start) + np.cumsum(market.x_sd_day * day_root * x_returns)
    carry = 2.0 ** (-market.step_s / market.spread_half_life_s)
    shock_sd = market.spread_sd * math.sqrt(1.0 - carry * carry)
    shocks = scale * _garch(
        random.standard_normal(count), market.spread_garch_alpha, market.spread_garch_beta
    )
    spread = _reverting(shock_sd * shocks, carry)
    walk = np.cumsum(random.standard_normal((2, count)) * day_root, axis=1)
    hedge = market.hedge_start + market.hedge_sd_day * walk[0]
    broken_from = min(int(market.break_at_fraction * count), count - 1)
    intercept = (1.0 - market.hedge_start) * x_log[0] + market.intercept_sd_day * walk[1]
    intercept[broken_from:] += market.break_size
    return {
        "x_log_price": x_log,
        "y_log_price": intercept + hedge * x_log + spread,
        "hedge_ratio": hedge,
        "intercept": intercept,
        "spread": spread,
        "turbulent": turbulent,
        "break_ns": int(time_ns[broken_from]),
    }


def _turbulent(
    random: np.random.Generator, market: SyntheticMarket, time_ns: Times
) -> Vector:
    """A two-state Markov chain over UTC days, spread over the steps: 1.0 on turbulent days."""
    day = time_ns // DAY_NS - time_ns[0] // DAY_NS
    state, states = False, []
    for draw in random.random(int(day[-1]) + 1).tolist():
        if state:
            state = draw >= market.turbulent_end_probability_day
        else:
            state = draw < market.turbulent_start_probability_day
        states.append(float(state))
    return np.array(states)[day]


@kernel
def _garch(normals: Vector, alpha: float, beta: float) -> Vector:
    """Shocks (steps,) of unit unconditional variance whose variance clusters."""
    shocks = np.empty_like(normals)
    variance = 1.0
    for row in range(len(normals)):
        shocks[row] = math.sqrt(variance) * normals[row]
        variance = 1.0 - alpha - beta + alpha * shocks[row] * shocks[row] + beta * variance
    return shocks


@kernel
def _reverting(shocks: Vector, carry: float) -> Vector:
    """A first-order autoregression (steps,) from zero."""
    levels = np.empty_like(shocks)
    level = 0.0
    for row in range(len(shocks)):
        level = carry * level + shocks[row]
        levels[row] = level
    return levels


def _outages(
    random: np.random.Generator, market: SyntheticMarket, time_ns: Times
) -> list[tuple[int, int]]:
    """Stretches without quotes, start and end in ns; none on the first day, where the models warm."""
    count = int(random.poisson(market.outages_per_day * market.days))
    span = max(int(time_ns[-1]) - market.start_ns - DAY_NS, 0)
    starts = market.start_ns + DAY_NS + np.sort(random.random(count)) * span
    hours = random.uniform(market.outage_hours_min, market.outage_hours_max, count)
    pairs = zip(starts.astype(np.int64).tolist(), (hours * 3.6e12).astype(np.int64).tolist())
    return [(start, start + length) for start, length in pairs] if span else []


# --- quotes ---


class _Quotes(msgspec.Struct):
    """Rows of both legs in time order: leg 0 is x and precedes leg 1 at one time."""

    time_ns: Times
    exchange_time_ns: Times
    leg: npt.NDArray[np.int64]
    bid: Vector
    bid_size: Vector
    ask: Vector
    ask_size: Vector
    update_id: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> "_Quotes":
        """The chosen rows, in the order chosen."""
        return _Quotes(*(getattr(self, name)[rows] for name in self.__struct_fields__))


def _quotes(
    random: np.random.Generator,
    market: SyntheticMarket,
    paths: dict[str, Any],
    time_ns: Times,
    outages: list[tuple[int, int]],
) -> _Quotes:
    step, leg = _quoted(random, market, time_ns, outages)
    logs = np.where(leg == 0, paths["x_log_price"][step], paths["y_log_price"][step])
    bid, ask = _prices(market, np.exp(logs))
    times = time_ns[step]
    delay_ns = 1e6 * market.latency_ms_mean * random.standard_exponential(len(step))
    return _Quotes(
        time_ns=times,
        exchange_time_ns=times - delay_ns.astype(np.int64),
        leg=leg,
        bid=bid,
        bid_size=_sizes(random, market, len(step)),
        ask=ask,
        ask_size=_sizes(random, market, len(step)),
        update_id=np.arange(1, len(step) + 1),
    )


def _quoted(
    random: np.random.Generator,
    market: SyntheticMarket,
    time_ns: Times,
    outages: list[tuple[int, int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which step and leg each quote shows, without those that fall in an outage."""
    up = np.ones(len(time_ns), np.bool_)
    for start, end in outages:
        up[np.searchsorted(time_ns, start) : np.searchsorted(time_ns, end)] = False
    steps = np.flatnonzero(up)
    if market.irregular:
        return steps, random.integers(0, 2, len(steps))
    return np.repeat(steps, 2), np.tile(np.array([0, 1]), len(steps))


def _prices(market: SyntheticMarket, mid: Vector) -> tuple[Vector, Vector]:
    """Bid and ask on the tick, at least a tick apart; rounding hides the last bit, in which machines' exp differ."""
    per_unit = 1.0 / market.price_tick
    half = mid * market.half_quoted_spread_bp * 1e-4
    bid_ticks = np.rint((mid - half) * per_unit)
    ask_ticks = np.maximum(np.rint((mid + half) * per_unit), bid_ticks + 1.0)
    return _on_grid(bid_ticks, market.price_tick), _on_grid(ask_ticks, market.price_tick)


def _on_grid(steps: Vector, step: float) -> Vector:
    decimals = max(-math.floor(math.log10(step)), 0)
    return np.round(steps * step, decimals)


def _sizes(random: np.random.Generator, market: SyntheticMarket, count: int) -> Vector:
    """Ample log-normal sizes, with now and then a thin top that fills an order in part only."""
    sizes = market.size_median * np.exp(market.size_log_sd * random.standard_normal(count))
    thin = random.random(count) < market.thin_probability
    sizes = np.where(thin, market.thin_size * (0.1 + random.random(count)), sizes)
    return _on_grid(np.maximum(np.rint(sizes / market.quantity_step), 1.0), market.quantity_step)


def _plant_flaws(
    random: np.random.Generator, market: SyntheticMarket, quotes: _Quotes
) -> dict[str, int]:
    """Spoil a few quotes: cross them, lose a price, or send one twice (which delays the leg's next)."""
    count = len(quotes.time_ns)
    wrong = min(int(round(market.flaws_per_day * market.days)), count // 8)
    rows = np.sort(random.choice(np.arange(4, max(count, 5)), size=wrong, replace=False))
    crossed, lost, twice = (rows[start::3] for start in range(3))
    quotes.bid[crossed], quotes.ask[crossed] = quotes.ask[crossed], quotes.bid[crossed].copy()
    quotes.bid[lost] = np.nan
    repeated = np.sort(np.concatenate((np.arange(count), twice)))
    for name in quotes.__struct_fields__:
        setattr(quotes, name, getattr(quotes, name)[repeated])
    return {"crossed": len(crossed), "not_a_number": len(lost), "duplicate": len(twice)}


# --- events ---


def _instruments(market: SyntheticMarket) -> list[MarketEvent]:
    def instrument(symbol: str, kind: str, short: str, borrow_rate_annual: float) -> Instrument:
        return Instrument(
            time_ns=market.start_ns,
            symbol=symbol,
            kind=kind,
            short=short,
            borrow_rate_annual=borrow_rate_annual,
            taker_fee_rate=market.taker_fee_rate,
            maker_fee_rate=market.maker_fee_rate,
            price_tick=market.price_tick,
            quantity_step=market.quantity_step,
            notional_min_quote=5.0,
            cadence_ns=round(market.step_s * 1e9) * (2 if market.irregular else 1),
        )

    return [
        instrument(market.x_symbol, "spot", "borrow", market.borrow_rate_annual),
        instrument(market.y_symbol, "perp", "perp", 0.0),
    ]


def _fundings(
    random: np.random.Generator,
    market: SyntheticMarket,
    paths: dict[str, Any],
    time_ns: Times,
) -> list[MarketEvent]:
    """The perpetual's mark price and funding at each due time, whether quotes come or not."""
    period_ns = round(market.funding_hours * 3.6e12)
    due = np.arange(market.start_ns // period_ns + 1, int(time_ns[-1]) // period_ns + 1) * period_ns
    rates = market.funding_rate_mean + market.funding_rate_sd * random.standard_normal(len(due))
    rows = np.searchsorted(time_ns, due, side="right") - 1
    marks = np.round(np.exp(paths["y_log_price"][np.maximum(rows, 0)]), 6)
    events: list[MarketEvent] = []
    for time, rate, mark in zip(due.tolist(), np.round(rates, 8).tolist(), marks.tolist()):
        events.append(Mark(time, time, market.y_symbol, mark))
        events.append(Funding(time, time, market.y_symbol, rate))
    return events


def _events(
    quotes: _Quotes, symbols: tuple[str, str], special: list[MarketEvent]
) -> Iterator[MarketEvent]:
    """The quotes with `special` between them, each before the quotes of its time."""
    start = 0
    for event in special:
        end = int(np.searchsorted(quotes.time_ns, event.time_ns))
        yield from _quote_events(quotes, symbols, start, end)
        yield event
        start = end
    yield from _quote_events(quotes, symbols, start, len(quotes.time_ns))


def _quote_events(
    quotes: _Quotes, symbols: tuple[str, str], start: int, end: int
) -> Iterator[Quote]:
    names = np.array(symbols, object)
    for first in range(start, end, BLOCK_ROWS):
        rows = slice(first, min(first + BLOCK_ROWS, end))
        yield from map(
            Quote,
            quotes.time_ns[rows].tolist(),
            quotes.exchange_time_ns[rows].tolist(),
            names[quotes.leg[rows]].tolist(),
            quotes.bid[rows].tolist(),
            quotes.bid_size[rows].tolist(),
            quotes.ask[rows].tolist(),
            quotes.ask_size[rows].tolist(),
            quotes.update_id[rows].tolist(),
        )
