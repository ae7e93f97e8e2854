"""The latch of a line of many processes, in Redis, and what operators said of capital; and where
the settings mean both to be.

Redis must keep an append-only file: a server that comes back with an older state would let go of
what was killed meanwhile. One that comes back empty has no word, which means halted.
"""

from collections.abc import Callable
from typing import Any, Generic

import msgspec

from serving.adapters.redis_client import PREFIX, Client, connect, told_as
from serving.runtime.addresses import masked
from serving.runtime.kept_words import Change, Kept, Unreadable, WordsFile, WordType, read_words
from serving.runtime.latch import (
    LATCH_FILE,
    FileLatch,
    Latch,
    Look,
    PairWords,
    Word,
    read_pairs,
    read_word,
)
from serving.runtime.model_words import MOVES_FILE, Move
from serving.runtime.settings import Settings

KEY, PAIRS_KEY = f"{PREFIX}latch", f"{PREFIX}latch:pairs"
MOVES_KEY = f"{PREFIX}moves"
# Operators who change at one moment take turns; more often than this is not a race any more.
TRIES_MAX = 20
_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisWords(Generic[WordType]):
    """Words of `kind` by pair, under one key."""

    def __init__(self, client: Client, url: str, key: str, kind: type[WordType]) -> None:
        self._client = client
        self._url = url
        self._key = key
        self._kind = kind

    @property
    def where(self) -> str:
        """The server and the key."""
        return f"{masked(self._url)} {self._key}"

    def read(self) -> dict[str, WordType]:
        """All of them; none where nothing was ever said."""
        return read_words(self._content(), self.where, self._kind)

    def change(self, change: Change[WordType]) -> None:
        """Replace them by what `change` makes of them."""
        for _ in range(TRIES_MAX):
            held = self._content()
            words = msgspec.json.encode(change(read_words(held, self.where, self._kind)))
            with told_as(Unreadable, self._url):
                if self._client.eval(_REPLACE, 1, self._key, held or b"", words):
                    return
        raise Unreadable(f"{self.where} was changed {TRIES_MAX} times in between")

    def _content(self) -> bytes | None:
        with told_as(Unreadable, self._url):
            held: bytes | None = self._client.get(self._key)
        return held


class RedisLatch:
    """The word under one key, the words of pairs under another."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        self._pairs = RedisWords(client, url, PAIRS_KEY, Word)

    @property
    def where(self) -> str:
        """The server and the key."""
        return f"{masked(self._url)} {KEY}"

    @property
    def pairs_where(self) -> str:
        """The server and the key of the words of pairs."""
        return self._pairs.where

    def read(self) -> Word | None:
        """The word; None where none was ever written."""
        with told_as(Unreadable, self._url):
            content: Any = self._client.get(KEY)
        return None if content is None else read_word(bytes(content), self.where)

    def write(self, word: Word) -> None:
        """Replace the word."""
        with told_as(Unreadable, self._url):
            self._client.set(KEY, msgspec.json.encode(word))

    def open(self, word: Word) -> None:
        """Write `word` where there is none; SETNX, because a service may do no more."""
        with told_as(Unreadable, self._url):
            self._client.setnx(KEY, msgspec.json.encode(word))

    def look(self) -> Look:
        """The word, and those of pairs, of one moment."""
        with told_as(Unreadable, self._url):
            both = self._client.pipeline(transaction=True)
            both.get(KEY)
            both.get(PAIRS_KEY)
            word, pairs = both.execute()
        return Look(
            None if word is None else read_word(bytes(word), self.where),
            read_pairs(pairs, self.pairs_where),
        )

    def change_pairs(self, change: Callable[[PairWords], PairWords]) -> None:
        """Replace the words of pairs by what `change` makes of them."""
        self._pairs.change(change)

    def is_durable(self) -> bool:
        """Whether the server keeps an append-only file; False where it does not say."""
        with told_as(Unreadable, self._url):
            told: Any = self._client.info("persistence")
        return bool(told.get("aof_enabled"))


def latch_of(settings: Settings) -> Latch:
    """The latch that the settings mean: in Redis, or a file under HFT_HOME."""
    if settings.redis_url is not None:
        return RedisLatch(connect(settings.redis_url), settings.redis_url)
    return FileLatch(settings.hft_home / LATCH_FILE)


def moves_of(settings: Settings) -> Kept[Move]:
    """Where the settings mean operators' words about the capital to be: beside the latch."""
    if settings.redis_url is not None:
        return RedisWords(connect(settings.redis_url), settings.redis_url, MOVES_KEY, Move)
    return WordsFile(settings.hft_home / MOVES_FILE, Move)
