"""How every slot's model does, as the volatility service shows it: by slot in `/metrics`, `/state`.

What is judged is part of the stage's state, so that it is the same after a restart. The thread that
steps copies the windows between two steps; who asks judges the copies, on a thread of its own.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from hft_lib.health import window as windows
from hft_lib.health.verdict import NOMINALS, SlotHealth, judge, severity
from hft_lib.health.window import Window
from hft_lib.stages.garch_model import GarchState

# A slot is judged in half a millisecond: with many pairs ever more seldom, for a few per cent of a
# core at most.
EVERY_S, EVERY_S_A_PAIR = 5.0, 0.1
ROWS_SHOWN_MAX = 50  # of 1,000 bytes, in a document of 64 KiB; those that are off come first
_LABELS = ["pair", "slot"]


class Judged:
    """The judgements of a service; `turn` is called by the thread that steps its stage."""

    def __init__(
        self, state: Callable[[], GarchState], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._now_s = now_s
        self._due_s = 0.0
        self._copies: dict[str, Window] = {}
        self._found: dict[str, tuple[Window, list[SlotHealth]]] = {}
        self._lock = threading.Lock()

    def turn(self) -> int:
        """Copy the windows that went on, unless that was done a moment ago; writes 0 facts, as an
        edge.
        """
        now_s = self._now_s()
        if self._copies and now_s < self._due_s:
            return 0
        known = self._state().windows
        self._copies = {pair: self._copy(pair, window) for pair, window in known.items()}
        self._due_s = now_s + max(EVERY_S, EVERY_S_A_PAIR * len(known))
        return 0

    def _copy(self, pair: str, window: Window) -> Window:
        copy = self._copies.get(pair)
        return copy if copy is not None and _mark(copy) == _mark(window) else windows.copied(window)

    def rows(self) -> list[SlotHealth]:
        """Every slot that was assigned, in the order of pairs and slots."""
        with self._lock:
            copies = self._copies
            self._found = {pair: self._judged(pair, copies[pair]) for pair in copies}
            return [row for _, rows in self._found.values() for row in rows]

    def _judged(self, pair: str, copy: Window) -> tuple[Window, list[SlotHealth]]:
        known = self._found.get(pair)
        if known is not None and known[0] is copy:
            return known
        return copy, [judge(pair, values) for values in windows.slots_of(copy)]

    # --- what the pages show ---

    def why(self) -> str:
        """Nothing of it keeps a service from its work."""
        return ""

    def document(self) -> dict[str, Any]:
        """The slots that are furthest from good, and how many are left out."""
        rows = self.rows()
        rows.sort(key=_from_worst)
        shown = [row.document() for row in rows[:ROWS_SHOWN_MAX]]
        return {"health": shown, "health_left_out": len(rows) - len(shown)}

    def figures(self) -> dict[str, tuple[str, float]]:
        """None without a slot: `collect` has them all."""
        return {}

    def collect(self) -> Iterator[Metric]:
        """Gauges by pair and slot."""
        rows = self.rows()
        for name, text, value in _GAUGES:
            yield _family(name, text, {(row.pair, row.slot): value(row) for row in rows})
        for name, text, label, values in _BY:
            family = GaugeMetricFamily(name, text, labels=[*_LABELS, label])
            for row in rows:
                for key, figure in values(row).items():
                    family.add_metric([row.pair, str(row.slot), key], figure)
            yield family


def _from_worst(row: SlotHealth) -> tuple[int, int]:
    """The worst aspect counts first, then all of them."""
    aspects = (row.whiteness, row.calibration, row.drift)
    return -severity(row.state), -sum(severity(aspect.state) for aspect in aspects)


def _mark(window: Window) -> tuple[int, bytes]:
    """What changes with every row and every assignment."""
    return int(window.clock["taken"][0]), window.generations.tobytes()


def _family(name: str, text: str, values: Mapping[tuple[str, int], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_LABELS)
    for (pair, slot), value in values.items():
        family.add_metric([pair, str(slot)], value)
    return family


_Gauge = tuple[str, str, Callable[[SlotHealth], float]]
_Many = tuple[str, str, str, Callable[[SlotHealth], Mapping[str, float]]]
_GAUGES: tuple[_Gauge, ...] = (
    ("hft_model_observations", "grid steps that are judged", lambda row: row.observations),
    ("hft_model_score_mean", "of innovations as normal values, 0", lambda row: row.mean),
    ("hft_model_score_variance", "1 where forecasts are calibrated", lambda row: row.variance),
)
_BY: tuple[_Many, ...] = (
    (
        "hft_model_p_value",
        "chance of a statistic as large where the model is right",
        "test",
        lambda row: {
            "mean": row.mean_p,
            "variance": row.variance_p,
            "ljung_box": row.white_p,
            "ljung_box_sizes": row.sizes_p,
            "uniform": row.uniform_p,
        },
    ),
    (
        "hft_model_coverage",
        "share of innovations within their forecast interval",
        "nominal",
        lambda row: dict(zip(map(str, NOMINALS), row.covered, strict=True)),
    ),
    (
        "hft_model_coverage_p_value",
        "Kupiec's test of the coverage",
        "nominal",
        lambda row: dict(zip(map(str, NOMINALS), row.coverage_p, strict=True)),
    ),
    (
        "hft_model_drift_psi",
        "population stability index against the calibration's data",
        "feature",
        lambda row: {name: shift.psi for name, shift in row.shifts.items()},
    ),
    (
        "hft_model_health",
        "0 not known, 1 good, 2 to be looked at, 3 off",
        "aspect",
        lambda row: {
            "whiteness": severity(row.whiteness.state),
            "calibration": severity(row.calibration.state),
            "drift": severity(row.drift.state),
        },
    ),
)
