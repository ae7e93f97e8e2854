"""The volatility of a pair, fitted on the newest window."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fit_garch(
    tape: str,
    tape_sha256: str,
    pair: str,
    folds: int,
    fit: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Fit the volatility by maximum likelihood."""
    from hft_lib.workflow.fits import fit_garch_file

    metrics.log_metric("log_likelihood", fit_garch_file(tape, tape_sha256, pair, folds, fit.path))
