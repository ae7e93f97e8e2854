"""What a service on Kafka does without, to stay within the memory of a small pod."""

import ctypes
import gc
import sys
from importlib.abc import MetaPathFinder

# Libraries of which others ask whether they are there, and do without where they are not:
#   scipy.linalg  numba, with the first kernel: 15 MiB and a third of a second of a start. Without
#                 it `np.dot` does not compile, which no kernel uses (`tests/test_tidy.py`).
#   pandas        pyarrow, with the first column that is read: 30 MiB.
LEFT_OUT = frozenset({"scipy.linalg", "pandas"})


class _LeavesOut(MetaPathFinder):
    """Finds that a library that is left out is not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname in LEFT_OUT:
            raise ModuleNotFoundError(f"{fullname} is left out of a service", name=fullname)


def leave_out() -> None:
    """Keep what is in `LEFT_OUT` from being imported in this process from now on."""
    sys.meta_path.insert(0, _LeavesOut())


def give_back() -> None:
    """Give back to the system what the imports left behind, some 10 MiB; where its C library can.

    What is left lives as long as the process: the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
