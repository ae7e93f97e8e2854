"""The six services, as data: name, port and stage, in the order in which a tick meets them."""

from typing import Any

import msgspec

from hft_lib.stage import Stage
from hft_lib.stages import (
    execution,
    garch_model,
    ingestion,
    kalman_filter,
    orchestrator,
    risk_manager,
)


class Service(msgspec.Struct, frozen=True):
    """One service: its stage and the port that it serves its pages on."""

    name: str
    port: int
    stage: Stage[Any, Any]


SERVICES = (
    Service("ingestion", 8000, ingestion.STAGE),
    Service("kalman_filter", 8001, kalman_filter.STAGE),
    Service("garch_model", 8002, garch_model.STAGE),
    Service("risk_manager", 8004, risk_manager.STAGE),
    Service("execution", 8003, execution.STAGE),
    Service("orchestrator", 8005, orchestrator.STAGE),
)
STAGES = tuple(service.stage for service in SERVICES)
INBOXES = frozenset(service.name for service in SERVICES)
# Who writes to the inboxes of a line: the services and their edges.
WRITERS = INBOXES | {"feed", "host", "registry"}
