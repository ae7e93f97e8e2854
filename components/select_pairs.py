"""Which pairs of a tape a calibration goes on with."""

from typing import Dict, List

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select_pairs(
    tape: str, tape_sha256: str, pair: str, folds: int, scan: dsl.Output[dsl.Dataset]
) -> List[Dict[str, str]]:
    """The named pair, or those that hold together before the first traded day."""
    from hft_lib.workflow.pair_selection import select_pairs_file

    return select_pairs_file(tape, tape_sha256, pair, folds, scan.path)
