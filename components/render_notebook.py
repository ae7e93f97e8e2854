"""A notebook executed on a tape, as an HTML page."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def render_notebook(
    folder: str,
    name: str,
    tape: str,
    pair: str,
    quick: bool,
    executed: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Execute a notebook; a cell that fails ends the pipeline with its error."""
    from hft_lib.workflow.notebooks import render_notebook_file

    render_notebook_file(folder, name, tape, pair, quick, executed.path, page.path)
