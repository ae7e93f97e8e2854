"""Designed challengers become versions of the registry."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def enrol(
    challengers: dsl.Input[dsl.Dataset],
    git_commit: str,
    lock_sha256: str,
    artifact_location: str,
    pipeline_run: str,
    versions: dsl.Output[dsl.Dataset],
) -> int:
    """Register what was designed, with its lineage; returns how many were new."""
    from mlflow import MlflowClient

    from hft_lib.workflow.evop_design import enrol_file
    from hft_lib.workflow.registration import Origin

    origin = Origin(
        git_commit=git_commit,
        lock_sha256=lock_sha256,
        pipeline_run=pipeline_run,
        artifact_location=artifact_location,
    )
    return enrol_file(MlflowClient(), challengers.path, origin, versions.path)
