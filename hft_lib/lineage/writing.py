"""Writing to the registry: how a set was found, the set as a version, its part as an alias."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from hft_lib.lineage.environment import environment_sha256, environment_text
from hft_lib.lineage.model_folder import write_model
from hft_lib.lineage.reading import find, read_aliases
from hft_lib.lineage.version import (
    CHAMPION,
    Candidate,
    Registration,
    RegistryError,
    challenger_alias,
    model_name,
    sha256,
)
from hft_lib.parameters import Set, check_parameters, parameter_content, parameter_sha256

EXPERIMENT = "hft-calibration"
Progress = Callable[[str], None]


def experiment_id(client: Any, artifact_location: str | None = None) -> str:
    """The experiment of all calibrations, made at first use with this place for its artifacts."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return str(client.create_experiment(EXPERIMENT, artifact_location=artifact_location))
    if found.lifecycle_stage == "deleted":
        raise RegistryError(
            f"experiment {EXPERIMENT} was deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def register(
    client: Any,
    experiment: str,
    candidate: Candidate,
    figures: Mapping[str, Any] | None = None,
    on_progress: Progress = lambda text: None,
) -> Registration:
    """Log how `candidate` was found as a run, and register its set unless it is registered already.

    `figures` by file name (`garch.svg`): matplotlib figures or the bytes of a file. Raises
    ValueError, before anything is logged, for a set that cannot be run, a metric that is not finite
    or a name that MLflow would refuse.
    """
    _check(candidate, figures or {})
    candidate = _in_environment(candidate)
    content = parameter_content(candidate.parameters)
    if (known := find(client, candidate.pair, sha256(content))) is not None:
        on_progress(f"{known.name} version {known.version} has this content already")
        return Registration(
            name=known.name, version=known.version, run_id=known.run_id, reused=True
        )
    with _run(client, experiment, candidate) as run_id:
        on_progress("logging the run and its figures")
        _log_run(client, run_id, candidate, figures or {})
        on_progress("registering the version")
        version = _create_version(client, experiment, run_id, candidate, content)
    name = model_name(candidate.pair)
    return Registration(name=name, version=version, run_id=run_id, reused=False)


def _in_environment(candidate: Candidate) -> Candidate:
    """With the environment that registers it, where it does not say in which it was fitted."""
    if candidate.environment_sha256:
        return candidate
    text = environment_text()
    told = {**candidate.diagnostics, "environment": text.splitlines()}
    return msgspec.structs.replace(
        candidate, environment_sha256=environment_sha256(text), diagnostics=told
    )


def _check(candidate: Candidate, figures: Mapping[str, Any]) -> None:
    model_name(candidate.pair)
    challenger_alias(candidate.name)
    check_parameters(candidate.parameters)
    for name, value in candidate.metrics.items():
        # MLflow stores an infinity as 1.8e308 and NaN as it is: both would pass for results.
        if not math.isfinite(value):
            raise ValueError(f"metric {name} must be finite, was {value}")
    for file_name in figures:
        if Path(file_name).name != file_name or not Path(file_name).suffix:
            raise ValueError(f"a figure's name must be a file name with its type, was {file_name}")


@contextmanager
def _run(client: Any, experiment: str, candidate: Candidate) -> Iterator[str]:
    """A run that ends FINISHED, or FAILED where its body raises."""
    run = client.create_run(experiment, run_name=candidate.name, tags=_tags(candidate))
    run_id = str(run.info.run_id)
    try:
        yield run_id
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _tags(candidate: Candidate) -> dict[str, str]:
    provenance = candidate.provenance
    tags = {
        "pair": candidate.pair,
        "candidate": candidate.name,
        "origin": candidate.origin,
        "parameters_sha256": parameter_sha256(candidate.parameters),
        "git_commit": provenance.git_commit,
        "tape_sha256": provenance.tape_sha256,
        "window_start": provenance.start,
        "window_end": provenance.end,
        "trials": str(provenance.trials),
        "seed": str(provenance.seed),
        "config_sha256": candidate.config_sha256,
        "code_sha256": candidate.code_sha256,
        "lock_sha256": candidate.lock_sha256,
        "environment_sha256": candidate.environment_sha256,
        "pipeline_run": candidate.pipeline_run,
        "notebook": candidate.notebook,
    }
    if provenance.reference is not None:
        tags["reference"] = msgspec.json.encode(provenance.reference).decode()
    return tags


def _log_run(client: Any, run_id: str, candidate: Candidate, figures: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, value) for name, value in _flat(candidate.parameters)]
    client.log_batch(run_id, params=params)
    for name, number in candidate.metrics.items():
        client.log_metric(run_id, name, number)
    with tempfile.TemporaryDirectory() as folder:
        diagnostics = msgspec.json.format(msgspec.json.encode(candidate.diagnostics), indent=2)
        (Path(folder) / "diagnostics.json").write_bytes(diagnostics)
        (Path(folder) / "figures").mkdir()
        for file_name, figure in figures.items():
            _write_figure(Path(folder) / "figures" / file_name, figure)
        client.log_artifacts(run_id, folder)


def _write_figure(path: Path, figure: Any) -> None:
    if isinstance(figure, bytes):
        path.write_bytes(figure)
    else:
        figure.savefig(path)


def _flat(values: Set, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each parameter with its dotted name, to the last digit."""
    for name in values.__struct_fields__:
        value = getattr(values, name)
        if isinstance(value, Set):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", repr(value)


def _create_version(
    client: Any, experiment: str, run_id: str, candidate: Candidate, content: bytes
) -> str:
    from mlflow.entities import LoggedModelOutput

    name = model_name(candidate.pair)
    _ensure_model(client, name, candidate.pair)
    logged = client.create_logged_model(experiment, name="parameters", source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), content)
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    # By its place, not by `models:/ID`: MLflow looks that up in the process's default store.
    made = client.create_model_version(
        name,
        logged.artifact_location,
        run_id,
        tags=_tags(candidate),
        await_creation_for=0,  # it is ready when this returns; MLflow would poll for minutes
        model_id=logged.model_id,
    )
    version = str(made.version)
    link = msgspec.json.encode([{"name": name, "version": version}]).decode()
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
    return version


def _ensure_model(client: Any, name: str, pair: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={"pair": pair})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


# --- aliases ---


def set_alias(client: Any, pair: str, alias: str, version: str) -> bool:
    """Let `alias` point to `version`; False where it did already."""
    if read_aliases(client, pair).get(alias) == version:
        return False
    client.set_registered_model_alias(model_name(pair), alias, version)
    return True


def seat(client: Any, pair: str, name: str, version: str) -> str:
    """Seat a version beside what the pair has: its champion where it has none, else a challenger.

    Returns the alias, which for a version that is champion already is that. Others stay.
    """
    champion = read_aliases(client, pair).get(CHAMPION)
    alias = CHAMPION if champion in (None, version) else challenger_alias(name)
    set_alias(client, pair, alias, version)
    return alias


def delete_alias(client: Any, pair: str, alias: str) -> bool:
    """Let `alias` point to nothing; False where it did already."""
    if alias not in read_aliases(client, pair):
        return False
    client.delete_registered_model_alias(model_name(pair), alias)
    return True


# --- decisions ---


def note_decision(client: Any, pair: str, version: str, decision_id: str, text: str) -> None:
    """Tag `version` with what a decision said of it: aliases show where it is, the tags why."""
    client.set_model_version_tag(model_name(pair), version, f"decision.{decision_id}", text)
