"""What Redis and PostgreSQL are told is taken by the real servers."""

import os
import subprocess
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, create_engine, text

from tests.integration import postgresql
from tests.integration.conftest import free_ports, needs
from tests.k8s import rendered
from tests.k8s.rendered import replaced
from tests.k8s.servers import CONFIG, running

PASSWORD = "made-up-for-a-test"


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
    container = rendered.servers(item)[-1]
    shell, option, words = container["readinessProbe"]["exec"]["command"]
    words = words.replace("redis-cli", f"redis-cli -p {port}")
    return subprocess.run([shell, option, words], check=False).returncode


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
        script = script.replace("/etc/hft-postgres", str(tmp_path))
        assert script.count("for name in ledger mlflow;") == 1
        probe = rendered.servers(rendered.named("staging", "StatefulSet", "postgres"))[0]
        asked = probe["readinessProbe"]["exec"]["command"]
        # Cut short after the first of them: not ready, and mended by another try.
        for names, is_ready in (("", False), ("ledger", False), ("ledger mlflow", True)):
            words = ["bash", "-c", script.replace("in ledger mlflow;", f"in {names};")]
            subprocess.run(words, env=environ, check=True)
            said = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
            assert (said.returncode == 0) == is_ready, said.stderr
            assert is_ready or 'database "mlflow" does not exist' in said.stderr
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
