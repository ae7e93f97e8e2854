"""The sets of the synthetic market where nobody named any: fitted to its first part, as a demo
does, so that what trades the rest has not seen it.
"""

from msgspec.structs import replace

from hft_lib.backtest.candidates import planted
from hft_lib.backtest.sampling import sample_tape, slower_cadence_ns
from hft_lib.fitting.calibrate import calibrate
from hft_lib.fitting.parameter_file import file_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.runtime.identity import git_commit

FIT_SHARE = 0.3  # of the tape, and no more than
FIT_NS_MAX = 60 * 86_400 * 10**9


def split_of(start_ns: int, end_ns: int) -> int:
    """The end of the part that is fitted, as exact as it is printed: to the millisecond."""
    split_ns = start_ns + min(round((end_ns - start_ns) * FIT_SHARE), FIT_NS_MAX)
    return split_ns - split_ns % 1_000_000


def fitted(tape: Tape, pair: str) -> tuple[ParameterFile, int]:
    """A champion fitted to the tape's first part, challengers whose worth beside it is known, and
    the time from which on they may trade.

    Raises FitRefused where the part is too short.
    """
    split_ns = split_of(tape.start_ns, tape.end_ns)
    moments = sample_tape(tape, pair, tape.start_ns, split_ns)
    slower_ns = slower_cadence_ns(tape, pair, split_ns)
    calibration = calibrate(*moments, pair, cadence_ns_min=slower_ns)
    challengers = tuple(planted(calibration.params))
    file = file_of(calibration, tape.sha256, trials=1 + len(challengers), git_commit=git_commit())
    return replace(file, challengers=challengers), split_ns
