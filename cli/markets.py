"""The markets that a verb runs on when nobody names a tape, with their progress."""

import shutil
from pathlib import Path

from cli.console import progress
from hft_lib.backtest import regime_change
from hft_lib.market import synthetic_regimes
from hft_lib.market.tape import Tape, TapeWriter, is_tape
from serving.adapters import synthetic_market
from serving.runtime.settings import Settings


def synthetic_tape(settings: Settings, seed: int) -> Tape:
    """The tape of the synthetic market of `seed`, kept under HFT_HOME."""
    with progress("making a synthetic market", synthetic_market.rows_about()) as task:
        return synthetic_market.synthetic_tape(settings.hft_home, seed, task.advance)


def regime_tapes(settings: Settings, seed: int) -> tuple[Tape, Tape]:
    """The history of the regime-change market of `seed`, and the whole of it, kept under HFT_HOME.

    The history ends before the first moment that is traded: who fits it cannot see further.
    """
    market = regime_change.MARKET
    name = f"regimes-{regime_change.VERSION}-{seed}"
    whole, history = (settings.hft_home / "tapes" / part for part in (name, f"{name}-history"))
    with progress("making the market", 2 * market.days * 86_400.0 / market.step_s) as task:
        if not _kept(whole):
            synthetic_regimes.write(seed, whole, market, regime_change.REGIMES, task.advance)
    tape = Tape.open(whole)
    if not _kept(history):
        source = {**tape.manifest.source, "history_of": tape.sha256}
        with TapeWriter(history, source) as writer:
            writer.write(tape.events(None, regime_change.split_ns()))
    return Tape.open(history), tape


def _kept(path: Path) -> bool:
    """Whether a whole tape is there; what is there and is none is cleared away."""
    if is_tape(path):
        return True
    if path.exists():  # not whole: nothing but a tape is ever written there
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return False
