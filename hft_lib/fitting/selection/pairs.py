"""All pairs of a panel: tested both ways, the share of false claims controlled, doubts said.

    test      Engle and Granger, both directions, lags by Akaike up to `lags_max` (`engle_granger`)
    p_value   twice the smaller p: asymptotic, and where that is 1 % or less the larger of it and
              the one under the pair's own volatility (`wild`), by more walks near a claim; its
              square root where the hedge leaves more than 1.5 % of a leg's variance (`p_ordinary`)
    q_value   Benjamini and Yekutieli over all pairs that were tested
    claimed   q_value <= level, and no rule of `doubts` speaks against it

A pair that cannot be tested is listed with its reason and without values. The work is compiled and
lets threads run; the result does not depend on how many there are, nor on the other pairs but
through q.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from hft_lib.fitting.relation import half_life_s, least_squares
from hft_lib.fitting.selection.doubts import (
    contradictions,
    doubt,
    doubt_of_halves,
    doubt_of_leg,
    johansen_rank,
    legs_are_slow,
)
from hft_lib.fitting.selection.engle_granger import both_directions
from hft_lib.fitting.selection.p_values import (
    Method,
    better_direction,
    p_asymptotic,
    p_ordinary,
    p_wild,
    q_values,
    scores,
)
from hft_lib.fitting.selection.wild import wild_statistics
from hft_lib.models.inputs import Counts, Vector

LEVEL = 0.05
PASSES = 4
OBSERVATIONS_MIN = 100
ENDED_SHARE_MAX = 0.05
HOLE_POINTS_MAX = 10  # a longer one ends the stretch on which a pair is tested
MOVES_SHARE_MIN = 0.05  # a leg that moves on fewer steps shows its own silence, not a relation
WILD_P_MAX = 0.01
WILD_WALKS = 999
# A tail drawn from 999 walks errs by a factor of ten at 1e-5: near a claim it is drawn again.
CONFIRM_WALKS = 9_999
CONFIRM_Q_MAX = 0.5
WILD_POINTS_MAX = 1_000  # volatility in 1,000 steps is fine enough, and walks stay cheap
SCHWERT = 12.0
# A spread that is back within ten samples is mostly noise. Schwert's lags explain such a spread by
# its own return and leave the test nothing: 28 of them find neither WBTC~BTC nor WBETH~ETH in a
# month of 15 minutes. Walks that have nothing in common never look so: 150 half-lives are far
# beyond what their estimated one comes to. To all other spreads few lags would be too kind.
LAGS_MAX_FAST = 6
FAST_POINTS_MAX = 10.0
FAST_HALF_LIVES_MIN = 150.0

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Finding:
    """One pair `y~x`: log Y = intercept + hedge_ratio log X + spread.

    `statistics` and `p_directions` are of y on x and of x on y, `lags` of the former;
    `p_asymptotic` is before, `p_value` after the pair's own volatility was looked at, and how close
    its legs are (`p_ordinary`, a rule chosen in-sample): `unhedged_share` of y's variance is left
    by the hedge. `start_ns` and `end_ns` are the first and the last of the `observations` used,
    points `interval_s` apart.
    `reason` says why it is not claimed, `note` what else to know before trading it; None stands
    where nothing could be computed.
    """

    pair: str
    start_ns: int
    end_ns: int
    observations: int
    interval_s: float
    hedge_ratio: float | None = None
    intercept: float | None = None
    unhedged_share: float | None = None
    half_life_s: float | None = None
    statistics: tuple[float, float] | None = None
    lags: int | None = None
    lags_max: int | None = None
    p_directions: tuple[float, float] | None = None
    p_asymptotic: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    rank: int | None = None
    claimed: bool = False
    reason: str = ""
    note: str = ""

    @property
    def tested(self) -> bool:
        """Whether the pair has a p-value."""
        return self.p_value is not None

    def document(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Selection:
    """All findings, the most significant first, those that could not be tested last."""

    level: float
    findings: tuple[Finding, ...]

    @property
    def tested(self) -> int:
        """Pairs with a p-value: what the rate of false claims is counted over."""
        return sum(finding.tested for finding in self.findings)

    @property
    def claimed(self) -> list[Finding]:
        """What is said to hold together."""
        return [finding for finding in self.findings if finding.claimed]


def scan(
    symbols: tuple[str, ...],
    time_ns: Counts,
    log_mid: Vector,
    *,
    level: float = LEVEL,
    method: Method = "by",
    threads: int = 2,
    advance: Advance | None = None,
) -> Selection:
    """Test all pairs of `symbols`: log mids (symbols, points) at the equally spaced `time_ns`.

    NaN: not known. `advance` is told of each pair done, in each of the 4 `PASSES`.

    Raises ValueError for a level outside 0 to 1, or shapes that do not fit.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, was {level}")
    if log_mid.shape != (len(symbols), time_ns.size):
        raise ValueError(
            f"log_mid must have shape ({len(symbols)}, {time_ns.size}), had {log_mid.shape}"
        )
    panel = _Panel(symbols, time_ns, log_mid)
    with ThreadPoolExecutor(threads) as pool:

        def all_by(work: Callable[[Any], Finding], items: Iterable[Any]) -> list[Finding]:
            return list(_counted(pool.map(work, items), advance))

        try:
            found = all_by(panel.test, combinations(range(len(symbols)), 2))
            found = _with_q(all_by(panel.under_own_volatility, found), method)
            found = _with_q(all_by(panel.confirmed, found), method)
            judged = all_by(lambda finding: panel.judge(finding, level), found)
        finally:
            pool.shutdown(cancel_futures=True)  # who is interrupted does not wait for the rest
    against = contradictions(judged)
    judged = [
        replace(one, claimed=False, reason=against[one.pair]) if one.pair in against else one
        for one in judged
    ]
    return Selection(level, tuple(sorted(judged, key=_order)))


