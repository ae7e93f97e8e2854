"""The market that a verb runs on when nobody names a tape, with its progress."""

from cli.console import progress
from hft_lib.market.tape import Tape
from serving.adapters import synthetic_market
from serving.runtime.settings import Settings


def synthetic_tape(settings: Settings, seed: int) -> Tape:
    """The tape of the synthetic market of `seed`, kept under HFT_HOME."""
    with progress("making a synthetic market", synthetic_market.rows_about()) as task:
        return synthetic_market.synthetic_tape(settings.hft_home, seed, task.advance)
