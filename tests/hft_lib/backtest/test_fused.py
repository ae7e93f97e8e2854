"""A fused line is the six stages: the same facts but for marks, the same states, bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hft_lib.backtest.fused import FusedLine
from hft_lib.backtest.fused_rows import prepared_feed
from hft_lib.backtest.replay import STAGES
from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    Depth,
    Event,
    Fill,
    Funding,
    HandedOver,
    Mark,
    Marked,
    MarketEvent,
    Promoted,
    Quote,
    Registered,
    Rejected,
    TimePassed,
    Trade,
)
from hft_lib.line import LineConfig, registry_words
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape, TapeWriter
from hft_lib.stage import Line, snapshot
from tests.builders import (
    DAY_NS,
    HOUR_NS,
    PAIR,
    PAIR2,
    S_NS,
    START_NS,
    X,
    Y,
    config,
    instrument,
    parameters,
    registered,
)

LEGS = (Y, X)


def tape_of(path: Path, events: list[MarketEvent | TimePassed]) -> Tape:
    with TapeWriter(path) as writer:
        writer.write(events)
    return Tape.open(path)


def sets() -> list[Registered]:
    """A champion and two challengers."""
    named = {"champion": 1.0, "challenger-low": 0.8, "challenger-high": 1.6}
    return [registered(alias, parameters(entry_z=z)) for alias, z in named.items()]


def both(
    tape: Tape,
    line_config: LineConfig,
    registry: list[Registered],
    window: tuple[int | None, int | None] = (None, None),
) -> list[Event]:
    """The facts of both lines over a tape, which must be the same, as must be the states."""
    line, fused = Line(STAGES, line_config), FusedLine(line_config)
    pair = line_config.pairs[0]
    ours, theirs = list[tuple[str, Event]](), list[tuple[str, Event]]()
    for said in registry_words(registry):
        ours += fused.post("orchestrator", said)
        theirs += line.post("orchestrator", said)
    for event in feed_events(tape, *window, (pair.y, pair.x)):
        theirs += line.post("ingestion", event)
    for brought in prepared_feed(tape, *window, (pair.y, pair.x)):
        ours += fused.feed(brought)
    assert ours == [each for each in theirs if not isinstance(each[1], Marked)]
    for name, state in line.states.items():
        assert snapshot(fused.line.states[name]) == snapshot(state), name
    return [fact for _, fact in ours]


def market(seed: int, days: float, flawed: bool) -> list[MarketEvent | TimePassed]:
    """Two legs that wander together, a quote each ten minutes and trades between; with `flawed`
    all that a venue may bring.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    events: list[Any] = [instrument(symbol, cadence_ns=600 * S_NS) for symbol in (X, Y)]
    log_mid, spread, number = 7.6, 0.0, {X: 100, Y: 100}
    trade_id, depth_id = {X: 1, Y: 1}, {X: 10, Y: 10}
    time_ns = START_NS
    for _ in range(round(days * 144)):
        time_ns += 600 * S_NS
        log_mid += random.normal(0.0, 0.004)
        spread = 0.9 * spread + random.normal(0.0, 0.002)
        for symbol in (X, Y):
            own_ns = time_ns + int(random.integers(0, 2)) * S_NS
            mid = float(np.exp(log_mid + (spread if symbol == Y else 0.0)))
            number[symbol] += int(random.integers(1, 50))
            top = Quote(
                own_ns, own_ns - 3_000_000, symbol, mid * 0.9999, 900.0, mid * 1.0001, 800.0,
                number[symbol] if symbol == Y else 0,
            )  # fmt: skip
            events.append(top)
            if random.random() < 0.5:
                trade_id[symbol] += 1
                levels = ((mid * 0.999, 5.0), (mid * 0.998, 0.0)), ((mid * 1.001, 4.0),)
                before = depth_id[symbol]
                depth_id[symbol] += 3
                events.append(
                    Depth(own_ns, own_ns, symbol, False, before + 1, before + 3, before, *levels)
                )
                events.append(
                    Trade(own_ns + 1, own_ns - 2_000_000, symbol, mid, 0.5, "buy", trade_id[symbol])
                )
            if flawed and random.random() < 0.08:
                events += flaw(random, top, trade_id)
    events.sort(key=lambda event: event.time_ns)
    return events


