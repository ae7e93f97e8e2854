"""`hft pairs scan`: which pairs of a tape hold together, the share of false claims controlled."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.console import command, emit, print_rows, progress, text
from cli.context import iso, window_of
from cli.errors import BadInput
from hft_lib.market.tape import Tape

ROWS_SHOWN = 10
UNTESTED_SHOWN = 5
INTERVAL_S_MAX = 7 * 86_400
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

app = typer.Typer(help="Which pairs hold together.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Which pairs hold together."""


@app.command("scan")
def scan(
    tape: options.TapeOption,
    fdr: Annotated[
        float, typer.Option(help="The share of false claims among the claims to be kept to.")
    ] = 0.05,
    interval: Annotated[
        str | None,
        typer.Option(help="Sample at this interval, such as 15m; by default the slowest symbol's."),
    ] = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Test all pairs of a tape's symbols for cointegration and say which may be claimed.

    Both directions of every pair are tested, under the pair's own volatility, and the false
    discovery rate is controlled over all of them. p is the tested p-value, or where the hedge
    leaves more than 1.5 % of the variance its square root: a rule chosen on recorded coins, not
    proven on others. --json has the bare one too, p_asymptotic. A pair that cannot be tested is
    listed with its reason.

    Example: hft pairs scan --tape btc --interval 15m --start 2025-02-01 --end 2025-03-01
    """
    if not 0.0 < fdr < 1.0:
        raise BadInput(f"--fdr must be between 0 and 1, was {fdr}")
    interval_ns = None if interval is None else interval_s(interval) * 10**9
    opened = Tape.open(tape)
    if len(opened.symbols) < 2:
        raise BadInput(f"a tape of two symbols at least is needed, was {', '.join(opened.symbols)}")
    document = scan_tape(opened, fdr, interval_ns, *window_of(opened, start, end))
    emit({**document, "tape": str(tape)}, as_json, print_selection)


def interval_s(value: str) -> int:
    """Seconds of an interval such as `15m`, `1h`, `900s` or `900`."""
    found = re.fullmatch(r"(\d+)([smhd]?)", value.strip())
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= INTERVAL_S_MAX:
        raise BadInput(f"--interval must be from 1s to 7d, such as 15m or 1h, was {value!r}")
    return seconds


def scan_tape(
    tape: Tape, level: float, interval_ns: int | None, start_ns: int | None, end_ns: int | None
) -> dict[str, Any]:
    """The document of a scan."""
    from hft_lib.fitting.selection.pairs import PASSES
    from hft_lib.fitting.selection.pairs import scan as scan_panel
    from hft_lib.market.panel import read_panel

    with progress("reading the tape", tape.rows) as task:
        panel = read_panel(tape, interval_ns, start_ns, end_ns, task.advance)
    count = len(panel.symbols)
    with progress("testing pairs", PASSES * count * (count - 1) // 2) as task:
        selection = scan_panel(
            panel.symbols, panel.time_ns, panel.log_mid, level=level, advance=task.advance
        )
    return {
        "tested": selection.tested,
        "claimed": len(selection.claimed),
        "level": level,
        "interval_s": panel.interval_ns / 1e9,
        "start": iso(int(panel.time_ns[0])),
        "end": iso(int(panel.time_ns[-1])),
        "tape_sha256": tape.sha256,
        "pairs": [_pair(finding.document()) for finding in selection.findings],
    }


def _pair(known: dict[str, Any]) -> dict[str, Any]:
    """A finding with its times as people read them."""
    start_ns, end_ns = known.pop("start_ns"), known.pop("end_ns")
    seen = known["observations"] > 0
    return {**known, "start": iso(start_ns) if seen else None, "end": iso(end_ns) if seen else None}


def print_selection(known: dict[str, Any]) -> None:
    """The best pairs, what is claimed and why the next ones are not, for people."""
    console = text()
    tested = [pair for pair in known["pairs"] if pair["p_value"] is not None]
    untested = [pair for pair in known["pairs"] if pair["p_value"] is None]
    console.print(
        f"{known['tested']:,} of {len(known['pairs']):,} pairs tested every "
        f"{_span(known['interval_s'])}, {known['start'][:16]} to {known['end'][:16]} UTC"
    )
    console.print(f"[bold]{_verdict(known)}[/bold]")
    if tested:
        _print_table(console, tested[: max(ROWS_SHOWN, known["claimed"] + 3)])
        console.print("p: the square root for pairs not hedged closely, a rule fitted in-sample")
    for pair in untested[:UNTESTED_SHOWN]:
        console.print(f"not tested: {pair['pair']}: {pair['reason']}", markup=False)
    if len(untested) > UNTESTED_SHOWN:
        console.print(f"and {len(untested) - UNTESTED_SHOWN:,} more that --json lists")
    if tested:
        words = ("hft", "calibrate", "--tape", Path(known["tape"]), "--pair", tested[0]["pair"])
        print_rows([("next", command(*words))])


def _verdict(known: dict[str, Any]) -> str:
    rate = f"a false discovery rate of {known['level']:.3g}"
    if not known["claimed"]:
        return f"No pair is claimed at {rate}: what follows is what chance brings, or little more."
    return f"{known['claimed']:,} claimed at {rate}: they held here; the next window tests them."


def _print_table(console: Any, pairs: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("pair", overflow="fold")
    for heading in ("hedge", "half-life", "p", "q"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("claimed, or why not", overflow="fold")
    for pair in pairs:
        table.add_row(
            pair["pair"],
            f"{pair['hedge_ratio']:.3f}",
            _span(pair["half_life_s"]),
            f"{pair['p_value']:.2g}",
            f"{pair['q_value']:.2g}",
            "; ".join(
                filter(None, ("claimed" if pair["claimed"] else pair["reason"], pair["note"]))
            ),
        )
    console.print(table)


def _span(seconds: float | None) -> str:
    """A time in the unit in which it is short."""
    if seconds is None:
        return "none"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
