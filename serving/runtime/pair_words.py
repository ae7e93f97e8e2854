"""The operator's words about single pairs, kept beside the latch and told as the latch is told.

`hft pair halt`, `hft flatten` and `hft pair resume` each leave one word of a pair, or of all pairs
(`ALL`); of both the later one is in force. Its time is the writer's clock, made later than every
word before it, so that it numbers the words: the stage keeps the number of the last one that it was
told, a halt or a way back is told once, and a store that comes back with older words says nothing.
An absent word means that no operator said anything, and what the stage holds stays held.

What a line finds at its opening was said before it: a halt holds there too, a way back has nothing
to let go, and must not let go what locks later.
"""

import time
from typing import Any, Protocol

import structlog

from serving.runtime.latch import Latch, PairWords, Watch, Word

# In the place of a pair: every pair of the line.
ALL = "*"
_log = structlog.get_logger(__name__)


def in_force(words: PairWords, pair: str) -> Word | None:
    """The word that holds for a pair: its own or that of all, whichever is later."""
    own, of_all = words.get(pair), words.get(ALL)
    if own is None or (of_all is not None and of_all.time_ns > own.time_ns):
        return of_all
    return own


def newest_ns(words: PairWords) -> int:
    """The number of the last word; 0 where nothing was ever said."""
    return max((word.time_ns for word in words.values()), default=0)


def halt(latch: Latch, pair: str, flatten: bool, operator: str, reason: str) -> Word:
    """Halt a pair, or `ALL`; a second halt never takes the first one's flatten.

    Raises Unreadable where the words cannot be read or written.
    """

    def change(words: PairWords) -> PairWords:
        before = in_force(words, pair)
        closes = flatten or (before is not None and not before.run and before.flatten)
        word = _next(words, run=False, flatten=closes, operator=operator, reason=reason)
        # What is said of all is later than, and stands over, every other word.
        return {pair: word} if pair == ALL else {**words, pair: word}

    return _changed(latch, pair, change)


def resume(latch: Latch, pair: str, operator: str, reason: str) -> Word:
    """Let a pair take new risk again; raises Unreadable as `halt` does."""

    def change(words: PairWords) -> PairWords:
        return {**words, pair: _next(words, run=True, operator=operator, reason=reason)}

    return _changed(latch, pair, change)


def _next(words: PairWords, **said: Any) -> Word:
    return Word(time_ns=max(time.time_ns(), newest_ns(words) + 1), **said)


def _changed(latch: Latch, pair: str, change: Any) -> Word:
    kept: dict[str, Word] = {}

    def keeping(words: PairWords) -> PairWords:
        kept.clear()
        kept.update(change(words))
        return kept

    latch.change_pairs(keeping)
    return kept[pair]


class TellingPairs(Protocol):
    """The stage that is told, and the way into its inbox."""

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""

    @property
    def heard(self) -> dict[str, int]:
        """Each pair of the line with the number of the last word that the stage was told."""

    def tell_pair(self, pair: str, word: Word) -> None:
        """Append to the stage's inbox."""


class PairsEdge:
    """Tells a stage what operators say of pairs; `opened_ns` numbers the last word that there was
    when the line was opened.
    """

    def __init__(self, watch: Watch, stage: TellingPairs, opened_ns: int = 0) -> None:
        self._watch = watch
        self._stage = stage
        self._opened_ns = opened_ns
        self._done: PairWords = {}

    def turn(self) -> int:
        """Tell what is due; how many facts."""
        reading = self._watch.reading()
        if reading.error or reading.pairs is self._done or not self._stage.settled:
            return 0
        due = [
            (pair, word)
            for pair, heard_ns in self._stage.heard.items()
            if (word := in_force(reading.pairs, pair)) and self._is_due(word, heard_ns)
        ]
        for pair, word in due:
            verb = "a pair is resumed" if word.run else "a pair is halted"
            _log.critical(verb, pair=pair, operator=word.operator, why=word.reason)
            self._stage.tell_pair(pair, word)
        self._done = reading.pairs
        return len(due)

    def _is_due(self, word: Word, heard_ns: int) -> bool:
        return word.time_ns > (max(heard_ns, self._opened_ns) if word.run else heard_ns)
