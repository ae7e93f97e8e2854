"""The next challengers of a pair, from its champion and the evidence."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def design(pair: str, evidence: str, explorers: int, challengers: dsl.Output[dsl.Dataset]) -> int:
    """Place explorers and the recommended step; returns how many sets."""
    from mlflow import MlflowClient

    from hft_lib.workflow.evop_design import design_file

    return design_file(MlflowClient(), pair, evidence, explorers, challengers.path)
