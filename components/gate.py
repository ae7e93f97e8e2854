"""The gate before the registry: is the best of all that was tried more than luck?"""

from typing import List

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(
    trials: dsl.Input[List[dsl.Dataset]], trials_before: int, verdict: dsl.Output[dsl.Dataset]
) -> int:
    """Refuse where no candidate passes; returns how many do."""
    from hft_lib.workflow.gate import gate_file

    return gate_file([item.path for item in trials], int(trials_before), verdict.path)
