"""What the verbs of `hft tape` print for people."""

from typing import Any

from cli import console

SYMBOLS_SHOWN = 8


def render_tape(document: dict[str, Any]) -> None:
    """What was written, and what was wrong with it."""
    out = console.text()
    symbols = document["symbols"]
    named = ", ".join(symbols) if len(symbols) <= SYMBOLS_SHOWN else f"{len(symbols)} symbols"
    out.print(f"{document['rows']:,} rows of {named} in {document['out']}")
    out.print(f"sha256 {document['tape_sha256']}")
    if "truth" in document:
        out.print(f"truth  {document['truth']}")
    render_flaws(document.get("flaws", []))


def render_live(document: dict[str, Any]) -> None:
    """What of a live market was kept, and what was refused."""
    out = console.text()
    line = f"{document['rows']:,} rows of {', '.join(document['symbols'])} in {document['out']}"
    out.print(line, markup=False, soft_wrap=True)
    out.print(f"from {document['start']} to {document['end']}", markup=False)
    out.print(f"sha256 {document['tape_sha256']}")
    for reason, count in document["rejected"].items():
        out.print(f"{reason:22} {count:>8,} refused", markup=False)


def render_flaws(flaws: list[Any]) -> None:
    """A line for each reason and symbol, with its first run; `--json` has all of them."""
    out = console.text()
    groups: dict[tuple[str, str], list[Any]] = {}
    for flaw in flaws:
        groups.setdefault((flaw.reason, flaw.symbol), []).append(flaw)
    for (reason, symbol), runs in groups.items():
        total = sum(run.count for run in runs)
        where = (
            f"{runs[0].start} to {runs[0].end}" if runs[0].end != runs[0].start else runs[0].start
        )
        more = f", and {len(runs) - 1} more runs" if len(runs) > 1 else ""
        detail = f": {runs[0].detail}" if runs[0].detail else ""
        line = f"{reason:22} {symbol:16} {total:>8,}  {where}{detail}{more}"
        out.print(line, markup=False, soft_wrap=True)
