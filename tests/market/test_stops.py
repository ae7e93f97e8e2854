"""A line whose feed stops and begins again: what was traded meanwhile is there, once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hft_lib.events import Rejected, Trade
from hft_lib.market.cleaning import CLOCK_JUMP_NS_MAX
from hft_lib.market.live import trades
from tests.market.fed_line import (
    KEYS,
    RECOVERY_S,
    FedLine,
    Stored,
    assert_true,
    gaps,
    reached,
)
from tests.market.generated import STANDARD, Generated
from tests.market.server import Market

pytestmark = pytest.mark.slow

STOP_S = 7.0  # more than a jump of the clock
STEPPED_S = 1.0
Check = Callable[[FedLine, Stored, Market], None]


def stopped(folder: Path, check: Check) -> None:
    """A line that runs, stops and runs again; what it stored is held against `check`."""
    instruments = tuple(one for one in STANDARD if one.symbol == "BTCUSDT")
    with Market(Generated(41, instruments)) as market:
        line = FedLine(market, folder)
        with line:
            line.begin()
            line.run(STEPPED_S)
            line.stop_for(STOP_S)
            mark = reached(market)
            line.until("on again", lambda: line.is_beyond(mark), RECOVERY_S)
            line.run(STEPPED_S)
        check(line, line.stored(), market)


def test_trades_of_the_time_without_a_process_are_filled_in_and_no_clock_jumps(
    tmp_path: Path,
) -> None:
    def check(line: FedLine, stored: Stored, market: Market) -> None:
        assert_true(stored, market)  # each trade once, none missing, as it was published
        for symbol in KEYS:
            late = [
                trade
                for trade in stored.of(Trade, symbol)
                if trade.time_ns - trade.exchange_time_ns > CLOCK_JUMP_NS_MAX
            ]
            assert line.feed.figures.backfilled[symbol] >= len(late) > 0
        assert not {"CLOCK_JUMP", "TRADES_LOST"} & set(stored.reasons), stored.reasons

    stopped(tmp_path / "line", check)


def test_more_trades_than_are_filled_in_are_told_as_lost_to_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trades, "STOPPED_TRADES_MAX", 3)
    # So few that the first answer does not reach back to where the line stopped.
    monkeypatch.setattr("serving.adapters.live.binance.TRADES_MAX", 5)

    def check(line: FedLine, stored: Stored, market: Market) -> None:
        for symbol in KEYS:
            ids = [trade.trade_id for trade in stored.of(Trade, symbol)]
            assert ids == sorted(set(ids))
            missing = sum(two - one - 1 for one, two in gaps(ids))
            told = [
                fact
                for fact in stored.fed
                if isinstance(fact, Rejected)
                and (fact.reason, fact.subject) == ("TRADES_LOST", symbol)
            ]
            assert sum(fact.count for fact in told) == missing > 3

    stopped(tmp_path / "line", check)
