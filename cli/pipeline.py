"""`hft pipeline`: Kubeflow pipelines, compiled to YAML, run here, or submitted to a cluster."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli import options
from cli.console import emit, near, print_rows, text
from cli.errors import BadInput
from cli.pipeline_arguments import arguments_of, load
from serving.runtime.journal import replace_file
from serving.runtime.settings import Settings

_COMPILED = Path(__file__).resolve().parent.parent / "pipelines" / "compiled"

app = typer.Typer(help="Kubeflow pipelines: to YAML, here, on a cluster.", no_args_is_help=True)

Name = Literal["calibration", "evop_design", "research_report"]
NameArgument = Annotated[Name, typer.Argument(help="The pipeline.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another input of the pipeline; repeatable."),
]


@app.callback()
def group() -> None:
    """Kubeflow pipelines: to YAML, here, on a cluster."""


@app.command("compile")
def compile_(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option(help="Write the YAML here, not into pipelines/compiled.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write the YAML that a cluster takes; the same code always gives the same bytes.

    Example: hft pipeline compile calibration
    """
    path = out or _COMPILED / f"{name}.yaml"
    if not path.absolute().parent.is_dir():
        raise BadInput(f"--out must be a file in a folder that exists, was {path}")
    content = compiled(name)
    changed = not path.is_file() or path.read_bytes() != content
    if changed:
        replace_file(path, content)
    document = {
        "pipeline": name,
        "path": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "changed": changed,
    }
    emit(document, as_json, _print_compiled)


def compiled(name: str) -> bytes:
    """The YAML of a pipeline."""
    import tempfile

    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.yaml")
        compiler.Compiler().compile(load(name), str(path))
        return path.read_bytes()


@app.command()
def run(
    context: typer.Context,
    name: NameArgument,
    tape: Annotated[Path | None, typer.Option(help="The tape's folder.")] = None,
    pair: options.PairOption = None,
    borrow: options.BorrowOption = None,
    journal: options.JournalOption = None,
    given: SetOption = None,
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run a pipeline here, step by step, with the same components as on a cluster.

    No network is needed: the registry is the one of the settings. A gate that refuses ends it with
    its reason and exit code 3, and nothing is registered. evop_design takes its evidence from the
    latest run's journal, or the one of --journal, where that is about the registry's champion.

    Example: hft pipeline run calibration --tape btc --pair BTC/USDT:USDT~BTC/USDT
    """
    from cli.pipeline_local import prepare, run_here

    settings: Settings = context.obj
    with prepare(settings, name, tape, pair, journal, out) as (folder, known):
        arguments = arguments_of(name, known | _borrow(borrow), given or [])
        document = run_here(settings, name, arguments, folder, as_json)
    emit(document, as_json, _print_run)


@app.command()
def submit(
    context: typer.Context,
    name: NameArgument,
    host: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of the Kubeflow API.")
    ],
    tape: Annotated[
        str | None, typer.Option(help="The tape's folder on the volume, such as /tapes/btc.")
    ] = None,
    pair: options.PairOption = None,
    borrow: options.BorrowOption = None,
    cron: Annotated[
        str | None,
        typer.Option(help="Run again and again: minute hour day month weekday, in UTC."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of every step, such as one by its digest.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="The experiment to run in.")] = "hft",
    namespace: Annotated[str, typer.Option(help="The user's namespace; none without.")] = "",
    token: Annotated[
        str | None, typer.Option(envvar="KF_PIPELINES_TOKEN", help="Bearer token of the API.")
    ] = None,
    caching: Annotated[bool, typer.Option(help="Take steps of equal inputs from before.")] = True,
    given: SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Send a pipeline to a Kubeflow API, once or on a schedule.

    Example: hft pipeline submit calibration --host http://localhost:8888 --tape /tapes/btc
    """
    from cli.pipeline_cluster import Target, send

    settings: Settings = context.obj
    known: dict[str, Any] = {"capital_quote": settings.champion_initial_capital}
    known |= {key: value for key, value in (("tape", tape), ("pair", pair)) if value is not None}
    arguments = arguments_of(name, known | _borrow(borrow), given or [])
    target = Target(host, experiment, namespace, token, caching)
    document = send(target, name, compiled(name), arguments, image, cron)
    emit(document, as_json, _print_sent)


def _borrow(rate: float | None) -> dict[str, Any]:
    return {} if rate is None else {"assume_borrow": rate}


# --- text ---


def _print_compiled(known: dict[str, Any]) -> None:
    said = "written" if known["changed"] else "same"
    print_rows(((said, near(Path(known["path"]))), ("sha256", known["sha256"])))


def _print_run(known: dict[str, Any]) -> None:
    console = text()
    console.print(f"[bold]{known['pipeline']}[/bold] done in {known['seconds']:.0f} s")
    for pair in known.get("gate", {}).get("pairs", ()):
        console.print(f"  {pair['pair']}: {pair['days']} whole days out of sample, after costs")
        for one in pair["candidates"]:
            ratio, deflated = one["sharpe_annual"], one["deflated_sharpe"]
            figures = f"Sharpe {ratio:.2f}, deflated {deflated:.4f}" if deflated else "no figures"
            console.print(f"    {one['name']:<14}{figures}  {one['reason'] or 'passes'}")
    if "gate" in known:
        console.print(f"  {known['gate']['trials']} trials counted")
    for one in known.get("registered", ()):
        state = "there before" if one["reused"] else "new"
        console.print(f"  {one['alias']:<24}{one['name']} version {one['version']}, {state}")
    for page in known.get("pages", ()):
        print_rows((("page", near(Path(page))),))
    print_rows((("files", near(Path(known["folder"]))), ("log", near(Path(known["log"])))))


def _print_sent(known: dict[str, Any]) -> None:
    rows = [(name, str(known[name])) for name in ("run_id", "recurring_run_id") if name in known]
    print_rows((*rows, ("name", known["name"]), ("at", known["host"])))
