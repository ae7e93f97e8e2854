"""Kernels that are compiled for an image are the same bytes each time, and still run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.test_images import ROOT

# A kernel that calls another one: its listing names where that lay in memory.
SOURCE = """
import numba

@numba.njit(cache=True)
def half(x):
    return x / 2.0

@numba.njit(cache=True)
def quarter(x):
    return half(half(x))
"""
COMPILE = """
import sys
sys.path[:0] = [{folder!r}, {root!r}]
if {forgets}:
    from scripts.bake_kernels import forget_addresses
    forget_addresses()
import numba
numba.config.CACHE_DIR = {cache!r}  # the library sets its own
# What was imported before lies elsewhere in each process, as it does in two builds.
held = [object() for _ in range({shift})]
import quarters
assert quarters.quarter(8.0) == 2.0
assert sum(quarters.quarter.stats.cache_hits.values()) == {hits}
"""


def compiled(folder: Path, cache: Path, shift: int, forgets: bool = True, hits: int = 0) -> bytes:
    """What a process of its own compiles into `cache`."""
    words = {"folder": str(folder), "root": str(ROOT), "cache": str(cache)}
    text = COMPILE.format(**words, forgets=forgets, shift=shift, hits=hits)
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = (sys.executable, "-c", text)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (kept,) = cache.rglob("quarters.quarter-*.nbc")
    return kept.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the kernels are written."""
    (tmp_path / "quarters.py").write_text(SOURCE)
    return tmp_path


def test_two_processes_compile_the_same_bytes(folder: Path) -> None:
    first = compiled(folder, folder / "a", 0)
    assert compiled(folder, folder / "b", 100_000) == first
    assert b"at 0x0>" in first  # the listing is there, without the place


def test_without_it_the_place_in_memory_is_kept(folder: Path) -> None:
    kept = compiled(folder, folder / "a", 0, forgets=False)
    assert b"<function half at 0x" in kept and b"at 0x0>" not in kept


def test_what_was_compiled_is_taken_by_the_next_process(folder: Path) -> None:
    compiled(folder, folder / "a", 0)
    compiled(folder, folder / "a", 0, forgets=False, hits=1)
