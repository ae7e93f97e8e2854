"""An image's size is that of its packed layers, and one that is too large is refused."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.ci.image_kinds import KINDS
from tests.docker.test_images import SCRIPTS, run
from tests.scripts.ci.saved_images import layer, layout, saved

SCRIPT = SCRIPTS / "ci" / "image_size.py"
SMALL = layer({"zeros": bytes(100_000)})
# What cannot be packed stays as large as it is.
NOISE = bytes(value * value * 7919 % 251 for value in range(50_000))


def measured(path: Path) -> list[int]:
    """The sizes that are said of a saved image."""
    done = run(sys.executable, SCRIPT, path)
    assert done.returncode == 0, done.stderr
    return [int(line.split()[1]) for line in done.stdout.splitlines()]


def test_layers_that_are_not_packed_count_as_packed(tmp_path: Path) -> None:
    layers = [SMALL, layer({"noise": NOISE})]
    (size,) = measured(saved(tmp_path / "image.tar", layers))
    by_gzip = sum(len(gzip.compress(one, compresslevel=6)) for one in layers)
    assert abs(size - by_gzip) <= 4 * len(layers)
    assert size < sum(map(len, layers)) / 2


def test_each_platform_is_measured_and_packed_layers_count_as_they_are(tmp_path: Path) -> None:
    more = layer({"noise": NOISE})
    path = layout(tmp_path / "image.tar", [[SMALL], [SMALL, more]])
    small, large = (len(gzip.compress(one)) for one in (SMALL, more))
    assert measured(path) == [small, small + large]


@pytest.mark.parametrize(("limit", "code"), [(1, 0), (0, 1)])
def test_an_image_above_its_kinds_limit_is_refused(tmp_path: Path, limit: int, code: int) -> None:
    saved(tmp_path / "image.tar", [layer({"noise": NOISE})])
    for name in ("image_size.py", "image_layers.py"):
        (tmp_path / name).write_bytes((SCRIPT.parent / name).read_bytes())
    text = (SCRIPT.parent / "image_kinds.py").read_text()
    changed = text.replace("compressed_mb: int = 350", f"compressed_mb: int = {limit}")
    assert changed != text
    (tmp_path / "image_kinds.py").write_text(changed)
    done = run(sys.executable, tmp_path / "image_size.py", tmp_path / "image.tar")
    assert done.returncode == code, done.stderr
    assert ("must be at most 0 MB" in done.stderr) == bool(code)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"no image")
    done = run(sys.executable, SCRIPT, tmp_path / "image.tar")
    assert done.returncode == 1 and "must be a saved image" in done.stderr


def test_a_service_is_held_to_350_megabytes_and_every_image_to_something() -> None:
    lines = run(SCRIPTS / "docker-build.sh", "--dry-run", TAG="t", DOCKER_USERNAME="").stdout
    built = {line.split(" --tag hft-crypto-bot-")[1].split(":")[0] for line in lines.splitlines()}
    assert set(KINDS) == built
    assert KINDS["execution"].compressed_mb == 350


def test_an_image_that_nobody_builds_is_bad_usage() -> None:
    words = [sys.executable, str(SCRIPT), "image.tar", "--as", "nothing"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "invalid choice" in done.stderr
