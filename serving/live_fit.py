"""The set of a live line where nobody named any: fitted to the last days of its own market.

Beside it are sets that a desk would try on a market whose truth nobody knows.
"""

from msgspec.structs import replace

from hft_lib.backtest.candidates import ordinary
from hft_lib.backtest.sampling import sample_tape, slower_cadence_ns
from hft_lib.fitting.calibrate import calibrate
from hft_lib.fitting.parameter_file import file_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.runtime.identity import git_commit


def fitted_to(history: Tape, pair: str) -> ParameterFile:
    """A champion fitted to all of `history`, and challengers; raises FitRefused where that is too
    short.
    """
    moments = sample_tape(history, pair, history.start_ns, history.end_ns + 1)
    slower_ns = slower_cadence_ns(history, pair, history.end_ns)
    calibration = calibrate(*moments, pair, cadence_ns_min=slower_ns)
    beside = tuple(ordinary(calibration.params))
    file = file_of(calibration, history.sha256, trials=1 + len(beside), git_commit=git_commit())
    return replace(file, challengers=beside)
