"""How full the disk is that holds a service's files: a journal that cannot grow ends the line."""

import shutil
from pathlib import Path
from typing import Any


class Disk:
    """The disk under `folder`, or under the nearest folder above that is there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def why(self) -> str:
        """Nothing: what is full is an alert long before it is a refusal."""
        return ""

    def document(self) -> dict[str, Any]:
        """Nothing of it is in `/state`."""
        return {}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        there = next(place for place in (self._folder, *self._folder.parents) if place.exists())
        usage = shutil.disk_usage(there)
        return {
            "hft_disk_free_bytes": ("free on the disk of HFT_HOME", float(usage.free)),
            "hft_disk_size_bytes": ("size of the disk of HFT_HOME", float(usage.total)),
        }
