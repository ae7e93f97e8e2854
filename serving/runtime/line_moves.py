"""The orchestrator on Kafka as the stage that operators' words about the capital are told."""

from collections.abc import Callable
from typing import Any

from hft_lib.evop.turn import State
from serving.runtime.chained import Edge
from serving.runtime.latch import HOST
from serving.runtime.model_words import Move, fact_of

ORCHESTRATOR = "orchestrator"


def heard_of(state: State) -> dict[str, int]:
    """The number of the last word that the stage answered of each pair."""
    return {pair.pair: pair.word_ns for pair in state.pairs}


class MovesToldByKafka:
    """The orchestrator behind its inbox on Kafka: `worker` is the service's.

    `line_ns` is the time of the line as execution tells it, 0 where it does not.
    """

    def __init__(self, worker: Any, line_ns: Callable[[], int], begins_ns: int) -> None:
        self._worker = worker
        self._line_ns = line_ns
        self._begins_ns = begins_ns
        self._inlet: Edge | None = None

    @property
    def settled(self) -> bool:
        """Whether the stage has stepped on all that was told."""
        told = self._inlet.number if self._inlet is not None else 0
        return bool(self._worker.bus.heard(ORCHESTRATOR, HOST) >= told)

    @property
    def heard(self) -> dict[str, int]:
        """The number of the last word that the stage answered of each pair."""
        return heard_of(self._worker.host.state)

    def tell(self, pair: str, move: Move) -> None:
        """Append to the inbox."""
        if self._inlet is None:
            self._inlet = self._worker.bus.edge(HOST, ORCHESTRATOR)
        self._inlet.write(fact_of(pair, move, max(self._line_ns(), self._begins_ns)))
