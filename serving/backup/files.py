"""Folders as one archive: what a laptop keeps under HFT_HOME, and the registry's artifacts."""

import tarfile
import tempfile
import time
from pathlib import Path

from serving.backup import databases
from serving.runtime.run_folder import SNAPSHOT

# SQLite's own beside a database: the copy of the database holds what they hold.
_BESIDE = (".db-wal", ".db-shm", ".db-journal")


def save(folder: Path, path: Path) -> int:
    """Archive a folder, which may be written to meanwhile; how many files.

    Databases and snapshots first: what they name is in the journal that follows them.
    """
    files = [found for found in folder.rglob("*") if found.is_file() and not found.is_symlink()]
    files = [found for found in files if not found.name.endswith(_BESIDE)]
    files.sort(key=lambda found: (found.suffix != ".db", found.name != SNAPSHOT, found))
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for found in files:
            _add(archive, found, str(found.relative_to(folder)))
    return len(files)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    if path.suffix != ".db":
        archive.add(path, name)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        databases.save(f"sqlite:///{path}", copy)
        archive.add(copy, name)


def restore(path: Path, folder: Path) -> Path | None:
    """Unpack an archive as `folder`; what was there is moved aside, and its new place returned."""
    aside = None
    if folder.exists() and any(folder.iterdir()):
        aside = folder.with_name(f"{folder.name}.before-{time.time_ns()}")
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "r:gz") as archive:
        archive.extractall(folder, filter="data")
    return aside
