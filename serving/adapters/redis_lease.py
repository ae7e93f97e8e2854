"""Leases in Redis: a key that ends by itself, and is changed only by whom it names."""

from typing import Any

import msgspec

from serving.adapters.redis_client import PREFIX, Client, told_as
from serving.runtime.lease import TTL_S, Holder, Unreachable

# Free, the claimant's own, or that of a process known to have ended: then it is the claimant's.
# A renewal of what ended by itself is refused where another process has had it since.
_CLAIM = """
local held, last = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if not held and ARGV[4] == 'renew' and last and last ~= ARGV[1] then return last end
if not held or held == ARGV[1] or held == ARGV[3] then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    redis.call('SET', KEYS[2], ARGV[1])
    return ARGV[1]
end
return held
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisLease:
    """The lease of one service."""

    def __init__(self, client: Client, url: str, service: str, ttl_s: float = TTL_S) -> None:
        self._client = client
        self._url = url
        self._key = f"{PREFIX}lease:{service}"
        self._ttl_ms = round(ttl_s * 1000)

    def holder(self) -> Holder | None:
        """Who holds it."""
        with told_as(Unreachable, self._url):
            content: Any = self._client.get(self._key)
        return None if content is None else self._read(bytes(content))

    def claim(self, holder: Holder, over: Holder | None = None) -> Holder:
        """Take it where it is free, is the claimant's or `over`'s; returns who has it."""
        return self._claim(holder, over or holder, "claim")

    def renew(self, holder: Holder) -> Holder:
        """Keep it; returns who has it, or has had it since it ended by itself."""
        return self._claim(holder, holder, "renew")

    def _claim(self, holder: Holder, over: Holder, how: str) -> Holder:
        mine, theirs = msgspec.json.encode(holder), msgspec.json.encode(over)
        keys = (self._key, f"{self._key}:last")
        with told_as(Unreachable, self._url):
            found: Any = self._client.eval(_CLAIM, 2, *keys, mine, self._ttl_ms, theirs, how)
        return self._read(bytes(found))

    def release(self, holder: Holder) -> None:
        """Give it back, if it is the holder's."""
        with told_as(Unreachable, self._url):
            self._client.eval(_RELEASE, 1, self._key, msgspec.json.encode(holder))

    def _read(self, content: bytes) -> Holder:
        try:
            return msgspec.json.decode(content, type=Holder)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"{self._key} holds no lease of ours: {error}") from error
