"""The cluster's back-ups: made every night while the line runs, whole or not there, the old go."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serving.backup.__main__ import Part
from tests.integration import postgresql
from tests.integration.postgresql import Postgresql
from tests.k8s import rendered
from tests.k8s.rendered import ENVIRONMENTS, Object

STEPS = rendered.MANIFESTS / "base" / "config" / "backup.sh"
NAMES = ("ledger", "mlflow")
JOBS = {"backup": "nightly", "backup-artifacts": "artifacts", "backup-tapes": "tapes"}


def steps(environment: str, name: str) -> list[Object]:
    """The containers of a job, in the order in which they run."""
    return rendered.containers(rendered.named_exactly(environment, "CronJob", name))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_whatever_must_not_be_lost_is_saved_on_a_schedule(environment: str) -> None:
    saved: set[str] = set()
    for name in JOBS:
        item = rendered.named_exactly(environment, "CronJob", name)
        assert item["spec"]["suspend"] is False
        assert item["spec"]["concurrencyPolicy"] == "Forbid"
        assert item["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600
        words: list[str] = []
        for step in steps(environment, name):
            words = " ".join([*step["command"], *step.get("args", [])]).split()
            saved |= {words[place + 1] for place, word in enumerate(words) if word == "--part"}
            saved |= {words[-1]} if step["command"][0] == "bash" else set()
        # The last thing that it does, where all else was done.
        told = ["serving.backup", "tell", JOBS[name], "/backups"]
        assert words[-4:] == told
    assert saved == {part.value for part in Part}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_ledger_is_saved_before_the_log_whose_places_it_names(environment: str) -> None:
    assert [step["name"] for step in steps(environment, "backup")] == [
        *("ledger", "log", "registry", "told")
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_restore_waits_for_a_hand_and_asks_first_whether_the_line_runs(environment: str) -> None:
    assert rendered.named_exactly(environment, "CronJob", "restore")["spec"]["suspend"] is True
    log, databases = steps(environment, "restore")
    assert "serving.backup restore" in log["args"][0] and "--yes" in log["args"][0]
    assert "--latch" not in log["args"][0], "it comes back halted"
    assert databases["command"][-1] == "databases"


# --- the steps, for real ---


@pytest.fixture
def server() -> Iterator[Postgresql]:
    with postgresql.running() as made:
        yield made


def run(folder: Path, port: int, step: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A step of a back-up, as its container runs it."""
    known = {
        "PATH": f"{postgresql.binaries()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "BACKUPS": str(folder / "backups"),
        "SECRETS": str(folder),
    }
    return subprocess.run(
        ["bash", STEPS, step], env=known | environ, capture_output=True, text=True, check=False
    )


def prepared(folder: Path, server: Postgresql) -> int:
    """Two databases of two users, as the first start of the cluster's makes them; their port."""
    engine = create_engine(server.new_database().replace("://", "+psycopg://"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in NAMES:
            connection.execute(text(f"CREATE USER {name}"))
            connection.execute(text(f"CREATE DATABASE {name} OWNER {name}"))
            (folder / f"{name}-password").write_text("made-up")
    engine.dispose()
    (folder / "backups").mkdir()
    return int(engine.url.port or 0)


def ask(port: int, name: str, *statements: str) -> list[str]:
    """What the last statement answers, as the owner of a database."""
    engine = create_engine(f"postgresql+psycopg://{name}@127.0.0.1:{port}/{name}")
    with engine.begin() as connection:
        answers = [connection.execute(text(statement)) for statement in statements]
        found = [str(row[0]) for row in answers[-1]] if answers[-1].returns_rows else []
    engine.dispose()
    return found


def save(folder: Path, port: int, **environ: str) -> None:
    """A whole back-up of both databases."""
    for step in ("ledger", "registry"):
        done = run(folder, port, step, **environ)
        assert done.returncode == 0, done.stderr


def test_both_databases_are_put_back_as_they_were(tmp_path: Path, server: Postgresql) -> None:
    port = prepared(tmp_path, server)
    for name in NAMES:
        ask(port, name, "CREATE TABLE kept (word TEXT)", f"INSERT INTO kept VALUES ('{name}')")
    save(tmp_path, port)
    for name in NAMES:
        ask(port, name, "DROP TABLE kept", "CREATE TABLE other (word TEXT)")
    done = run(tmp_path, port, "databases")
    assert done.returncode == 0, done.stderr
    assert [ask(port, name, "SELECT word FROM kept") for name in NAMES] == [["ledger"], ["mlflow"]]


def test_the_newest_are_kept_and_the_oldest_go(tmp_path: Path, server: Postgresql) -> None:
    port, backups = prepared(tmp_path, server), tmp_path / "backups"
    for day in range(1, 6):
        (backups / f"2026010{day}T011700Z").mkdir()
    (backups / "artifacts").mkdir()
    save(tmp_path, port, KEEP="3")
    left = sorted(path.name for path in backups.iterdir())
    assert left[:2] == ["20260104T011700Z", "20260105T011700Z"]
    assert len(left) == 4 and left[-1] == "artifacts"


def test_what_is_not_whole_is_no_backup_and_what_is_damaged_is_not_put_back(
    tmp_path: Path, server: Postgresql
) -> None:
    port, backups = prepared(tmp_path, server), tmp_path / "backups"
    assert run(tmp_path, port, "ledger").returncode == 0
    assert [path.name for path in backups.iterdir()] == ["unfinished"]
    assert "no whole back-up" in run(tmp_path, port, "databases").stderr
    save(tmp_path, port)
    (made,) = backups.iterdir()
    (made / "mlflow.dump").write_bytes((made / "mlflow.dump").read_bytes()[:-9])
    assert run(tmp_path, port, "databases").returncode != 0
    assert ask(port, "ledger", "SELECT 1") == ["1"]
