"""How full the disk of a service is."""

import shutil
from pathlib import Path

from serving.runtime.disk import Disk


def test_the_disk_is_measured_before_its_folder_is_there(tmp_path: Path):
    disk = Disk(tmp_path / "not" / "there")
    figures = {name: value for name, (_, value) in disk.figures().items()}
    usage = shutil.disk_usage(tmp_path)
    assert figures["hft_disk_size_bytes"] == usage.total
    assert abs(figures["hft_disk_free_bytes"] - usage.free) < 0.05 * usage.total
    assert disk.why() == "" and disk.document() == {} and not (tmp_path / "not").exists()
