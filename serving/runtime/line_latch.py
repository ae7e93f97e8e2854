"""Execution as the stage that a latch's word is told, on Kafka and in one process."""

from typing import Any

from hft_lib.stages.execution import ExecutionState
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.latch import HOST, fact_of

EXECUTION = "execution"


def line_time_ns(state: ExecutionState, begins_ns: int) -> int:
    """The time of the line: that of the last quote it has, `begins_ns` before the first."""
    times = [int(leg["time_ns"]) for pair in state.pairs.values() for leg in pair.legs]
    return max([begins_ns, *times])


class ToldByKafka:
    """Execution behind its inbox on Kafka; `worker` is the service's."""

    def __init__(self, worker: Any, begins_ns: int) -> None:
        self._worker = worker
        self._begins_ns = begins_ns
        self._told = 0

    @property
    def held(self) -> tuple[bool, bool]:
        """What the stage was told last."""
        state = self._worker.host.state
        return state.latched, state.flattening

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""
        return bool(self._worker.bus.heard(EXECUTION, HOST) >= self._told)

    def tell(self, halted: bool, flatten: bool, operator: str, reason: str) -> None:
        """Append to the inbox, after the last of the host's facts that was heard."""
        time_ns = line_time_ns(self._worker.host.state, self._begins_ns)
        inlet = self._worker.bus.edge(HOST, EXECUTION)
        inlet.write(fact_of(halted, flatten, operator, reason, time_ns))
        self._told = inlet.number


class ToldInProcess:
    """Execution in the line of one process: what is told is stepped on, and durable, at once."""

    settled = True

    def __init__(self, line: EmbeddedLine, begins_ns: int) -> None:
        self._line = line
        self._begins_ns = begins_ns

    @property
    def held(self) -> tuple[bool, bool]:
        """What the stage was told last."""
        state = self._line.hosts[EXECUTION].state
        return state.latched, state.flattening

    def tell(self, halted: bool, flatten: bool, operator: str, reason: str) -> None:
        """Take the fact to quiescence."""
        time_ns = line_time_ns(self._line.hosts[EXECUTION].state, self._begins_ns)
        self._line.post(EXECUTION, fact_of(halted, flatten, operator, reason, time_ns))
        self._line.journal.sync()
