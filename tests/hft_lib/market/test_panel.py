"""A panel is what live would know at each grid point, and nothing older."""

from pathlib import Path

import numpy as np
import pytest

from hft_lib.backtest.sampling import sample
from hft_lib.events import Instrument, MarketEvent, Quote
from hft_lib.fitting.result import FitRefused
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market import synthetic
from hft_lib.market.imports import instrument_of
from hft_lib.market.merge import feed_events
from hft_lib.market.panel import read_panel
from hft_lib.market.tape import Tape, TapeWriter

MINUTE = 60 * 10**9
START = 1_700_000_040 * 10**9


def quote(symbol: str, minute: float, mid: float, **changed: float) -> Quote:
    time_ns = START + round(minute * MINUTE)
    known = {"bid": mid - 0.5, "bid_size": 1.0, "ask": mid + 0.5, "ask_size": 1.0, **changed}
    bid, bid_size, ask, ask_size = (known[n] for n in ("bid", "bid_size", "ask", "ask_size"))
    exchange_ns = int(known.get("exchange_time_ns", time_ns))
    return Quote(time_ns, exchange_ns, symbol, bid, bid_size, ask, ask_size)


def tape(path: Path, *quotes: Quote, cadence_ns: int = MINUTE) -> Tape:
    terms: list[Instrument] = [
        instrument_of(symbol, START, 0.01, 0.01, cadence_ns)
        for symbol in sorted({quote.symbol for quote in quotes})
    ]
    events: list[MarketEvent] = [*terms, *sorted(quotes, key=lambda quote: quote.time_ns)]
    with TapeWriter(path) as writer:
        writer.write(events)
    return Tape.open(path)


def test_a_panel_agrees_with_what_ingestion_lets_through(tmp_path: Path) -> None:
    market = synthetic.SyntheticMarket(days=4.0)  # with outages and quotes planted wrong
    made = synthetic.write(5, tmp_path / "tape", market)
    pair = "SYN/USDT:USDT~SYN/USDT"
    config = LineConfig(pairs=(PairConfig(pair=pair, capital_quote=1.0),), grid_ms=1)
    live = sample(config, pair, feed_events(made))
    panel = read_panel(made)
    assert panel.interval_ns == MINUTE and panel.symbols == ("SYN/USDT", "SYN/USDT:USDT")
    known = np.isfinite(panel.log_mid).all(axis=0)
    last = np.searchsorted(live.time_ns, panel.time_ns, side="right") - 1
    fresh = known & (last >= 0) & (panel.time_ns - live.time_ns[last] < MINUTE)
    assert fresh.sum() > 0.95 * panel.time_ns.size
    assert np.allclose(panel.log_mid[1, fresh], live.log_y[last[fresh]], rtol=0.0, atol=1e-14)
    assert np.allclose(panel.log_mid[0, fresh], live.log_x[last[fresh]], rtol=0.0, atol=1e-14)


def test_the_last_quote_up_to_a_point_counts_and_ages_out(tmp_path: Path) -> None:
    quotes = [quote("A/U", minute, 10.0 + minute) for minute in (0.0, 0.4, 1.0, 1.9, 5.0)]
    panel = read_panel(tape(tmp_path / "tape", *quotes))
    expected = [10.0, 11.0, 11.9, np.nan, np.nan, 15.0]
    assert np.allclose(np.exp(panel.log_mid[0]), expected, equal_nan=True)


def test_legs_of_unequal_step_align_where_both_close(tmp_path: Path) -> None:
    fast = [quote("A/U", minute, 10.0 + minute) for minute in range(11)]
    made = tape(tmp_path / "fast", *fast)
    assert read_panel(made).time_ns.size == 11
    panel = read_panel(made, interval_ns=5 * MINUTE)
    assert np.exp(panel.log_mid[0]) == pytest.approx([10.0 + 1, 10.0 + 6])
    assert (panel.time_ns % (5 * MINUTE) == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"bid": float("nan")},
        {"bid": 99.0, "ask": 98.0},
        {"bid": -1.0},
        {"bid_size": float("inf")},
        {"exchange_time_ns": START},
        {"exchange_time_ns": START + 3600 * 10**9},
    ],
)
def test_a_bad_quote_is_not_taken(tmp_path: Path, wrong: dict[str, float]) -> None:
    # A jump of the clock and the jump back refuse a quote each, as in `cleaning`.
    good = [quote("A/U", minute, 10.0) for minute in (0.0, 1.0, 1.6, 2.0)]
    panel = read_panel(tape(tmp_path / "tape", *good, quote("A/U", 1.5, 50.0, **wrong)))
    assert np.exp(panel.log_mid[0]) == pytest.approx([10.0, 10.0, 10.0])


def test_no_mid_is_known_while_a_side_of_the_book_is_empty(tmp_path: Path) -> None:
    good = [quote("A/U", minute, 10.0) for minute in (0.0, 1.0, 3.0)]
    empty = quote("A/U", 1.5, 10.0, bid=0.0, bid_size=0.0)
    early = quote("A/U", 2.8, 10.0, ask=0.0, ask_size=0.0, exchange_time_ns=START)
    panel = read_panel(tape(tmp_path / "tape", *good, empty, early))
    expected = [10.0, 10.0, np.nan, 10.0]
    assert np.allclose(np.exp(panel.log_mid[0]), expected, equal_nan=True)


def test_a_window_without_two_points_is_refused(tmp_path: Path) -> None:
    made = tape(tmp_path / "tape", quote("A/U", 0.0, 10.0), quote("A/U", 1.0, 10.0))
    with pytest.raises(FitRefused, match="two multiples of 3600 s at least, was 0"):
        read_panel(made, interval_ns=3600 * 10**9)


def test_a_window_holds_only_its_own_quotes(tmp_path: Path) -> None:
    made = tape(tmp_path / "tape", *[quote("A/U", minute, 10.0 + minute) for minute in range(9)])
    panel = read_panel(made, start_ns=START + 3 * MINUTE, end_ns=START + 6 * MINUTE)
    assert np.exp(panel.log_mid[0]) == pytest.approx([13.0, 14.0, 15.0])
