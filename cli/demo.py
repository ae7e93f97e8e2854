"""`hft demo`: the whole loop on one tape.

Calibrate, register, trade champion and challengers, decide, report.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from cli import options
from cli.calibrate import fit_metrics, fit_window, parameter_file
from cli.console import command, emit, near, print_rows, progress, text
from cli.context import common_span, iso, resolve_pair
from cli.errors import BadInput
from cli.markets import synthetic_tape
from cli.registry import as_facts, candidate, open_client, register_sets
from cli.replay import in_sample, print_figures, verify_command
from cli.runs import (
    note_journal,
    open_line,
    read_facts,
    run_feed,
    run_folder,
)
from hft_lib.backtest.candidates import Comparison, compare, ordinary, planted, twins
from hft_lib.backtest.fit_figures import fit_figures
from hft_lib.backtest.sampling import Moments
from hft_lib.backtest.tally import Tally
from hft_lib.events import CapitalOrder, DecisionRecorded, Promoted, RolledBack
from hft_lib.fitting.calibrate import Calibration
from hft_lib.health.window import SlotValues, slots_of
from hft_lib.line import LineConfig
from hft_lib.lineage import CHAMPION
from hft_lib.market.tape import Tape
from hft_lib.parameters import Challenger, Evop, ParameterFile, Parameters
from serving.adapters.mlflow_registry import MlflowRegistry
from serving.adapters.mlflow_store import artifact_location
from serving.adapters.tape_feed import tape_feed
from serving.first_fit import split_of
from serving.lines import config_of, line_of
from serving.runtime.host import Sink
from serving.runtime.identity import content_sha256
from serving.runtime.journal import RECORDS, read_records
from serving.runtime.run_folder import JOURNAL, PARAMETERS, new_header, write_parameters
from serving.runtime.settings import Settings

if TYPE_CHECKING:
    from hft_lib.backtest.record import RunRecord
    from hft_lib.backtest.story import Step
    from hft_lib.plots import Moment

Sets = list[tuple[str, Parameters]]
REGISTRY_S_MAX = (
    60.0  # the projection of a move onto the aliases ends by itself within half of this
)
REPORT = "report.html"
FITTED = "calibrated"  # the first champion's name in the report: champion is what it may not stay


ScenarioOption = Annotated[
    Literal["planted", "regime-change"],
    typer.Option(help="What happens: sets of known worth on one market, or a market that changes."),
]


def demo(
    context: typer.Context,
    tape: options.OptionalTapeOption = None,
    pair: options.PairOption = None,
    seed: options.SeedOption = 7,
    borrow: options.BorrowOption = None,
    out: options.OutOption = None,
    scenario: ScenarioOption = "planted",
    as_json: options.JsonOption = False,
) -> None:
    """Run the whole loop once, with nothing but this command, and write a report.

    Fits the three models on the first part of a market, registers a champion and challengers in
    MLflow, trades the rest with the champion on simulated capital and the challengers in shadow,
    and lets EVOP decide on daily evidence. Without --tape it makes a market whose truth is known.

    With --scenario regime-change the market changes its nature twice: what the calibration pipeline
    registered is replaced on evidence, a bad set is dropped, a lucky one promoted and rolled back.

    Example: hft demo --tape btc --pair BTC/USDT:USDT~BTC/USDT --out btc-demo
    """
    settings: Settings = context.obj
    began = time.perf_counter()
    if scenario == "regime-change":
        from cli.demo_regimes import demo_regimes, print_story

        _refuse_market(scenario, {"--tape": tape, "--pair": pair, "--assume-borrow": borrow})
        document = demo_regimes(settings, seed, out, quiet=as_json)
        document["seconds"] = time.perf_counter() - began
        emit(document, as_json, print_story)
        return
    opened = synthetic_tape(settings, seed) if tape is None else Tape.open(tape)
    name = resolve_pair(pair, None, settings, opened)
    with run_folder(settings, "demo", out) as folder:
        known = Demo(settings, opened, name, borrow, seed, folder, planted_market=tape is None)
        document = known.run()
    document["seconds"] = time.perf_counter() - began
    emit(document, as_json, print_demo)


def _refuse_market(scenario: str, given: dict[str, Any]) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise BadInput(f"--scenario {scenario} makes its own market: leave {', '.join(named)} out")


class Demo:
    """One demo: what is known at each step, in the order of the steps."""

    def __init__(
        self,
        settings: Settings,
        tape: Tape,
        pair: str,
        borrow: float | None,
        seed: int,
        folder: Path,
        planted_market: bool,
    ) -> None:
        self.settings, self.tape, self.pair, self.borrow = settings, tape, pair, borrow
        self.seed, self.folder, self.planted_market = seed, folder, planted_market
        self.start_ns, end_ns = common_span(tape, pair)
        self.split_ns = split_of(self.start_ns, end_ns)
        self.judged: list[SlotValues] = []  # by what the models are judged at the end
        self.fit_rows = tape.rows * (self.split_ns - tape.start_ns) / (tape.end_ns - tape.start_ns)

    def run(self) -> dict[str, Any]:
        """Every step; returns the contract's keys but `seconds`."""
        client = open_client(self.settings)  # first: one that does not answer costs no fit
        calibration, moments = self.calibrate()
        file, comparison = self.choose(calibration)
        config = config_of(self.settings, (file,), self.borrow)
        write_parameters(self.folder, file)
        sets = [(CHAMPION, file.params), *((item.name, item.params) for item in file.challengers)]
        figures = fit_figures(calibration, moments)
        made = self.register(client, file, config, calibration, comparison, sets, figures)
        tally = Tally()
        execution = self.trade(
            client, file, config, as_facts(file, sets, made, self.split_ns), tally
        )
        window = (calibration.start_ns, calibration.end_ns)
        report, verdict = self.report(self.record(file, config, window, sets, made))
        known = self.document(file, config, sets, made, tally.document(execution))
        return known | {"verdict": verdict, "report": str(report)}

    def document(
        self,
        file: ParameterFile,
        config: LineConfig,
        sets: Sets,
        made: Any,
        figures: dict[str, Any],
    ) -> dict[str, Any]:
        """The keys of every demo but its verdict and report; `made` are the registrations by name,
        `figures` those of the tally.
        """
        moves, decisions, order = self.decisions()
        versions = {item.version: self.shown(name) for name, item in made.items()}
        return {
            "pair": self.pair,
            "start": iso(self.split_ns),
            "end": iso(self.tape.end_ns),
            **figures,
            "in_sample": in_sample(self.tape, file, self.split_ns, None),
            "tape_sha256": self.tape.sha256,
            "config_sha256": content_sha256(config),
            "champion": set_document(CHAMPION, file.params, made),
            "challengers": [set_document(name, params, made) for name, params in sets[1:]],
            "decisions": decisions,
            "capital": [moved(move, versions) for move in moves],
            "last_order_id": order,
            **self.files(),
        }

    def calibrate(self) -> tuple[Calibration, Moments]:
        """Fit the three models to the first part of the tape; returns what they were fitted to."""
        window = (self.start_ns, self.split_ns)
        return fit_window(self.tape, self.pair, window, self.fit_rows)

    def choose(self, calibration: Calibration) -> tuple[ParameterFile, Comparison]:
        """Choose challengers, compare all sets in sample, and take the scales of the evidence."""
        champion = calibration.params
        chosen = planted(champion) if self.planted_market else ordinary(champion)
        alike = twins(champion, self.seed)
        sets: list[tuple[str, Parameters]] = [("champion", champion)]
        sets += [(item.name, item.params) for item in (*chosen, *alike)]
        config = line_of(self.settings, ((self.pair, Evop()),), champion.grid_ms, self.borrow)
        window = (self.start_ns, self.split_ns)
        with progress("comparing the sets in sample", self.fit_rows) as task:
            comparison = compare(config, sets, self.tape, *window, task.advance)
        lucky = max(alike, key=lambda item: float(comparison.difference(item.name).sum()))
        challengers = [*chosen]
        challengers.insert(1, Challenger(name="lucky", params=lucky.params))
        names = [item.name for item in chosen] + [lucky.name]
        plain = parameter_file(self.tape, calibration, trials=len(sets))
        return (
            msgspec.structs.replace(
                plain,
                evop=Evop(s0_quote=comparison.s0_quote(names)),
                challengers=tuple(challengers),
            ),
            comparison,
        )

    def register(
        self,
        client: Any,
        file: ParameterFile,
        config: LineConfig,
        calibration: Calibration,
        comparison: Comparison,
        sets: list[tuple[str, Parameters]],
        figures: dict[str, Any],
    ) -> Any:
        """Register every set in MLflow and point the aliases at them."""
        diagnostics, metrics = calibration.document(), fit_metrics(calibration)
        found = {
            name: candidate(
                file,
                name,
                params,
                content_sha256(config),
                metrics | _in_sample(comparison, name),
                diagnostics,
            )
            for name, params in sets
        }
        return register_sets(self.settings, client, file, found, figures)

    def trade(
        self,
        client: Any,
        file: ParameterFile,
        config: LineConfig,
        sets: list[Any],
        tally: Tally,
        sinks: tuple[Sink, ...] = (),
    ) -> Any:
        """Run the six stages over the rest of the tape; returns execution's last state."""
        window = (self.split_ns, None)
        header = new_header(self.tape, (file,), config, self.folder.name, "hft demo", window)
        edge = MlflowRegistry(client, artifact_location(self.settings))
        rows = self.tape.rows - self.fit_rows
        try:
            with open_line(self.folder, header, sets, tally, (edge, *sinks)) as line:
                events = tape_feed(self.tape, self.pair.split("~"), *window)
                with progress("trading the rest of the tape", rows) as task:
                    run_feed(line, events, task.advance)
                tally.events = line.fed
                edge.settle(REGISTRY_S_MAX)
                self.judged = slots_of(line.hosts["garch_model"].state.windows[self.pair])
                return line.hosts["execution"].state
        finally:
            edge.close()
            note_journal(self.settings, self.folder / JOURNAL)

    def decisions(self) -> tuple[list[Promoted | RolledBack], list[dict[str, Any]], str | None]:
        """The pointer's moves, every decision, the capital account's last order."""
        moves: list[Promoted | RolledBack] = []
        made: list[dict[str, Any]] = []
        order = None
        for _, fact in read_facts(self.folder / JOURNAL, (RECORDS,)):
            if isinstance(fact, Promoted | RolledBack):
                moves.append(fact)
            elif isinstance(fact, DecisionRecorded):
                known = {"decision_id": fact.decision_id, "kind": fact.kind}
                made.append({**known, "time": iso(fact.time_ns)})
            elif isinstance(fact, CapitalOrder):
                order = fact.client_order_id
        return moves, made, order

    def record(
        self,
        file: ParameterFile,
        config: LineConfig,
        fit_window: tuple[int, int],
        sets: list[tuple[str, Parameters]],
        made: Any,
        turns: Sequence["Moment"] = (),
    ) -> "RunRecord":
        """What the run left, from its journal."""
        from hft_lib.backtest.record import RunRecord, TapeInfo

        return RunRecord.from_facts(
            read_records(self.folder / JOURNAL),
            pair=self.pair,
            params={self.shown(name): params for name, params in sets},
            tape=TapeInfo(
                sha256=self.tape.sha256,
                start_ns=self.tape.start_ns,
                end_ns=self.tape.end_ns,
                rows=self.tape.rows,
                symbols=tuple(self.tape.symbols),
                source=self.tape.manifest.source,
            ),
            fit_window=fit_window,
            versions={self.shown(name): item.version for name, item in made.items()},
            commit=file.provenance.git_commit,
            commands=self.commands(),
            assumptions=config.assumptions,
            capital_quote=config.pairs[0].capital_quote,
            config=msgspec.to_builtins(config),
            seed=self.seed,
            turns=turns,
            health=self.judged,
        )

    def report(self, record: "RunRecord", story: Sequence["Step"] = ()) -> tuple[Path, str]:
        """Write the report of the run; returns its place and its verdict."""
        from hft_lib.backtest.report import verdict_text, write_report

        with progress("drawing the report"):
            write_report(record, self.folder / REPORT, datetime.now(UTC), story)
        return self.folder / REPORT, verdict_text(record)

    def shown(self, name: str) -> str:
        """What a set is called in the report."""
        return FITTED if name == CHAMPION else name

    def commands(self) -> list[str]:
        """The lines that make this run again and check it, from whatever folder."""
        tape = ("--tape", self.files()["tape"], "--pair", self.pair)
        again = ["hft", "demo", *(() if self.planted_market else tape), "--seed", str(self.seed)]
        again += [] if self.borrow is None else ["--assume-borrow", f"{self.borrow!r}"]
        return [command(*again), verify_command(self.files(), str)]

    def files(self) -> dict[str, str]:
        """Where the run's tape, parameters and journal are."""
        return {
            "tape": str(self.tape.path.absolute()),
            "params_file": str(self.folder / PARAMETERS),
            "journal": str(self.folder / JOURNAL),
        }


