"""What a service loads before it knows which one it is."""

import json
import subprocess
import sys
from typing import Literal

import pytest
import structlog

from serving.__main__ import _log_to_stderr
from serving.runtime.settings import Settings
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


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_a_log_is_one_line_an_event_and_json_where_a_collector_reads_it(
    environment: Literal["development", "staging"], capsys: pytest.CaptureFixture[str]
):
    try:
        _log_to_stderr(Settings(environment=environment))
        structlog.get_logger("test").info("an order", trace="abc", service="execution")
    finally:
        structlog.reset_defaults()
    (line,) = capsys.readouterr().err.splitlines()
    if environment == "development":
        assert "an order" in line and "trace=abc" in line and "\x1b" not in line
    else:
        found = json.loads(line)
        assert found.pop("timestamp").endswith("Z")
        assert found == {
            "event": "an order",
            "level": "info",
            "trace": "abc",
            "service": "execution",
        }
