"""A step passes its command's exit code on, and notes name, verdict and seconds."""

import os
import subprocess
from pathlib import Path

import pytest

STEP = Path(__file__).resolve().parents[2] / "scripts" / "step.sh"


@pytest.mark.parametrize(
    ("command", "code", "verdict"), [("true", 0, "passed"), ("exit 7", 7, "failed")]
)
def test_a_step_notes_its_verdict(tmp_path: Path, command: str, code: int, verdict: str) -> None:
    steps = tmp_path / "steps.tsv"
    environ = {**os.environ, "STEPS_FILE": str(steps)}
    done = subprocess.run(
        [STEP, "a name", "bash", "-c", command], env=environ, capture_output=True, text=True
    )
    assert done.returncode == code
    assert steps.read_text().split("\t")[:2] == ["a name", verdict]
    assert f"--- a name: {verdict} in " in done.stdout