def _in_sample(comparison: Comparison, name: str) -> dict[str, float]:
    """What a set did in sample: no evidence, but worth a look."""
    if not len(comparison.daily_quote):
        return {}
    mean = (
        float(comparison.daily_quote[:, comparison.names.index(name)].mean())
        if name in comparison.names
        else None
    )
    return {} if mean is None else {"in_sample_pnl_quote_per_day": mean}


def set_document(name: str, params: Parameters, made: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": made[name].version,
        "run_id": made[name].run_id,
        "params": msgspec.to_builtins(params),
    }


def moved(move: Promoted | RolledBack, versions: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": type(move).__name__,
        "time": iso(move.effective_ns),
        "slot": move.slot,
        "model_version": move.model_version,
        "set": versions.get(move.model_version, "designed by EVOP"),
    }


def print_demo(known: dict[str, Any]) -> None:
    """What the demo came to, for people."""
    console = text()
    console.print(f"[bold]{known['verdict']}[/bold]")
    print_figures("Demo", known)
    for move in known["capital"]:
        console.print(f"  {move['time'][:10]}  capital follows [bold]{move['set']}[/bold]")
    counted: dict[str, int] = {}
    for decision in known["decisions"]:
        counted[decision["kind"]] = counted.get(decision["kind"], 0) + 1
    said = ", ".join(f"{kind} {count}" for kind, count in counted.items())
    console.print(f"  {'decisions':<28}{said or 'none'}")
    following = ["hft evop history", "hft models list", verify_command(known)]
    if known["last_order_id"]:
        following.insert(2, command("hft", "trace", known["last_order_id"]))
    print_rows((("report", near(Path(known["report"]))), ("next", following[0])))
    print_rows(("", line) for line in following[1:])
