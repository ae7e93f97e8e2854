"""Log records of what a service did with the world's events, each by the event's own name.

`trace` is the same in every service, from the edge that read the event to the order that came of
it: the refusals and the orders of one event are found by it.
"""

import structlog

from hft_lib.events import CapitalOrder, Event, Rejected

# A feed that is wrong throughout is refused at every event: a reason's 1st, 2nd, 4th, ... refusal
# is a record, later each 1024th; all of them are facts of the log.
SPARSE_FROM = 1024
_log = structlog.get_logger(__name__)


class Teller:
    """The records of the service `name`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._refused: dict[str, int] = {}

    def made(self, fact: Event, trace: str, again: bool) -> None:
        """Say what is worth it; `again` where a restart may have said it before."""
        if isinstance(fact, CapitalOrder):
            _log.info(
                "order",
                service=self._name,
                trace=trace,
                again=again,
                pair=fact.pair,
                client_order_id=fact.client_order_id,
                side=fact.side,
                quantity=fact.quantity,
                purpose=fact.purpose,
            )
        elif isinstance(fact, Rejected) and self._is_due(fact.reason):
            _log.warning(
                "rejected",
                service=self._name,
                trace=trace,
                again=again,
                reason=fact.reason,
                subject=fact.subject,
                detail=fact.detail,
                so_far=self._refused[fact.reason],
            )

    def _is_due(self, reason: str) -> bool:
        count = self._refused[reason] = self._refused.get(reason, 0) + 1
        return count & (count - 1) == 0 if count <= SPARSE_FROM else count % SPARSE_FROM == 0
