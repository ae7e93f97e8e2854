"""What Prometheus is told of a back-up by the job that made it, which does not stay to be asked."""

import shutil
import time
from enum import Enum
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from serving.backup import BackupError

ANSWER_S_MAX, TRIED_S_MAX, WAIT_S = 10.0, 60.0, 2.0


class Job(str, Enum):
    """The jobs that make back-ups; the alert `backup_missing` knows how often each does."""

    NIGHTLY = "nightly"
    ARTIFACTS = "artifacts"
    TAPES = "tapes"


def tell(job: Job, volume: Path, gateway: str) -> None:
    """Leave with a Pushgateway that `job` has made a back-up now, and how full its volume is.

    Raises BackupError where the gateway does not take it within a minute.
    """
    try:
        _push(figures(volume), job, gateway)
    except OSError as error:
        raise BackupError(
            f"{gateway} must take what the back-up says, it did not: {error}"
        ) from None


def figures(volume: Path) -> CollectorRegistry:
    """What there is to say at the end of a back-up onto `volume`."""
    registry, disk = CollectorRegistry(), shutil.disk_usage(volume)
    said = {
        "hft_backup_success_timestamp_seconds": ("when the last was made", time.time()),
        "hft_backup_disk_free_bytes": ("free on the volume of the back-ups", disk.free),
        "hft_backup_disk_size_bytes": ("size of the volume of the back-ups", disk.total),
    }
    for name, (text, value) in said.items():
        Gauge(name, text, registry=registry).set(value)
    return registry


@retry(
    retry=retry_if_exception_type(OSError),
    stop=stop_after_delay(TRIED_S_MAX),
    wait=wait_fixed(WAIT_S),
    reraise=True,
)
def _push(registry: CollectorRegistry, job: Job, gateway: str) -> None:
    push_to_gateway(gateway, "backup", registry, {"part": job.value}, timeout=ANSWER_S_MAX)
