"""What every test shares: a clean environment, repeatable examples, the way to market data."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a developer's shell says about a running system is not a test's business.
SETTINGS_PREFIXES = ("HFT_", "EVOP_", "BINANCE_", "CHAMPION_")
SETTINGS_NAMES = (
    "ENVIRONMENT",
    "LOG_LEVEL",
    "EXCHANGE",
    "KAFKA_BOOTSTRAP_SERVERS",
    "REDIS_URL",
    "DATABASE_URL",
    "MLFLOW_TRACKING_URI",
    "PAIRS",
)

# A compiled function's first call takes seconds, which says nothing of the property under test.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("here"), derandomize=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

for name in list(os.environ):
    if name.startswith(SETTINGS_PREFIXES) or name in SETTINGS_NAMES:
        del os.environ[name]


# The longest first. Those that wait for servers alternate with those that keep a core busy.
LONGEST = (
    "tests/integration/test_faults.py",
    "tests/integration/test_registry_kafka.py",
    "tests/cli/test_pipeline.py",
    "tests/simulation/test_simulation.py",
    "tests/integration/test_six_services.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_backup.py",
    "tests/hft_lib/fitting/test_fit_garch.py",
    "tests/integration/test_handover.py",
    "tests/scripts/test_notebooks.py",
    "tests/cli/test_pairs.py",
    "tests/integration/test_paper.py",
    "tests/scripts/test_deploy_k8s.py",
    "tests/cli/test_run.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end.

    A file's own order stays: its tests may go on with what the one before left.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    rank = {ROOT / name: number for number, name in enumerate(LONGEST)}
    last = len(LONGEST)
    items.sort(key=lambda item: (rank.get(item.path, last), item.path not in slow))


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded market data beside the repository; a test that needs it skips without.

    In CI its absence is a failure: there the data are promised, and a skip would hide their loss.
    """
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("recorded market data is missing beside the repository: shared/data")
        pytest.skip("no recorded market data beside the repository: shared/data")
    return folder
