"""What a service on Kafka does without, to stay within the memory of a small pod."""

import ctypes
import gc
import sys


def without_linear_algebra() -> None:
    """Keep scipy's linear algebra out of this process: 15 MiB and a third of a second of a start.

    numba asks for it when the first kernel is loaded, and does without where it cannot be imported:
    then `np.dot` does not compile, which no kernel uses (`tests/test_tidy.py`). Nothing else in a
    service asks for it. Where it is there already nothing is changed.
    """
    if "scipy.linalg" not in sys.modules:
        sys.modules["scipy.linalg"] = None  # type: ignore[assignment]


def give_back() -> None:
    """Give back to the system what the imports left behind, some 10 MiB; where its C library can.

    What is left lives as long as the process: the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
