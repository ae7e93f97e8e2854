"""The tree's own rules: what no linter knows and every module keeps."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hft_lib", "components", "pipelines", "serving", "cli")
LINES_MAX = 500
MADE = {"build", "runs", "mlruns", "htmlcov", "__pycache__", "node_modules"}
DOT_FOLDERS = {".github", ".ci"}
TEXT = {".py", ".sh", ".md", ".toml", ".yml", ".yaml", ".json", ".ipynb", ".in", ".lock", ".html"}

# The order of a numpy reduction, and the last bit of a library's exp or log, differ by machine.
REDUCTIONS = {"sum", "mean", "std", "var", "average", "median", "prod", "cumsum", "cumprod", "dot"}
REDUCTIONS |= {"vdot", "inner", "matmul", "einsum", "nansum", "nanmean", "nanstd", "nanvar"}
REDUCTIONS |= {"trapezoid", "norm", "cov", "corrcoef", "interp"}
FUNCTIONS = {"exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "power", "lgamma"}
FUNCTIONS |= {"gamma", "erf", "erfc", "sin", "cos", "tan", "tanh", "sinh", "cosh", "hypot", "cbrt"}
NUMERIC_MODULES = {"np", "numpy", "math"}

# What a pure library never asks: the network, the clock, the environment, chance without a seed.
IMPURE_MODULES = {"socket", "requests", "urllib3", "httpx", "aiohttp", "random", "secrets", "uuid"}
IMPURE_MODULES |= {"asyncio", "subprocess", "threading", "ssl", "http", "urllib.request"}
IMPURE_NAMES = {"os.environ", "os.getenv", "time.time", "time.time_ns", "time.sleep"}
IMPURE_NAMES |= {"time.monotonic", "time.monotonic_ns", "time.perf_counter"}
IMPURE_NAMES |= {"time.perf_counter_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
IMPURE_NAMES |= {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"}
IMPURE_NAMES |= {"date.today", "os.urandom"}


def files() -> Iterator[Path]:
    """Every text file of the project that a person wrote."""
    for folder, names, found in os.walk(ROOT):
        keep = [n for n in names if n not in MADE and not n.endswith(".egg-info")]
        names[:] = sorted(n for n in keep if not n.startswith(".") or n in DOT_FOLDERS)
        for name in sorted(found):
            if Path(name).suffix in TEXT or name in ("Makefile", "Dockerfile", "run"):
                yield Path(folder, name)


FILES = list(files())
MODULES = [path for path in FILES if path.suffix == ".py"]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def under(*folders: str) -> list[Path]:
    """The modules below these folders of the root."""
    return [path for path in MODULES if path.relative_to(ROOT).parts[0] in folders]


def at(path: Path, node: ast.AST | int) -> str:
    """Where something stands, as an editor opens it."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(ROOT)}:{line}"


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute or name, '' of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def matching(pattern: str, paths: list[Path]) -> list[str]:
    """Every line of `paths` in which `pattern` is found."""
    regex = re.compile(pattern)
    return [
        at(path, number)
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if regex.search(line)
    ]


def test_the_walk_finds_the_tree() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in FILES}
    assert {"hft_lib/kernel.py", "tests/test_tidy.py", "Makefile", ".ci/run"} <= found
    assert not [path for path in found if path.startswith(".venv")]


def test_no_module_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert [at(path, lines) for path, lines in lengths.items() if lines > LINES_MAX] == []


def test_nothing_is_left_to_do() -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
    assert matching(rf"\b({words})\b", [path for path in FILES if path.suffix != ".lock"]) == []


def test_no_path_of_one_machine_is_named() -> None:
    assert matching(r"(?<![\w.])/(work|farm|root|home)/[a-z]", FILES) == []


def swallows(node: ast.AST) -> bool:
    """Whether a handler or `suppress` takes any error and says nothing."""
    if isinstance(node, ast.ExceptHandler):
        silent = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
        wide = node.type is None or dotted(node.type) in ("Exception", "BaseException")
        return node.type is None or (wide and silent)
    if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
        return any(dotted(name) in ("Exception", "BaseException") for name in node.args)
    return False


def test_no_error_is_swallowed() -> None:
    found = [at(path, n) for path, tree in TREES.items() for n in ast.walk(tree) if swallows(n)]
    assert found == []


def test_only_the_command_prints() -> None:
    found = [
        at(path, node)
        for path in under("hft_lib", "components", "pipelines", "serving", "tests")
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    ]
    assert found == []


def test_every_library_module_says_what_it_is() -> None:
    silent = [at(path, 1) for path in under("hft_lib") if not ast.get_docstring(TREES[path])]
    assert silent == []


