"""The quality gate of market data."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check_tape(tape: str, report: dsl.Output[dsl.Dataset]) -> str:
    """Refuse a tape that is not what it says, or too flawed; returns its hash."""
    from hft_lib.workflow.tape_gate import check_tape_file

    return check_tape_file(tape, report.path)
