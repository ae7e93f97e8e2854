"""`hft demo --scenario regime-change`: the loop closed on a market that changes under it.

The calibration pipeline registers what passes its gate, three more sets are registered beside it,
and the six services trade all of them while the market changes its nature twice. Who gets the
capital is EVOP's alone: nothing here waits for a step, and a step that does not come is not told.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from cli.console import command, near, print_rows, stderr, text
from cli.context import iso, parse_time
from cli.demo import Demo, Sets
from cli.markets import regime_tapes
from cli.pipeline_arguments import arguments_of
from cli.pipeline_local import prepare, run_here
from cli.registry import as_facts, candidate, open_client, register_beside
from cli.replay import verify_command
from cli.runs import note_journal, run_folder
from hft_lib import lineage
from hft_lib.backtest import regime_change
from hft_lib.backtest.regime_change import BAD, BETTER, IDEAS, LUCKY
from hft_lib.backtest.tally import Tally
from hft_lib.events import DecisionRecorded, Event
from hft_lib.evop.telling import line_of
from hft_lib.line import LineConfig
from hft_lib.lineage import CHAMPION, Registration
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile, Parameters
from serving.adapters.registered_sets import registered_sets
from serving.lines import config_of
from serving.runtime.identity import content_sha256
from serving.runtime.journal import RECORDS
from serving.runtime.run_folder import JOURNAL, write_parameters
from serving.runtime.settings import Settings

if TYPE_CHECKING:
    from hft_lib.backtest.record import RunRecord
    from hft_lib.backtest.story import Step, Turn

SCENARIO = "regime-change"
LINE, CALIBRATION = "line", "calibration"  # folders of the run and of the pipeline
STEPS = (
    "calibrated",
    "served",
    "bad_dropped",
    "regime_changed",
    "better_promoted",
    "predecessor_in_shadow",
    "lucky_promoted",
    "market_turned",
    "lucky_rolled_back",
)
_TURNS = {
    "quick": (
        "regime_changed",
        "the spread comes back in minutes, quotes are tight: who trades often earns most",
    ),
    "dear": (
        "market_turned",
        "quotes are eleven times as wide: who ignores the cost of a trade pays it",
    ),
}
_TOLD = ("start", "promote", "drop", "expire", "rollback", "freeze")


def demo_regimes(settings: Settings, seed: int, out: Path | None, quiet: bool) -> dict[str, Any]:
    """Run the scenario; returns the contract's keys but `seconds`, and `scenario` and `story`.

    All it makes is in `out`, the registry (SQLite) too; tapes are kept under HFT_HOME.
    """
    tell = _silent if quiet else _say
    with run_folder(settings, f"demo-{SCENARIO}", out) as root:
        tell(f"market of seed {seed}: {regime_change.MARKET.days:g} days, two changes of regime")
        history, tape = regime_tapes(settings, seed)
        update = {"hft_home": root, "mlflow_tracking_uri": f"sqlite:///{root / 'mlflow.db'}"}
        demo = RegimeDemo(settings.model_copy(update=update), tape, history, seed, root, tell)
        try:
            return demo.run()
        finally:
            note_journal(settings, demo.folder / JOURNAL)


class RegimeDemo(Demo):
    """One run of the scenario, in the order of its steps."""

    def __init__(
        self, settings: Settings, tape: Tape, history: Tape, seed: int, root: Path, tell: Any
    ) -> None:
        folder = root / LINE
        super().__init__(settings, tape, regime_change.PAIR, None, seed, folder, True)
        self.split_ns = regime_change.split_ns()
        self.fit_rows = history.rows
        self.history, self.root, self.tell = history, root, tell
        self.fitted = CHAMPION

    def run(self) -> dict[str, Any]:
        """Every step; returns the contract's keys but `seconds`."""
        piped = self.pipeline()
        client = open_client(self.settings)
        file, made = self.registered(client, piped)
        sets: Sets = [(CHAMPION, file.params)]
        sets += [(item.name, item.params) for item in file.challengers]
        config = config_of(self.settings, (file,), None)
        self.folder.mkdir()
        write_parameters(self.folder, file)
        days = regime_change.TRADED_DAYS
        self.tell(f"serving: six services in one process, {days} days, {len(sets)} sets")
        tally, facts = Tally(), as_facts(file, sets, made, self.split_ns)
        execution = self.trade(client, file, config, facts, tally, (Teller(self.tell),))
        window = (parse_time(file.provenance.start) or 0, parse_time(file.provenance.end) or 0)
        record = self.record(file, config, window, sets, made, self.marks())
        story = self.story(record, piped)
        note_decisions(client, record)
        self.tell("report")
        report, verdict = self.report(record, story)
        known = self.document(file, config, sets, made, tally.document(execution))
        known |= {"verdict": verdict, "report": str(report)}
        known |= {"registry": self.settings.mlflow_tracking_uri}
        return known | {"scenario": SCENARIO, "story": [_step_document(step) for step in story]}

    def pipeline(self) -> dict[str, Any]:
        """Calibrate on the history by the pipeline's own components; what it came to."""
        self.tell(f"calibration pipeline on the first {regime_change.HISTORY_DAYS} days")
        place = self.root / CALIBRATION
        given = (self.settings, "calibration", self.history.path, self.pair, None, place)
        with prepare(*given) as (folder, known):
            arguments = arguments_of("calibration", known, [])
            return run_here(self.settings, "calibration", arguments, folder, quiet=True)

    def registered(
        self, client: Any, piped: dict[str, Any]
    ) -> tuple[ParameterFile, dict[str, Registration]]:
        """What the registry holds once the planted sets stand beside the pipeline's own."""
        made = {
            CHAMPION if item["alias"] == CHAMPION else item["candidate"]: _registration(item)
            for item in piped["registered"]
        }
        self.fitted = next(i["candidate"] for i in piped["registered"] if i["alias"] == CHAMPION)
        self.tell(f"registered {len(made)} candidates, champion {self.fitted}")
        file, _ = registered_sets(client, self.pair)
        planted = regime_change.ideas(file.params)
        config = config_of(self.settings, (file,), None)
        beside = made[CHAMPION].version
        for idea in planted:
            found = _idea(file, idea.name, idea.params, config, beside)
            made[idea.name] = _registration(register_beside(self.settings, client, found, {}))
        self.tell(f"registered {', '.join(IDEAS)} beside them")
        # Planted sets ask first: three tests of ninety days would else go before.
        challengers = (*planted, *file.challengers)
        return msgspec.structs.replace(file, challengers=challengers), made

    def story(self, record: "RunRecord", piped: dict[str, Any]) -> list["Step"]:
        """The steps that the run's record holds."""
        from hft_lib.backtest import story as stories

        begun = [self.calibrated(piped), stories.served(record)]
        cast = stories.Cast(bad=BAD, better=BETTER, lucky=LUCKY)
        known = [step for step in begun if step is not None]
        return stories.story(record, cast, known, list(self.turns()))

    def calibrated(self, piped: dict[str, Any]) -> "Step":
        """The pipeline's step, told from its gate's verdict."""
        from hft_lib.backtest.story import Step

        judged = piped["gate"]["pairs"][0]
        best = next(one for one in judged["candidates"] if one["name"] == self.fitted)
        passed = [one["name"] for one in judged["candidates"] if not one["reason"]]
        version = next(i["version"] for i in piped["registered"] if i["alias"] == CHAMPION)
        return Step(
            name="calibrated",
            time_ns=self.split_ns,
            title=f"The pipeline registers {len(passed)} of {len(judged['candidates'])} candidates",
            text=(
                f"Traded on {judged['days']} whole days out of sample, after costs; the best, "
                f"`{self.fitted}`, is the champion. Beside them {len(IDEAS)} sets are planted: "
                + "; ".join(f"`{name}` {why}" for name, why in IDEAS.items())
                + "."
            ),
            version=version,
            evidence=f"deflated Sharpe {best['deflated_sharpe']:.4f}",
        )

    def turns(self) -> Iterator["Turn"]:
        """The market's changes while it was traded."""
        from hft_lib.backtest.story import Turn

        for regime in regime_change.REGIMES[1:]:
            name, what = _TURNS[regime.name]
            start_ns = regime.start_ns(regime_change.MARKET)
            yield Turn(name, start_ns, f"The market turns {regime.name}", f"From here on {what}.")

    def marks(self) -> list[Any]:
        """The same changes as the figures mark them."""
        from hft_lib.plots import Moment

        market = regime_change.MARKET
        regimes = regime_change.REGIMES[1:]
        return [Moment(each.start_ns(market), each.name, low=True) for each in regimes]

    def shown(self, name: str) -> str:
        """What a set is called in the report: the champion by its name among the candidates."""
        return self.fitted if name == CHAMPION else name

    def commands(self) -> list[str]:
        """The lines that make this run again and check it, from whatever folder."""
        again = ("hft", "demo", "--scenario", SCENARIO, "--seed", str(self.seed))
        return [command(*again), verify_command(self.files(), str)]


