"""The line on the cluster's own broker, which asks who it is; a verb that looks asks as viewer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import RedisServer
from tests.integration.six import NAMES, Played, SixProcesses, recorded
from tests.k8s.servers import KAFKA_USERS, KafkaServer

pytestmark = pytest.mark.slow
MOVE = ("models", "promote", "nobody", "--operator", "ada", "--reason", "drill", "--dry-run")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    made = KafkaServer(tmp_path_factory.mktemp("guarded"))
    with made.running():
        yield made


def test_the_six_trade_and_a_viewers_verb_reads_their_line(
    server: KafkaServer, redis_server: RedisServer, played: Played, tmp_path: Path
) -> None:
    six = SixProcesses(
        server.of("services"), redis_server.url, tmp_path, played.tape, played.params
    )
    try:
        six.start()
        six.await_ready()
        six.wait_for("orders", lambda: recorded(six.servers).orders > 0, 120.0)
        six.environment = {"KAFKA_BOOTSTRAP_SERVERS": server.of("viewer")}
        looks = six.verb(*MOVE)
        assert looks.code == 3 and "nobody runs in no slot of the pair" in looks.err
        six.environment = {"KAFKA_BOOTSTRAP_SERVERS": server.of("viewer", "of-nobody")}
        refused = six.verb(*MOVE)
        assert refused.code == 1 and "the broker" in refused.sentence
        assert set(six.stop().values()) == {0}
    finally:
        six.end()
    said = looks.err + refused.err + "".join(six.log(name) for name in NAMES)
    assert not [word for word in (*KAFKA_USERS.values(), "of-nobody") if word in said]
