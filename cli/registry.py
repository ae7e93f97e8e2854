"""How verbs use the model registry: what they register, and the sets that a run starts with."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.console import progress
from cli.errors import BadInput, Failed
from hft_lib import lineage
from hft_lib.events import Registered
from hft_lib.lineage import Candidate, Registration
from hft_lib.parameters import ParameterFile, Parameters, parameter_sha256
from serving.adapters import mlflow_store
from serving.adapters.registered_sets import registered_sets as read_sets
from serving.runtime.settings import Settings

_LOCK = Path(__file__).resolve().parent.parent / "requirements" / "research.lock"


def open_client(settings: Settings, describe: Any = lambda text: None) -> Any:
    """An MLflow client; Failed with one sentence where the registry does not answer."""
    try:
        return mlflow_store.open_client(settings, describe)
    except mlflow_store.Unreachable as error:
        raise Failed(f"{error}; start it or set MLFLOW_TRACKING_URI") from error


def register_sets(
    settings: Settings,
    client: Any,
    file: ParameterFile,
    found: Mapping[str, Candidate],
    figures: Mapping[str, Any],
) -> dict[str, Registration]:
    """Register a file's champion and challengers and point the aliases at them; by name.

    `found` are the candidates by name, `champion` first; the champion's run carries the figures.
    """
    with progress("registering the models", len(found)) as task:
        experiment = lineage.experiment_id(client, mlflow_store.artifact_location(settings))
        made = {}
        for name, candidate in found.items():
            task.describe(f"registering {name}")
            drawn = figures if name == lineage.CHAMPION else {}
            made[name] = lineage.register(client, experiment, candidate, drawn)
            task.advance()
    set_aliases(client, file.pair, {_alias(name): made[name].version for name in made})
    return made


def register_beside(
    settings: Settings, client: Any, found: Candidate, figures: Mapping[str, Any]
) -> dict[str, Any]:
    """Register one set beside what the pair has: its champion where it has none, else a challenger.

    Aliases of other sets stay where they are.
    """
    with progress(f"registering {found.name}"):
        experiment = lineage.experiment_id(client, mlflow_store.artifact_location(settings))
        made = lineage.register(client, experiment, found, figures)
        alias = lineage.seat(client, found.pair, found.name, made.version)
    return {"name": made.name, "version": made.version, "run_id": made.run_id, "alias": alias}


def _alias(name: str) -> str:
    return name if name == lineage.CHAMPION else lineage.challenger_alias(name)


def set_aliases(client: Any, pair: str, wanted: Mapping[str, str]) -> None:
    """Point the aliases at the wanted versions, and drop challengers of former runs."""
    for alias in lineage.read_aliases(client, pair):
        if alias.startswith(lineage.CHALLENGER_PREFIX) and alias not in wanted:
            lineage.delete_alias(client, pair, alias)
    for alias, version in wanted.items():
        lineage.set_alias(client, pair, alias, version)


def lock_sha256() -> str:
    """Hash of the research set's lock, empty where there is none."""
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest() if _LOCK.is_file() else ""


def candidate(
    file: ParameterFile,
    name: str,
    parameters: Parameters,
    config_sha256: str,
    metrics: Mapping[str, float],
    diagnostics: Mapping[str, Any],
) -> Candidate:
    """What the registry is told of one set of a parameter file."""
    from hft_lib.kernel import sources_sha256

    return Candidate(
        pair=file.pair,
        name=name,
        parameters=parameters,
        provenance=file.provenance,
        config_sha256=config_sha256,
        code_sha256=sources_sha256(),
        lock_sha256=lock_sha256(),
        metrics=dict(metrics),
        diagnostics=dict(diagnostics),
    )


def as_facts(
    file: ParameterFile,
    sets: Sequence[tuple[str, Parameters]],
    made: Mapping[str, Registration],
    time_ns: int,
) -> list[Registered]:
    """What the registry edge says at a run's start: the sets in this order, with their versions."""
    return [
        Registered(
            time_ns=time_ns,
            pair=file.pair,
            alias=name,
            parameters=params,
            parameters_sha256=parameter_sha256(params),
            model_version=made[name].version,
            run_id=made[name].run_id,
            git_commit=file.provenance.git_commit,
            tape_sha256=file.provenance.tape_sha256,
            reference=file.provenance.reference,
        )
        for name, params in sets
    ]


def registered_sets(settings: Settings, pair: str) -> tuple[ParameterFile, list[Registered]]:
    """The champion of `pair` and its challengers as the registry holds them.

    Raises BadInput where it has none.
    """
    file = mlflow_store.store_file(settings)
    if file is not None and not file.exists():
        raise _no_champion(settings, pair)
    with progress("opening the model registry") as task:
        client = open_client(settings, task.describe)
        try:
            return read_sets(client, pair)
        except lineage.NotRegistered:
            raise _no_champion(settings, pair) from None


def _no_champion(settings: Settings, pair: str) -> BadInput:
    return BadInput(
        f"the registry has no champion of {pair}: name a parameter file with --params "
        "(`hft calibrate --out FILE` writes one), or run `hft demo` first"
    )
