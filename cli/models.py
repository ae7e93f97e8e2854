"""`hft models`: what the model registry holds, and which of it has the capital."""

from typing import Annotated, Any

import msgspec
import typer

from cli import model_aliases, model_moves, options
from cli.console import emit, progress, text
from cli.context import iso
from cli.errors import Failed
from hft_lib import lineage
from serving.adapters import mlflow_store
from serving.runtime.addresses import masked
from serving.runtime.settings import Settings

app = typer.Typer(help="Registered parameter sets, in MLflow.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Registered parameter sets, in MLflow."""


app.command("promote")(model_moves.promote)
app.command("rollback")(model_moves.rollback)


@app.command("list")
def list_models(
    context: typer.Context,
    put_right: Annotated[
        bool, typer.Option("--put-right", help="Move aliases back to where the log says.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """List every registered version with its aliases, oldest first.

    The alias `champion` is what the capital account follows: the line's log says which, and one
    that was moved by hand is said here and put right by the services. See runs, figures and
    models in a browser with: mlflow ui --backend-store-uri ADDRESS

    Example: hft models list --json
    """
    settings: Settings = context.obj
    versions = read_versions(settings)
    known = model_aliases.agreement(settings, versions)
    if put_right and known["strayed"]:
        moved = model_aliases.put_right(mlflow_store.open_client(settings), known)
        versions = read_versions(settings)
        known = {**model_aliases.agreement(settings, versions), "put_right": moved}
    document = {
        "registry": masked(settings.mlflow_tracking_uri),
        "models": [describe(version) for version in versions],
        **known,
    }
    emit(document, as_json, print_models)


def read_versions(settings: Settings) -> list[lineage.Version]:
    """Every version of the registry that the settings name; none where it was not made yet."""
    file = mlflow_store.store_file(settings)
    if file is not None and not file.exists():
        return []
    try:
        with progress("Models") as task:
            return lineage.read_versions(mlflow_store.open_client(settings, task.describe))
    except mlflow_store.Unreachable as error:
        raise Failed(f"{error}; start it or set MLFLOW_TRACKING_URI") from error


def describe(version: lineage.Version) -> dict[str, Any]:
    """A version as `--json` shows it."""
    known: dict[str, Any] = msgspec.to_builtins(version)
    created_ms = known.pop("created_ms")
    return {**known, "created": iso(created_ms * 1_000_000)}


def print_models(document: dict[str, Any]) -> None:
    """Print the versions as a table, or what to do where there are none."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = text()
    if not document["models"]:
        console.print("No model is registered: `hft demo` calibrates one and registers it.")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Pair", overflow="fold")
    for heading in ("Version", "Aliases", "Params", "Run", "Created (UTC)"):
        table.add_column(heading, no_wrap=True)
    for model in document["models"]:
        table.add_row(
            model["pair"],
            model["version"],
            "\n".join(model["aliases"]) or "-",
            model["parameters_sha256"][:8],
            model["run_id"][:8],
            model["created"][:16].replace("T", " "),
        )
    console.print(table)
    for said in model_aliases.sentences(document):
        console.print(said, style="bold", markup=False, soft_wrap=True)
    console.print(f"Registry: {document['registry']}", soft_wrap=True)
