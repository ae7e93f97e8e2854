"""A database as one file: SQLite by its own copying, PostgreSQL by its own programs."""

import os
import shutil
import sqlite3
import subprocess  # nosec B404: it asks PostgreSQL's own programs, with fixed words
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url

from serving.backup import BackupError

DUMP_S_MAX = 3600.0


def save(url: str, path: Path) -> None:
    """Copy the database at `url` into `path`, as it is at one moment, whoever writes to it."""
    named = make_url(url)
    if named.get_backend_name() == "sqlite":
        _copy(Path(str(named.database)), path)
    else:
        _run(named, "pg_dump", "--format=custom", f"--file={path}")


def restore(url: str, path: Path) -> None:
    """Put what `path` holds in place of the database at `url`, whole or not at all."""
    named = make_url(url)
    if named.get_backend_name() == "sqlite":
        there = Path(str(named.database))
        there.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("-wal", "-shm"):
            there.with_name(there.name + suffix).unlink(missing_ok=True)
        _copy(path, there)
    else:
        words = ["--clean", "--if-exists", "--no-owner", "--single-transaction"]
        _run(named, "pg_restore", *words, f"--dbname={named.database}", str(path))


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BackupError(f"{source} must be there, it was not")
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as one,
        closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)


def _run(url: URL, program: str, *words: str) -> None:
    """A program of PostgreSQL's; its password stands on no command line."""
    if shutil.which(program) is None:
        raise BackupError(f"{program} must be installed (on Debian: postgresql-client)")
    known = {
        "PGHOST": url.host,
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    environment = {**os.environ, **{key: value for key, value in known.items() if value}}
    done = subprocess.run(  # nosec B603: no shell, and the programs are named here
        [program, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DUMP_S_MAX,
    )
    if done.returncode != 0:
        raise BackupError(f"{program}: {(done.stderr.strip() or 'it failed').splitlines()[-1]}")
