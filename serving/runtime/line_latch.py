"""Execution as the stage that the latch's word and those of pairs are told, on Kafka and in one
process.
"""

from collections.abc import Callable
from typing import Any

from hft_lib.events import Halted, Resumed
from hft_lib.stages.execution import ExecutionState
from serving.runtime.chained import Edge
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.latch import HOST, LatchEdge, Memory, Watch, Word, fact_of
from serving.runtime.pair_words import PairsEdge

EXECUTION = "execution"


def line_time_ns(state: ExecutionState, begins_ns: int) -> int:
    """The time of the line: that of the last quote it has, `begins_ns` before the first."""
    times = [int(leg["time_ns"]) for pair in state.pairs.values() for leg in pair.legs]
    return max([begins_ns, *times])


def pair_fact(pair: str, word: Word, time_ns: int) -> Halted | Resumed:
    """The fact that the stage is told of a pair; `time_ns` is the line's own time."""
    if word.run:
        return Resumed(time_ns, pair, word.operator, word.reason, word.time_ns)
    return Halted(time_ns, pair, word.flatten, word.operator, word.reason, word.time_ns)


class Told:
    """What execution was told last, by its state, and how it is told more: `write` appends to its
    inbox.
    """

    def __init__(
        self,
        state: Callable[[], ExecutionState],
        write: Callable[[Halted | Resumed], None],
        begins_ns: int,
    ) -> None:
        self._state = state
        self._write = write
        self._begins_ns = begins_ns

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""
        return True

    @property
    def held(self) -> tuple[bool, bool]:
        """What the stage was told last of the latch."""
        state = self._state()
        return state.latched, state.flattening

    @property
    def heard(self) -> dict[str, int]:
        """The number of the last word that the stage was told of each pair."""
        return {name: pair.word_ns for name, pair in self._state().pairs.items()}

    def tell(self, halted: bool, flatten: bool, operator: str, reason: str) -> None:
        """Append the latch's word to the inbox."""
        self._write(fact_of(halted, flatten, operator, reason, self._time_ns()))

    def tell_pair(self, pair: str, word: Word) -> None:
        """Append a pair's word to the inbox."""
        self._write(pair_fact(pair, word, self._time_ns()))

    def _time_ns(self) -> int:
        return line_time_ns(self._state(), self._begins_ns)


class ToldByKafka(Told):
    """Execution behind its inbox on Kafka; `worker` is the service's."""

    def __init__(self, worker: Any, begins_ns: int) -> None:
        super().__init__(lambda: worker.host.state, self._append, begins_ns)
        self._bus = worker.bus
        self._inlet: Edge | None = None

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""
        told = self._inlet.number if self._inlet is not None else 0
        return bool(self._bus.heard(EXECUTION, HOST) >= told)

    def _append(self, fact: Halted | Resumed) -> None:
        """After the last of the host's facts that was heard, or that we have written since."""
        if self._inlet is None:
            self._inlet = self._bus.edge(HOST, EXECUTION)
        self._inlet.write(fact)


class ToldInProcess(Told):
    """Execution in the line of one process: what is told is stepped on, and durable, at once."""

    def __init__(self, line: EmbeddedLine, begins_ns: int) -> None:
        super().__init__(lambda: line.hosts[EXECUTION].state, self._post, begins_ns)
        self._line = line

    def _post(self, fact: Halted | Resumed) -> None:
        self._line.post(EXECUTION, fact)
        self._line.journal.sync()


class OperatorEdge:
    """Tells execution what operators say, the latch's word first; `opened_ns` as in `PairsEdge`,
    `memory` as in `LatchEdge`.
    """

    def __init__(
        self,
        watch: Watch,
        stage: Told,
        rest: Callable[[float], bool],
        opened_ns: int = 0,
        memory: Memory | None = None,
    ) -> None:
        self.latch = LatchEdge(watch, stage, rest, memory)
        self._pairs = PairsEdge(watch, stage, opened_ns)

    def turn(self) -> int:
        """Tell what is due; how many facts."""
        return self.latch.turn() + self._pairs.turn()
