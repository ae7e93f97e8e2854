"""`hft backtest`: the orders of `hft replay` by one compiled loop, of one set or of a grid."""

import contextlib
import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from cli import options
from cli.console import emit, progress, text
from cli.context import Window, begin_of, files_of_line, window_of
from cli.errors import BadInput
from cli.parameters import read_parameters
from cli.replay import document_of, print_figures, text_file
from hft_lib.backtest.fused import FusedLine
from hft_lib.backtest.fused_rows import Prepared, events_in, prepared_feed
from hft_lib.backtest.sweep import Point, best_of, grid, parse_axis
from hft_lib.backtest.tally import Tally
from hft_lib.events import Event
from hft_lib.line import LineConfig, registry_words
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.lines import config_of, sets_of
from serving.runtime.settings import Settings

SHOWN = 20  # sets of a sweep that people are shown, the best first
# Of a run, what a sweep keeps of each set.
FIGURES = (
    "orders",
    "fills",
    "pnl_quote",
    "fees_quote",
    "funding_quote",
    "borrow_quote",
    "turnover_quote",
    "sharpe_annual",
    "max_drawdown_quote",
    "orders_sha256",
)


def backtest(
    context: typer.Context,
    tape: options.TapeOption,
    params: Annotated[Path, typer.Option(help="The parameter file.")],
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Also run the champion's set with other values: strategy.entry_z=1,1.5,2 or "
            "=1:2:0.25. Named again for another parameter, every combination is run.",
        ),
    ] = None,
    pair: options.PairOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    borrow: options.BorrowOption = None,
    orders: options.OrdersOption = None,
    fills: options.FillsOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run one pair over a tape in a compiled loop, with all costs: the orders of `hft replay`.

    One slot trades, or with challengers in the parameter file all of them, and EVOP decides.

    A sweep runs each set of a grid alone, and says what the best is worth once all are counted.

    Example: hft backtest --tape btc --params champion.json --sweep strategy.entry_z=1:3:0.5
    """
    settings: Settings = context.obj
    opened = Tape.open(tape)
    file = read_parameters(params)
    files_of_line([file], pair, settings, opened)
    points = _points(file, sweep or ())
    window = window_of(opened, start, end)
    began = time.perf_counter()
    with contextlib.ExitStack() as written:
        tally = Tally(text_file(written, orders), text_file(written, fills))
        document = run(opened, file, points, config_of(settings, [file], borrow), window, tally)
    document["seconds"] = time.perf_counter() - began
    emit(document, as_json, _print)


def _points(file: ParameterFile, sweep: Sequence[str]) -> list[Point]:
    try:
        axes: dict[str, tuple[float, ...]] = {}
        for axis in sweep:
            name, values = parse_axis(axis)
            if name in axes:
                raise ValueError(f"{name} must be swept once, was twice")
            axes[name] = values
        return grid(file.params, axes) if axes else []
    except ValueError as error:
        raise BadInput(f"--sweep: {error}") from error


class Run:
    """One parameter file's line, and what it came to."""

    def __init__(
        self, file: ParameterFile, config: LineConfig, start_ns: int, tally: Tally
    ) -> None:
        self.line = FusedLine(config)
        self.tally = tally
        for said in registry_words(sets_of([file], start_ns)):
            self._take(self.line.post("orchestrator", said))

    def feed(self, brought: Prepared | Event) -> int:
        """Take what a feed brings; returns how many events."""
        count = events_in(brought)
        self.tally.events += count
        self._take(self.line.feed(brought))
        return count

    def _take(self, facts: Iterable[tuple[str, Event]]) -> None:
        for _, fact in facts:
            self.tally.take(fact)

    def document(self) -> dict[str, Any]:
        """The figures of the run."""
        return self.tally.document(self.line.line.states["execution"])


def run(
    tape: Tape,
    file: ParameterFile,
    points: Sequence[Point],
    config: LineConfig,
    window: Window,
    tally: Tally,
) -> dict[str, Any]:
    """Run `file`, and each point of a sweep beside it; the contract's keys but `seconds`."""
    start_ns = begin_of(tape, window)
    own = Run(file, config, start_ns, tally)
    swept = {
        place: Run(_alone(file, point), config, start_ns, Tally())
        for place, point in enumerate(points)
        if point.params is not None
    }
    y, x = legs_of(file.pair)
    runs = [own, *swept.values()]
    bars = progress("compiling, the first time", tape.rows * len(runs))
    with bars as task, ThreadPoolExecutor(os.cpu_count()) as pool:
        for brought in prepared_feed(tape, *window, (y, x)):
            for count in pool.map(Run.feed, runs, repeat(brought)):
                task.advance(count)
            if isinstance(brought, Prepared):
                task.describe("running")
    document = document_of(tape, [file], config, window, own.document())
    return document | (_swept(points, swept) if points else {})


def _alone(file: ParameterFile, point: Point) -> ParameterFile:
    assert point.params is not None, "what cannot be run is not"
    return msgspec.structs.replace(file, params=point.params, challengers=())


def _swept(points: Sequence[Point], runs: dict[int, Run]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for place, point in enumerate(points):
        known = runs[place].document() if place in runs else {"refused": point.refused}
        rows.append(
            {"values": point.values}
            | {name: known[name] for name in (*FIGURES, "refused") if name in known}
        )
    places = list(runs)
    best = best_of(list(runs[place].tally.days.values()) for place in places)
    said = None
    if best is not None:
        said = {**msgspec.structs.asdict(best), "place": places[best.place]}
        said["values"] = points[said["place"]].values
    return {"sweep": rows, "best": said}


def _print(known: dict[str, Any]) -> None:
    print_figures("Back-test", known)
    if "sweep" in known:
        _print_sweep(known["sweep"], known["best"])


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    ratio = row["sharpe_annual"]
    return (math.inf if ratio is None else -ratio), -row["pnl_quote"]


def _print_sweep(rows: list[dict[str, Any]], best: dict[str, Any] | None) -> None:
    ran = [row for row in rows if "refused" not in row]
    ranked = sorted(ran, key=_rank)
    names = list(rows[0]["values"])
    table = Table(box=None)
    for name in (*names, "orders", "PnL", "costs", "Sharpe", "drawdown"):
        table.add_column(name.removeprefix("strategy."), justify="right")
    for row in ranked[:SHOWN]:
        costs = row["fees_quote"] + row["borrow_quote"] + row["funding_quote"]
        ratio = row["sharpe_annual"]
        table.add_row(
            *(f"{row['values'][name]:g}" for name in names),
            f"{row['orders']:,}",
            f"{row['pnl_quote']:,.2f}",
            f"{costs:,.2f}",
            "" if ratio is None else f"{ratio:.2f}",
            f"{row['max_drawdown_quote']:,.2f}",
        )
    console = text()
    console.print(f"\n[bold]Sweep[/bold] of {len(rows):,} sets, the best first")
    console.print(table)
    if len(ranked) > SHOWN:
        console.print(f"  {len(ranked) - SHOWN:,} more are in --json")
    for row in rows:
        if "refused" in row:
            values = ", ".join(f"{name} {value:g}" for name, value in row["values"].items())
            console.print(f"  {values} cannot be run: {row['refused']}", soft_wrap=True)
    if best is None:
        console.print("  no set has a Sharpe ratio: there are fewer than three days, or no trade")
        return
    console.print(
        f"  deflated Sharpe of the best {best['deflated_sharpe']:.2f}: the probability that it has "
        f"skill, {best['trials']:,} trials counted",
        soft_wrap=True,
    )