def bare(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function leaves its result or an argument of its own without a type."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = [a for a in arguments if a and a.arg not in ("self", "cls") and a.annotation is None]
    return bool(names) or function.returns is None


def test_what_is_public_is_annotated() -> None:
    found = []
    for path in under(*PACKAGES):
        bodies = [TREES[path].body]
        bodies += [n.body for n in TREES[path].body if isinstance(n, ast.ClassDef)]
        for node in (n for body in bodies for n in body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # numba infers a kernel's types; its docstring gives the shapes.
                public = not node.name.startswith("_") and not compiled(node)
                if public and bare(node):
                    found.append(at(path, node))
    assert found == []


def test_pipelines_and_components_keep_their_annotations() -> None:
    # kfp reads them at decoration: postponed ones are strings, and it raises.
    assert (
        matching(r"from __future__ import.*\bannotations\b", under("components", "pipelines")) == []
    )


def compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether `@kernel`, or numba itself, compiles a function."""
    decorators = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(dotted(d).split(".")[-1] in ("kernel", "njit", "jit") for d in decorators)


def kernels(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The compiled functions of a module."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return (node for node in nodes if compiled(node))


def moves_the_last_bit(node: ast.AST) -> bool:
    """Whether an operation's last bit may differ by machine or by library."""
    match node:
        case ast.BinOp(op=ast.Pow() | ast.MatMult()) | ast.AugAssign(op=ast.Pow() | ast.MatMult()):
            return True
        case ast.Call(func=ast.Attribute(value=value, attr=name)):
            numeric = dotted(value).split(".")[0] in NUMERIC_MODULES
            return name in REDUCTIONS or (numeric and name in FUNCTIONS)
        case ast.Call(func=ast.Name(id="sum" | "pow")):
            return True
        case ast.keyword(arg="fastmath" | "parallel"):
            return True
        case _:
            return False


@pytest.mark.parametrize(
    "source",
    [
        "x ** 2",
        "x **= 2",
        "x @ y",
        "np.sum(x)",
        "x.mean()",
        "math.exp(x)",
        "np.log(x)",
        "pow(x, 2)",
    ],
)
def test_the_rule_of_bits_sees_what_it_forbids(source: str) -> None:
    assert any(moves_the_last_bit(node) for node in ast.walk(ast.parse(source)))


def test_the_rule_of_bits_lets_our_own_functions_pass() -> None:
    allowed = ast.parse("math.sqrt(x * x + exp(y) / log(z)) - special.log_gamma(x)")
    assert not any(moves_the_last_bit(node) for node in ast.walk(allowed))


def test_kernels_compute_the_same_bits_on_every_machine() -> None:
    found = [
        at(path, node)
        for path in under(*PACKAGES)
        for function in kernels(TREES[path])
        for node in ast.walk(function)
        if moves_the_last_bit(node)
    ]
    assert found == []


def test_stages_compute_the_same_bits_on_every_machine() -> None:
    found = [
        at(path, node)
        for path in under("hft_lib")
        if path.parent.name == "stages"
        for node in ast.walk(TREES[path])
        if moves_the_last_bit(node)
    ]
    assert found == []


def impure(node: ast.AST) -> bool:
    """Whether a node reaches for the world."""
    match node:
        case ast.Import(names=names):
            return any(name.name in IMPURE_MODULES for name in names)
        case ast.ImportFrom(module=str(module), names=names):
            whole = {module, *(f"{module}.{name.name}" for name in names)}
            return bool(whole & (IMPURE_MODULES | IMPURE_NAMES))
        case ast.Attribute():
            return dotted(node) in IMPURE_NAMES
        case _:
            return False


@pytest.mark.parametrize(
    "source",
    ["import socket", "from time import time", "os.environ['A']", "datetime.now(UTC)"],
)
def test_the_rule_of_purity_sees_what_it_forbids(source: str) -> None:
    assert any(impure(node) for node in ast.walk(ast.parse(source)))


def test_the_library_asks_neither_clock_nor_network_nor_environment() -> None:
    found = [at(path, n) for path in under("hft_lib") for n in ast.walk(TREES[path]) if impure(n)]
    assert found == []


def test_only_the_gate_makes_an_approved_order() -> None:
    found = [
        at(path, node)
        for path in under(*PACKAGES)
        if path.relative_to(ROOT).as_posix() != "hft_lib/risk/gate.py"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        and dotted(node.func).split(".")[-1] in ("CapitalOrder", "ShadowOrder")
    ]
    assert found == []


@pytest.mark.parametrize("name", LONGEST)
def test_a_file_that_is_begun_first_is_there(name: str) -> None:
    assert (ROOT / name).is_file()
