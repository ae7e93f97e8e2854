"""The scenarios by name: what is true in each, and what EVOP must keep to in it.

A null (`null-...`) holds nothing better than its champion, so every promotion is false. The bounds
are the targets that the design was accepted by, from a prototype of its rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hft_lib.backtest.evop_years import noise
from hft_lib.backtest.evop_years.market import (
    CLIP,
    DAYS,
    ORDINARY_COST,
    ORDINARY_TURNOVER,
    S0,
    SETS,
    Market,
    TableMarket,
    daily,
    table,
    tighter,
)
from hft_lib.backtest.evop_years.noise import Draws, Noise
from hft_lib.backtest.evop_years.surface import surface

CANDIDATES = SETS - 1
RECORDED_BLOCK_DAYS = 3  # keeps what dependence there is between the days of a recording
HIDDEN_TAIL_LIMIT_SDS = 35.0  # a limit that does stand behind the tail
HISTORY_DAYS, TRIALS = 60, 200  # of a calibration that keeps its best
ALARM_RATE, GAP_SD = 0.02, 0.0003  # alarms a day; noise of the live account against its twin
TURNS, FLATTERY = 40.0, 0.25e-4  # a day, of the share; what simulated fills give away a turn
MORE_TURNS = 12.0
PAIRS = 3

Rng = np.random.Generator
Family = Callable[[Rng, int, int], Noise]


@dataclass(frozen=True)
class Bounds:
    """Targets; None where there is none. Shares are of simulated years."""

    false_max: float | None = None
    days_max: float | None = None
    gain_min: float | None = None
    found_min: float | None = None
    found_max: float | None = None


@dataclass(frozen=True)
class Scenario:
    """`build` draws the pairs of one year; `finds` is the event that `median_days_to_detect` and
    `detected` are about.

    `gain_most` scales the gain of a year; a rollback counts within `within_days` of the promotion.
    """

    name: str
    about: str
    build: Callable[[Rng], Sequence[Market]]
    bounds: Bounds = Bounds()
    finds: str = "promote"
    gain_most: float = 0.0
    within_days: int | None = None

    @property
    def is_null(self) -> bool:
        """Whether nothing is better than the first champion."""
        return self.name.startswith("null-")


# --- nulls ---


def equal(family: Family, rng: Rng) -> list[TableMarket]:
    """Candidates that are worth what the champion is."""
    return [table(family(rng, DAYS, CANDIDATES), rng, [0.0] * CANDIDATES)]


def equal_behind_a_limit(family: Family, limit_sds: float, rng: Rng) -> list[TableMarket]:
    """The same, under a daily loss limit of its own."""
    return [tighter(market, limit_sds) for market in equal(family, rng)]


def winners(rng: Rng) -> list[TableMarket]:
    """The best of many on one history, equal in truth; the days that follow depend on it."""
    drawn = noise.autocorrelated(rng, HISTORY_DAYS + DAYS, TRIALS)
    history = drawn.draws[:HISTORY_DAYS]
    best = np.argsort(-np.mean(history, axis=0) / np.std(history, axis=0))[:CANDIDATES]
    after = Noise(drawn.draws[HISTORY_DAYS:, best], drawn.volatility[HISTORY_DAYS:])
    return [table(after, rng, [0.0] * CANDIDATES)]


def several(rng: Rng) -> list[TableMarket]:
    """Pairs of one line, with equal sets each."""
    return [market for _ in range(PAIRS) for market in equal(noise.heavy_tails, rng)]


def alarmed(markets: Sequence[TableMarket], rng: Rng) -> list[TableMarket]:
    """The same with alarms, dearer candidates, and a live account that is not quite its twin."""
    dear = (1.2 * ORDINARY_COST, 1.2 * ORDINARY_TURNOVER)
    return [
        replace(
            market,
            alarm=(rng.random(DAYS) < ALARM_RATE).tolist(),
            gaps=(GAP_SD * rng.standard_normal(DAYS)).tolist(),
            costs=((ORDINARY_COST, ORDINARY_TURNOVER), *[dear] * CANDIDATES),
        )
        for market in markets
    ]


def guarded(build: Callable[[Rng], Sequence[TableMarket]], rng: Rng) -> list[TableMarket]:
    """`build` with every guard at work."""
    return alarmed(build(rng), rng)


def flattered(flattery: float, rng: Rng) -> list[TableMarket]:
    """Candidates whose only gain is what simulated fills give away: they trade more."""
    ir = MORE_TURNS * flattery / S0 * float(np.sqrt(365.0))
    (market,) = [table(noise.normal(rng, DAYS, CANDIDATES), rng, [ir] * CANDIDATES)]
    more = (ORDINARY_COST, TURNS + MORE_TURNS)
    market.ir = [0.0] * SETS
    gaps = TURNS * flattery + GAP_SD * rng.standard_normal(DAYS)
    costs = ((ORDINARY_COST, TURNS), *[more] * CANDIDATES)
    return [replace(market, gaps=gaps.tolist(), costs=costs)]


def flat(rng: Rng) -> list[Market]:
    """A surface without a slope."""
    return [surface(rng, 0.0)]


# --- alternatives ---


def better(ir: float, rng: Rng) -> list[TableMarket]:
    """The first candidate is worth `ir`, the others nothing."""
    return [table(noise.normal(rng, DAYS, CANDIDATES), rng, [ir] + [0.0] * (CANDIDATES - 1))]


def worse(ir: float, rng: Rng) -> list[TableMarket]:
    """All candidates lose."""
    return [table(noise.normal(rng, DAYS, CANDIDATES), rng, [-ir] * CANDIDATES)]


def lucky(ir_after: float, rng: Rng) -> list[TableMarket]:
    """A candidate with a run of luck that ends the day it gets the capital."""
    return [replace(market, ir_promoted=ir_after) for market in better(30.0, rng)]


def climb(gain_most: float, drift_units: float, rng: Rng) -> list[Market]:
    """A surface for the design to climb, its optimum still or wandering."""
    return [surface(rng, gain_most, drift_units)]


def cliff(gain_most: float, rng: Rng) -> list[Market]:
    """A surface that breaks off on the way to its optimum."""
    return [surface(rng, gain_most, 0.0, 2.0 * gain_most)]


def wild(gain_most: float, rng: Rng) -> list[Market]:
    """A surface under t3 noise: a covariance estimated from thirty days is far from the true."""
    made = surface(rng, gain_most)
    made.wild = True
    return [made]


# --- their targets ---

_MARTINGALE, _NULL, _REGIME = Bounds(false_max=0.01), Bounds(false_max=0.05), Bounds(false_max=0.08)
_DAYS_MAX = {3: None, 5: 200.0, 8: 105.0, 12: 65.0, 20: 38.0, 30: None}


def _null(
    name: str, about: str, bounds: Bounds, build: Callable[[Rng], Sequence[Market]]
) -> Scenario:
    return Scenario(f"null-{name}", about, build, bounds)


def _better(ir: int) -> Scenario:
    return Scenario(
        f"better-{ir}",
        f"one candidate of IR {ir}, tested first",
        partial(better, float(ir)),
        Bounds(false_max=0.05, days_max=_DAYS_MAX[ir]),
        gain_most=float(ir),
    )


def _climb(name: str, about: str, gain: float, gain_min: float | None, build: object) -> Scenario:
    assert callable(build)
    bounds = Bounds(false_max=0.05, gain_min=gain_min)
    return Scenario(name, about, build, bounds, gain_most=gain)


# --- recorded days ---


def recorded(
    differences: Draws, base: Draws, is_flipped: bool, ir: float, rng: Rng
) -> list[TableMarket]:
    """A year drawn in blocks from recorded days, its differences without a gain but `ir`, which
    the first candidate has.

    `differences` (recorded days, sets) and `base` (recorded days,), fractions of the share.
    Flipped: each day's sign is a coin's. Otherwise each set's mean is taken away, and what
    dependence there is between days stays. s0 is each set's own standard deviation.
    """
    fair, limit = fair_days(differences, is_flipped)
    rows = noise.resampled(rng, np.column_stack((base, fair)), DAYS, RECORDED_BLOCK_DAYS)
    drawn = noise.flipped(rng, rows[:, 1:]) if is_flipped else rows[:, 1:]
    columns = np.zeros((DAYS, SETS))
    columns[:, 1:] = drawn[:, np.arange(CANDIDATES) % differences.shape[1]]
    columns[:, 1] += daily(ir, S0)
    scale = S0 / float(np.mean(np.std(differences, axis=0, ddof=1)))
    market = TableMarket(
        differences=columns,
        base=scale * rows[:, 0],
        volatility=noise.volatilities(rng, DAYS).tolist(),
        ir=[0.0, ir, *[0.0] * (CANDIDATES - 1)],
    )
    return [tighter(market, limit)]


def fair_days(differences: Draws, is_flipped: bool) -> tuple[Draws, float]:
    """The recorded differences in units of `S0`, (days, sets), and the limit that holds for them
    in standard deviations: the worst day of any set, at least what the bets are clipped at.

    To be centred, each day on which a set differed loses the set's mean of such days: a day without
    a difference stays one. To be flipped, the days stay as they are and every size may be a loss.
    """
    scaled = S0 * differences / np.std(differences, axis=0, ddof=1)
    if is_flipped:
        return scaled, max(CLIP, float(np.max(np.abs(scaled))) / S0)
    active = scaled != 0.0
    means = np.sum(scaled, axis=0) / np.sum(active, axis=0)
    centred = np.where(active, scaled - means, 0.0)
    return centred, max(CLIP, -float(np.min(centred)) / S0)


def recorded_scenarios(differences: Draws, base: Draws) -> dict[str, Scenario]:
    """The nulls of one recording, and its centred days with a known gain added.

    Differences are scaled to one unit; the limits are as tight as the recording allows.
    """
    build = partial(recorded, differences, base)
    made = [
        _null(
            "tape-flipped", "recorded days, each sign a coin's", _NULL, partial(build, True, 0.0)
        ),
        _null("tape-centred", "recorded days less their mean", _NULL, partial(build, False, 0.0)),
        *(
            Scenario(
                f"tape-better-{ir}",
                f"recorded days less their mean, one candidate of IR {ir}",
                partial(build, False, float(ir)),
                Bounds(false_max=0.05),
                gain_most=float(ir),
            )
            for ir in _DAYS_MAX
        ),
    ]
    return {scenario.name: scenario for scenario in made}


# --- the table ---

_ALL = (
    _null("equal", "equal sets, normal days", _MARTINGALE, partial(equal, noise.normal)),
    _null("heavy-tails", "equal sets, t3", _MARTINGALE, partial(equal, noise.heavy_tails)),
    _null(
        "volatility-clusters",
        "equal sets, GARCH",
        _MARTINGALE,
        partial(equal, noise.volatility_clusters),
    ),
    _null("autocorrelated", "equal sets, AR(0.2)", _NULL, partial(equal, noise.autocorrelated)),
    _null(
        "regimes",
        "equal on average, drifts of IR 5 that turn every 20 d",
        _REGIME,
        partial(equal, noise.regimes),
    ),
    _null(
        "hidden-tail",
        "1 % of days lose 30 sd, mean zero, behind a limit of 35",
        _MARTINGALE,
        partial(equal_behind_a_limit, noise.hidden_tail, HIDDEN_TAIL_LIMIT_SDS),
    ),
    _null("penny", "an hour earns 1, or loses 199", _NULL, partial(equal, noise.penny)),
    _null("winner-of-many", "the best 8 of 200 on 60 d, AR(0.2)", _NULL, winners),
    _null(
        "sign-flipped",
        "skewed clustered t3, signs by a coin",
        _MARTINGALE,
        partial(equal, noise.sign_flipped),
    ),
    _null("several-pairs", f"{PAIRS} pairs in one line, t3", _NULL, several),
    _null(
        "all-guards",
        "equal sets, alarms, costs and a noisy live account",
        _MARTINGALE,
        partial(guarded, partial(equal, noise.normal)),
    ),
    _null(
        "flattered",
        "the gain is what simulated fills give away",
        _NULL,
        partial(flattered, FLATTERY),
    ),
    _null("flat-surface", "the design on a flat surface", Bounds(false_max=0.02), flat),
    Scenario(
        "broken-limit",
        "1 % of days lose 30 sd behind a limit of 5 that does not hold",
        partial(equal, noise.hidden_tail),
    ),
    Scenario("worse", "all candidates of IR -8", partial(worse, 8.0), _MARTINGALE),
    *(_better(ir) for ir in _DAYS_MAX),
    Scenario(
        "better-12-all-guards",
        "IR 12 with alarms, dearer trading and a noisy live account",
        partial(guarded, partial(better, 12.0)),
        Bounds(false_max=0.05),
        gain_most=12.0,
    ),
    _climb("surface-10", "the design, 10 to be gained", 10.0, 0.65, partial(climb, 10.0, 0.0)),
    _climb("surface-20", "the design, 20 to be gained", 20.0, 0.75, partial(climb, 20.0, 0.0)),
    _climb("estimated-covariance", "the same 10 under t3 noise", 10.0, None, partial(wild, 10.0)),
    _climb(
        "drifting-optimum",
        "20 to be gained, the optimum wanders 1 unit a year",
        20.0,
        None,
        partial(climb, 20.0, 1.0),
    ),
    _climb(
        "cliff",
        "20 to be gained, 40 lost from 0.6 units on the way there",
        20.0,
        None,
        partial(cliff, 20.0),
    ),
    Scenario(
        "lucky-then-bad",
        "IR 30 until it has the capital, then -12",
        partial(lucky, -12.0),
        Bounds(found_min=0.98),
        finds="rollback",
        within_days=90,
    ),
    Scenario(
        "lucky-then-equal",
        "IR 30 until it has the capital, then 0: a rollback is false",
        partial(lucky, 0.0),
        Bounds(found_max=0.05),
        finds="rollback",
        within_days=90,
    ),
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
