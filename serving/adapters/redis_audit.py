"""The trail of a line of many processes, in Redis; and where the settings mean it to be.

A list, because RPUSH can only add: a stream's XADD may be told to cut the stream, which no rule of
Redis forbids to whom it lets add.
"""

from typing import Any

import msgspec

from serving.adapters.redis_client import PREFIX, Client, connect, told_as
from serving.runtime.addresses import masked
from serving.runtime.audit import (
    ASKED,
    AUDIT_FILE,
    ENTRIES_MAX,
    Entry,
    FileTrail,
    Trail,
    Unwritable,
    decoded,
    os_user,
)
from serving.runtime.settings import Settings

KEY = f"{PREFIX}audit"


class RedisTrail:
    """The trail under one key."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    @property
    def where(self) -> str:
        """The server and the key."""
        return f"{masked(self._url)} {KEY}"

    def who(self) -> str:
        """The user of Redis, and the user of the system that says so."""
        with told_as(Unwritable, self._url):
            name: Any = self._client.acl_whoami()
        told = name.decode() if isinstance(name, bytes) else str(name)
        return f"redis user {told}, {os_user()}"

    def append(self, entry: Entry) -> None:
        """Add an entry; raises Unwritable where the trail is full too."""
        with told_as(Unwritable, self._url):
            if entry.outcome == ASKED and self._client.llen(KEY) >= ENTRIES_MAX:
                raise Unwritable(
                    f"{self.where} is full, {ENTRIES_MAX} entries: keep `hft audit --json` "
                    "somewhere, then let an administrator of Redis delete the key"
                )
            self._client.rpush(KEY, msgspec.json.encode(entry))

    def entries(self, last: int) -> list[Entry]:
        """The last of them, in order."""
        with told_as(Unwritable, self._url):
            lines: Any = self._client.lrange(KEY, -last, -1)
        return decoded(lines, self.where)


def trail_of(settings: Settings) -> Trail:
    """The trail that the settings mean: in Redis, or a file under HFT_HOME."""
    if settings.redis_url is not None:
        return RedisTrail(connect(settings.redis_url), settings.redis_url)
    return local_trail(settings)


def local_trail(settings: Settings) -> FileTrail:
    """The file under HFT_HOME, which also takes what Redis does not."""
    return FileTrail(settings.hft_home / AUDIT_FILE)
