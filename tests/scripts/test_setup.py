"""scripts/setup.sh touches no environment but its own tree's."""

import shutil
import subprocess
from pathlib import Path

from tests.docker.test_images import ROOT


def test_a_link_to_anothers_environment_is_refused_and_that_one_kept(tmp_path: Path) -> None:
    tree, theirs = tmp_path / "tree", tmp_path / "theirs"
    for folder in ("scripts", "requirements"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup.sh", tree / "scripts")
    shutil.copy(ROOT / "requirements/dev.lock", tree / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tree)
    theirs.mkdir()
    (theirs / "kept").touch()
    (tree / ".venv").symlink_to(theirs)
    words = ["bash", str(tree / "scripts/setup.sh"), "dev"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"set-up: .venv must be a folder of this tree, is a link to {theirs}; remove the link\n"
    )
    assert list(theirs.iterdir()) == [theirs / "kept"]