class Teller:
    """Says each decision that matters while the line runs."""

    logs: tuple[str, ...] = (RECORDS,)

    def __init__(self, tell: Any) -> None:
        self._tell = tell

    def take(self, log: str, fact: Event) -> None:
        """Say a decision, in a line."""
        if not isinstance(fact, DecisionRecorded) or fact.kind not in _TOLD:
            return
        line = line_of(msgspec.json.decode(fact.record))
        who = (line["challenger"] or line["champion"] or {}).get("alias", "")
        self._tell(f"  {line['time'][:10]}  {line['kind']:<9}{who:<12}{line['reason']}")


def note_decisions(client: Any, record: "RunRecord") -> None:
    """Tag each version in the registry with what EVOP decided about it."""
    for each in record.decisions:
        known = each.record
        if known is None:
            continue
        about = known.challenger or (known.champion if each.kind == "start" else None)
        if about is None or not about.model_version:
            continue
        said = f"{each.kind} {iso(each.time_ns)[:10]}: {known.reason}"
        lineage.note_decision(client, record.pair, about.model_version, each.decision_id, said)


def _idea(
    file: ParameterFile, name: str, params: Parameters, config: LineConfig, beside: str
) -> lineage.Candidate:
    # It was not fitted but stands near its parent: no trial was made on the parent's data.
    provenance = msgspec.structs.replace(file.provenance, trials=0)
    near_file = msgspec.structs.replace(file, provenance=provenance)
    told = {"parent_version": beside, "idea": IDEAS[name]}
    found = candidate(near_file, name, params, content_sha256(config), {}, told)
    return msgspec.structs.replace(found, origin="an idea beside the champion")


