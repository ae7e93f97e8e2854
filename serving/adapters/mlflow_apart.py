"""Registering a set in a process of its own: MLflow is imported for that alone, and is gone after.

    python -m serving.adapters.mlflow_apart < candidate.json > registration.json

A line does this a few times a year, when a set that EVOP designed takes the capital.
"""

import subprocess  # nosec B404: it starts this file, with fixed words
import sys

import msgspec

from hft_lib import lineage
from hft_lib.lineage import Candidate, Registration, RegistryError
from serving.adapters import mlflow_store
from serving.runtime.settings import load_settings

REGISTER_S_MAX = 120.0


def register_apart(candidate: Candidate) -> Registration:
    """Register `candidate` in the registry that this process's environment names.

    Raises RegistryError with what the other process said where it failed.
    """
    try:
        done = subprocess.run(  # nosec B603: fixed words
            [sys.executable, "-m", __name__],
            input=msgspec.json.encode(candidate),
            capture_output=True,
            timeout=REGISTER_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RegistryError(f"registering must end in {REGISTER_S_MAX} s, and did not") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RegistryError(f"registering failed: {said[-1] if said else done.returncode}")
    return msgspec.json.decode(done.stdout, type=Registration)


def main() -> None:
    """Register the candidate on stdin, and write what became of it to stdout."""
    candidate = msgspec.json.decode(sys.stdin.buffer.read(), type=Candidate)
    settings = load_settings()
    client = mlflow_store.open_client(settings)
    experiment = lineage.experiment_id(client, mlflow_store.artifact_location(settings))
    made = lineage.register(client, experiment, candidate)
    sys.stdout.buffer.write(msgspec.json.encode(made))


if __name__ == "__main__":
    main()
