"""How every client of a broker begins: where it is, and who the client says it is."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from serving.adapters.kafka_errors import is_forbidden, is_passing, refusal
from serving.runtime.addresses import masked
from serving.runtime.chained import Away

ANSWER_S_MAX = 5.0  # a broker that is there says in milliseconds what it holds
_MEET_S_MAX = 0.5


def client_config(servers: str) -> dict[str, Any]:
    """What librdkafka needs for `[user:password@]host:port`, more hosts with commas between.

    A name or password with other than letters, digits and -._~ is percent-encoded, as in a URL.
    """
    login, _, hosts = servers.rpartition("@")
    # What matters comes back as an error: nothing is written on stderr.
    config: dict[str, Any] = {"bootstrap.servers": hosts, "log_level": 0}
    if login:
        user, _, password = login.partition(":")
        config |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": unquote(user),
            "sasl.password": unquote(password),
        }
    return config


def meet(producer: Producer, topic: str) -> None:
    """Let a producer ask where a topic is, before its first message to it.

    By itself it looks once a second, and the message, which may be an order, waits for that. A
    broker that is away is waited for with the message, as with every other.
    """
    with suppress(KafkaException):
        producer.list_topics(topic, timeout=_MEET_S_MAX)


@contextmanager
def administering(servers: str) -> Iterator[AdminClient]:
    """Ask a broker about itself; raises Away where it does not answer, refuses our login, or does
    not let our user do that.
    """
    refusals: list[str] = []

    def hear(error: KafkaError) -> None:
        if error.code() == KafkaError._AUTHENTICATION:
            refusals.append(refusal(error))

    admin = AdminClient({**client_config(servers), "error_cb": hear})
    try:
        yield admin
    except (TimeoutError, KafkaException) as error:
        admin.poll(0.0)
        if refusals:
            raise Away(refusals[-1]) from error
        if is_forbidden(error):
            raise Away(
                f"the broker does not let this user do that: {error.args[0].str()}"
            ) from error
        if not isinstance(error, TimeoutError) and not is_passing(error):
            raise
        why = (
            f"none in {ANSWER_S_MAX} s" if isinstance(error, TimeoutError) else error.args[0].str()
        )
        raise Away(f"no broker answers at {masked(servers)}: {why}") from error
