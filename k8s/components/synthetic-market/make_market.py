"""Write the synthetic market as the tape at the path given, unless a whole tape is there."""

import shutil
import sys
from pathlib import Path

from hft_lib.market import synthetic
from hft_lib.market.tape import is_tape
from serving.adapters.synthetic_market import MARKET, SEED


def make(path: Path, market: synthetic.SyntheticMarket = MARKET) -> bool:
    """Whether the tape had to be made; it comes to `path` whole, by renaming."""
    if is_tape(path):
        return False
    if path.exists():
        raise FileExistsError(f"{path} must be a tape or nothing, and is neither")
    begun = path.with_name(f".{path.name}")
    shutil.rmtree(begun, ignore_errors=True)  # of a start that was ended
    synthetic.write(SEED, begun, market)
    begun.rename(path)
    return True


if __name__ == "__main__":
    print("made" if make(Path(sys.argv[1])) else "there already")
