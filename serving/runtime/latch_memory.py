"""The word that execution was told last, beside its snapshots: what Redis may lose stays known."""

from serving.runtime.latch import Word
from serving.runtime.snapshots import SnapshotKeeper

TOLD = "latch"


class KeptWord:
    """The memory of a latch's edge in the store of `keeper`; it is read once."""

    def __init__(self, keeper: SnapshotKeeper) -> None:
        self._keeper = keeper
        self.last: Word | None = keeper.read(TOLD, Word)

    def keep(self, word: Word) -> None:
        """Keep `word`; raises BusError where the store does not take it."""
        self._keeper.put(TOLD, word)
        self.last = word
