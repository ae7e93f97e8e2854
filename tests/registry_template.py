"""A model registry that holds nothing: MLflow makes its tables once in a run, a test has a copy.

MLflow makes a new database by every migration that it ever had, which takes seconds; a copy takes a
millisecond. The template is a run's own, so it is always that of the MLflow that is installed.
"""

import os
import shutil
import tempfile
from pathlib import Path


def copy_to(database: Path, folder: Path) -> None:
    """Put an empty registry at `database`; its template is in `folder`, and made there if need be.

    The caller sees to it that nobody else makes it at the same time.
    """
    template = folder / "mlflow.db"
    if not template.exists():
        _make(template)
    database.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=database.parent)
    os.close(handle)
    shutil.copyfile(template, part)
    os.replace(part, database)


def _make(template: Path) -> None:
    """Let MLflow make its tables, as it does in an empty database that it opens."""
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    part = template.with_suffix(".part")
    part.unlink(missing_ok=True)  # what a run that was ended left half made
    engine = create_engine(f"sqlite:///{part}")
    utils._initialize_tables(engine)
    engine.dispose()
    part.rename(template)
