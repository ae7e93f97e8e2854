"""Every candidate of a pair out of sample, after costs, by the real stages."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def walk_forward(
    tape: str,
    tape_sha256: str,
    pair: str,
    kalman: dsl.Input[dsl.Model],
    garch: dsl.Input[dsl.Model],
    bocd: dsl.Input[dsl.Model],
    folds: int,
    capital_quote: float,
    assume_borrow: float,
    trials: dsl.Output[dsl.Dataset],
) -> int:
    """Fit, trade what comes after, fit anew; returns the whole days traded."""
    from hft_lib.workflow.walk_forward import walk_forward_file

    fits = (kalman.path, garch.path, bocd.path)
    return walk_forward_file(
        tape, tape_sha256, pair, fits, folds, capital_quote, assume_borrow, trials.path
    )
