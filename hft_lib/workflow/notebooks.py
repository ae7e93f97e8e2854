"""An executed notebook as one HTML page: what a report pipeline leaves of each question."""

import html
import logging
from pathlib import Path
from typing import Any

from hft_lib.workflow.refusal import Refused

KERNEL = "python3"
CELL_SECONDS_MAX = 600
QUIET = ["--IPKernelApp.log_level=ERROR"]  # a kernel's notices are no news of the notebook
NO_ALT = 'alt="No description has been provided for this image"'


def render_notebook_file(
    folder: str, name: str, tape: str, pair: str, quick: bool, executed: str, page: str
) -> None:
    """Execute FOLDER/NAME.ipynb on `tape` and `pair`, and write what came out, also as HTML.

    Raises Refused where there is no such notebook, or a cell fails: with the cell and its error.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = Path(folder, f"{name}.ipynb")
    if not source.is_file():
        there = ", ".join(sorted(path.stem for path in Path(folder).glob("*.ipynb")))
        raise Refused(f"there is no notebook {name} in {folder}; there are: {there or 'none'}")
    given = {"quick": quick, "tape": tape, "pair": pair}
    work = Path(f"{executed}.ipynb")  # papermill and nbformat go by the name's end
    work.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            source,
            work,
            given,
            kernel_name=KERNEL,
            progress_bar=False,
            cwd=source.parent,
            execution_timeout=CELL_SECONDS_MAX,
            extra_arguments=QUIET,
        )
    except PapermillExecutionError as error:
        cell = f"cell {error.cell_index} of the executed copy"
        raise Refused(f"notebook {name}, {cell}: {error.ename}: {error.evalue}") from error
    finally:
        if work.is_file():
            work.rename(executed)
    notebook = nbformat.read(executed, as_version=4)
    Path(page).write_text(page_of(notebook), encoding="utf-8")


def page_of(notebook: Any) -> str:
    """The executed notebook as one HTML page, each figure with its title as the text for it."""
    from nbconvert import HTMLExporter

    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it misses the texts added below
    page, _ = HTMLExporter().from_notebook_node(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                title = html.escape(output.data.get("text/plain", "figure"))
                page = page.replace(NO_ALT, f'alt="{title}"', 1)
    return str(page)
