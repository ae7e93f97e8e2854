"""What every test shares: a clean environment, repeatable examples, the way to market data."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    "tests/simulation/test_simulation.py",
    "tests/integration/test_ledger_kafka.py",
    "tests/cli/test_pipeline.py",
    "tests/integration/test_backup.py",
    "tests/integration/test_paper_kafka.py",
    "tests/integration/test_six_services.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_kafka_bus.py",
    "tests/integration/test_halts.py",
    "tests/hft_lib/fitting/test_fit_garch.py",
    "tests/integration/test_handover.py",
    "tests/scripts/test_notebooks.py",
    "tests/cli/test_pairs.py",
    "tests/integration/test_paper.py",
    "tests/scripts/test_deploy_k8s.py",
    "tests/cli/test_run.py",
)


# What is tested there is none of the packages whose coverage is measured: a tracer would do no
# more than double the time of what reads YAML and looks through every file.
UNMEASURED = tuple(ROOT / "tests" / name for name in ("docker", "docs", "github", "k8s", "scripts"))
UNMEASURED_FILES = (ROOT / "tests" / "test_tidy.py", ROOT / "tests" / "test_locks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end.

    A file's own order stays: its tests may go on with what the one before left.
    """
    for item in items:
        if item.path in UNMEASURED_FILES or set(UNMEASURED) & set(item.path.parents):
            item.add_marker(pytest.mark.no_cover)
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    rank = {ROOT / name: number for number, name in enumerate(LONGEST)}
    last = len(LONGEST)
    items.sort(key=lambda item: (rank.get(item.path, last), item.path not in slow))


@contextmanager
def shared(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all processes of these tests have in common, this one's alone in the block."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    folder.mkdir(exist_ok=True)
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Put a model registry's database that holds nothing where a test wants one."""
    from tests import registry_template

    def put(database: Path) -> None:
        with shared(tmp_path_factory, "registry") as folder:
            registry_template.copy_to(database, folder)

    return put


@pytest.fixture(scope="session", autouse=True)
def new_registries_are_copies(empty_registry: Callable[[Path], None]) -> Iterator[None]:
    """What is opened here for the first time is there already; a process of its own makes it."""
    from serving.adapters import mlflow_store

    opened = mlflow_store.open_client

    def open_client(settings: Any, *rest: Any) -> Any:
        database = mlflow_store.store_file(settings)
        if database is not None and not database.exists():
            empty_registry(database)
        return opened(settings, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_store, "open_client", open_client)
        yield


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
