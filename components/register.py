"""What passed the gate becomes versions of the registry."""

from typing import List

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    verdict: dsl.Input[dsl.Dataset],
    trials: dsl.Input[List[dsl.Dataset]],
    git_commit: str,
    lock_sha256: str,
    artifact_location: str,
    pipeline_run: str,
    versions: dsl.Output[dsl.Dataset],
) -> int:
    """Register every candidate that passed, with its lineage; returns how many were new."""
    from mlflow import MlflowClient

    from hft_lib.workflow.registration import Origin, register_file

    origin = Origin(
        git_commit=git_commit,
        lock_sha256=lock_sha256,
        pipeline_run=pipeline_run,
        artifact_location=artifact_location,
    )
    paths = [item.path for item in trials]
    return register_file(MlflowClient(), verdict.path, paths, origin, versions.path)
