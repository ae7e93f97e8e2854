"""`hft replay --verify` against the log of a line on Kafka, as `hft tape export` wrote it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.console import progress
from cli.errors import BadInput
from hft_lib.backtest.tally import Tally
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.line_log import LineLog
from serving.line_replay import LineReplay
from serving.lines import sets_of


def verify_line(
    tape: Tape, files: Sequence[ParameterFile], path: Path, tally: Tally
) -> dict[str, Any]:
    """Replay the line whose log is at `path` over its tape, every fact compared.

    Raises Diverged where one is another, BadInput where `files` are none that it was opened with.
    """
    log = LineLog(path)
    _must_be_its(log, files)
    replay = LineReplay(log, tally)
    with progress("verifying", tape.rows) as task:
        execution = replay.run(tape, task.advance)
    return {
        "pair": ",".join(item.pair for item in log.header.config.pairs),
        **tally.document(execution),
        "in_sample": False,  # it was trading when what it was fed came to be
        "tape_sha256": tape.sha256,
        "config_sha256": log.header.config_sha256,
        "verified": True,
        "frames": replay.compared,
        "complete": not replay.behind and not replay.ahead,
    }


def _must_be_its(log: LineLog, files: Sequence[ParameterFile]) -> None:
    known = {(item.pair, item.parameters_sha256) for item in log.header.sets}
    for item in sets_of(files, 0):
        if (item.pair, item.parameters_sha256) not in known:
            raise BadInput(
                f"the line was opened with no such set of {item.pair} as --params holds: leave it "
                "out, the line's log says what it ran with"
            )
