"""The market that a verb runs on when nobody names a tape: a synthetic one, written once a seed."""

import shutil

from cli.console import progress
from hft_lib.market import synthetic
from hft_lib.market.tape import Tape, is_tape
from serving.runtime.settings import Settings

_VERSION = 1  # of the market's making: another one must not find the tapes of this


def synthetic_tape(settings: Settings, seed: int) -> Tape:
    """The tape of the synthetic market of `seed`, kept under HFT_HOME."""
    path = settings.hft_home / "tapes" / f"synth-{_VERSION}-{seed}"
    if is_tape(path):
        return Tape.open(path)
    if path.exists():  # not whole: nothing but a tape is ever written there
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    market = synthetic.SyntheticMarket()
    rows = round(market.days * 2 * 86_400.0 / market.step_s)
    with progress("making a synthetic market", rows) as task:
        return synthetic.write(seed, path, market, task.advance)
