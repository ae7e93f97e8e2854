"""The quality gate: a tape that is not what it says, or too flawed, is fitted by nobody.

HASH             the rows must be those of the manifest
NO_INSTRUMENT    every symbol must say how it trades
refused rows     at most 1 % of the rows, a symbol, may be such as ingestion rejects
missing quotes   at most 20 % of a symbol's, as its cadence counts them
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from hft_lib.market.flaws import FlawRun
from hft_lib.market.quality import Report, check_tape
from hft_lib.market.tape import Tape
from hft_lib.workflow.refusal import Refused, write_json

REFUSED_SHARE_MAX = 0.01
MISSING_SHARE_MAX = 0.20
FATAL = ("HASH", "NO_INSTRUMENT")
MISSING = "GAP"


class TapeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate saw of a tape; `reasons` is empty where it lets it pass."""

    tape_sha256: str
    rows: int
    start: str
    end: str
    symbols: list[str]
    reasons: list[str]
    flaws: list[FlawRun]


def check_tape_file(tape: str, out: Path | str) -> str:
    """Write the verdict on the tape at `tape`; returns its hash. Raises Refused with the reasons.

    Raises TapeError where it cannot be read.
    """
    opened = Tape.open(tape)
    found = judge(opened, check_tape(opened))
    write_json(out, found)
    if found.reasons:
        raise Refused(f"the tape is refused: {'; '.join(found.reasons)}")
    return found.tape_sha256


def judge(tape: Tape, report: Report) -> TapeVerdict:
    """Hold the report of a tape against the rules."""
    return TapeVerdict(
        tape_sha256=tape.sha256,
        rows=report.rows,
        start=report.start,
        end=report.end,
        symbols=tape.symbols,
        reasons=reasons(report.flaws, report.rows / max(1, len(tape.symbols))),
        flaws=report.flaws,
    )


def reasons(flaws: Iterable[FlawRun], rows: float) -> list[str]:
    """Why `flaws` forbid to use a tape of about `rows` a symbol; empty where they do not."""
    found: list[str] = []
    refused: dict[str, int] = {}
    missing: dict[str, int] = {}
    for flaw in flaws:
        if flaw.reason in FATAL:
            found.append(
                f"{flaw.reason} of {flaw.symbol}" + (f": {flaw.detail}" * bool(flaw.detail))
            )
        else:
            counted = missing if flaw.reason == MISSING else refused
            counted[flaw.symbol] = counted.get(flaw.symbol, 0) + flaw.count
    for symbol, count in sorted(refused.items()):
        if count > REFUSED_SHARE_MAX * rows:
            rule = f"flawed rows of {symbol} must be at most {REFUSED_SHARE_MAX:.0%}"
            found.append(f"{rule}, was {count / rows:.1%}")
    for symbol, count in sorted(missing.items()):
        if count > MISSING_SHARE_MAX * (rows + count):
            rule = f"missing quotes of {symbol} must be at most {MISSING_SHARE_MAX:.0%}"
            found.append(f"{rule}, was {count / (rows + count):.1%}")
    return found
