"""How many seeds, and from which on: `pytest tests/simulation --seeds N --first-seed S`."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

SEEDS_IN_CI, SEEDS_HERE = 1000, 100
# A long story is among them. A line run a thousand times is not covered better, and the tracer
# would take two thirds of the time.
SEEDS_TRACED = 25


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
        seeds = range(first, first + count)
        metafunc.parametrize("seed", [_traced_or_not(seed, seed - first) for seed in seeds])


def _traced_or_not(seed: int, number: int) -> Any:
    return seed if number < SEEDS_TRACED else pytest.param(seed, marks=pytest.mark.no_cover)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What workers say of cuts and restarts is what is meant to happen here."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(wrapper_class=before)
