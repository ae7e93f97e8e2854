"""Data of models that are right, for tests to spoil."""

from typing import Any

import numpy as np

from hft_lib.health.reference import reference_of
from hft_lib.health.window import SlotValues
from hft_lib.parameters import Reference

SD_Y, SD_X, SD_INNOVATION = 0.004, 0.003, 0.001


class Made:
    """Data of a model that is right; a test changes what it is to be wrong in."""

    def __init__(self, count: int, seed: int) -> None:
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.scores = self.random.standard_normal(count)
        self.returns_y = SD_Y * self.random.standard_normal(count)
        self.returns_x = SD_X * self.random.standard_normal(count)
        self.gaps_s = self.random.exponential(2.0, count)

    def reference(self) -> Reference:
        steps = np.ones(self.scores.size, np.int64)
        return reference_of(
            np.cumsum(self.returns_y),
            np.cumsum(self.returns_x),
            steps,
            self.gaps_s,
            SD_INNOVATION * self.scores,
        )

    def values(self, reference: Reference | None, **changes: Any) -> SlotValues:
        known: dict[str, Any] = {
            "slot": 2,
            "generation": 3,
            "scores": self.scores,
            "innovations": SD_INNOVATION * self.scores,
            "returns_y": self.returns_y,
            "returns_x": self.returns_x,
            "gaps_s": self.gaps_s,
            "reference": reference,
        }
        return SlotValues(**(known | changes))


REFERENCE = Made(2_000, 1).reference()
