"""A client of Redis that answers or says why not, within a bound."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from serving.runtime.addresses import masked

# Its own types say of every answer that it may be awaitable.
Client: TypeAlias = Any

# Redis answers in a tenth of a millisecond; a look at the latch must end well within a second.
ANSWER_S_MAX = 0.3
CONNECTIONS_MAX = 8  # a process has three threads that ask
# One line, one database of Redis: several share a server by its databases.
PREFIX = "hft:"


def connect(url: str) -> Client:
    """A client; nothing is asked yet. A connection that a restart broke is made anew, once."""
    # Half a second of imports that no verb pays without REDIS_URL.
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_timeout=ANSWER_S_MAX,
        socket_connect_timeout=ANSWER_S_MAX,
        retry=Retry(NoBackoff(), 1),
        max_connections=CONNECTIONS_MAX,
    )


@contextmanager
def told_as(kind: type[Exception], where: str) -> Iterator[None]:
    """Raise what Redis or the network raises as `kind`, with the place and without passwords."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise kind(f"{masked(where)}: {masked(line)}") from error
