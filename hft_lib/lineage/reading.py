"""Reading from the registry: versions, aliases, and parameter sets verified by their hash."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from hft_lib.lineage.version import (
    PARAMETERS_FILE,
    ContentLost,
    NotRegistered,
    Version,
    model_name,
    sha256,
)
from hft_lib.parameters import Parameters, Reference, check_parameters

# A pair has a calibration a day at most and a few candidates; MLflow gives this many a page.
_PAGE_ROWS = 200


def load_parameters(client: Any, pair: str, which: str) -> tuple[Parameters, Version]:
    """The set of an alias or a version number, verified by its hash, and its version.

    Raises NotRegistered, or ContentLost where the content is gone, is another, or cannot be run.
    """
    version = read_version(client, pair, which)
    content = _content(client, version)
    told = f"{version.name} version {version.version}"
    if content is None:
        raise ContentLost(
            f"{told}: its parameter set {PARAMETERS_FILE} is not in the artifact store"
        )
    wanted, found = version.parameters_sha256, sha256(content)
    if found != wanted:
        raise ContentLost(f"{told}: its parameter set must have SHA-256 {wanted}, was {found}")
    try:
        parameters = msgspec.json.decode(content, type=Parameters)
        check_parameters(parameters)
    except ValueError as error:
        raise ContentLost(f"{told}: its parameter set cannot be run, {error}") from error
    return parameters, version


def read_version(client: Any, pair: str, which: str) -> Version:
    """What the registry says of an alias or a version number; raises NotRegistered."""
    name = model_name(pair)
    try:
        if which.isdecimal():
            found = client.get_model_version(name, which)
        else:
            found = client.get_model_version_by_alias(name, which)
    except Exception as error:
        # A missing version is the one, a missing alias the other.
        if error_code(error) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise NotRegistered(f"{name} has no version or alias {which}") from None
        raise
    return _version(found, read_aliases(client, pair))


def read_aliases(client: Any, pair: str) -> dict[str, str]:
    """Each alias of the pair's model with its version; empty where nothing is registered."""
    try:
        found = client.get_registered_model(model_name(pair)).aliases
    except Exception as error:
        if error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return {alias: str(version) for alias, version in sorted(found.items())}


def error_code(error: Exception) -> str:
    """What a client's exception says by MLflow's own code; empty where it is none of a client's."""
    return str(getattr(error, "error_code", ""))


def find(client: Any, pair: str, parameters_sha256: str) -> Version | None:
    """The newest version with this content, if one has it still."""
    query = f"name='{model_name(pair)}' and tags.parameters_sha256='{parameters_sha256}'"
    aliases = read_aliases(client, pair)
    rows = (_version(row, aliases) for row in _pages(client.search_model_versions, query))
    for version in sorted(rows, key=lambda row: int(row.version), reverse=True):
        content = _content(client, version)
        if content is not None and sha256(content) == parameters_sha256:
            return version
    return None


def read_versions(client: Any) -> list[Version]:
    """Every version of every pair, by name and number; other people's models are left out."""
    listed: list[Version] = []
    for model in _pages(client.search_registered_models, "tags.pair LIKE '%~%'"):
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        rows = _pages(client.search_model_versions, f"name='{model.name}'")
        listed.extend(_version(row, aliases) for row in rows)
    return sorted(listed, key=lambda row: (row.name, int(row.version)))


def _pages(search: Callable[..., Any], query: str) -> Iterator[Any]:
    token = None
    while True:
        page = search(query, max_results=_PAGE_ROWS, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version(row: Any, aliases: Mapping[str, str]) -> Version:
    """MLflow's version as ours: its number is an int on a database and a string over HTTP."""
    number, tags = str(row.version), row.tags
    return Version(
        name=row.name,
        version=number,
        pair=tags.get("pair", ""),
        run_id=row.run_id or "",
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == number)),
        candidate=tags.get("candidate", ""),
        parameters_sha256=tags.get("parameters_sha256", ""),
        git_commit=tags.get("git_commit", ""),
        tape_sha256=tags.get("tape_sha256", ""),
        config_sha256=tags.get("config_sha256", ""),
        window_start=tags.get("window_start", ""),
        window_end=tags.get("window_end", ""),
        created_ms=int(row.creation_timestamp),
        trials=int(tags.get("trials") or 0),
        pipeline_run=tags.get("pipeline_run", ""),
        reference=_reference(tags.get("reference", "")),
    )


def _reference(tag: str) -> Reference | None:
    """What a version's tag says; None of one that was left out, or that a hand made unreadable:
    drift is then told as not known, and nothing that trades depends on it.
    """
    if not tag:
        return None
    try:
        return msgspec.json.decode(tag, type=Reference)
    except msgspec.DecodeError:
        return None


def _content(client: Any, version: Version) -> bytes | None:
    """The bytes of a version's parameter set, None where the artifact store has none.

    Listed first: a server answers the download of what is not there with an empty folder, and a
    failure that is not a loss must not look like one. A client that fetches by itself, as one
    without MLflow's own layer of artifacts must, is asked instead.
    """
    if hasattr(client, "version_content"):
        fetched: bytes | None = client.version_content(
            version.name, version.version, PARAMETERS_FILE
        )
        return fetched
    from mlflow import artifacts

    base = client.get_model_version_download_uri(version.name, version.version)
    folder = f"{base}/{PurePosixPath(PARAMETERS_FILE).parent}"
    listed = artifacts.list_artifacts(artifact_uri=folder, tracking_uri=client.tracking_uri)
    file_name = PurePosixPath(PARAMETERS_FILE).name
    if not any(PurePosixPath(row.path).name == file_name for row in listed):
        return None
    with tempfile.TemporaryDirectory() as place:
        path = artifacts.download_artifacts(
            artifact_uri=f"{base}/{PARAMETERS_FILE}",
            dst_path=place,
            tracking_uri=client.tracking_uri,
        )
        return Path(path).read_bytes()