def _registration(known: dict[str, Any]) -> Registration:
    return Registration(
        name=known["name"],
        version=known["version"],
        run_id=known["run_id"],
        reused=known.get("reused", False),
    )


def _step_document(step: "Step") -> dict[str, Any]:
    return {
        "name": step.name,
        "time": iso(step.time_ns),
        "decision": step.number,
        "version": step.version,
        "title": step.title.replace("`", ""),
        "text": step.text.replace("`", ""),
        "evidence": step.evidence,
    }


# --- text ---


def _say(line: str) -> None:
    stderr.print(line, markup=False, soft_wrap=True)


def _silent(line: str) -> None:
    """Beside JSON nothing is said."""


def print_story(known: dict[str, Any]) -> None:
    """What happened, for people."""
    console = text()
    console.print(f"[bold]{known['verdict']}[/bold]")
    table = Table("day", "what happened", "evidence", "N", "version")
    start_ns = parse_time(known["start"]) or 0
    for step in known["story"]:
        passed = ((parse_time(step["time"]) or 0) - start_ns) // (86_400 * 10**9)
        number = "" if step["decision"] is None else str(step["decision"])
        table.add_row(str(passed), step["title"], step["evidence"], number, step["version"])
    console.print(table)
    seen = {step["name"] for step in known["story"]}
    missing = [name.replace("_", " ") for name in STEPS if name not in seen]
    if missing:
        console.print(f"On this market the evidence did not come to: {', '.join(missing)}.")
    money = f"{known['pnl_quote']:,.2f}".replace("-", "−")
    console.print(f"capital: PnL after costs {money}; {known['seconds']:.0f} s")
    journal = Path(known["journal"])
    where = f"MLFLOW_TRACKING_URI={known['registry']}"
    print_rows(
        (
            ("report", near(Path(known["report"]))),
            ("next", command("hft", "evop", "history", "--journal", journal)),
            ("", _explain(known["story"], journal)),
            ("", f"{where} hft models list"),
            ("", verify_command(known)),
        )
    )


def _explain(story: Sequence[dict[str, Any]], journal: Path) -> str:
    last = next((s["decision"] for s in reversed(story) if s["decision"] is not None), 1)
    return command("hft", "evop", "explain", str(last), "--journal", journal)
