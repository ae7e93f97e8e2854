"""Over which time each symbol of a tape is quoted."""

from pathlib import Path

from hft_lib.events import Instrument, Quote, Trade
from hft_lib.market.tape import Tape, TapeWriter


def test_a_symbol_is_quoted_from_its_first_to_its_last_quote(tmp_path: Path) -> None:
    early, late, only_trades = "A/USDT", "B/USDT", "C/USDT"
    with TapeWriter(tmp_path / "tape") as tape:
        tape.write(
            [
                Instrument(1, late, "spot", "none", 0.0, 0.001, 0.001, 0.01, 0.01, 5.0, 10**9),
                Quote(2, 0, early, 1.0, 1.0, 1.1, 1.0),
                Trade(3, 0, only_trades, 1.0, 1.0, "buy", 1),
                Quote(4, 0, late, 1.0, 1.0, 1.1, 1.0),
                Trade(5, 0, early, 1.0, 1.0, "buy", 1),
                Quote(6, 0, early, 1.0, 1.0, 1.1, 1.0),
                Quote(7, 0, late, 1.0, 1.0, 1.1, 1.0),
                Trade(8, 0, late, 1.0, 1.0, "buy", 1),
            ]
        )
    assert Tape.open(tmp_path / "tape").quote_spans() == {early: (2, 6), late: (4, 7)}
