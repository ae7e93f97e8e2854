"""The tests that a change can break: python scripts/changed_tests.py BASE

Prints paths, or `tests` where a change is of something on which any test may rest (settings, locks,
shared fixtures) or BASE is unknown. BASE is a commit; what differs from it, in the commits since
and in the folder, is the change. A module of ours that changed takes with it all that import it, at
any remove, and so does a helper in tests/; a test is taken that imports one of those. What starts a
process rests on the command and on the services. The tree's own rules are always among them.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hft_lib", "components", "pipelines", "serving", "cli")
# What is run as a process of its own, and what is imported by a name that is made up.
STARTED = {"cli.main", "serving.__main__"}
LOADED = "hft_lib.stages."
# A document may name anything: whatever is renamed can make it wrong.
DOCUMENTS = ("tests/docs/test_documents.py", "tests/docs/test_guides.py")
ALWAYS = ("tests/test_tidy.py", "tests/test_locks.py", *DOCUMENTS)
# What says nothing to any test but those of the tree and of the documents.
WORDS = (".md", ".svg", ".png")


def module_of(path: Path) -> str:
    """The dotted name of a file in the project's folder."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module) -> set[str]:
    """Every name that a module may import a module by."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@lru_cache
def graph(root: Path) -> dict[str, set[str]]:
    """What each module of ours and of the tests imports, by the files' names."""
    paths = [
        path.relative_to(root)
        for folder in (*PACKAGES, "tests", "scripts", "bench")
        for path in (root / folder).rglob("*.py")
    ]
    trees = {module_of(p): ast.parse((root / p).read_text(encoding="utf-8")) for p in paths}
    # A package is run before what is in it.
    return {
        name: {part for wanted in imported(tree) for part in _with_packages(wanted)} & set(trees)
        | _unseen(tree, trees)
        for name, tree in trees.items()
    }


def _unseen(tree: ast.Module, known: Iterable[str]) -> set[str]:
    """What a module may rest on without importing it by its name."""
    names = imported(tree)
    found = STARTED & set(known) if "subprocess" in names else set()
    if any(name.startswith("importlib") for name in names):
        found |= {name for name in known if name.startswith(LOADED)}
    return found


def _with_packages(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def reached(changed: set[str], imports: dict[str, set[str]]) -> set[str]:
    """`changed`, and every module that imports one of those, at any remove."""
    known = set(changed)
    while more := {name for name, wanted in imports.items() if wanted & known} - known:
        known |= more
    return known


def chosen(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """The tests to run after a change of these files, named from `root`."""
    files = [Path(name) for name in changed]
    code = [path for path in files if path.suffix not in WORDS]
    if any(_is_everything(path) for path in code):
        return ["tests"]
    modules = {module_of(path) for path in code if path.suffix == ".py"}
    tests = {
        f"{name.replace('.', '/')}.py"
        for name in reached(modules, graph(root))
        if name.rpartition(".")[2].startswith("test_")
    }
    tests |= {mirror for path in code for mirror in _mirrors(path, root)}
    return sorted({*tests, *ALWAYS} & {p.relative_to(root).as_posix() for p in _tests(root)})


def _tests(root: Path) -> Iterable[Path]:
    return (root / "tests").rglob("test_*.py")


def _is_everything(path: Path) -> bool:
    """Whether any test may rest on a file: a fixture, or what is none of the folders below."""
    if path.name == "conftest.py" or (path.suffix == ".py" and path.parts[0] in PACKAGES):
        return path.name == "conftest.py"
    return path.parts[0] not in ("tests", "scripts", "bench", "docs", "docker", ".github")


def _mirrors(path: Path, root: Path) -> Iterable[str]:
    """Tests of a script, an image or a workflow, which nothing imports."""
    folder, stem = path.parts[0].lstrip("."), path.stem.replace("-", "_")
    if folder == "scripts":
        # Several are tested together, by what they are for.
        yield from (p.relative_to(root).as_posix() for p in (root / "tests/scripts").rglob("*.py"))
        yield "tests/docker/test_images.py"
        yield "tests/github/test_workflows.py"
    elif folder in ("docker", "github"):
        found = (root / "tests" / folder).rglob("test_*.py")
        yield from (path.relative_to(root).as_posix() for path in found)
    elif folder == "docs":
        yield f"tests/test_{stem}_schema.py"


def changed_since(base: str) -> list[str] | None:
    """The files that differ from `base`; None where that is no commit known here."""
    command = ("git", "diff", "--name-only", "--no-renames", f"{base}...HEAD")
    here = ("git", "diff", "--name-only", "--no-renames", "HEAD")
    done = [
        subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        for words in (command, here)
    ]
    if any(part.returncode for part in done):
        return None
    return [line for part in done for line in part.stdout.splitlines()]


def main() -> None:
    """Print the tests, one a line."""
    changed = changed_since(sys.argv[1]) if len(sys.argv) == 2 else None
    print("\n".join(["tests"] if changed is None else chosen(changed)))


if __name__ == "__main__":
    main()
