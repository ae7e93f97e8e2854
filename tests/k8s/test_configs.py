"""What the infrastructure is told is taken by the real servers: Redis, Kafka, PostgreSQL."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, create_engine, text

from serving.adapters.kafka_topics import TOPICS, ensure_topics
from tests.integration import postgresql
from tests.integration.conftest import KAFKA, free_ports, needs
from tests.k8s import rendered
from tests.k8s.rendered import replaced

CONFIG = rendered.MANIFESTS / "base" / "config"
START_S_MAX = 60.0
PASSWORD = "made-up-for-a-test"


@contextmanager
def running(words: list[str], log: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """A server while the block runs; it must answer within `START_S_MAX`."""
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + START_S_MAX
        while not answers():
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(START_S_MAX)


def is_up(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_redis_keeps_what_it_answers_and_asks_for_the_password(tmp_path: Path) -> None:
    needs("redis-server", "redis-cli")
    (port,) = free_ports(1)
    users = tmp_path / "users.acl"
    # One user is enough here: those of the manifests are held by test_redis_users.py.
    users.write_text(f"user default on ~* &* +@all >{PASSWORD}")
    config = (CONFIG / "redis.conf").read_text()
    config = replaced(
        config,
        {
            "port 6379": f"port {port}",
            "dir /data": f"dir {tmp_path}",
            "/etc/hft-redis-users": str(tmp_path),
        },
    )
    (tmp_path / "redis.conf").write_text(config)
    words = ["redis-server", str(tmp_path / "redis.conf")]
    client = redis.Redis.from_url(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    with running(words, tmp_path / "log", lambda: is_up(client)):
        client.set("hft:latch", "run")
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("append*")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).get("hft:latch")
        assert ready(port) == 0
    # The probe's words say of a server that is away that it is not ready.
    assert ready(port) != 0


def ready(port: int) -> int:
    """How the readiness probe's own command ends."""
    item = rendered.named("staging", "StatefulSet", "redis")
    (container,) = rendered.template(item)["spec"]["containers"]
    shell, option, words = container["readinessProbe"]["exec"]["command"]
    words = words.replace("redis-cli", f"redis-cli -p {port}")
    return subprocess.run([shell, option, words], check=False).returncode


@pytest.mark.slow
def test_kafka_formats_its_log_once_and_takes_the_topics_of_a_line(tmp_path: Path) -> None:
    needs("java")
    subprocess.run([KAFKA, "fetch"], check=True)
    clients, controller = free_ports(2)
    properties = (CONFIG / "server.properties").read_text()
    properties = replaced(
        properties,
        {
            "PLAINTEXT://:9092": f"PLAINTEXT://:{clients}",
            "PLAINTEXT://kafka:9092": f"PLAINTEXT://127.0.0.1:{clients}",
            "localhost:9093": f"localhost:{controller}",
            "/var/lib/kafka": str(tmp_path),
        },
    )
    (tmp_path / "server.properties").write_text(properties)
    words = ["bash", "-ec", started_as(tmp_path)]
    servers = f"127.0.0.1:{clients}"
    clusters: set[str | None] = set()
    for start in range(2):
        with running(words, tmp_path / "log", lambda: has_broker(servers)):
            if start == 0:
                ensure_topics(servers)
            there = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10)
            assert {topic.name for topic in TOPICS} <= there.topics.keys()
            clusters.add(there.cluster_id)
    assert len(clusters) == 1


def started_as(folder: Path) -> str:
    """The container's own script, with the programs and folders of this machine."""
    item = rendered.named("staging", "StatefulSet", "kafka")
    (container,) = rendered.template(item)["spec"]["containers"]
    (script,) = container["args"]
    java = f"java -Xmx256m -cp '{KAFKA.parents[1]}/build/kafka/jars/*'"
    script = replaced(
        script,
        {
            "/opt/kafka/bin/kafka-storage.sh": f"{java} kafka.tools.StorageTool",
            "/opt/kafka/bin/kafka-server-start.sh": f"{java} kafka.Kafka",
            "/etc/hft-kafka": str(folder),
            "/var/lib/kafka": str(folder),
        },
    )
    return str(script)


def has_broker(servers: str) -> bool:
    try:
        client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        return bool(client.list_topics(timeout=1).brokers)
    except Exception as error:  # librdkafka's own kind is no subclass of anything narrower
        assert "transport failure" in str(error).lower() or "timed out" in str(error).lower()
        return False


def test_postgresql_gets_two_databases_that_do_not_see_each_other(tmp_path: Path) -> None:
    with postgresql.running() as server:
        engine = create_engine(server.new_database().replace("://", "+psycopg://"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE ROLE postgres SUPERUSER LOGIN"))
        script = (CONFIG / "databases.sh").read_text()
        assert "/etc/hft-postgres" in script
        for name in ("ledger", "mlflow"):
            (tmp_path / f"{name}-password").write_text(f"{name}'s")
        environ = {
            "PATH": f"{postgresql.binaries()}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(engine.url.port),
            "PGDATABASE": "postgres",
        }
        words = ["bash", "-c", script.replace("/etc/hft-postgres", str(tmp_path))]
        subprocess.run(words, env=environ, check=True)
        assert may_enter(engine) == {
            ("ledger", "ledger"): True,
            ("ledger", "mlflow"): False,
            ("mlflow", "ledger"): False,
            ("mlflow", "mlflow"): True,
        }
        kept = text("SELECT count(*) FROM pg_shadow WHERE passwd LIKE 'SCRAM%'")
        with engine.connect() as connection:
            assert connection.execute(kept).scalar() == 2
        engine.dispose()


def may_enter(engine: Engine) -> dict[tuple[str, str], bool]:
    """Which user may connect to which database."""
    asked = text("SELECT has_database_privilege(:who, :what, 'CONNECT')")
    names = ("ledger", "mlflow")
    with engine.connect() as connection:
        return {
            (who, what): bool(connection.execute(asked, {"who": who, "what": what}).scalar())
            for who in names
            for what in names
        }
