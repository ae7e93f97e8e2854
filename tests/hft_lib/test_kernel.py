"""The cache of compiled functions: an edit anywhere below a loop compiles the loop again."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib import kernel
from hft_lib.kernel import CACHE_DIR, sources_sha256

Rows = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "hft_lib"
SCRIPT = """
import numpy as np
from hft_lib.exchange.account import Account, Leg
from hft_lib.stages.legs import aim
legs, account = np.zeros(2, Leg), np.zeros(1, Account)
legs["lots_per_unit"], account["wanted"] = 10.0, (1.27, -2.55)
aim(account[0], legs, 1.0)
import sys
sys.stdout.write(repr(account[0]["goal"].tolist()) + chr(10) + repr(len(aim.stats.cache_hits)))
"""
LOADED_FIRST = """
import sys
from hft_lib import kernel
from hft_lib.stages.legs import aim
before = len(aim.signatures)
loaded = kernel.load_kept()
say = [before, loaded > 0, len(aim.signatures), kernel.load_kept()]
sys.stdout.write(repr(say) + chr(10))
"""


# Root writes where nobody may, until it has put that away.
UNPRIVILEGED = (
    ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    if os.geteuid() == 0
    else ()
)


def run(folder: Path, *before: str, script: str = SCRIPT) -> list[str]:
    """The result of a loop and how often it came from the cache, by a process of its own."""
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*before, sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_edit_of_a_leaf_changes_the_loop_that_calls_it(tmp_path: Path):
    shutil.copytree(LIBRARY, tmp_path / "hft_lib", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(tmp_path) == ["[1.2, -2.4]", "0"]
    assert run(tmp_path) == ["[1.2, -2.4]", "1"]  # the cache is in use, or the rest proves nothing
    leaf = tmp_path / "hft_lib" / "exchange" / "fills.py"
    source = leaf.read_text(encoding="utf-8")
    assert source.count("5e-10") == 1
    leaf.write_text(source.replace("5e-10", "0.5"), encoding="utf-8")
    assert run(tmp_path) == ["[1.3, -2.6]", "0"]


def test_a_folder_that_cannot_be_written_is_read_and_what_it_lacks_is_compiled(tmp_path: Path):
    shutil.copytree(LIBRARY, tmp_path / "hft_lib", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(tmp_path) == ["[1.2, -2.4]", "0"]
    baked = next((tmp_path / "hft_lib" / "__pycache__").glob("kernels-*"))
    for folder in (baked, *(path for path in baked.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    before = sorted(baked.rglob("*"))
    assert run(tmp_path, *UNPRIVILEGED) == ["[1.2, -2.4]", "1"]
    index = next(baked.glob("stages_*/legs.aim-*.nbi"))
    index.parent.chmod(0o755)
    index.unlink()
    index.parent.chmod(0o555)
    assert run(tmp_path, *UNPRIVILEGED) == ["[1.2, -2.4]", "0"]
    assert sorted(baked.rglob("*")) == [path for path in before if path != index]


def test_what_the_cache_holds_can_be_loaded_before_it_is_called(tmp_path: Path):
    shutil.copytree(LIBRARY, tmp_path / "hft_lib", ignore=shutil.ignore_patterns("__pycache__"))
    first = LOADED_FIRST + SCRIPT
    assert run(tmp_path, script=first) == ["[0, False, 0, 0]", "[1.2, -2.4]", "0"]
    assert run(tmp_path, script=first) == ["[0, True, 1, 0]", "[1.2, -2.4]", "1"]
    # An entry whose code is gone is compiled again, and kept.
    next(tmp_path.rglob("legs.aim-*.nbc")).unlink()
    assert run(tmp_path, script=first) == ["[0, True, 1, 0]", "[1.2, -2.4]", "0"]
    assert run(tmp_path, script=first) == ["[0, True, 1, 0]", "[1.2, -2.4]", "1"]


def kernels_of(tree: ast.Module) -> list[ast.FunctionDef]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(getattr(d, "id", getattr(d, "attr", "")) == "kernel" for d in node.decorator_list)
    ]


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Each name that a module imports from the library, with the module that it comes from."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hft_lib"):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def sources_of_kernels() -> set[Path]:
    """Every file with a kernel, and every file from which a kernel's body takes a name."""
    found = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = imported_names(tree)
        for function in kernels_of(tree):
            found.add(path)
            # The body alone: numba does not read annotations.
            nodes = (node for line in function.body for node in ast.walk(line))
            used = {node.id for node in nodes if isinstance(node, ast.Name)}
            for origin in (names[name] for name in used & set(names)):
                for module in (origin, origin.rpartition(".")[0]):
                    file = ROOT / (module.replace(".", "/") + ".py")
                    if file.is_file():
                        found.add(file)
    return found


def test_there_are_kernels_to_speak_of():
    found = {path.relative_to(LIBRARY).as_posix() for path in sources_of_kernels()}
    assert {"strategy/decision.py", "stages/desk.py", "models/kalman.py", "risk/gate.py"} <= found


