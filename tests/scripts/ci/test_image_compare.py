"""Two builds are the same where every layer is, file by file; any difference is told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.ci import saved_images as made

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "ci" / "image_compare.py"
FILES = {"app/a.py": b"a = 1\n", "app/b.py": b"b = 2\n"}
CONFIG = {"created": "2026-01-01T00:00:00Z", "config": {"User": "10001", "Env": ["A=1"]}}


def compare(a: Path, b: Path) -> subprocess.CompletedProcess[str]:
    """The script on two files."""
    words = (sys.executable, str(SCRIPT), str(a), str(b))
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "form", [made.saved, lambda path, *rest: made.layout(path, [rest[0]], rest[1])]
)
def test_builds_of_two_days_are_the_same(tmp_path: Path, form: Callable[..., Path]) -> None:
    later = {**CONFIG, "created": "2026-02-02T00:00:00Z"}
    a = form(tmp_path / "a.tar", [made.layer(FILES, mtime=1)], CONFIG)
    b = form(tmp_path / "b.tar", [made.layer(FILES, mtime=2)], later)
    done = compare(a, b)
    assert (done.returncode, done.stdout) == (0, "image-compare: 0 differences\n"), done.stderr


@pytest.mark.parametrize(
    ("files", "how", "told"),
    [
        ({**FILES, "app/a.py": b"a = 2\n"}, {}, "layer 0: /app/a.py"),
        ({**FILES, "app/c.py": b""}, {}, "layer 0: /app/c.py: None and"),
        ({"app/a.py": FILES["app/a.py"]}, {}, "layer 0: /app/b.py"),
        (FILES, {"mode": 0o777}, "0o777"),
        (FILES, {"uid": 0, "gid": 5}, "(0, 5)"),
    ],
)
@pytest.mark.parametrize("form", [made.saved, lambda path, layers: made.layout(path, [layers])])
def test_a_file_that_differs_is_told(
    tmp_path: Path,
    files: dict[str, bytes],
    how: dict[str, int],
    told: str,
    form: Callable[..., Path],
) -> None:
    a = form(tmp_path / "a.tar", [made.layer(FILES)])
    done = compare(a, form(tmp_path / "b.tar", [made.layer(files, **how)]))
    assert done.returncode == 1 and told in done.stderr, done.stderr


def test_a_setting_or_a_layer_that_differs_is_told(tmp_path: Path) -> None:
    layers = [made.layer(FILES)]
    a = made.saved(tmp_path / "a.tar", layers, CONFIG)
    other = {**CONFIG, "config": {"User": "0", "Env": ["A=1"]}}
    done = compare(a, made.saved(tmp_path / "b.tar", layers, other))
    assert done.returncode == 1 and "configuration" in done.stderr
    done = compare(a, made.saved(tmp_path / "c.tar", layers * 2, CONFIG))
    assert done.returncode == 1 and "layers 1 and 2" in done.stderr


def test_what_is_no_image_is_not_the_same(tmp_path: Path) -> None:
    a = made.saved(tmp_path / "a.tar", [made.layer(FILES)])
    (tmp_path / "b.tar").write_text("no image")
    done = compare(a, tmp_path / "b.tar")
    assert done.returncode == 1 and "must be a saved image" in done.stderr
