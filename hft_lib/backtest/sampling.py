"""What the models would have seen of a tape: a pair's complete moments, cleaned and aligned by the
ingestion stage.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hft_lib.events import Event, PairTick
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market.merge import feed_events
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.stages import ingestion

Vector = npt.NDArray[np.float64]


class Moments(NamedTuple):
    """Complete, fresh moments of a pair: times (time,) in ns and log mids (time,)."""

    time_ns: npt.NDArray[np.int64]
    log_y: Vector
    log_x: Vector


def sample(
    config: LineConfig,
    pair: str,
    events: Iterable[Event],
    advance: Callable[[int], None] | None = None,
) -> Moments:
    """Run `events` through ingestion; one row a complete moment at which a top changed and neither
    leg was stale.
    """
    state = ingestion.start(config)
    times: list[int] = []
    y_mids: list[float] = []
    x_mids: list[float] = []
    for count, event in enumerate(events, start=1):
        for fact in ingestion.step(state, event):  # type: ignore[arg-type]
            if isinstance(fact, PairTick) and fact.pair == pair and not (fact.more or fact.stale):
                times.append(fact.time_ns)
                y_mids.append(0.5 * (fact.y_bid + fact.y_ask))
                x_mids.append(0.5 * (fact.x_bid + fact.x_ask))
        if advance is not None and count % 4096 == 0:
            advance(4096)
    return Moments(np.array(times, np.int64), np.log(y_mids), np.log(x_mids))


def sample_tape(
    tape: Tape,
    pair: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Moments:
    """A pair's moments on a tape, over start_ns <= time < end_ns; `advance` is told events done."""
    # Neither capital nor grid has a say in which moments are complete.
    config = LineConfig(pairs=(PairConfig(pair=pair, capital_quote=1.0),), grid_ms=1)
    return sample(config, pair, feed_events(tape, start_ns, end_ns, legs_of(pair)), advance)


def slower_cadence_ns(tape: Tape, pair: str, end_ns: int | None = None) -> int:
    """The cadence of the slower leg, as the terms in force before `end_ns` say (None: the last);
    0 where neither says.
    """
    terms = tape.instruments(None if end_ns is None else end_ns - 1)
    return max(terms[leg].cadence_ns if leg in terms else 0 for leg in legs_of(pair))
