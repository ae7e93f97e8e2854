"""A change takes every test with it that it can break, and few others."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("changed", ROOT / "scripts" / "changed_tests.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("changed", "test"),
    [
        ("hft_lib/models/kalman.py", "tests/contracts/test_models.py"),
        ("hft_lib/models/kalman.py", "tests/hft_lib/stages/test_execution.py"),
        ("hft_lib/stages/execution.py", "tests/serving/test_services.py"),
        ("serving/runtime/pages.py", "tests/scripts/test_health_check.py"),
        ("serving/ledger/tables.py", "tests/cli/test_statement.py"),
        ("tests/trading.py", "tests/hft_lib/stages/test_legs.py"),
        ("scripts/step.sh", "tests/scripts/test_step.py"),
        ("docker/services/Dockerfile", "tests/docker/test_images.py"),
        (".github/workflows/ci-cd.yml", "tests/github/test_workflows.py"),
        ("docs/evop.md", "tests/test_tidy.py"),
        ("docs/evop.md", "tests/docs/test_documents.py"),
        ("scripts/step.sh", "tests/docs/test_guides.py"),
    ],
)
def test_a_change_takes_what_rests_on_it(script: ModuleType, changed: str, test: str) -> None:
    assert (ROOT / changed).is_file() and (ROOT / test).is_file()
    assert test in script.chosen([changed])


@pytest.mark.parametrize(
    ("changed", "test"),
    [
        ("cli/statement.py", "tests/hft_lib/models/test_kalman.py"),
        ("docs/evop.md", "tests/cli/test_evop.py"),
        ("scripts/step.sh", "tests/hft_lib/test_kernel.py"),
    ],
)
def test_a_change_leaves_what_does_not(script: ModuleType, changed: str, test: str) -> None:
    assert test not in script.chosen([changed])


@pytest.mark.parametrize(
    "changed",
    [
        "pyproject.toml",
        "requirements/dev.lock",
        "tests/conftest.py",
        "serving/orchestrator/page.css",
    ],
)
def test_what_anything_may_rest_on_takes_all(script: ModuleType, changed: str) -> None:
    assert script.chosen([changed]) == ["tests"]


def test_a_file_that_is_gone_takes_what_imported_it(script: ModuleType) -> None:
    assert len(script.chosen(["hft_lib/not_there_any_more.py"])) == len(script.ALWAYS)


def test_an_unknown_commit_takes_all() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "changed_tests.py", "no-such-commit"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "tests\n"
