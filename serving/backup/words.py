"""What operators said, which Redis keeps: the latch, words about pairs, moves of capital.

Leases and heartbeats are of processes that run, and no part of it.
"""

from pathlib import Path
from typing import Any

import msgspec

from serving.adapters.redis_client import PREFIX, connect, told_as
from serving.adapters.redis_latch import KEY, MOVES_KEY, PAIRS_KEY
from serving.backup import BackupError

FILE = "words.msgpack"
KEYS = (KEY, PAIRS_KEY, MOVES_KEY)


def save(url: str, folder: Path) -> int:
    """Copy the words into `folder`; how many keys there were."""
    with told_as(BackupError, url):
        client = connect(url)
        found: dict[str, Any] = {key: client.dump(key) for key in KEYS}
    known = {key: content for key, content in found.items() if content is not None}
    (folder / FILE).write_bytes(msgspec.msgpack.encode(known))
    return len(known)


def restore(url: str, folder: Path, latch: bool) -> int:
    """Put the words in place of those that are there; without `latch` there is none afterwards,
    and a latch that is absent halts.
    """
    known = msgspec.msgpack.decode((folder / FILE).read_bytes(), type=dict[str, bytes])
    if not latch:
        known.pop(KEY, None)
    with told_as(BackupError, url):
        client = connect(url)
        client.delete(*KEYS)
        for key, content in known.items():
            client.restore(key, 0, content)
    return len(known)


def running(url: str) -> list[str]:
    """The services whose leases or heartbeats are there."""
    with told_as(BackupError, url):
        keys = [key.decode() for key in connect(url).scan_iter(match=f"{PREFIX}*")]
    said = [key.removeprefix(PREFIX).split(":") for key in keys]
    return sorted(
        {words[1] for words in said if words[0] in ("lease", "service") and len(words) == 2}
    )
