"""Notebooks executed on a tape, each an HTML page among the run's artifacts, side by side."""

from typing import List

from kfp import dsl

from components.render_notebook import render_notebook
from pipelines import needs

NOTEBOOKS_PATH = "/app/notebooks"  # where the project's image holds them
KERNELS_AT_ONCE = 2


@dsl.pipeline(name="research-report", description="Notebooks on a tape, as HTML pages.")
def research_report(
    tape: str = "",
    pair: str = "",
    notebooks: List[str] = ["01_kalman_hedge_ratio", "02_garch_volatility", "03_changepoints"],
    folder: str = NOTEBOOKS_PATH,
    quick: bool = True,
) -> None:
    """Render `notebooks` of `folder` on `tape`, or on the synthetic market where it is empty."""
    with dsl.ParallelFor(notebooks, name="each-notebook", parallelism=KERNELS_AT_ONCE) as name:
        rendered = render_notebook(folder=folder, name=name, tape=tape, pair=pair, quick=quick)
        needs.judging(needs.tapes(rendered), "1", "4Gi")
