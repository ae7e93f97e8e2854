"""`hft evop simulate`: years of EVOP whose truth is known, and how often it was wrong in them."""

import fnmatch
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli import options
from cli.console import Task, emit, progress, text
from cli.context import resolve_pair
from cli.errors import BadInput, Failed
from cli.parameters import read_parameters

if TYPE_CHECKING:
    from hft_lib.backtest.evop_years.scenarios import Scenario
    from hft_lib.backtest.evop_years.year import Outcome
    from serving.runtime.settings import Settings

YEARS_MAX = 1_000_000
BATCH_YEARS = 10  # about a second: often enough for the bar, seldom enough for the pipes
INLINE_YEARS_MAX = 30  # fewer are done before other processes have started
RECORDED_DAYS_MIN = 20

ScenarioOption = Annotated[
    list[str] | None,
    typer.Option("--scenario", help="A scenario, or a pattern such as 'null-*'; may be repeated."),
]
YearsOption = Annotated[int, typer.Option(help="Years of each scenario.", min=1, max=YEARS_MAX)]
SeedOption = Annotated[int, typer.Option(help="Seed of the simulated days.", min=0)]


def simulate(
    context: typer.Context,
    scenario: ScenarioOption = None,
    years: YearsOption = 100,
    seed: SeedOption = 0,
    tape: options.OptionalTapeOption = None,
    params: Annotated[
        Path | None, typer.Option(help="With --tape: the champion, and the sets beside it.")
    ] = None,
    pair: options.PairOption = None,
    borrow: options.BorrowOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Drive EVOP's own rules through years whose truth is known, with EVOP_MAX_CHALLENGERS slots.

    Tells how often a set was promoted that is no better, with an exact 95 % interval, how soon a
    better one is found, and what a year gains. With --tape the days are recorded: the sets of
    --params run through the stages, their daily differences are drawn in blocks, signs flipped.

    Example: hft evop simulate --scenario 'null-*' --years 2000 --seed 1
    """
    settings: Settings = context.obj
    began = time.perf_counter()
    if (tape is None) != (params is None):
        raise BadInput("--tape and --params go together: the tape's days under the file's sets")
    facts: dict[str, Any] = {}
    if tape is not None and params is not None:
        known, facts = _recorded(settings, tape, params, pair, borrow)
    else:
        known = _made_up()
    chosen = _chosen(known, scenario)
    challengers = settings.evop_max_challengers
    document = {
        "seed": seed,
        "challengers": challengers,
        **facts,
        "scenarios": run_scenarios(chosen, years, seed, challengers),
        "seconds": time.perf_counter() - began,
    }
    emit(document, as_json, _print_scenarios)


def run_scenarios(
    scenarios: Sequence["Scenario"], years: int, seed: int, challengers: int
) -> list[dict[str, Any]]:
    """The figures of each scenario; the same whatever the number of processes."""
    from hft_lib.backtest.evop_years.summary import summarise

    batches = [
        (number, range(first, min(first + BATCH_YEARS, years)))
        for number in range(len(scenarios))
        for first in range(0, years, BATCH_YEARS)
    ]
    found: dict[tuple[int, int], list[Outcome]] = {}
    with progress("simulating years", len(scenarios) * years) as task:
        for key, outcomes in _run_batches(scenarios, batches, seed, challengers, task):
            found[key] = outcomes
    return [
        summarise(
            scenario,
            [one for first in range(0, years, BATCH_YEARS) for one in found[number, first]],
        )
        for number, scenario in enumerate(scenarios)
    ]


def _run_batches(
    scenarios: Sequence["Scenario"],
    batches: Sequence[tuple[int, range]],
    seed: int,
    challengers: int,
    task: Task,
) -> Iterator[tuple[tuple[int, int], list["Outcome"]]]:
    """Each batch's outcomes as they come, by scenario and first year."""
    from hft_lib.backtest.evop_years.summary import simulate as simulate_years

    cpus = len(os.sched_getaffinity(0))
    if cpus == 1 or sum(len(numbers) for _, numbers in batches) <= INLINE_YEARS_MAX:
        for number, numbers in batches:
            yield (number, numbers[0]), simulate_years(
                scenarios[number], numbers, seed, challengers
            )
            task.advance(len(numbers))
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks held by other threads
    pool = ProcessPoolExecutor(cpus, mp_context=spawn, initializer=_heed_only_the_parent)
    try:
        begun = {
            pool.submit(simulate_years, scenarios[number], numbers, seed, challengers): batch
            for batch in batches
            for number, numbers in (batch,)
        }
        for done in as_completed(begun):
            number, numbers = begun[done]
            yield (number, numbers[0]), done.result()
            task.advance(len(numbers))
    except BrokenProcessPool as error:
        raise Failed("a process that simulated years was killed: is memory short?") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _heed_only_the_parent() -> None:
    """Ctrl-C reaches the whole group of processes: the parent alone says how the verb ends.

    And where the parent is killed nobody is left to work for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# --- scenarios ---


def _made_up() -> dict[str, "Scenario"]:
    from hft_lib.backtest.evop_years.scenarios import SCENARIOS

    return SCENARIOS


def _chosen(known: dict[str, "Scenario"], wanted: list[str] | None) -> list["Scenario"]:
    for pattern in wanted or ():
        if not fnmatch.filter(known, pattern):
            raise BadInput(f"no scenario {pattern!r}: there are {', '.join(known)}")
    patterns = wanted or ["*"]
    return [one for name, one in known.items() if any(fnmatch.fnmatch(name, p) for p in patterns)]


def _recorded(
    settings: "Settings", path: Path, params: Path, pair: str | None, borrow: float | None
) -> tuple[dict[str, "Scenario"], dict[str, Any]]:
    """The scenarios of a tape's days: every set of the file in its own slot, through the stages.

    Beside them what was recorded: the pair, the tape, how many days of how many sets.
    """
    from hft_lib.backtest.candidates import compare, ordinary
    from hft_lib.backtest.evop_years.scenarios import recorded_scenarios
    from hft_lib.evop.policy import DAY_NS
    from hft_lib.market.tape import Tape
    from serving.lines import config_of

    tape, file = Tape.open(path), read_parameters(params)
    name = resolve_pair(pair, file, settings, tape)
    days = (tape.end_ns - tape.start_ns) // DAY_NS
    if days < RECORDED_DAYS_MIN:
        raise BadInput(f"the tape must hold at least {RECORDED_DAYS_MIN} whole days, had {days}")
    beside = file.challengers or ordinary(file.params)
    sets = [("champion", file.params), *((item.name, item.params) for item in beside)]
    config = config_of(settings, (file,), borrow)
    with progress("running the sets over the tape", tape.rows) as task:
        daily = compare(config, sets, tape, tape.start_ns, None, task.advance).daily_quote
    share = daily / config.pairs[0].capital_quote
    differences = share[:, 1:] - share[:, :1]
    active = (differences != 0.0).sum(axis=0)
    differences = differences[:, active >= RECORDED_DAYS_MIN]
    if differences.shape[1] == 0:
        raise BadInput(
            f"no set differed from the champion on {RECORDED_DAYS_MIN} of {len(share)} whole days, "
            f"the most were {active.max(initial=0)}: sets that hardly trade say nothing"
        )
    facts = {
        "pair": name,
        "tape_sha256": tape.sha256,
        "recorded_days": len(share),
        "recorded_sets": differences.shape[1],
    }
    return recorded_scenarios(differences, share[:, 0]), facts


# --- text ---


def _print_scenarios(document: dict[str, Any]) -> None:
    console = text()
    table = Table("scenario", "years", "false a year", "95 %", "found", "days", "gain")
    for one in document["scenarios"]:
        table.add_row(*_row(one))
    console.print(table)
    console.print(
        f"{document['challengers']} challengers, seed {document['seed']}, "
        f"{document['seconds']:.0f} s. Found: the share of years with what the scenario waits for, "
        "a promotion or else a rollback; days: the median until then."
    )
    for one in document["scenarios"]:
        for sentence in one["missed"]:
            console.print(f"[red]missed[/red] {one['scenario']}: {sentence}", soft_wrap=True)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    low, high = one["ci95"]
    days, gain = one["median_days_to_detect"], one["gain_share"]
    return (
        one["scenario"],
        str(one["years"]),
        f"{one['false_promotions_per_year']:.4f}",
        f"{low:.4f} to {high:.4f}",
        "" if one["detected"] is None else f"{one['detected']:.3f}",
        "" if days is None else f"{days:.0f}",
        "" if gain is None else f"{gain['mean']:.2f}",
    )
