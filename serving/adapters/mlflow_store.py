"""The way to MLflow: where its store is, whether it answers, and a client that cannot hang.

MLflow's own patience is seven retries of two minutes: one call on a closed port blocked for four
minutes. So the store is asked first, with a bound, and the client gets bounds of its own before its
library is imported.
"""

import http.client
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.runtime.addresses import masked
from serving.runtime.settings import Settings

# A store on the same network answers in milliseconds; who asks for a list waits this long gladly.
ANSWER_S_MAX = 1.5
POSTGRESQL_PORT = 5432
# What an operator has set wins. Retries are ours, where a call may be repeated safely.
_CLIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "PGCONNECT_TIMEOUT": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its words would stand on stdout beside a verb's JSON, and its bars on stderr beside ours.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class Unreachable(Exception):
    """The store does not answer; the text is one sentence, without passwords."""


def store_file(settings: Settings) -> Path | None:
    """The file of a store on this disk, None for a server or a database."""
    uri = settings.mlflow_tracking_uri
    if not uri.startswith("sqlite:"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def artifact_location(settings: Settings) -> str | None:
    """Where artifacts go: `mlartifacts` under `HFT_HOME`, or None where a server decides.

    MLflow's own default would be the current folder.
    """
    if is_server(settings):
        return None
    return str(settings.hft_home / "mlartifacts")


def open_client(settings: Settings, on_progress: Callable[[str], None] = lambda text: None) -> Any:
    """An MLflow client on the store that the settings name; raises Unreachable within 2 s.

    A store on this disk is made at first use, which takes some seconds.
    """
    ask(settings.mlflow_tracking_uri)
    for name, value in _CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    file = store_file(settings)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    made = file is not None and not file.exists()
    doing = "making the model registry, once" if made else "opening the model registry"
    on_progress(doing)
    from mlflow import MlflowClient

    # Stderr is the verbs' own: that a store's tables are made is no news.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=settings.mlflow_tracking_uri)


def open_registry(settings: Settings) -> Any:
    """The lightest client that can read the registry and move its aliases: over REST where a server
    is named, MLflow's own on a database. Raises Unreachable within 2 s.
    """
    uri = settings.mlflow_tracking_uri
    if not is_server(settings):
        return open_client(settings)
    ask(uri)
    from serving.adapters.mlflow_rest import RestClient

    return RestClient(uri)


def is_server(settings: Settings) -> bool:
    """Whether a tracking server is named, and not a database."""
    return settings.mlflow_tracking_uri.startswith("http")


def ask(uri: str) -> None:
    """Raise Unreachable unless whatever serves `uri` answers within `ANSWER_S_MAX`."""
    parts = urlsplit(uri)
    try:
        if parts.scheme in ("http", "https"):
            _ask_server(uri)
        elif parts.scheme != "sqlite":
            address = (parts.hostname or "", parts.port or POSTGRESQL_PORT)
            socket.create_connection(address, timeout=ANSWER_S_MAX).close()
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise Unreachable(f"the model registry at {masked(uri)} does not answer: {why}") from None


def _ask_server(uri: str) -> None:
    """Any answer will do but a server's own failure: what we may, the client finds out."""
    parts = urlsplit(uri)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S_MAX)
    try:
        # /health answers even where the host check refuses every call of the API.
        path = "/api/2.0/mlflow/experiments/search?max_results=1"
        connection.request("GET", parts.path.rstrip("/") + path)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise http.client.HTTPException(f"it answered {status}")