def null_scores(
    symbols: tuple[str, ...], time_ns: Counts, log_mid: Vector, finding: Finding
) -> Vector:
    """Normal scores (999,) of y on x where nothing holds together, under a pair's own volatility.

    `finding` is one that `scan` tested on the same panel. Were its returns of one variance, they
    would be standard normal.
    """
    return scores(_Panel(symbols, time_ns, log_mid).walks(finding, WILD_WALKS)[:, 0])


def lags_max(observations: int, half_life_points: float = math.inf) -> int:
    """Lags among which the least Akaike criterion chooses, by the half-life of the spread.

    Schwert's (1989) bound, 12 (n / 100)^(1/4), as statsmodels takes it; 6 for a fast spread.
    """
    bound = min(observations // 2 - 2, math.ceil(SCHWERT * (observations / 100.0) ** 0.25))
    fast = half_life_points <= min(FAST_POINTS_MAX, observations / FAST_HALF_LIVES_MIN)
    return max(0, min(bound, LAGS_MAX_FAST) if fast else bound)


def orientation(symbols: tuple[str, str], variances: tuple[float, float]) -> bool:
    """Whether the first of two symbols is y: the perpetual or wrapper, else what varies more.

    A wrapper is named so: WBTC of BTC. The follower has its leader's moves and noise of its own;
    least squares on the less noisy leg give the hedge ratio with the least bias.
    """
    perpetual = [":" in symbol for symbol in symbols]
    if perpetual[0] != perpetual[1]:
        return perpetual[0]
    one, other = (symbol.split("/")[0] for symbol in symbols)
    if one != other and (one.endswith(other) or other.endswith(one)):
        return len(one) > len(other)
    return variances[0] >= variances[1]


class _Panel:
    """The panel under test; its methods run in threads and change nothing."""

    def __init__(self, symbols: tuple[str, ...], time_ns: Counts, log_mid: Vector) -> None:
        self.symbols, self.time_ns, self.log_mid = symbols, time_ns, log_mid
        self.known = np.isfinite(log_mid)
        self.interval_s = float(time_ns[1] - time_ns[0]) / 1e9 if time_ns.size > 1 else 0.0
        self.row = {symbol: number for number, symbol in enumerate(symbols)}

    def stretch(self, one: int, other: int) -> Counts:
        """Points of the longest stretch in which both legs are known, without a long hole."""
        points: Counts = np.flatnonzero(self.known[one] & self.known[other])
        cuts = np.flatnonzero(np.diff(points) > HOLE_POINTS_MAX) + 1
        starts, ends = np.append(0, cuts), np.append(cuts, points.size)
        longest = int(np.argmax(ends - starts))
        return points[starts[longest] : ends[longest]]

    def legs(self, finding: Finding) -> tuple[Vector, Vector]:
        """Log mids of y and x on the finding's stretch."""
        y, x = (self.row[symbol] for symbol in finding.pair.split("~"))
        points = self.stretch(y, x)
        return self.log_mid[y, points], self.log_mid[x, points]

    def test(self, rows: tuple[int, int]) -> Finding:
        """Both directions of one pair, with the asymptotic p."""
        points = self.stretch(*rows)
        legs = [self.log_mid[row, points] for row in rows]
        pair = self._named(rows, legs)
        span = (
            (int(self.time_ns[points[0]]), int(self.time_ns[points[-1]])) if points.size else (0, 0)
        )
        finding = Finding(pair, *span, points.size, self.interval_s)
        y, x = legs if pair.startswith(f"{self.symbols[rows[0]]}~") else legs[::-1]
        reason = _untestable(pair, y, x)
        if reason:
            return replace(finding, reason=reason)
        slope, intercept = least_squares(y, x)
        half_life = half_life_s(y - intercept - slope * x, self.interval_s)
        bound = lags_max(y.size, (half_life or math.inf) / self.interval_s)
        out = np.empty((2, 5))
        both_directions(y, x, bound, out)
        if not np.isfinite(out[:, 0]).all():
            return replace(finding, reason="the legs are the same prices: nothing is left to test")
        p_values = p_asymptotic(out[:, 0])
        p_value = float(better_direction(p_values))
        unhedged_share = 1.0 - float(out[0, 4])
        return replace(
            finding,
            hedge_ratio=slope,
            intercept=intercept,
            unhedged_share=unhedged_share,
            half_life_s=half_life,
            lags_max=bound,
            statistics=(float(out[0, 0]), float(out[1, 0])),
            lags=int(out[0, 1]),
            p_directions=(float(p_values[0]), float(p_values[1])),
            p_asymptotic=p_value,
            p_value=p_ordinary(p_value, unhedged_share),
        )

    def _named(self, rows: tuple[int, int], legs: list[Vector]) -> str:
        one, other = (self.symbols[row] for row in rows)
        variances = [float(np.var(np.diff(leg))) if leg.size > 1 else 0.0 for leg in legs]
        first = orientation((one, other), (variances[0], variances[1]))
        return f"{one}~{other}" if first else f"{other}~{one}"

    def under_own_volatility(self, finding: Finding) -> Finding:
        """The finding with the larger of both p-values, where the asymptotic one is small."""
        if finding.p_asymptotic is None or finding.p_asymptotic > WILD_P_MAX:
            return finding
        return self._walked(finding, WILD_WALKS)

    def confirmed(self, finding: Finding) -> Finding:
        """The finding with its p-value by more walks, where it may come to be claimed."""
        if finding.q_value is None or finding.q_value > CONFIRM_Q_MAX:
            return finding
        return self._walked(finding, CONFIRM_WALKS)

    def _walked(self, finding: Finding, count: int) -> Finding:
        assert finding.statistics is not None and finding.p_asymptotic is not None
        assert finding.unhedged_share is not None
        p_value = float(better_direction(p_wild(finding.statistics, self.walks(finding, count))))
        p_value = max(p_value, finding.p_asymptotic)
        return replace(finding, p_value=p_ordinary(p_value, finding.unhedged_share))

    def walks(self, finding: Finding, count: int) -> Vector:
        """Statistics (count, 2) of walks with the volatility of a tested pair."""
        assert finding.lags_max is not None
        every = -(-finding.observations // WILD_POINTS_MAX)
        y, x = (np.diff(leg[::every]) for leg in self.legs(finding))
        statistics = np.empty((count, 2))
        bound = min(finding.lags_max, lags_max(y.size))
        wild_statistics(y, x, bound, _seed(finding.pair), statistics)
        return statistics

    def judge(self, finding: Finding, level: float) -> Finding:
        """The finding claimed, or with the reason why not."""
        if finding.q_value is None:
            return finding
        if finding.q_value > level:
            return replace(finding, reason=f"q {finding.q_value:.3g} over {level:g}")
        y, x = self.legs(finding)
        finding = replace(finding, rank=johansen_rank(y, x, finding.lags or 0))
        slow = legs_are_slow(y, x, (finding.half_life_s or math.inf) / self.interval_s)
        # Two legs that return by themselves would make any spread do so: not these, if slow.
        reason = doubt(replace(finding, rank=1) if slow and finding.rank == 2 else finding)
        for symbol, leg in zip(finding.pair.split("~"), (y, x)):
            reason = reason or ("" if slow else doubt_of_leg(symbol, leg, lags_max(leg.size)))
        assert finding.hedge_ratio is not None and finding.lags_max is not None
        reason = reason or doubt_of_halves(y - finding.hedge_ratio * x, finding.lags_max)
        note = _ended(finding, int(self.time_ns[-1]))
        return replace(finding, reason=reason, claimed=not reason, note=note)


def _untestable(pair: str, y: Vector, x: Vector) -> str:
    """Why the legs cannot be tested, empty where they can."""
    if y.size < OBSERVATIONS_MIN:
        return f"common observations must be at least {OBSERVATIONS_MIN}, was {y.size}"
    for symbol, leg in zip(pair.split("~"), (y, x)):
        moves = int(np.count_nonzero(np.diff(leg)))
        if moves < MOVES_SHARE_MIN * (leg.size - 1):
            return f"{symbol} moves on {moves} of {leg.size - 1} steps"
    return ""


def _ended(finding: Finding, end_ns: int) -> str:
    """What to tell of a stretch that ends long before the window does; empty where it does not.

    A leg was delisted, or its recording is shorter: the relation held while both were known.
    """
    ended_s, stretch_s = (end_ns - finding.end_ns) / 1e9, (finding.end_ns - finding.start_ns) / 1e9
    if ended_s <= ENDED_SHARE_MAX * stretch_s:
        return ""
    return f"ended {ended_s / 86_400.0:.1f} days before the window"


def _with_q(findings: list[Finding], method: Method) -> list[Finding]:
    tested = np.array([f.p_value for f in findings if f.p_value is not None], np.float64)
    adjusted: Iterator[float] = iter(q_values(tested, method).tolist())
    return [replace(f, q_value=next(adjusted)) if f.tested else f for f in findings]


def _counted(findings: Iterator[Finding], advance: Advance | None) -> Iterator[Finding]:
    for finding in findings:
        if advance is not None:
            advance(1)
        yield finding


def _order(finding: Finding) -> tuple[bool, float, float, str]:
    p_value = 2.0 if finding.p_value is None else finding.p_value
    strongest = min(finding.statistics or (0.0,))
    return not finding.claimed, p_value, strongest, finding.pair


def _seed(pair: str) -> np.uint64:
    """A seed of the pair's own, never 0: its p-value does not depend on what else is scanned."""
    digest = hashlib.blake2b(pair.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)
