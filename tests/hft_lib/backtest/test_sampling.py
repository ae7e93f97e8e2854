"""What the models would have seen: the same moments that the line makes of the events."""

import numpy as np
import pytest

from hft_lib.backtest.sampling import sample
from hft_lib.events import PairTick
from tests.builders import (
    PAIR,
    PAIR2,
    S_NS,
    START_NS,
    X,
    Y,
    config,
    instrument,
    quote,
    story_config,
    told,
)


def events():
    return [fact for log, fact in told().kept if log == "ingestion"]


@pytest.mark.parametrize("pair", [PAIR, PAIR2])
def test_the_moments_are_those_that_the_line_saw(pair: str):
    moments = sample(story_config(), pair, events())
    ticks = [
        fact
        for fact in told().inboxes["kalman_filter"]
        if isinstance(fact, PairTick) and fact.pair == pair and not fact.more and not fact.stale
    ]
    assert moments.time_ns.tolist() == [tick.time_ns for tick in ticks] and len(ticks) > 150
    mids = [0.5 * (tick.y_bid + tick.y_ask) for tick in ticks]
    assert moments.log_y == pytest.approx(np.log(mids))


def test_a_moment_of_several_events_is_one_row_and_a_stale_one_none():
    made = sample(
        config(),
        PAIR,
        [
            instrument(Y),
            instrument(X),
            quote(Y, START_NS, 100.0),  # x has yet to begin
            quote(X, START_NS + S_NS, 50.0, more=True),
            quote(Y, START_NS + S_NS, 101.0),
            quote(Y, START_NS + 2 * S_NS, float("nan")),
        ],
    )
    assert made.time_ns.tolist() == [START_NS + S_NS]
    assert np.exp([made.log_y[0], made.log_x[0]]) == pytest.approx([101.0, 50.0])


def test_nothing_gives_nothing():
    made = sample(config(), PAIR, [])
    assert [len(column) for column in made] == [0, 0, 0]


def test_progress_is_told_in_thousands():
    steps: list[int] = []
    ticking = (quote(Y, START_NS + k, 100.0) for k in range(10_000))
    sample(config(), PAIR, ticking, steps.append)
    assert steps == [4096, 4096]
