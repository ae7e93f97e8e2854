"""What the table of services says, and what a process of one of them loads."""

import subprocess
import sys

import pytest

from serving.services import SERVICES, stages

# What a service on Kafka imports before it reads its inbox, and what it has of compiled code then.
PROCESS = """
import sys
import serving.process, serving.tape_edge
from serving.services import SERVICES
next(service for service in SERVICES if service.name == sys.argv[1]).stage
wanted = ("numba", "hft_lib.stages.")
print(*sorted(name for name in sys.modules if name == wanted[0] or name.startswith(wanted[1])))
"""


def test_a_service_is_named_as_its_stage():
    assert [stage.name for stage in stages()] == [service.name for service in SERVICES]


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("ingestion", ["hft_lib.stages.ingestion"]),
        ("kalman_filter", ["hft_lib.stages.kalman_filter", "numba"]),
    ],
)
def test_a_process_loads_its_own_stage_alone(name: str, loaded: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert set(loaded) <= set(found)
    assert ("numba" in found) == ("numba" in loaded)
    assert {"hft_lib.stages.execution", "hft_lib.stages.orchestrator"}.isdisjoint(found)
