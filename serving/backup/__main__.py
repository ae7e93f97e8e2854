"""`python -m serving.backup`: back up what the settings name, and put it back."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from confluent_kafka import KafkaException

from serving.adapters.kafka_topics import TopicsError
from serving.backup import BackupError, databases, figures, files, log, words
from serving.runtime.chained import BusError
from serving.runtime.settings import Settings, SettingsError, load_settings

FAILED, BAD_USAGE, REFUSED = 1, 2, 3
ABOUT, SUMS = "backup.json", "SHA256SUMS"
app = typer.Typer(no_args_is_help=True, add_completion=False)


class Part(str, Enum):
    """What can be backed up, in the order in which it is.

    The ledger and the log's snapshots name places of the log, so they come before it; the words and
    the registry's aliases may be newer than it, for the line makes them its own at its start.
    """

    LEDGER = "ledger"
    LOG = "log"
    WORDS = "words"
    REGISTRY = "registry"
    ARTIFACTS = "artifacts"
    HOME = "home"


class Refused(Exception):
    """A rule forbids it; the message says which."""


class Place:
    """Where each part is, as the settings say."""

    def __init__(self, settings: Settings, artifacts: Path | None) -> None:
        self.servers = settings.kafka_bootstrap_servers
        self.redis = settings.redis_url
        self.ledger = settings.database_url
        registry = os.environ.get("MLFLOW_BACKEND_STORE_URI") or settings.mlflow_tracking_uri
        self.registry = registry if registry.startswith(("sqlite:", "postgresql")) else None
        self.artifacts = artifacts
        self.home = settings.hft_home

    def parts(self) -> list[Part]:
        """Those that there are."""
        known = {
            Part.LEDGER: self.ledger,
            Part.LOG: self.servers,
            Part.WORDS: self.redis,
            Part.REGISTRY: self.registry if self._has_registry() else None,
            Part.ARTIFACTS: self.artifacts,
            Part.HOME: self.home if self.home.is_dir() else None,
        }
        return [part for part in Part if known[part] is not None]

    def _has_registry(self) -> bool:
        path = (self.registry or "").removeprefix("sqlite:///")
        return bool(self.registry) and (path == self.registry or Path(path).exists())

    def of(self, part: Part) -> Any:
        """Where a part is; raises BackupError where no setting says it."""
        found = {
            Part.LEDGER: (self.ledger, "DATABASE_URL"),
            Part.LOG: (self.servers, "KAFKA_BOOTSTRAP_SERVERS"),
            Part.WORDS: (self.redis, "REDIS_URL"),
            Part.REGISTRY: (self.registry, "MLFLOW_BACKEND_STORE_URI"),
            Part.ARTIFACTS: (self.artifacts, "--artifacts"),
            Part.HOME: (self.home, "HFT_HOME"),
        }
        value, name = found[part]
        if value is None:
            raise BackupError(f"{name} must be set for {part.value}, it was unset")
        return value


def save_part(part: Part, place: Place, folder: Path) -> Any:
    """Copy a part into `folder`; what there is to say of it."""
    where = place.of(part)
    match part:
        case Part.LEDGER | Part.REGISTRY:
            databases.save(where, folder / f"{part.value}.dump")
            return {}
        case Part.LOG:
            return {"cluster_id": log.cluster_id(where), "messages": log.save(where, folder)}
        case Part.WORDS:
            return {"keys": words.save(where, folder)}
        case Part.ARTIFACTS | Part.HOME:
            return {"files": files.save(where, folder / f"{part.value}.tar.gz")}


def restore_part(part: Part, place: Place, folder: Path, latch: bool) -> Any:
    """Put a part in place of what is there; what there is to say of it."""
    where = place.of(part)
    match part:
        case Part.LEDGER | Part.REGISTRY:
            databases.restore(where, folder / f"{part.value}.dump")
            return {}
        case Part.LOG:
            return {"messages": log.restore(where, folder)}
        case Part.WORDS:
            return {"keys": words.restore(where, folder, latch)}
        case Part.ARTIFACTS | Part.HOME:
            aside = files.restore(folder / f"{part.value}.tar.gz", where)
            return {"aside": str(aside) if aside is not None else None}


DirArgument = Annotated[Path, typer.Argument(help="The back-up's folder.")]
PartOption = Annotated[list[Part] | None, typer.Option(help="In place of all; may be repeated.")]
ArtifactsOption = Annotated[Path | None, typer.Option(help="The folder of the registry's files.")]


@app.command()
def save(folder: DirArgument, part: PartOption = None, artifacts: ArtifactsOption = None) -> None:
    """Back up into a new folder, which is whole or not there. The line may go on meanwhile."""
    place = Place(load_settings(), artifacts)
    if folder.exists():
        raise BackupError(f"{folder} must not be there yet, it was")
    chosen = [known for known in Part if known in (part or place.parts())]
    if not chosen:
        raise BackupError(
            "there must be something to back up: no setting names a log, words or a database, "
            f"and HFT_HOME is no folder, was {place.home}"
        )
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    about: dict[str, Any] = {"began_ns": time.time_ns(), "parts": {}}
    for known in chosen:
        about["parts"][known.value] = save_part(known, place, unfinished)
    about["ended_ns"] = time.time_ns()
    (unfinished / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about)) + b"\n")
    sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in sorted(unfinished.iterdir()))
    (unfinished / SUMS).write_text(sums)
    unfinished.rename(folder)
    typer.echo(msgspec.json.encode({"backup": str(folder), **about}).decode())


@app.command()
def check(folder: DirArgument) -> None:
    """Whether a back-up is whole."""
    about = _checked(folder)
    typer.echo(msgspec.json.encode({"backup": str(folder), **about}).decode())


@app.command()
def restore(
    folder: DirArgument,
    part: PartOption = None,
    artifacts: ArtifactsOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="What is there may go.")] = False,
    latch: Annotated[
        bool, typer.Option("--latch", help="The latch too, as it was; otherwise it halts.")
    ] = False,
) -> None:
    """Put a back-up in place of what is there. The line must not run.

    It comes back halted, until `hft reset-kill`, unless `--latch` says otherwise.
    """
    about = _checked(folder)
    place = Place(load_settings(), artifacts)
    chosen = [known for known in Part if known in (part or [Part(name) for name in about["parts"]])]
    if not yes:
        raise Refused(f"{folder} takes the place of {', '.join(chosen)}: say --yes")
    if place.redis is not None and (running := words.running(place.redis)):
        raise Refused(f"the line must not run, {', '.join(running)} did")
    # Files first: a database may lie among them, and its own dump is the better copy.
    for known in sorted(chosen, key=lambda item: item is not Part.HOME):
        told = restore_part(known, place, folder, latch)
        typer.echo(msgspec.json.encode({"restored": known.value, **told}).decode())
    if Part.LOG in chosen and log.cluster_id(place.of(Part.LOG)) != _cluster(about):
        typer.echo(
            "backup: the broker has another name, so the ledger makes its rows anew from the log",
            err=True,
        )


@app.command()
def tell(
    job: Annotated[figures.Job, typer.Argument(help="Which of the jobs has made one.")],
    volume: Annotated[Path, typer.Argument(help="Where it is.", exists=True)],
    gateway: Annotated[str, typer.Option(help="The Pushgateway.")] = "http://pushgateway:9091",
) -> None:
    """Tell the monitoring that a back-up was made; where none is for long it raises the alarm."""
    figures.tell(job, volume, gateway)


def _cluster(about: dict[str, Any]) -> str:
    return str(about["parts"][Part.LOG.value]["cluster_id"])


def _checked(folder: Path) -> dict[str, Any]:
    """What a back-up says of itself; raises BackupError where it is damaged or not whole."""
    path = folder / SUMS
    if not path.is_file():
        raise BackupError(f"{folder} must be a whole back-up, it has no {SUMS}")
    for line in path.read_text().splitlines():
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            raise BackupError(f"{folder / name} must be as it was saved, it was not")
    known: dict[str, Any] = msgspec.json.decode((folder / ABOUT).read_bytes())
    return known


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(run: Callable[[], object] = app) -> int:
    """The exit code: 0 done, 1 failed, 2 bad usage, 3 refused by a rule."""
    kinds: Iterable[tuple[type[Exception] | tuple[type[Exception], ...], int]] = (
        (Refused, REFUSED),
        (SettingsError, BAD_USAGE),
        ((BackupError, BusError, TopicsError, KafkaException, OSError), FAILED),
    )
    try:
        run()
    except Exception as error:
        for kind, code in kinds:
            if isinstance(error, kind):
                typer.echo(f"backup: {error}", err=True)
                return code
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
