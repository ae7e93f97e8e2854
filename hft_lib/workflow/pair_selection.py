"""Which pairs a calibration goes on with: the one that was named, or those that a scan claims.

Only what lies before the first traded day is looked at: a pair chosen for how it held together
later would make any walk-forward look good.
"""

from pathlib import Path

import msgspec

from hft_lib.fitting.selection.pairs import LEVEL, Finding, scan
from hft_lib.market.pairs import pair_on
from hft_lib.market.panel import read_panel
from hft_lib.market.tape import Tape
from hft_lib.workflow.folds import open_same, tape_folds
from hft_lib.workflow.refusal import Refused, write_json

PAIRS_MAX = 5  # each is fitted and replayed: more would be more trials for the gate to count


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs in order of significance, and all that was tested."""

    pairs: list[str]
    tested: int
    level: float
    findings: list[dict[str, object]]


def select_pairs_file(
    tape: str, tape_sha256: str, pair: str, folds: int, out: Path | str
) -> list[dict[str, str]]:
    """Write what was chosen; returns each `pair` with the `tape_sha256` that it was chosen on.

    Raises Refused where none is claimed.

    A pair that is named is taken as it is: the walk-forward judges it.
    """
    opened = open_same(tape, tape_sha256)
    chosen = _named(opened, pair) if pair else _claimed(opened, folds)
    write_json(out, chosen)
    if not chosen.pairs:
        raise Refused(
            f"no pair is claimed: of {chosen.tested} tested none holds together before the first "
            f"traded day at a false discovery rate of {chosen.level:g}; name one with pair=Y~X"
        )
    return [{"pair": name, "tape_sha256": tape_sha256} for name in chosen.pairs]


def _named(tape: Tape, pair: str) -> Chosen:
    try:
        name = pair_on(tape.symbols, pair)
    except ValueError as error:
        raise Refused(str(error)) from error
    return Chosen(pairs=[name], tested=0, level=LEVEL, findings=[])


def _claimed(tape: Tape, folds: int) -> Chosen:
    before_ns = tape_folds(tape, folds)[0].trade_ns
    panel = read_panel(tape, None, None, before_ns)
    found = scan(panel.symbols, panel.time_ns, panel.log_mid)
    pairs = [finding.pair for finding in found.claimed[:PAIRS_MAX]]
    findings = [_plain(finding) for finding in found.findings]
    return Chosen(pairs=pairs, tested=found.tested, level=found.level, findings=findings)


def _plain(finding: Finding) -> dict[str, object]:
    return finding.document()
