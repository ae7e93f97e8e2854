"""The six services, as data: name and port, in the order in which a tick meets them."""

import sys
from importlib import import_module
from typing import Any

import msgspec
import structlog

from hft_lib.stage import Stage

_log = structlog.get_logger(__name__)


class Service(msgspec.Struct, frozen=True):
    """One service: its name, which is its stage's, and the port that it serves its pages on."""

    name: str
    port: int

    @property
    def stage(self) -> Stage[Any, Any]:
        """The stage; loaded when it is asked for, for its kernels are memory that a process with
        another stage does without.
        """
        stage: Stage[Any, Any] = import_module(f"hft_lib.stages.{self.name}").STAGE
        return stage

    def load(self) -> None:
        """Load the stage and its kernels, so that the first events do not wait for them."""
        stage = self.stage
        # Only where the stage has some: numba is 60 MiB and half a second of a start.
        kernels = sys.modules.get("hft_lib.kernel")
        loaded = 0 if kernels is None else kernels.load_kept()
        _log.info("loaded", service=stage.name, kernels=loaded)


SERVICES = (
    Service("ingestion", 8000),
    Service("kalman_filter", 8001),
    Service("garch_model", 8002),
    Service("risk_manager", 8004),
    Service("execution", 8003),
    Service("orchestrator", 8005),
)
INBOXES = frozenset(service.name for service in SERVICES)
# Services of which one process alone is heard, and their edges, of which the same holds: each edge
# writes into its service's inbox.
SINGLETONS: dict[str, tuple[str, ...]] = {
    "ingestion": ("feed",),
    "execution": ("host",),
    "orchestrator": ("registry", "host"),
}
# Who writes to the inboxes of a line: the services and their edges.
WRITERS = INBOXES | {edge for edges in SINGLETONS.values() for edge in edges}


def stages() -> tuple[Stage[Any, Any], ...]:
    """The six stages, in the order of their services."""
    return tuple(service.stage for service in SERVICES)
