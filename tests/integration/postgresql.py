"""A real PostgreSQL on a port of its own, which a test may kill and start again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.integration.conftest import free_ports

START_S_MAX = 60.0
# It refuses to run as root: then it is somebody else's process, and its folder theirs.
USERS = ("postgres", "nobody")


def binaries() -> Path:
    """The folder of the server's programs; skips where there is none, which in CI is a failure."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    if os.environ.get("CI") == "true":
        pytest.fail("CI must have PostgreSQL's server")
    pytest.skip("not installed here: PostgreSQL's server")


class Postgresql:
    """One server over one folder; each database in it is a test's own."""

    def __init__(self, folder: Path) -> None:
        self._bin = binaries()
        self._folder = folder
        self._port = free_ports(1)[0]
        self._user = _user()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if self._user is not None:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, pwd.getpwnam(self._user).pw_gid)
        words = ["--auth=trust", "--username=hft", "--encoding=UTF8", "--no-sync"]
        done = subprocess.run(
            [self._bin / "initdb", f"--pgdata={folder / 'data'}", *words],
            user=self._user,
            group=_group(self._user),
            extra_groups=None if self._user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it; returns when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres",
                    "-D",
                    self._folder / "data",
                    *("-c", f"port={self._port}", "-c", "listen_addresses=127.0.0.1"),
                    *("-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"),
                    # Processes are killed here, not machines: what was written is there.
                    *("-c", "fsync=off"),
                ],
                user=self._user,
                group=_group(self._user),
                extra_groups=None if self._user is None else [],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START_S_MAX
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as a machine that goes away; a start then replays its own log."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it at once, whoever is connected; its folder is not used again."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(START_S_MAX)

    def new_database(self) -> str:
        """The address of a database that holds nothing."""
        self._databases += 1
        name = f"ledger{self._databases}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name).replace("+psycopg", "")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://hft@127.0.0.1:{self._port}/{name}"

    def _answers(self) -> bool:
        try:
            with create_engine(self._url("postgres"), poolclass=NullPool).connect():
                return True
        except OperationalError:
            return False


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)


def _group(user: str | None) -> int | None:
    return None if user is None else pwd.getpwnam(user).pw_gid


@contextmanager
def running() -> Iterator[Postgresql]:
    """A server while the block runs. Its folder is beside pytest's, which others may not enter."""
    binaries()
    folder = Path(tempfile.mkdtemp(prefix="hft-postgresql-"))
    try:
        made = Postgresql(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)
