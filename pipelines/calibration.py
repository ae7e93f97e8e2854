"""From a tape to registered candidates, or to the reason why there are none.

    check_tape -> select_pairs -> for each pair: fit_kalman | fit_garch | fit_bocd -> walk_forward
               -> gate (all pairs, all trials) -> register

The tape's hash goes along with its path, so that a cached step is one of the same content: a path
alone would let a step be taken from the cache after the file behind it changed.
"""

from kfp import dsl

from components.check_tape import check_tape
from components.fit_bocd import fit_bocd
from components.fit_garch import fit_garch
from components.fit_kalman import fit_kalman
from components.gate import gate
from components.register import register
from components.select_pairs import select_pairs
from components.walk_forward import walk_forward
from pipelines import needs

PAIRS_AT_ONCE = 2


@dsl.pipeline(name="calibration", description="A tape to registered candidates, judged with care.")
def calibration(
    tape: str,
    pair: str = "",
    folds: int = 3,
    capital_quote: float = 10_000.0,
    assume_borrow: float = -1.0,
    trials_before: int = 0,
    git_commit: str = "",
    lock_sha256: str = "",
    artifact_location: str = "",
) -> None:
    """Calibrate the pairs of `tape`; `assume_borrow` is a rate a year, below 0 for no borrowing."""
    checked = needs.judging(needs.tapes(check_tape(tape=tape)), "500m", "1Gi")
    checked.set_caching_options(False)  # it looks at what is behind the path now
    chosen = select_pairs(tape=tape, tape_sha256=checked.outputs["Output"], pair=pair, folds=folds)
    needs.judging(needs.tapes(chosen), "2", "2Gi")
    # An item brings the hash with its pair: the local runner gives a loop no other task's output.
    with dsl.ParallelFor(
        chosen.outputs["Output"], name="each-pair", parallelism=PAIRS_AT_ONCE
    ) as each:
        known = {
            "tape": tape,
            "tape_sha256": each.tape_sha256,
            "pair": each.pair,
            "folds": folds,
        }
        kalman = needs.sized(needs.tapes(fit_kalman(**known)), "1", "2Gi")
        garch = needs.sized(needs.tapes(fit_garch(**known)), "1", "2Gi")
        bocd = needs.sized(needs.tapes(fit_bocd(**known)), "1", "2Gi")
        walked = walk_forward(
            kalman=kalman.outputs["fit"],
            garch=garch.outputs["fit"],
            bocd=bocd.outputs["fit"],
            capital_quote=capital_quote,
            assume_borrow=assume_borrow,
            **known,
        )
        needs.sized(needs.tapes(walked), "1", "4Gi")
    # Each reader of what a loop made needs a collection of its own: compiling changes it.
    judged = gate(trials=dsl.Collected(walked.outputs["trials"]), trials_before=trials_before)
    needs.judging(judged, "500m", "2Gi")
    registered = register(
        verdict=judged.outputs["verdict"],
        trials=dsl.Collected(walked.outputs["trials"]),
        git_commit=git_commit,
        lock_sha256=lock_sha256,
        artifact_location=artifact_location,
        pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )
    needs.sized(needs.registry(registered), "500m", "1Gi")
    registered.set_caching_options(False)  # what the registry holds is not among its inputs
