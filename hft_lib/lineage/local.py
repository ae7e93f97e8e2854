"""A registry of one's own: MLflow on a SQLite file in a folder, for research and for trying."""

import logging
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any


def open_local(folder: Path | str) -> tuple[Any, str]:
    """An MLflow client on `mlflow.db` in `folder`, and where its artifacts go.

    Both are made at first use, which takes some seconds. Telemetry and bars are turned off by
    whoever has the environment: MLFLOW_DISABLE_TELEMETRY, MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.
    """
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():  # it looks for widgets that we do not show
        warnings.filterwarnings("ignore", message="IProgress not found")
        import_module("tqdm.auto")
        from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # that a store's tables are made is no news
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    return client, str(place / "artifacts")
