"""The line on the cluster's own broker, which asks each who it is and lets it do what it must."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from serving.adapters.kafka_client import client_config
from serving.adapters.kafka_rights import ADMIN, VIEWER
from tests.cli.conftest import Answer
from tests.integration.conftest import RedisServer
from tests.integration.six import NAMES, Played, SixProcesses, recorded
from tests.integration.test_six_services import is_through, ledger_counts
from tests.k8s.servers import KAFKA_USERS, KafkaServer

pytestmark = pytest.mark.slow
MOVE = ("models", "promote", "nobody", "--operator", "ada", "--reason", "drill", "--dry-run")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    made = KafkaServer(tmp_path_factory.mktemp("guarded"))
    with made.running():
        yield made


@pytest.fixture
def guarded(
    server: KafkaServer, redis_server: RedisServer, tmp_path: Path, played: Played
) -> Iterator[SixProcesses]:
    """Six processes, each its own user; who looks at their line is the viewer."""
    viewer = server.of(VIEWER)
    made = SixProcesses(viewer, redis_server.url, tmp_path, played.tape, played.params)
    made.logins = {name: server.of(name) for name in NAMES}
    yield made
    made.end()


def give_rights(six: SixProcesses, server: KafkaServer) -> Answer:
    """What the cluster's job does."""
    before, six.servers = six.servers, server.of(ADMIN)
    try:
        return six.run(sys.executable, "-m", "serving.rights")
    finally:
        six.servers = before


def take_a_right(server: KafkaServer, user: str, topic: str) -> None:
    """Let a user write to a topic no more."""
    one = AclBindingFilter(
        *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", None),
        *(AclOperation.WRITE, AclPermissionType.ALLOW),
    )
    admin = AdminClient(client_config(server.of(ADMIN)))  # kept: its answers end with it
    (gone,) = admin.delete_acls([one]).values()
    assert len(gone.result(10.0)) == 1


def waits(six: SixProcesses, name: str, why: str) -> None:
    """Wait until a service is alive, not ready, and says why."""
    six.wait_for(f"{name} says {why}", lambda: why in six.page(name, "/readyz")[1])
    assert six.page(name, "/readyz")[0] == 503
    assert six.page(name, "/healthz")[0] == 200


def test_each_as_its_own_user_they_give_the_orders_of_the_replay_whatever_is_refused_meanwhile(
    server: KafkaServer, guarded: SixProcesses, played: Played, tmp_path: Path
) -> None:
    six = guarded
    six.environment["DATABASE_URL"] = f"sqlite:///{tmp_path / 'ledger.db'}"
    six.start()
    for name in NAMES:
        waits(six, name, "this user may not make it: python -m serving.rights does")
    done = give_rights(six, server)
    assert done.code == 0 and done.json["given"] > 0, done.err
    six.await_ready()
    six.wait_for("orders", lambda: recorded(six.servers).orders > 0, 120.0)
    take_a_right(server, "execution", "hft.records")
    assert six.forget("execution") == 1
    refused = six.log("execution")
    assert "hft.records" in refused and "Broker: Topic authorization failed" in refused
    six.start("execution")
    waits(six, "execution", "the broker does not let execution write hft.records: python -m")
    done = give_rights(six, server)
    assert (done.code, done.json["given"], done.json["taken"]) == (0, 1, 0), done.err
    six.wait_for("through", lambda: is_through(six, played), 300.0)
    told = recorded(six.servers)
    assert (told.orders, told.fills) == (played.replay["orders"], played.replay["fills"])
    assert told.orders_sha256() == played.replay["orders_sha256"]
    six.wait_for("in the ledger", lambda: ledger_counts(tmp_path) == (told.orders, told.fills))
    assert six.stop() == dict.fromkeys(NAMES, 0)


def test_a_verb_that_looks_is_the_viewers_and_no_password_is_said(
    server: KafkaServer, guarded: SixProcesses
) -> None:
    six = guarded
    assert give_rights(six, server).code == 0
    six.start()
    six.await_ready()
    looks = six.verb(*MOVE)
    assert looks.code == 3 and "nobody runs in no slot of the pair" in looks.err
    six.servers = server.of(VIEWER, "of-nobody")
    refused = six.verb(*MOVE)
    assert refused.code == 1 and "the broker" in refused.sentence
    assert set(six.stop().values()) == {0}
    said = looks.err + refused.err + "".join(six.log(name) for name in NAMES)
    assert not [word for word in (*KAFKA_USERS.values(), "of-nobody") if word in said]
