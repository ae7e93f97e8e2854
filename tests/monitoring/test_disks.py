"""How full volumes are and how old back-ups: real programs tell, and the alarm comes for real."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from serving.backup import BackupError, figures
from serving.services import SERVICES
from tests.integration.conftest import free_ports, needs
from tests.k8s import rendered
from tests.k8s.servers import running
from tests.monitoring import panels
from tests.monitoring.watched import Watch
from tests.monitoring.written import ROOT

pytestmark = pytest.mark.slow
SOON_S = 2
MOUNTED, MEBIBYTES = ("kafka", "redis"), 4
WATCHED = {"postgres", "mlflow", "prometheus", "alertmanager", "grafana"} | set(MOUNTED)
DAY_S = 86_400
AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A volume of some MiB at a folder."""
    folder.mkdir(parents=True)
    size = f"size={MEBIBYTES}m,mode=0777"
    done = subprocess.run(
        [*AS_ROOT, "mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"nobody may mount a volume here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([*AS_ROOT, "umount", "--lazy", str(folder)], check=True)


def deployed(name: str) -> list[str]:
    """How a container of the cluster is started."""
    sets = rendered.of_kind("production", "StatefulSet")
    found = [c for item in sets for c in rendered.containers(item) if c["name"] == name]
    return list(found[0]["args"])


@contextmanager
def watching(folder: Path, **others: int) -> Iterator[Watch]:
    """Prometheus and Alertmanager, whose alerts wait less; of the six nobody answers."""
    (folder / "watch").mkdir()
    nobody = {service.name: free_ports(1)[0] for service in SERVICES}
    watch = Watch(folder / "watch", free_ports(2), nobody, SOON_S, others)
    watch.start("production")
    try:
        yield watch
    finally:
        watch.end()


def answers(port: int) -> bool:
    """Whether somebody says there what he knows."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def severities(watch: Watch, service: str) -> set[str]:
    """How bad it is, by the alerts that fire, that a disk fills."""
    query = f'ALERTS{{alertname="disk_filling", alertstate="firing", service="{service}"}}'
    return {one["metric"]["severity"] for one in watch.query(query)}


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Watch]:
    """Whom it alarms that the volume of Kafka or of Redis fills; of the others nobody tells."""
    needs("prometheus-node-exporter")
    (port,) = free_ports(1)
    with ExitStack() as stack:
        for name in MOUNTED:
            stack.enter_context(mounted(tmp_path / "disks" / name))
        words = ["prometheus-node-exporter", f"--path.rootfs={tmp_path}", *deployed("disk")]
        words += [f"--web.listen-address=127.0.0.1:{port}"]
        stack.enter_context(running(words, tmp_path / "disks.log", partial(answers, port)))
        yield stack.enter_context(watching(tmp_path, disks=port))


def test_a_volume_that_fills_is_told_of_before_it_is_full(disks: Watch, tmp_path: Path) -> None:
    alarm = partial(disks.firing, "disk_unwatched")
    silent = {("disk_unwatched", name) for name in WATCHED - set(MOUNTED)}
    disks.wait_for("told of those of whom nobody tells", lambda: alarm() == silent)
    free = 'node_filesystem_avail_bytes{service="kafka"} / node_filesystem_size_bytes'
    assert [one["value"][1] for one in disks.query(free)] == ["1"]
    file = tmp_path / "disks" / "kafka" / "00000000.log"
    file.write_bytes(bytes(MEBIBYTES * 2**20 * 95 // 100))
    disks.wait_for("a warning", lambda: severities(disks, "kafka") == {"warning"})
    file.write_bytes(bytes(MEBIBYTES * 2**20 * 99 // 100))
    disks.wait_for("the alarm", lambda: severities(disks, "kafka") == {"warning", "critical"})
    disks.wait_for("the pager", lambda: "trigger" in disks.paged("disk_filling"))
    assert severities(disks, "redis") == set()
    file.unlink()
    disks.wait_for("the end", lambda: not disks.firing("disk_filling"))
    disks.wait_for("the pager told so", lambda: "resolve" in disks.paged("disk_filling"))
    assert {one["metric"]["service"] for one in disks.query(free)} == {"kafka"}
    asked = [(where, query) for where, query in panels.queries() if "node_filesystem" in query]
    assert asked
    for where, query in asked:
        assert disks.query(query), f"{where}: {query}"


# --- back-ups ---


@pytest.fixture
def gateway() -> int:
    """A port for it, at which nobody answers yet."""
    needs("prometheus-pushgateway")
    return free_ports(1)[0]


@contextmanager
def gateway_at(folder: Path, port: int) -> Iterator[None]:
    """The gateway as the cluster has it, with what it knew before."""
    kept = [word.replace("/var/lib/pushgateway", str(folder)) for word in deployed("pushgateway")]
    words = ["prometheus-pushgateway", *kept, f"--web.listen-address=127.0.0.1:{port}"]
    with running(words, folder / "gateway.log", partial(answers, port)):
        yield


def tell(job: str, volume: Path, port: int) -> subprocess.CompletedProcess[str]:
    """The last step of a job of the cluster."""
    words = (sys.executable, "-m", "serving.backup", "tell", job, str(volume))
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*words, "--gateway", f"http://127.0.0.1:{port}"],
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )


def grow_old(port: int, part: str, age_s: float) -> None:
    """Let the last back-up be older than it is."""
    name = "hft_backup_success_timestamp_seconds"
    text = f"# TYPE {name} gauge\n{name} {time.time() - age_s}\n"
    answer = httpx.post(f"http://127.0.0.1:{port}/metrics/job/backup/part/{part}", content=text)
    assert answer.is_success, answer.text


def test_a_night_without_a_backup_is_told_and_the_next_ends_it(
    gateway: int, tmp_path: Path
) -> None:
    with watching(tmp_path, backups=gateway) as watch:
        alarm = partial(watch.firing, "backup_missing")
        watch.wait_for("told that nobody knows", lambda: bool(alarm()))
        with gateway_at(tmp_path, gateway):
            watch.wait_for("told that there is none", lambda: "trigger" in watch.paged("nightly"))
            for job in ("nightly", "tapes"):
                done = tell(job, tmp_path, gateway)
                assert done.returncode == 0, done.stderr
            watch.wait_for("quiet", lambda: not alarm())
            grow_old(gateway, "nightly", DAY_S)
            grow_old(gateway, "tapes", 9 * DAY_S)
            watch.wait_for("the tapes'", lambda: "tapes" in str(watch.inbox.to("/slack")))
            told = watch.query('ALERTS{alertname="backup_missing", alertstate="firing", part!=""}')
            assert [one["metric"]["part"] for one in told] == ["tapes"]
        # What it knew outlives it.
        with gateway_at(tmp_path, gateway):
            watch.wait_for("told again", lambda: [*alarm()] == [("backup_missing", "backup")])
            assert tell("tapes", tmp_path, gateway).returncode == 0
            watch.wait_for("the end", lambda: not alarm())
            asked = [(where, query) for where, query in panels.queries() if "hft_backup" in query]
            assert len(asked) == 2
            for where, query in asked:
                assert len(watch.query(query)) == 2, f"{where}: {query}"


def test_a_gateway_that_is_away_ends_the_job_with_a_sentence(
    gateway: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures._push.retry, "stop", lambda state: state.attempt_number >= 2)
    monkeypatch.setattr(figures._push.retry, "wait", lambda _: 0.01)
    with pytest.raises(BackupError, match="must take what the back-up says, it did not"):
        figures.tell(figures.Job.NIGHTLY, tmp_path, f"http://127.0.0.1:{gateway}")


def test_a_job_that_nobody_knows_and_a_volume_that_is_not_there_are_refused(
    tmp_path: Path,
) -> None:
    for words, said in ((("monthly", tmp_path), "nightly"), (("tapes", tmp_path / "no"), "exist")):
        done = tell(str(words[0]), words[1], 1)
        assert done.returncode == 2 and said in done.stderr, done.stderr
