"""The operator's words about the capital, kept beside the latch and told the orchestrator once.

`hft models promote` and `rollback` each leave one word of a pair. Like those of halts it has a
number, the writer's clock made later than every word before it: the stage keeps the number of the
last that it answered, so that a word is told once, through restarts of everything, and a store that
comes back with older words says nothing. A line is told no word of before its opening.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, Self

import msgspec
import structlog

from hft_lib.events import MoveAsked
from serving.runtime.kept_words import Kept, Time, Unreadable

MOVES_FILE = "latch-moves"
# A move waits for what operators read anyway; a kill does not wait for it.
POLL_S = 0.5
STOP_S_MAX = 1.0
_log = structlog.get_logger(__name__)


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of a pair's capital; `wanted` as in `MoveAsked`. `time_ns` is its
    number.
    """

    move: Literal["promote", "rollback"]
    wanted: str
    operator: str
    reason: str
    time_ns: Time


Moves = Mapping[str, Move]


def newest_ns(moves: Moves) -> int:
    """The number of the last word; 0 where nothing was ever said."""
    return max((move.time_ns for move in moves.values()), default=0)


def ask(
    kept: Kept[Move],
    pair: str,
    move: Literal["promote", "rollback"],
    wanted: str,
    operator: str,
    reason: str,
) -> Move:
    """Leave a word of `pair` in the place of the one before; raises Unreadable as `kept` does."""
    said: list[Move] = []

    def change(moves: Moves) -> Moves:
        time_ns = max(time.time_ns(), newest_ns(moves) + 1)
        word = Move(move=move, wanted=wanted, operator=operator, reason=reason, time_ns=time_ns)
        said.append(word)
        return {**moves, pair: word}

    kept.change(change)
    return said[-1]


def fact_of(pair: str, move: Move, time_ns: int) -> MoveAsked:
    """The fact that the orchestrator is told; `time_ns` is the line's own time."""
    return MoveAsked(
        time_ns, pair, move.move, move.wanted, move.operator, move.reason, move.time_ns
    )


class Telling(Protocol):
    """The stage that is told, and the way into its inbox."""

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""

    @property
    def heard(self) -> dict[str, int]:
        """Each pair of the line with the number of the last word that the stage answered."""

    def tell(self, pair: str, move: Move) -> None:
        """Append to the stage's inbox."""


class MovesEdge:
    """Tells the orchestrator what operators ask; `look` says it, None while it cannot be read.

    `opened_ns` numbers the last word that there was when the line was opened.
    """

    def __init__(
        self, look: Callable[[], Moves | None], stage: Telling, opened_ns: int = 0
    ) -> None:
        self._look = look
        self._stage = stage
        self._opened_ns = opened_ns

    def turn(self) -> int:
        """Tell what is due; how many facts."""
        moves = self._look()
        if not moves or not self._stage.settled:
            return 0
        due = [
            (pair, move)
            for pair, heard_ns in self._stage.heard.items()
            if (move := moves.get(pair)) and move.time_ns > max(heard_ns, self._opened_ns)
        ]
        for pair, move in due:
            said = {"operator": move.operator, "why": move.reason, "wanted": move.wanted}
            _log.critical(f"a {move.move} is asked for", pair=pair, **said)
            self._stage.tell(pair, move)
        return len(due)


def looking(kept: Kept[Move]) -> Callable[[], Moves | None]:
    """A look that says in the log, once each, why the words cannot be read."""
    said: list[str] = [""]

    def look() -> Moves | None:
        try:
            moves, why = kept.read(), ""
        except Unreadable as error:
            moves, why = None, str(error)
        if why not in ("", said[0]):
            _log.error("the operators' words about the capital cannot be read", why=why)
        said[0] = why
        return moves

    return look


class MovesWatch:
    """Looks on a thread of its own: a server that does not answer holds up nobody."""

    def __init__(self, kept: Kept[Move]) -> None:
        self._kept = kept
        self._stop = threading.Event()
        self._moves: Moves | None = None
        self._look = looking(kept)
        self._thread = threading.Thread(target=self._run, name="moves", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S_MAX)

    def moves(self) -> Moves | None:
        """The last look; None while the words cannot be read."""
        return self._moves

    def _run(self) -> None:
        while not self._stop.is_set():
            self._moves = self._look()
            self._stop.wait(POLL_S)

    # --- what the pages show ---

    def why(self) -> str:
        """Nothing: the line does not wait for words."""
        return ""

    def document(self) -> dict[str, Any]:
        """What was asked of each pair last; null while it cannot be read."""
        return {"moves_asked": msgspec.to_builtins(self._moves)}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        meaning = "1 while operators' words about the capital can be read"
        return {"hft_moves_readable": (meaning, float(self._moves is not None))}
