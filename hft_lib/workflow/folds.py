"""Where a walk-forward fits and where it trades: rolling windows, each traded strictly after.

    |---- fit 0 ----|-- trade 0 --|
                  |---- fit 1 ----|-- trade 1 --|
                                |---- fit 2 ----|-- trade 2 --|

Every fit has the length of the first: 30 % of the tape, 60 days at most. The newest fit is the one
that is registered, so what is registered was itself traded on days that it never saw.
"""

from typing import NamedTuple

from hft_lib.backtest.sampling import Moments, sample_tape
from hft_lib.fitting.calibrate import MOMENTS_MIN
from hft_lib.market.merge import DAY_NS
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.workflow.refusal import Refused

FIT_SHARE = 0.3
FIT_NS_MAX = 60 * DAY_NS
FOLDS_MAX = 24  # a month each for two years: more is the same data cut finer


class Fold(NamedTuple):
    """Fit on fit_ns <= time < trade_ns, trade on trade_ns <= time < end_ns."""

    fit_ns: int
    trade_ns: int
    end_ns: int


def folds_of(start_ns: int, end_ns: int, count: int) -> list[Fold]:
    """`count` folds over start_ns <= time <= end_ns, in order; the last ends after `end_ns`."""
    if not 1 <= count <= FOLDS_MAX:
        raise Refused(f"folds must be from 1 to {FOLDS_MAX}, was {count}")
    fit_ns = min(round((end_ns - start_ns) * FIT_SHARE), FIT_NS_MAX)
    first = start_ns + fit_ns
    traded = end_ns - first
    # To the millisecond, as times are printed.
    cuts = [first + traded * k // count // 1_000_000 * 1_000_000 for k in range(count)]
    ends = [*cuts[1:], end_ns + 1]
    return [Fold(cut - fit_ns, cut, end) for cut, end in zip(cuts, ends, strict=True)]


def tape_folds(tape: Tape, count: int) -> list[Fold]:
    """The folds of a whole tape."""
    return folds_of(tape.start_ns, tape.end_ns, count)


def pair_folds(tape: Tape, pair: str, count: int) -> list[Fold]:
    """The folds of a pair, from where both of its legs are quoted.

    None trades before the tape's own first fold does, so a pair that was chosen before that was not
    chosen on a day that it trades.
    """
    spans = tape.quote_spans()
    begins = [spans[leg][0] for leg in legs_of(pair) if leg in spans]
    return folds_of(max(begins, default=tape.start_ns), tape.end_ns, count)


def fit_moments(tape: Tape, pair: str, fold: Fold) -> Moments:
    """The pair's complete moments of a fold's fitting window; Refused where they are too few."""
    moments = sample_tape(tape, pair, fold.fit_ns, fold.trade_ns)
    if moments.time_ns.size < MOMENTS_MIN:
        raise Refused(
            f"a fitting window of {pair} must hold at least {MOMENTS_MIN} moments at which both "
            f"legs have prices, was {moments.time_ns.size}"
        )
    return moments


def open_same(tape: str, tape_sha256: str) -> Tape:
    """The tape at `tape`, which must still be the one that passed the gate."""
    opened = Tape.open(tape)
    if opened.sha256 != tape_sha256:
        raise Refused(
            f"the tape changed under the pipeline: must be {tape_sha256[:12]}, "
            f"was {opened.sha256[:12]}"
        )
    return opened
