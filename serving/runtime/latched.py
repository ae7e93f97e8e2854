"""A feed into the line of one process, each event after what the latch said before it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hft_lib.events import Event
from hft_lib.market.tape import Tape
from serving.adapters.tape_feed import tape_feed
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import Header
from serving.runtime.kept_words import Kept
from serving.runtime.latch import POLL_S, Latch, Watch
from serving.runtime.line_latch import EXECUTION, OperatorEdge, ToldInProcess, line_time_ns
from serving.runtime.line_moves import ORCHESTRATOR, heard_of
from serving.runtime.model_words import Move, MovesEdge, fact_of, looking
from serving.runtime.run_folder import legs_of_line

# Waits some seconds; says whether an end was asked for.
Rest = Callable[[float], bool]
# Makes the events of a feed, given how it may wait: that many seconds, while the operators' edge is
# turned.
Feed = Callable[[Callable[[float], None]], Iterable[Event]]


def feed_of_tape(tape: Tape, header: Header, pace: float | None, line: EmbeddedLine) -> Feed:
    """What `line` has not been fed of the run's part of `tape`; `pace` is a multiple of the tape's
    own, None for as fast as it goes.
    """
    legs, window = legs_of_line(header.config), (header.start_ns or None, header.end_ns or None)
    return lambda sleep: tape_feed(tape, legs, *window, pace, line.fed, sleep)


class _Ended(Exception):
    """An end was asked for while the next event was waited for."""


class MovesToldInProcess:
    """The orchestrator in the line of one process: a word is answered, and durable, at once."""

    settled = True

    def __init__(self, line: EmbeddedLine, begins_ns: int) -> None:
        self._line = line
        self._begins_ns = begins_ns

    @property
    def heard(self) -> dict[str, int]:
        """The number of the last word that the stage answered of each pair."""
        return heard_of(self._line.hosts[ORCHESTRATOR].state)

    def tell(self, pair: str, move: Move) -> None:
        """Append to the inbox."""
        time_ns = line_time_ns(self._line.hosts[EXECUTION].state, self._begins_ns)
        self._line.post(ORCHESTRATOR, fact_of(pair, move, time_ns))
        self._line.journal.sync()


class Operators:
    """What operators say told to the stages that it concerns, the latch's word first."""

    def __init__(self, halts: OperatorEdge, moves: MovesEdge) -> None:
        self.latch = halts.latch
        self._halts = halts
        self._moves = moves

    def turn(self) -> int:
        """Tell what is due; how many facts."""
        return self._halts.turn() + self._moves.turn()


class Latched:
    """What is fed, and the operators' edge, to be turned while nothing is."""

    def __init__(self, events: Iterable[Event], watch: Watch, edge: Operators) -> None:
        self.edge = edge
        self._events = events
        self._watch = watch

    def __iter__(self) -> Iterator[Event]:
        """Each event, after what the latch said before it was told; none once an end is asked for
        in a wait.
        """
        heard, events = None, iter(self._events)
        while True:
            try:
                event = next(events)
            except (StopIteration, _Ended):
                return
            reading = self._watch.reading()
            if reading is not heard:
                self.edge.turn()
                heard = reading
            yield event


@contextmanager
def latched(
    line: EmbeddedLine,
    header: Header,
    feed: Feed,
    begins_ns: int,
    latch: Latch,
    rest: Rest,
    moves: Kept[Move],
) -> Iterator[Latched]:
    """The rest of `feed` under `latch`, which is watched while the block runs, and under what
    `moves` keeps of operators' words about the capital.

    Before the line has a time of its own it is `begins_ns`; waits are `rest`'s.
    """
    with Watch(latch) as watch:
        edge = Operators(
            OperatorEdge(watch, ToldInProcess(line, begins_ns), rest, header.words_ns),
            MovesEdge(looking(moves), MovesToldInProcess(line, begins_ns), header.moves_ns),
        )

        def sleep(seconds: float) -> None:
            if rest(min(seconds, POLL_S)):
                raise _Ended
            edge.turn()

        yield Latched(feed(sleep), watch, edge)
