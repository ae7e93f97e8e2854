"""How every client of a broker begins: where it is, and who the client says it is."""

from typing import Any
from urllib.parse import unquote


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
