"""Request weight within a budget that every process of one address shares, and bans that all keep.

A venue counts the weight of an address a minute of its clock and answers 429 beyond its limit, then
418: a ban. Half of what it allows is taken, so that a person or another program at this address has
the rest. What it says it has counted is believed where that is more. The budget is in Redis where
there is one, else in a file under HFT_HOME.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from serving.adapters.redis_client import PREFIX, Client, told_as

SHARE = 0.5  # of the venue's limit
LIMIT_DEFAULT = 600  # a minute, before the venue has said what it allows
MINUTE_S = 60.0
# A venue's clock may be behind ours: a request at the very end of a ban could be within it.
MARGIN_S = 0.5


class BudgetUnreadable(Exception):
    """Nobody can say what may be spent: nothing is."""


class Budget(Protocol):
    """What one address may ask of one venue; `scope` is what the venue counts apart."""

    def take(self, scope: str, weight: int, now_s: float) -> float:
        """Take `weight` and return 0, or how long to wait before asking again, nothing taken."""

    def note(self, scope: str, now_s: float, used: int | None, limit: int | None) -> None:
        """The venue says that it has counted `used` in this minute, or allows `limit` a minute."""

    def ban(self, until_s: float) -> None:
        """No request before `until_s`, by anyone."""

    def banned_s(self, now_s: float) -> float:
        """How long the ban lasts from `now_s` on; 0 where there is none."""


class _Scope(msgspec.Struct):
    minute: int = 0
    used: int = 0
    limit: int = LIMIT_DEFAULT


class _Spent(msgspec.Struct):
    banned_until_s: float = 0.0
    scopes: dict[str, _Scope] = {}


def _ours(limit: int) -> int:
    return max(int(limit * SHARE), 1)


def _minute(now_s: float) -> int:
    return int(now_s // MINUTE_S)


def _next_minute_s(now_s: float) -> float:
    return (_minute(now_s) + 1) * MINUTE_S - now_s + MARGIN_S


class FileBudget:
    """The budget in the file `path`, changed under a lock of the operating system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, scope: str, weight: int, now_s: float) -> float:
        """Take `weight` and return 0, or how long to wait before asking again, nothing taken."""
        with self._locked(now_s) as spent:
            if spent.banned_until_s > now_s:
                return spent.banned_until_s - now_s
            known = _current(spent, scope, now_s)
            if known.used and known.used + weight > known.limit:
                return _next_minute_s(now_s)
            known.used += weight
            return 0.0

    def note(self, scope: str, now_s: float, used: int | None, limit: int | None) -> None:
        """The venue says that it has counted `used` in this minute, or allows `limit` a minute."""
        with self._locked(now_s) as spent:
            known = _current(spent, scope, now_s)
            known.used = max(known.used, used or 0)
            known.limit = known.limit if limit is None else _ours(limit)

    def ban(self, until_s: float) -> None:
        """No request before `until_s`, by anyone."""
        with self._locked(until_s) as spent:
            spent.banned_until_s = max(spent.banned_until_s, until_s)

    def banned_s(self, now_s: float) -> float:
        """How long the ban lasts from `now_s` on; 0 where there is none."""
        with self._locked(now_s) as spent:
            return max(spent.banned_until_s - now_s, 0.0)

    @contextlib.contextmanager
    def _locked(self, now_s: float) -> Iterator[_Spent]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "r+b", closefd=True) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                before = file.read()
                spent = _read(before, now_s)
                yield spent
                after = msgspec.json.encode(spent)
                if after != before:
                    # Half-written is unreadable, and what is unreadable counts as all spent.
                    file.seek(0)
                    file.write(after)
                    file.truncate()
        except OSError as error:
            raise BudgetUnreadable(f"{self._path}: {error.strerror or error}") from error


def _read(content: bytes, now_s: float) -> _Spent:
    """What was spent; of a file that says nothing all of this minute, and a ban of a minute."""
    if not content:
        return _Spent()
    try:
        return msgspec.json.decode(content, type=_Spent)
    except msgspec.DecodeError:
        return _Spent(banned_until_s=now_s + MINUTE_S)


def _current(spent: _Spent, scope: str, now_s: float) -> _Scope:
    known = spent.scopes.setdefault(scope, _Scope())
    if known.minute != _minute(now_s):
        known.minute, known.used = _minute(now_s), 0
    return known


_TAKE = """
local ban = redis.call('PTTL', KEYS[1])
if ban > 0 then return ban end
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
local limit = tonumber(redis.call('GET', KEYS[3]) or ARGV[2])
if used > 0 and used + tonumber(ARGV[1]) > limit then return -1 end
redis.call('INCRBY', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], 120)
return 0
"""
_RAISE = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', 120)
end
return 0
"""
_BAN = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
end
return 0
"""


class RedisBudget:
    """The budget in Redis, which several machines behind one address share."""

    def __init__(self, client: Client, url: str, address: str) -> None:
        self._client = client
        self._url = url
        self._key = f"{PREFIX}weight:{address}"

    def take(self, scope: str, weight: int, now_s: float) -> float:
        """Take `weight` and return 0, or how long to wait before asking again, nothing taken."""
        keys = (f"{self._key}:ban", self._used(scope, now_s), f"{self._key}:{scope}:limit")
        with told_as(BudgetUnreadable, self._url):
            wait_ms = int(self._client.eval(_TAKE, 3, *keys, weight, LIMIT_DEFAULT))
        return _next_minute_s(now_s) if wait_ms < 0 else wait_ms / 1000.0

    def note(self, scope: str, now_s: float, used: int | None, limit: int | None) -> None:
        """The venue says that it has counted `used` in this minute, or allows `limit` a minute."""
        with told_as(BudgetUnreadable, self._url):
            if used is not None:
                self._client.eval(_RAISE, 1, self._used(scope, now_s), used)
            if limit is not None:
                self._client.set(f"{self._key}:{scope}:limit", _ours(limit))

    def ban(self, until_s: float) -> None:
        """No request before `until_s`, by anyone."""
        for_ms = max(round((until_s - time.time()) * 1000), 1)
        with told_as(BudgetUnreadable, self._url):
            self._client.eval(_BAN, 1, f"{self._key}:ban", for_ms)

    def banned_s(self, now_s: float) -> float:
        """How long the ban lasts from `now_s` on; 0 where there is none."""
        with told_as(BudgetUnreadable, self._url):
            return max(int(self._client.pttl(f"{self._key}:ban")), 0) / 1000.0

    def _used(self, scope: str, now_s: float) -> str:
        return f"{self._key}:{scope}:{_minute(now_s)}"


def address_of(*urls: str) -> str:
    """A short name of the addresses whose requests are counted together."""
    return hashlib.sha256(" ".join(urls).encode()).hexdigest()[:12]
