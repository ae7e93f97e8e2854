"""Runs and checks notebooks/*.ipynb.

    check    refuse what a kept notebook must not hold: definitions, paths, errors, stale metadata
    run      execute copies with papermill into build/notebooks, with -p NAME VALUE, as HTML too
    compare  execute with nbval: every kept output that is not marked must come out again
    write    execute in place and keep the cleaned outputs: the one way in which outputs come in
    all      check and compare, and run on another market than the kept one

The rule for outputs: they are kept, cleaned. Text is compared, so it is rounded; a cell whose text
may differ by machine is tagged `nbval-ignore-output`; pictures are not compared.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
BUILD = ROOT / "build" / "notebooks"
KERNEL = "python3"
BYTES_MAX = 300_000
OUTPUT_LINES_MAX = 40
COLUMNS_MAX = 100
CELL_SECONDS_MAX = 600
PARAMETERS_WANTED = {"quick": bool, "tape": str, "pair": str}
PARAMETERS_ELSEWHERE = {"seed": 11}  # `all` executes on another market than the kept one
TAGS = {"parameters", "nbval-ignore-output", "nbval-skip", "hide-input"}
IMPORTS_FORBIDDEN = {"cli", "serving", "tests", "scripts"}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
    "language_info": {"name": "python"},
}
MACHINE_PATH = re.compile(r"(?<![\w.:])/(home|root|tmp|usr|var|opt|mnt|Users)/|[A-Z]:\\\\Users")
QUIET = ["--IPKernelApp.log_level=ERROR"]  # a kernel's notices are no news of the notebook
ANSI = re.compile(r"\x1b\[[0-9;]*m")

Node = Any  # nbformat's notebooks and cells: dictionaries with attributes
Parameters = dict[str, bool | int | float | str]


class BadUsage(Exception):
    """What was asked for cannot be done: one sentence."""


# --- reading ---


def read(path: Path) -> Node:
    """The notebook at `path`, format 4."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise BadUsage(f"{path}: not a notebook: {error}") from error


