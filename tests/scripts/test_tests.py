"""scripts/tests.sh: the tests in two parts, one report of both, and 80 % or a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("tests.sh", "step.sh", "ci/junit.py")
SETTINGS = """
[tool.pytest.ini_options]
addopts = "--import-mode=importlib"
[tool.coverage.run]
source = ["hft_lib"]
parallel = true
[tool.coverage.report]
fail_under = 80
"""
CODE = """
def half(number):
    if number % 2:
        return (number - 1) / 2
    number /= 2
    return number
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project: a module, a unit test of half of it, an integration test of the rest."""
    for name in SCRIPTS:
        copied = tmp_path / "scripts" / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "scripts" / name, copied)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    files = {
        "hft_lib/__init__.py": "",
        "hft_lib/halves.py": CODE,
        "tests/test_odd.py": "from hft_lib.halves import half\n\ndef test_odd(): "
        "assert half(3) == 1\n",
        "tests/test_none.py": "def test_none(): pass\n",
        "tests/integration/test_even.py": "from hft_lib.halves import half\n\ndef test_even(): "
        "assert half(4) == 2\n",
        "tests/simulation/test_more.py": "def test_more(): pass\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The script in its tree, in one process; what covers these tests covers none of those."""
    known = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [tree / "scripts" / "tests.sh", *words],
        env=known | {"WORKERS": "1", "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def names(report: Path) -> set[str]:
    """The tests of a JUnit report."""
    return {str(case.get("name")) for case in ElementTree.parse(report).getroot().iter("testcase")}


def test_the_two_parts_run_apart_and_one_report_is_of_both(tree: Path) -> None:
    for part, wanted in (("unit", {"odd", "none"}), ("integration", {"even", "more"})):
        done = run(tree, part)
        assert done.returncode == 0, done.stdout + done.stderr
        found = names(tree / "build" / f"pytest-report-{part}.xml")
        assert found == {f"test_{name}" for name in wanted}
    done = run(tree, "report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(names(tree / "pytest-report.xml")) == 4
    covered = ElementTree.parse(tree / "coverage.xml").getroot()
    assert float(covered.attrib["line-rate"]) == 1.0
    assert (tree / "htmlcov" / "index.html").is_file()


def test_named_tests_run_alone_and_below_80_percent_the_report_fails(tree: Path) -> None:
    assert run(tree, "unit", "tests/test_odd.py").returncode == 0
    assert names(tree / "build" / "pytest-report-unit.xml") == {"test_odd"}
    done = run(tree, "report")
    assert done.returncode != 0 and "less than fail-under=80" in done.stdout + done.stderr
    # What there is to look at is there all the same.
    assert (tree / "coverage.xml").is_file() and (tree / "htmlcov" / "index.html").is_file()


def test_a_report_of_nothing_and_an_unknown_part_are_refused(tree: Path) -> None:
    done = run(tree, "report")
    assert done.returncode == 1 and "none did" in done.stderr
    assert run(tree, "some").returncode == 2
