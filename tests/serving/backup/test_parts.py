"""What a back-up holds, in what order it is made, and what of it is refused."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from serving.adapters.kafka_topics import SNAPSHOTS, TOPICS, topic_of
from serving.backup import BackupError, databases, files, log
from serving.services import stages
from tests.cli.conftest import ROOT, Answer

USAGE, REFUSED = 2, 3


def backup(folder: Path, *words: object, **environ: str) -> Answer:
    """`python -m serving.backup` of a laptop whose HFT_HOME is `folder / "home"`."""
    known = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    known |= {"PYTHONPATH": str(ROOT), "HFT_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "serving.backup", *map(str, words)],
        cwd=folder,
        env=known | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def home(folder: Path) -> Path:
    """What an embedded line leaves: a journal, a tape, a registry with a row."""
    made = folder / "home"
    (made / "tapes" / "line").mkdir(parents=True)
    (made / "tapes" / "line" / "rows.parquet").write_bytes(b"rows" * 1000)
    (made / "journal").write_bytes(b"frames")
    with closing(sqlite3.connect(made / "mlflow.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE models (name TEXT)")
        database.execute("INSERT INTO models VALUES ('kalman')")
        database.commit()
    return made


def models(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM models")]


def test_what_a_stage_says_is_copied_before_its_inbox_but_for_the_one_circle():
    assert set(log.ORDER) == {topic.name for topic in TOPICS} and log.ORDER[0] == SNAPSHOTS
    place = {topic: number for number, topic in enumerate(log.ORDER)}
    late = {
        (stage.name, target)
        for stage in stages()
        for targets in stage.routes.values()
        for target in targets
        if place[topic_of(target)] > place[topic_of(stage.name)]
    }
    assert late == {("orchestrator", "ingestion")} == {(log.ORCHESTRATOR, log.INGESTION)}


def test_a_laptops_home_is_put_back_and_what_was_there_is_moved_aside(tmp_path: Path):
    made = home(tmp_path)
    saved = backup(tmp_path, "save", "kept")
    assert saved.code == 0, saved.err
    (made / "journal").write_bytes(b"another run")
    (made / "tapes" / "line" / "rows.parquet").unlink()
    refused = backup(tmp_path, "restore", "kept")
    assert refused.code == REFUSED and "say --yes" in refused.err
    assert (made / "journal").read_bytes() == b"another run"
    restored = backup(tmp_path, "restore", "kept", "--yes")
    assert restored.code == 0, restored.err
    assert (made / "journal").read_bytes() == b"frames"
    assert (made / "tapes" / "line" / "rows.parquet").read_bytes() == b"rows" * 1000
    assert models(made / "mlflow.db") == ["kalman"]
    (aside,) = tmp_path.glob("home.before-*")
    assert (aside / "journal").read_bytes() == b"another run"


def test_a_damaged_backup_changes_nothing(tmp_path: Path):
    made = home(tmp_path)
    assert backup(tmp_path, "save", "kept").code == 0
    assert backup(tmp_path, "check", "kept").code == 0
    path = tmp_path / "kept" / "home.tar.gz"
    path.write_bytes(path.read_bytes()[:-1])
    (made / "journal").write_bytes(b"another run")
    for words in (("check", "kept"), ("restore", "kept", "--yes")):
        done = backup(tmp_path, *words)
        assert done.code == 1 and "must be as it was saved" in done.err
    assert (made / "journal").read_bytes() == b"another run"


def test_a_backup_that_failed_half_way_is_none(tmp_path: Path):
    home(tmp_path)
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    done = backup(tmp_path, "save", "kept", "--part", "log", **away)
    assert done.code == 1 and done.err.startswith("backup: ")
    assert not (tmp_path / "kept").exists()
    assert backup(tmp_path, "restore", "kept.part", "--yes").code == 1


def test_a_backup_of_nothing_is_none_and_says_what_is_missing(tmp_path: Path):
    done = backup(tmp_path, "save", "kept")
    assert done.code == 1 and "HFT_HOME is no folder" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_no_setting_names_is_said_by_its_setting(tmp_path: Path):
    done = backup(tmp_path, "save", "kept", "--part", "words")
    assert done.code == 1 and "REDIS_URL must be set for words" in done.err


def test_an_unknown_setting_is_bad_usage(tmp_path: Path):
    assert backup(tmp_path, "save", "kept", HFT_UNKNOWN="1").code == USAGE


def test_a_database_that_is_written_to_is_copied_as_it_is_at_one_moment(tmp_path: Path):
    path = home(tmp_path) / "mlflow.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO models VALUES ('half-done')")  # not committed
        databases.save(f"sqlite:///{path}", tmp_path / "copy")
    assert models(tmp_path / "copy") == ["kalman"]
    databases.restore(f"sqlite:///{path}", tmp_path / "copy")
    assert models(path) == ["kalman"]


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(BackupError, match="must be there"):
        databases.save(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "copy")


def test_what_names_a_place_of_the_journal_is_archived_before_it(tmp_path: Path):
    made = home(tmp_path)
    (made / "snapshot").write_bytes(b"state")
    files.save(made, tmp_path / "home.tar.gz")
    words = ["tar", "--list", "--file", str(tmp_path / "home.tar.gz")]
    names = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert names.index("mlflow.db") < names.index("snapshot") < names.index("journal")