@pytest.mark.parametrize(
    "source", sorted(sources_of_kernels()), ids=lambda p: p.relative_to(LIBRARY).as_posix()
)
def test_the_hash_covers_every_source_that_a_kernel_is_made_of(source: Path, tmp_path: Path):
    copy = tmp_path / "hft_lib"
    shutil.copytree(LIBRARY, copy, ignore=lambda folder, names: [n for n in names if _aside(n)])
    before = sources_sha256(copy)
    with (copy / source.relative_to(LIBRARY)).open("a", encoding="utf-8") as file:
        file.write("# an edit\n")
    assert sources_sha256(copy) != before


def _aside(name: str) -> bool:
    return name == "__pycache__" or "." in name and not name.endswith(".py")


def test_the_row_types_are_covered_too(tmp_path: Path):
    shutil.copy(LIBRARY / "rows.py", tmp_path / "rows.py")
    before = sources_sha256(tmp_path)
    (tmp_path / "rows.py").write_text("# other rows\n", encoding="utf-8")
    assert sources_sha256(tmp_path) != before


def test_the_hash_is_of_names_and_contents(tmp_path: Path):
    (tmp_path / "a.py").write_text("from hft_lib.kernel import kernel\n", encoding="utf-8")
    before = sources_sha256(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert sources_sha256(tmp_path) != before


def test_the_cache_folder_is_named_by_the_hash():
    assert CACHE_DIR.name == f"kernels-{sources_sha256()[:16]}"


def test_a_kernel_divides_as_numpy_does_and_is_not_fastmath():
    @kernel.kernel
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == float("inf")
    assert not ratio.targetoptions.get("fastmath")  # type: ignore[attr-defined]


@kernel.kernel
def _sum_into(out: Rows, values: Rows, factor: float) -> None:
    for i in range(values.shape[0]):
        out[0] += factor * values[i]


def test_a_direct_call_reads_and_writes_the_arrays_it_is_given():
    out, values = np.zeros(1), np.arange(5.0)
    call = kernel.direct(_sum_into, out, values, 1.0)
    call(out, values, 2.0)
    call(out, values[1:3], 1.0)
    assert out.tolist() == [23.0]


CELL = np.dtype([("value", np.float64), ("flags", np.int8, (8,))])
ROWS_IN_A_ROW = np.dtype([("first", np.int64), ("cells", CELL, (3,))])


@kernel.kernel
def _mark_cells(words: npt.NDArray[np.int64], value: float) -> int:
    cells = words[1:].view(CELL)
    for i in range(cells.shape[0]):
        cells[i].value += value
        cells[i].flags[i] -= 1
    return words[0] + cells.shape[0]


def test_a_row_of_rows_is_taken_as_the_words_that_it_is_made_of():
    made = np.zeros(1, ROWS_IN_A_ROW)
    made["first"] = 40
    call = kernel.direct(_mark_cells, made, 1.0)
    held = sys.getrefcount(made)
    assert call(made, 1.5) == call(made, 0.5) == 43
    assert made["cells"][0]["value"].tolist() == [2.0, 2.0, 2.0]
    assert made["cells"][0]["flags"][:, :3].tolist() == [[-2, 0, 0], [0, -2, 0], [0, 0, -2]]
    assert sys.getrefcount(made) == held
    with pytest.raises(TypeError, match="an array was expected"):
        call(None, 1.0)


def test_a_direct_call_keeps_no_hold_of_its_arrays():
    out, values = np.zeros(1), np.arange(5.0)
    call = kernel.direct(_sum_into, out, values, 1.0)
    held = sys.getrefcount(out), sys.getrefcount(values)
    for _ in range(100):
        call(out, values, 2.0)
    assert (sys.getrefcount(out), sys.getrefcount(values)) == held


NO_ARRAYS = [None, 1.0, [1.0], "text", np.zeros(5, np.float32), np.zeros(5, "V16")]


@pytest.mark.parametrize("given", NO_ARRAYS, ids=str)
def test_a_direct_call_refuses_what_is_no_array_of_such_elements(given: object):
    out, values = np.zeros(1), np.arange(5.0)
    call = kernel.direct(_sum_into, out, values, 1.0)
    with pytest.raises(TypeError, match="an array was expected, of 8 bytes an element"):
        call(out, given, 1.0)
    assert out.tolist() == [0.0]


def test_a_direct_kernel_is_compiled_for_the_types_of_its_first_call_and_no_others():
    out, before = np.zeros(1), len(_sum_into.signatures)  # type: ignore[attr-defined]
    seen = np.frombuffer(np.arange(3.0).tobytes())  # only read: another type to numba
    kept = kernel.Direct(_sum_into)
    kept.call(out, seen, 1.0)
    kept.call(out, np.arange(4.0), 2)
    assert out.tolist() == [3.0 + 12.0]
    assert len(_sum_into.signatures) == before + 1  # type: ignore[attr-defined]
