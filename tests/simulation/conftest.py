"""How many seeds, and from which on: `pytest tests/simulation --seeds N --first-seed S`."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

SEEDS_IN_CI, SEEDS_HERE = 1000, 100


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, help="how many seeds are run (1000 in CI, else 100)")
    group.addoption("--first-seed", type=int, help="the first of them (0)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` is run once for each; each runs its story whole."""
    if "seed" in metafunc.fixturenames:
        usual = SEEDS_IN_CI if os.environ.get("CI") == "true" else SEEDS_HERE
        count = metafunc.config.getoption("--seeds", None)
        first = metafunc.config.getoption("--first-seed", None) or 0
        count = usual if count is None else count
        metafunc.parametrize("seed", range(first, first + count))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What workers say of cuts and restarts is what is meant to happen here."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(wrapper_class=before)