def flaw(
    random: np.random.Generator, top: Quote, trade_id: dict[str, int]
) -> Iterator[MarketEvent | TimePassed]:
    """One thing that a venue should not bring, or brings seldom."""
    at_ns, symbol = top.time_ns + 2, top.symbol
    price = 0.5 * (top.bid + top.ask)

    def other(**changes: Any) -> Quote:
        return msgspec.structs.replace(top, time_ns=at_ns, **changes)

    match int(random.integers(0, 24)):
        case 0:
            yield other(bid=float("nan"))
        case 1:
            yield other(bid=top.ask * 1.1)
        case 2:
            yield other(bid=0.0, bid_size=0.0)  # a side of the book is empty
        case 3:
            yield top  # again
        case 4:
            yield other(exchange_time_ns=top.exchange_time_ns - S_NS, update_id=0)
        case 5:
            yield other(
                update_id=top.update_id + 10**12
            )  # and what follows goes on from it, or not
        case 6:
            yield other(update_id=max(top.update_id - 1, 1))
        case 7:
            yield other(exchange_time_ns=top.exchange_time_ns - 60 * S_NS, update_id=0, bid=price)
        case 8:
            yield Trade(at_ns, at_ns, symbol, price, float("inf"), "sell", trade_id[symbol] + 1)
        case 9:
            trade_id[symbol] += 5
            yield Trade(at_ns, at_ns, symbol, price, 1.0, "sell", trade_id[symbol])  # four missing
        case 10:
            yield Trade(at_ns, at_ns - 3 * S_NS, symbol, price, 1.0, "buy", 0)  # told late
        case 11:
            yield Funding(at_ns, at_ns, symbol, 1e-4)
        case 12:
            yield Mark(at_ns, at_ns, symbol, price if random.random() < 0.5 else float("nan"))
        case 13:
            yield Depth(at_ns, at_ns, symbol, False, 1, 5, 0, ((price * 0.999, 1.0),), ())  # late
        case 14:
            yield TimePassed(at_ns + 250_000_000)
        case 15:
            yield instrument(symbol, at_ns, cadence_ns=600 * S_NS, taker_fee_rate=1e-4)
        case 16:
            yield Quote(at_ns, 0, symbol, top.bid, 1.0, top.ask, 1.0)  # without the venue's clock
        case 17:
            book = ((price * 0.999, 1.0),), ((price * 1.001, 2.0),)
            yield Depth(at_ns, at_ns, symbol, True, 1, 500, 0, *book)
        case 18:
            levels = ((price, 1.0), (float("nan"), 1.0)), ()
            yield Depth(at_ns, at_ns, symbol, False, 1, 10**9, 0, *levels)
        case 19:
            yield Depth(at_ns, at_ns, symbol, False, 1, 10**9, 10**9 - 1, (), ())  # some missing
        case 20:
            yield Depth(at_ns, at_ns, symbol, False, 1, 10**15, 0, (), ())
        case 21:
            yield Trade(at_ns, -(2**63) + 1, symbol, price, 1.0, "buy", 0)  # the clock is broken
        case 22:
            yield other(exchange_time_ns=-1, update_id=0)
        case 23:
            yield other(update_id=-(2**63) + 1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("flawed", [False, True])
def test_a_line_of_any_market_is_the_stages_line(tmp_path: Path, seed: int, flawed: bool) -> None:
    tape = tape_of(tmp_path / "tape", market(seed, 3.0, flawed))
    facts = both(tape, config(), sets())
    kinds = {type(fact) for fact in facts}
    assert {CapitalOrder, Fill, BlockClosed} <= kinds
    assert (Rejected in kinds) or not flawed


def test_promotions_hand_over_at_the_same_point(tmp_path: Path) -> None:
    tape = tape_of(tmp_path / "tape", market(5, 6.0, True))
    kinds = {type(fact) for fact in both(tape, config(), sets())}
    assert {Promoted, HandedOver} <= kinds


def test_a_leg_that_falls_silent_and_comes_back(tmp_path: Path) -> None:
    silent = (START_NS + 20 * HOUR_NS, START_NS + 26 * HOUR_NS)
    events = [
        event
        for event in market(5, 3.0, False)
        if not (getattr(event, "symbol", "") == Y and silent[0] <= event.time_ns < silent[1])
    ]
    facts = both(tape_of(tmp_path / "tape", events), config(), sets())
    reasons = {fact.reason for fact in facts if isinstance(fact, Rejected)}
    assert {"STALE_LEG", "GAP"} <= reasons


def begun_late(
    symbol: str, kinds: tuple[type, ...], events: list[MarketEvent | TimePassed]
) -> list[MarketEvent | TimePassed]:
    """A market in which a leg brings nothing of `kinds` for a day and a half."""
    until_ns = START_NS + 36 * HOUR_NS
    return [
        event
        for event in events
        if not (
            isinstance(event, kinds)
            and getattr(event, "symbol", "") == symbol
            and event.time_ns < until_ns
        )
    ]


@pytest.mark.parametrize("symbol", LEGS)
@pytest.mark.parametrize("kinds", [(Quote,), (Quote, Trade, Depth)])
@pytest.mark.parametrize("flawed", [False, True])
def test_a_leg_that_begins_late_is_waited_for(
    tmp_path: Path, symbol: str, kinds: tuple[type, ...], flawed: bool
) -> None:
    for seed in range(4):
        tape = tape_of(tmp_path / f"{seed}", begun_late(symbol, kinds, market(seed, 3.0, flawed)))
        assert any(isinstance(fact, Fill) for fact in both(tape, config(), sets()))


def test_once_the_late_leg_has_begun_staleness_is_told(tmp_path: Path) -> None:
    slow = instrument(X, cadence_ns=2**61)  # seventy years: its first quote is no gap
    silent = (START_NS + 37 * HOUR_NS, START_NS + 50 * HOUR_NS)
    events = [
        event
        for event in begun_late(X, (Quote,), market(4, 3.0, False))[2:]
        if not (getattr(event, "symbol", "") == Y and silent[0] <= event.time_ns < silent[1])
    ]
    tape = tape_of(tmp_path / "tape", [slow, instrument(Y, cadence_ns=600 * S_NS), *events])
    facts = both(tape, config(), [])  # no slot: no order ends the loop between
    assert any(isinstance(fact, Rejected) and fact.reason == "STALE_LEG" for fact in facts)


def test_a_cadence_of_centuries_is_a_number(tmp_path: Path) -> None:
    slow = [instrument(Y, START_NS + DAY_NS, cadence_ns=2**62)]
    events = sorted([*market(6, 2.0, False), *slow], key=lambda event: event.time_ns)
    assert both(tape_of(tmp_path / "tape", events), config(), sets())


def test_a_window_begins_in_the_middle_of_a_tape(tmp_path: Path) -> None:
    tape = tape_of(tmp_path / "tape", market(7, 4.0, True))
    window = (START_NS + 25 * HOUR_NS, START_NS + 2 * DAY_NS)
    late = [msgspec.structs.replace(item, time_ns=window[0]) for item in sets()]
    assert any(isinstance(fact, Fill) for fact in both(tape, config(), late, window))


@pytest.mark.parametrize("kinds", [(), (Quote,)])
def test_what_is_plain_goes_through_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[type, ...]
) -> None:
    tape = tape_of(tmp_path / "tape", begun_late(Y, kinds, market(3, 3.0, False)))
    posted = list[Event]()
    take = Line.post

    def heard(line: Line, inbox: str, event: Event) -> list[tuple[str, Event]]:
        posted.append(event)
        return take(line, inbox, event)

    monkeypatch.setattr(Line, "post", heard)
    line = FusedLine(config())
    for brought in prepared_feed(tape, None, None, LEGS):
        list(line.feed(brought))
    ticks = [event for event in posted if isinstance(event, Quote | Trade | Depth)]
    assert tape.rows > 1_000 and len(ticks) < 20


def test_a_line_of_two_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="a fused line has one pair, was 2"):
        FusedLine(config(PAIR, PAIR2))
