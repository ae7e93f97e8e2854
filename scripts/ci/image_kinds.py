"""What each image must do when it is run alone, and how large it may be.

The names are those that `scripts/docker-build.sh` knows.
"""

from typing import NamedTuple

SERVICES = (
    "ingestion",
    "kalman_filter",
    "garch_model",
    "execution",
    "risk_manager",
    "orchestrator",
)


class Kind(NamedTuple):
    """How an image is started, and what it is asked; `{port}` stands for the port."""

    home: str  # the one folder that lasts
    words: tuple[str, ...]  # its command
    alive: str = ""  # the page that says so; without one it does its work and ends
    ready: str = ""
    variables: tuple[str, ...] = ()
    uid: int = 10001
    memory: str = "512m"
    first: str = "python"  # the first process
    compressed_mb: int = 350  # what a registry keeps of it and a node fetches, at most


SERVICE = Kind("/var/lib/hft", ("--bus", "memory"), "healthz", "readyz", ("PORT={port}",))
KINDS = {
    **dict.fromkeys(SERVICES, SERVICE),
    "mlflow": Kind(
        "/var/lib/mlflow",
        ("--host=127.0.0.1", "--port={port}", "--workers=1"),
        "health",
        "health",
        memory="2g",
    ),
    # A step of a pipeline: a market of two hours is made up, and all is compiled that this needs.
    "pipelines": Kind(
        "/var/lib/hft",
        ("hft", "tape", "synth", "--seed=1", "--days=0.1", "--out=/var/lib/hft/tapes/line"),
        memory="2g",
        compressed_mb=550,
    ),
    "prometheus": Kind(
        "/prometheus",
        (
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--web.listen-address=127.0.0.1:{port}",
        ),
        "-/healthy",
        "-/ready",
        uid=65534,
        first="prometheus",
    ),
    "alertmanager": Kind(
        "/alertmanager",
        (
            "--config.file=/etc/alertmanager/alertmanager.yml",
            "--storage.path=/alertmanager",
            "--cluster.listen-address=",
            "--web.listen-address=127.0.0.1:{port}",
        ),
        "-/healthy",
        "-/ready",
        uid=65534,
        first="alertmanager",
    ),
    "grafana": Kind(
        "/var/lib/grafana",
        (),
        "api/health",
        "api/health",
        ("GF_SERVER_HTTP_PORT={port}", "GF_LOG_MODE=console"),
        uid=472,
        first="grafana",
        memory="1g",
    ),
}
