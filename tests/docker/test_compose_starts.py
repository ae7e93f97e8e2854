"""The entries that `compose.yaml` writes itself, run by the real programs."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from serving.adapters.kafka_rights import require_rights
from serving.adapters.kafka_topics import ensure_topics
from serving.runtime.chained import Away
from tests.docker.test_compose import RUN, STAGES
from tests.docker.test_images import ROOT
from tests.integration.conftest import free_ports, needs
from tests.k8s.servers import KAFKA_USERS, KafkaServer
from tests.monitoring.written import ALERTMANAGER

START_S_MAX = 180
CONFIG = ROOT / "k8s" / "base" / "config"


@contextmanager
def entry(name: str, places: Mapping[str, Path | str], **more: str) -> Iterator[subprocess.Popen]:
    """A service's entry as a process, each place of the container another one here."""
    *shell, (script,) = RUN[name]["entrypoint"], RUN[name]["command"]
    for there, here in places.items():
        assert there in script, there
        script = script.replace(there, str(here))
    told = {key: str(value) for key, value in RUN[name]["environment"].items()}
    environment = {"PATH": os.environ["PATH"], **told, **more}
    process = subprocess.Popen((*shell[0], script), env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def answer(ask, process: subprocess.Popen, *errors: type[Exception]):
    """What `ask` gives once the process answers."""
    until = time.monotonic() + START_S_MAX
    while True:
        try:
            return ask()
        except errors:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.1)


def environment_of(process: subprocess.Popen) -> str:
    """What the running program has been told, as anyone of the same user can read it."""
    return Path(f"/proc/{process.pid}/environ").read_text()


def test_redis_starts_with_the_clusters_file_and_asks_for_the_password(tmp_path: Path) -> None:
    needs("redis-server")
    (port,) = free_ports(1)
    users = tmp_path / "users"
    users.mkdir()
    text = (CONFIG / "redis.conf").read_text()
    for there, here in {
        "port 6379": f"port {port}",
        "dir /data": f"dir {tmp_path}",
        "/etc/hft-redis-users": str(users),
    }.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "redis.conf").write_text(text)
    places = {"/etc/hft-redis-users": users, "/etc/hft-redis/redis.conf": tmp_path / "redis.conf"}
    with entry("redis", places) as process:
        url = RUN["execution-service"]["environment"]["REDIS_URL"].replace("redis:6379", "{}")
        client = redis.Redis.from_url(url.format(f"127.0.0.1:{port}"))
        assert answer(client.ping, process, redis.ConnectionError)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        assert "made-up" not in environment_of(process)
        assert (users / "users.acl").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_kafka_starts_with_the_clusters_file_and_asks_for_the_password(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path)
    for name in KAFKA_USERS:
        (tmp_path / name).unlink()  # the entry writes its own
    places = {"/etc/hft-kafka-users": str(tmp_path), **server.places}

    def address(name: str) -> str:
        told = RUN[name]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
        return str(told).replace("kafka:9092", server.address)

    with entry("kafka", places, LOG_DIR=str(tmp_path / "log")) as process:
        answer(lambda: ensure_topics(address("rights")), process, Away)
        module = RUN["rights"]["entrypoint"][1:]
        environment = {"PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": address("rights")}
        subprocess.run((sys.executable, *module), env=environment, check=True)
        for name, service in STAGES.items():
            require_rights(address(name), service)
        with pytest.raises(Away):
            ensure_topics(server.address)
        assert "made-up" not in environment_of(process)
        assert (tmp_path / "execution").stat().st_mode & 0o077 == 0


def test_alertmanager_starts_where_no_address_for_its_messages_is_given(tmp_path: Path) -> None:
    needs("prometheus-alertmanager")
    (port,) = free_ports(1)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    config = tmp_path / "alertmanager.yml"
    config.write_text(
        ALERTMANAGER.read_text()
        .replace("/etc/alertmanager/secrets", str(secrets))
        .replace("templates/", f"{ALERTMANAGER.parent}/templates/")
    )
    places: dict[str, Path | str] = {
        "/etc/alertmanager/secrets": secrets,
        "/etc/alertmanager/alertmanager.yml": config,
        "exec /bin/alertmanager": f"exec prometheus-alertmanager --web.listen-address=:{port}",
        "--storage.path=/alertmanager": f"--storage.path={tmp_path / 'data'}",
    }
    with entry("alertmanager", places, SLACK="", PAGER="secret-key") as process:
        url = f"http://127.0.0.1:{port}/api/v2/status"
        asked = answer(lambda: urllib.request.urlopen(url, timeout=5).read(), process, OSError)
        assert json.loads(asked)["cluster"]["status"] == "disabled"
        assert (secrets / "pagerduty-key").read_text() == "secret-key"
        assert (secrets / "slack-webhook").read_text() == ""
        assert "secret-key" not in environment_of(process)
