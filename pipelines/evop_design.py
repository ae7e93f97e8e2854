"""From a champion and what a run learned round it to the next challengers in the registry.

design -> enrol
"""

from kfp import dsl

from components.design import design
from components.enrol import enrol
from pipelines import needs


@dsl.pipeline(name="evop-design", description="Champion and evidence to the next challengers.")
def evop_design(
    pair: str,
    evidence: str = "",
    explorers: int = 2,
    git_commit: str = "",
    lock_sha256: str = "",
    artifact_location: str = "",
) -> None:
    """Design from the registry's champion of `pair` and the evidence file on the tapes' volume."""
    designed = design(pair=pair, evidence=evidence, explorers=explorers)
    needs.judging(needs.registry(needs.tapes(designed)), "500m", "1Gi")
    designed.set_caching_options(False)  # who is champion is not among its inputs
    enrolled = enrol(
        challengers=designed.outputs["challengers"],
        git_commit=git_commit,
        lock_sha256=lock_sha256,
        artifact_location=artifact_location,
        pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )
    needs.sized(needs.registry(enrolled), "500m", "1Gi")
    enrolled.set_caching_options(False)
