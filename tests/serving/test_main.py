"""What a service loads before it knows which one it is."""

import subprocess
import sys

from tests.cli.conftest import ROOT

STEPPED = """
import sys
from serving.slim import give_back, without_linear_algebra
without_linear_algebra()
give_back()
sys.path.insert(0, "tests")
from builders import story, story_config
from hft_lib.stage import Line
from serving.services import stages
line = Line(stages(), story_config())
made = sum(len(line.post(log, fact)) for log, fact in story())
print(made, [name for name in sys.modules if name.startswith("scipy.linalg.")])
"""
HEAVY = ("pyarrow", "pandas", "sqlalchemy", "mlflow", "arch", "statsmodels", "plotly")


def test_a_service_loads_no_layer_that_only_another_one_needs():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, serving.__main__, serving.process; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in HEAVY if name in found] == []


def test_kernels_run_without_linear_algebra():
    found = subprocess.run(
        [sys.executable, "-c", STEPPED], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split(" ", 1)
    assert int(found[0]) > 0
    assert found[1].strip() == "[]"
