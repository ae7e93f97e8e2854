"""`hft evop`: what EVOP decided and why, read from the decision records of a run's journal, or of
the line on Kafka; and what its rules do in simulated years.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from cli.console import emit, text
from cli.errors import BadInput, Failed
from cli.evop_simulate import simulate
from cli.options import JournalOption, JsonOption
from hft_lib.evop.telling import line_of, name_of

if TYPE_CHECKING:
    from serving.runtime.settings import Settings

app = typer.Typer(help="What EVOP decided, and why.", no_args_is_help=True)
app.command("simulate")(simulate)

NumberArgument = Annotated[int, typer.Argument(help="The number of a decision, as in `history`.")]
ENDS_A_TEST = ("promote", "drop", "expire", "rollback", "freeze")


@app.command()
def status(journal: JournalOption = None, as_json: JsonOption = False) -> None:
    """Each pair's champion, its open test, and what is left of the year's budget of error.

    Example: hft evop status --json
    """
    pairs: dict[str, dict[str, Any]] = {}
    for record in decisions(journal):
        pairs[record["pair"]] = _folded(pairs.get(record["pair"], {}), record)
    emit({"pairs": list(pairs.values())}, as_json, _print_status)


@app.command()
def history(journal: JournalOption = None, as_json: JsonOption = False) -> None:
    """Every decision in order, one line each.

    Example: hft evop history
    """
    emit({"decisions": [line_of(record) for record in decisions(journal)]}, as_json, _print_history)


@app.command()
def explain(
    number: NumberArgument, journal: JournalOption = None, as_json: JsonOption = False
) -> None:
    """One decision with all it was made of, recomputed from its record; exit 1 if it differs.

    Example: hft evop explain 9
    """
    from hft_lib.evop.record import is_equal, recompute

    record = next((one for one in decisions(journal) if one["number"] == number), None)
    if record is None:
        raise BadInput(f"no decision {number} in the journal: see `hft evop history`")
    try:
        again, equal = recompute(record), is_equal(record)
    except msgspec.ValidationError as error:
        raise Failed(f"decision {number} was written by another version: {error}") from error
    document = {"record": record, "recomputed": again, "equal": equal}
    emit(document, as_json, _print_explanation)
    if not document["equal"]:
        raise Failed(f"decision {number} does not follow from its record")


def decisions(journal: Path | None) -> Iterator[dict[str, Any]]:
    """The decision records of a journal, in order; where none is named, those of the line on Kafka
    (KAFKA_BOOTSTRAP_SERVERS) or else of the latest run.
    """
    from serving.runtime.settings import load_settings

    settings = load_settings()
    if journal is None and settings.kafka_bootstrap_servers is not None:
        return _of_line(settings)
    return _of_journal(journal or _latest(settings))


def _of_line(settings: "Settings") -> Iterator[dict[str, Any]]:
    from cli.ledgers import open_ledger
    from serving.ledger import books

    with open_ledger(settings, None, None) as (connection, line):
        for record in books.decisions(connection, line):
            yield msgspec.json.decode(record)


def _of_journal(path: Path) -> Iterator[dict[str, Any]]:
    from hft_lib.events import DecisionRecorded
    from serving.runtime.journal import JournalError, read_records

    if not path.is_file():
        raise BadInput(f"no journal at {path}")
    try:
        for fact in read_records(path):
            if isinstance(fact, DecisionRecorded):
                yield msgspec.json.decode(fact.record)
    except (JournalError, msgspec.DecodeError) as error:
        raise BadInput(f"journal {path} cannot be read: {error}") from error


def _latest(settings: "Settings") -> Path:
    from cli.runs import latest_journal

    return latest_journal(settings)


# --- documents ---


def _folded(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """A pair's standing after one more of its decisions."""
    kind, line = record["kind"], line_of(record)
    after = {
        "pair": record["pair"],
        "champion": line["champion"],
        "test": None if kind in ENDS_A_TEST else before.get("test"),
        "frozen": record["case"]["frozen"] if kind != "freeze" else True,
        "budget_spent": before.get("budget_spent", 0.0),
        "budget": record["case"]["policy"]["alpha"],
        "decisions": before.get("decisions", 0) + 1,
        "last": {"number": line["number"], "time": line["time"], "kind": kind},
    }
    if kind in ("promote", "rollback"):
        after["champion"] = line["challenger"]
    if kind == "test":
        began, threshold = line["time"], record["case"]["threshold"]
        after["test"] = {"challenger": line["challenger"], "began": began, "threshold": threshold}
        budget = next(one for one in record["verdict"]["guards"] if one["name"] == "budget")
        after["budget_spent"] = budget["inputs"]["spent"] + budget["inputs"]["charge"]
    return after


# --- text ---


def _print_status(document: dict[str, Any]) -> None:
    for pair in document["pairs"]:
        test = pair["test"] or {"challenger": None, "began": ""}
        table = Table("champion", "under test", "since", "budget", "last decision")
        table.title = pair["pair"]
        table.add_row(
            name_of(pair["champion"]),
            "frozen" if pair["frozen"] else name_of(test["challenger"]),
            test["began"][:10],
            f"{pair['budget_spent']:.4f} / {pair['budget']:.2f}",
            f"{pair['last']['number']} {pair['last']['kind']} {pair['last']['time'][:10]}",
        )
        text().print(table)


def _print_history(document: dict[str, Any]) -> None:
    for pair in dict.fromkeys(line["pair"] for line in document["decisions"]):
        table = Table("N", "time, UTC", "decision", "challenger", "e", "reason", title=pair)
        for line in document["decisions"]:
            if line["pair"] == pair:
                table.add_row(*_history_row(line))
        text().print(table)


def _history_row(line: dict[str, Any]) -> tuple[str, ...]:
    e = f"{line['e']:.3g}" if line["e"] is not None else ""
    when, who = line["time"][:16].replace("T", " "), name_of(line["challenger"])
    by = f", by {line['operator']}" if line["operator"] else ""
    return str(line["number"]), when, line["kind"], who, e, line["reason"] + by


def _print_explanation(document: dict[str, Any]) -> None:
    record, console = document["record"], text()
    line, verdict = line_of(record), record["verdict"]
    console.print(f"Decision {line['number']}, {line['time']}, {line['pair']}: {line['kind']}")
    console.print(f"Reason: {line['reason']}")
    if line["operator"]:
        console.print(f"By {line['operator']}: {line['operator_reason']}", markup=False)
    console.print(f"Champion {name_of(line['champion'])}, challenger {name_of(line['challenger'])}")
    if line["e"] is not None:
        blocks, active = verdict["evidence"]["blocks"], verdict["evidence"]["active"]
        floor = verdict["evidence"]["floor"]
        console.print(f"Evidence: e {line['e']:.6g} of {line['threshold']:g} needed to act")
        console.print(f"from {blocks} blocks, {active} of them active, scale floor {floor:.3g}")
    if verdict["guards"]:
        table = Table("guard", "passed", "threshold", "inputs")
        for guard in verdict["guards"]:
            inputs = ", ".join(f"{name} {value:.6g}" for name, value in guard["inputs"].items())
            passed = "yes" if guard["verdict"] else "NO"
            table.add_row(guard["name"], passed, f"{guard['threshold']:.6g}", inputs)
        console.print(table)
    same = "the same, to the last bit" if document["equal"] else "DIFFERENT"
    console.print(f"Recomputed from the record: {same}")