def chosen(names: Sequence[str]) -> list[Path]:
    """The notebooks of these names or paths, all of the folder where there are none."""
    known = sorted(FOLDER.glob("*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        matching = [path for path in known if path.stem == name or path.stem.startswith(f"{name}_")]
        matching = [Path(name).resolve()] if Path(name).is_file() else matching
        if len(matching) != 1:
            stems = ", ".join(path.stem for path in known)
            raise BadUsage(f"there is no notebook {name}; there are {stems}")
        found += matching
    return found


def parameters_of(notebook: Node) -> Parameters:
    """Names and defaults of the cell tagged `parameters`; empty where there is none."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    found: Parameters = {}
    for node in ast.parse(cells[0].source).body if cells else ():
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]  # type: ignore[assignment]
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
            found[target.id] = ast.literal_eval(node.value) if node.value else ""
    return found


def typed(wanted: Sequence[tuple[str, str]], known: Parameters, name: str) -> Parameters:
    """What was asked for, each in the type of its default; BadUsage for an unknown name, which
    papermill would only warn of.
    """
    given: Parameters = {}
    for key, text in wanted:
        if key not in known:
            raise BadUsage(f"{name} has no parameter {key}: it has {', '.join(known)}")
        kind = type(known[key])
        try:
            given[key] = _truth(text) if kind is bool else kind(text)
        except ValueError as error:
            raise BadUsage(f"{name}: {key} must be {kind.__name__}, was {text!r}") from error
    return given


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


# --- the rules of a kept notebook ---


def faults(path: Path) -> list[str]:
    """What is wrong with a kept notebook, a sentence each."""
    notebook = read(path)
    found = [*_shape_faults(notebook), *_size_faults(path), *_name_faults(notebook)]
    for number, cell in enumerate(notebook.cells):
        found += [f"cell {number}: {fault}" for fault in _cell_faults(cell)]
    return found


def _size_faults(path: Path) -> list[str]:
    size = path.stat().st_size
    return [f"is {size:,} bytes, at most {BYTES_MAX:,} are kept"] if size > BYTES_MAX else []


def _shape_faults(notebook: Node) -> list[str]:
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        found.append("must begin with a Markdown cell with its title")
    if not code or "parameters" not in code[0].metadata.get("tags", ()):
        found.append("the first code cell must be tagged `parameters`")
    else:
        known = parameters_of(notebook)
        for name, kind in PARAMETERS_WANTED.items():
            if not isinstance(known.get(name), kind):
                found.append(f"must have a parameter {name} of type {kind.__name__}")
    if dict(notebook.metadata) != METADATA:
        found.append("has metadata of an execution: `scripts/notebooks.py write` cleans it")
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("was not executed from top to bottom: `scripts/notebooks.py write` does it")
    if code and not any(cell.outputs for cell in code):
        found.append("keeps no output, and without any nbval compares nothing")
    return found


def _cell_faults(cell: Node) -> list[str]:
    found = []
    if set(cell.metadata) - {"tags"} or set(cell.metadata.get("tags", ())) - TAGS:
        found.append(f"metadata may be tags among {', '.join(sorted(TAGS))}")
    if MACHINE_PATH.search(str(cell.source)) or str(ROOT) in str(cell):
        found.append("names a path of one machine")
    if cell.cell_type != "code":
        return found
    found += _source_faults(cell.source)
    for output in cell.outputs:
        found += _output_faults(output)
    return found


def _source_faults(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [f"is no plain Python: {error.msg}"]
    found = [] if formatted(source) == source else ["is not in black's format: `write` does it"]
    if max(map(len, source.splitlines()), default=0) > COLUMNS_MAX:
        found.append(f"has a line of more than {COLUMNS_MAX} columns")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(f"defines {node.name}: what is defined belongs into hft_lib")
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
            found.append("names a lambda: what is defined belongs into hft_lib")
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        wrong = {module.split(".")[0] for module in modules} & IMPORTS_FORBIDDEN
        found += [f"imports {name}: a notebook knows hft_lib and libraries" for name in wrong]
    return found


def _output_faults(output: Node) -> list[str]:
    if output.output_type == "error":
        return [f"keeps an error: {output.ename}"]
    if output.output_type == "stream" and output.name == "stderr":
        return ["keeps what was written to stderr"]
    text = str(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
    found = ["prints a path of one machine"] if MACHINE_PATH.search(text) else []
    if text.count("\n") > OUTPUT_LINES_MAX:
        found.append(f"prints more than {OUTPUT_LINES_MAX} lines: a figure says more")
    return found


def _name_faults(notebook: Node) -> list[str]:
    """Names that nothing defines and imports that nothing uses, over all cells in their order."""
    from pyflakes.checker import Checker

    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    try:
        messages = Checker(ast.parse(code)).messages
    except SyntaxError:
        return []  # said of its cell
    return [str(message.message % message.message_args) for message in messages]


def formatted(source: str) -> str:
    """A cell's code in the project's format; a cell ends without a newline."""
    from black import InvalidInput, Mode, TargetVersion, format_str  # type: ignore[attr-defined]

    mode = Mode(line_length=COLUMNS_MAX, target_versions={TargetVersion.PY311})
    try:
        return str(format_str(source, mode=mode)).rstrip("\n")
    except InvalidInput:
        return source


def cleaned(notebook: Node) -> Node:
    """The notebook as it is kept: formatted, counted from 1, without an execution's metadata."""
    from nbformat import NotebookNode, from_dict

    notebook.metadata, count = from_dict(METADATA), 0
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", ()) if tag in TAGS]
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.source = formatted(cell.source)
            count += 1  # nbval takes a cell without a count for one that never ran
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
                output.pop("transient", None)
    return notebook


# --- executing: each in a process of its own, and says what came of it ---


def run_one(path: Path, given: Parameters, out: Path) -> str:
    """Execute a copy with papermill; returns its failure with cell and traceback, or nothing."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from hft_lib.workflow.notebooks import page_of

    out.mkdir(parents=True, exist_ok=True)
    executed, failure = out / path.name, ""
    try:
        papermill.execute_notebook(
            path,
            executed,
            given,
            kernel_name=KERNEL,
            progress_bar=False,
            cwd=ROOT,
            execution_timeout=CELL_SECONDS_MAX,
            extra_arguments=QUIET,
        )
    except PapermillExecutionError as error:
        failure = f"cell {error.cell_index}: {error}"
    if executed.is_file():
        executed.with_suffix(".html").write_text(page_of(read(executed)), encoding="utf-8")
    return failure


def compare_one(path: Path) -> str:
    """Execute with nbval and hold every output against the kept one; returns what differed."""
    options = ("--nbval", f"--nbval-kernel-name={KERNEL}", "-p", "no:cacheprovider", "-q", "-rN")
    limit = f"--nbval-cell-timeout={CELL_SECONDS_MAX}"
    command = (sys.executable, "-m", "pytest", *options, limit, str(path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def write_one(path: Path) -> str:
    """Execute in place and keep the cleaned outputs; returns a failure, and writes nothing then."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = read(path)
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL,
        timeout=CELL_SECONDS_MAX,
        coalesce_streams=True,  # a line that came in two pieces would be a difference
        extra_arguments=QUIET,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    nbformat.write(cleaned(notebook), path)
    return ""


def execute(tasks: Sequence[tuple[str, Callable[..., str], tuple[Any, ...]]], jobs: int) -> int:
    """Do the tasks (what, function, arguments), `jobs` at a time; returns how many failed."""
    began, failed = time.monotonic(), 0
    # A kernel imports the tree that this script stands in, wherever it is started.
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(act, *arguments): what for what, act, arguments in tasks}
        for done, future in enumerate(as_completed(waiting), start=1):
            failure = future.result()
            failed += bool(failure)
            verdict = "FAILED" if failure else "passed"
            seconds = time.monotonic() - began
            print(f"[{done}/{len(tasks)}] {waiting[future]}: {verdict} at {seconds:.0f} s")
            if failure:
                print(failure if sys.stdout.isatty() else ANSI.sub("", failure), flush=True)
    return failed


# --- the verbs ---


def check(paths: Sequence[Path]) -> int:
    """Print every fault; returns how many notebooks have any."""
    failed = 0
    for path in paths:
        found = faults(path)
        failed += bool(found)
        for fault in found:
            print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {fault}")
    return failed


def run_tasks(
    paths: Sequence[Path], wanted: Sequence[tuple[str, str]], out: Path
) -> list[tuple[str, Callable[..., str], tuple[Any, ...]]]:
    """Every notebook with what was asked for; BadUsage where one does not know a name."""
    given = [typed(wanted, parameters_of(read(path)), path.stem) for path in paths]
    return [
        (f"run {path.stem}", run_one, (path, values, out))
        for path, values in zip(paths, given, strict=True)
    ]


def all_tasks(paths: Sequence[Path]) -> list[tuple[str, Callable[..., str], tuple[Any, ...]]]:
    """Each notebook compared, and executed on another market where it has one."""
    tasks: list[tuple[str, Callable[..., str], tuple[Any, ...]]] = []
    for path in reversed(paths):  # the later ones take longest, and none should be left alone
        known = parameters_of(read(path))
        elsewhere = {k: v for k, v in PARAMETERS_ELSEWHERE.items() if k in known}
        if "out" in known:
            elsewhere["out"] = f"build/notebooks/{path.stem}.json"  # type: ignore[assignment]
        tasks.append((f"compare {path.stem}", compare_one, (path,)))
        tasks.append((f"run {path.stem}", run_one, (path, elsewhere, BUILD)))
    return tasks


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="scripts/notebooks.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("verb", choices=("check", "run", "compare", "write", "all"))
    parser.add_argument("names", nargs="*", help="stems such as 01, or paths; all without")
    pair = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("-p", "--parameter", **pair)  # type: ignore[arg-type]
    parser.add_argument("--out", type=Path, default=BUILD, help="where `run` puts its copies")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    asked = parser.parse_intermixed_args(arguments)
    try:
        paths = chosen(asked.names)
        if asked.verb == "check":
            return int(check(paths) > 0)
        if asked.verb == "run":
            return int(execute(run_tasks(paths, asked.parameter, asked.out), asked.jobs) > 0)
        if asked.verb == "compare":
            return int(
                execute([(f"compare {p.stem}", compare_one, (p,)) for p in paths], asked.jobs) > 0
            )
        if asked.verb == "write":
            written = execute([(f"write {p.stem}", write_one, (p,)) for p in paths], asked.jobs)
            return int(written + check(paths) > 0)
        wrong = check(paths)
        return int(wrong + execute(all_tasks(paths), asked.jobs) > 0)
    except BadUsage as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
