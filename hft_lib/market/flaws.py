"""What is wrong with market data, in runs: consecutive like flaws are one entry with a count."""

from collections.abc import Iterable

import msgspec
import numpy as np

RUNS_MAX = 1_000  # a reason and symbol; what is beyond is one entry more: a report is bounded


class FlawRun(msgspec.Struct, frozen=True):
    """`count` like flaws of `symbol` between `start` and `end`, ISO 8601 in UTC.

    For a gap, `count` is how many are missing, from the first to the last of them.
    """

    reason: str
    symbol: str
    start: str
    end: str
    count: int
    detail: str = ""


class _Run(msgspec.Struct):
    start_ns: int
    end_ns: int
    count: int
    detail: str


class FlawTally:
    """Collects flaws as they are met."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], list[_Run]] = {}

    def add(
        self,
        reason: str,
        symbol: str,
        start_ns: int,
        end_ns: int | None = None,
        count: int = 1,
        detail: str = "",
        continues: bool = False,
    ) -> None:
        """Count a flaw; with `continues` it belongs to the last run of its reason and symbol."""
        runs = self._runs.setdefault((reason, symbol), [])
        end_ns = start_ns if end_ns is None else end_ns
        if runs and (continues or len(runs) > RUNS_MAX):
            runs[-1].end_ns = max(runs[-1].end_ns, end_ns)
            runs[-1].count += count
        else:
            runs.append(_Run(start_ns, end_ns, count, detail))

    def runs(self) -> list[FlawRun]:
        """What was met: by reason, symbol and time."""
        return [
            FlawRun(reason, symbol, iso(run.start_ns), iso(run.end_ns), run.count, run.detail)
            for (reason, symbol), runs in sorted(self._runs.items())
            for run in runs
        ]


def counts(runs: Iterable[FlawRun]) -> dict[str, int]:
    """How many flaws of each reason."""
    total: dict[str, int] = {}
    for run in runs:
        total[run.reason] = total.get(run.reason, 0) + run.count
    return total


def iso(time_ns: int) -> str:
    """`time_ns` as ISO 8601 in UTC, with as many decimals as it needs in threes."""
    text = str(np.datetime64(time_ns, "ns"))
    while text.endswith("000"):
        text = text[:-3]
    return text.removesuffix(".") + "Z"
