"""The folder of a registered version: an MLflow model from code, free of this machine's paths.

MLflow's own `save_model` would note the building machine's paths, run the code, and need pandas,
which a live service does not have.
"""

import platform
import shutil
from pathlib import Path

import msgspec

from hft_lib.lineage.version import PARAMETERS_FILE

CODE_FILE = Path(__file__).with_name("registered_model.py")
_INPUTS = (("time_ns", "long"), ("y_mid", "double"), ("x_mid", "double"))
_OUTPUTS = ("hedge_ratio", "intercept", "innovation", "spread_sd", "z", "run_length")


def write_model(folder: Path, content: bytes) -> None:
    """Write the set `content`, the code that runs it and its needs into the empty `folder`."""
    from mlflow.models import Model

    (folder / PARAMETERS_FILE).parent.mkdir()
    (folder / PARAMETERS_FILE).write_bytes(content)
    shutil.copyfile(CODE_FILE, folder / CODE_FILE.name)
    (folder / "requirements.txt").write_text("\n".join(_requirements()) + "\n")
    python = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_bytes(msgspec.yaml.encode(python))
    model = Model()
    model.add_flavor(
        "python_function",
        loader_module="mlflow.pyfunc.loaders.code_model",
        model_code_path=CODE_FILE.name,
        artifacts={"parameters": {"path": PARAMETERS_FILE, "uri": PARAMETERS_FILE}},
        env={"virtualenv": "python_env.yaml"},
        python_version=platform.python_version(),
        code=None,
        streamable=False,
    )
    (folder / "MLmodel").write_bytes(
        msgspec.yaml.encode({**model.to_dict(), "signature": _signature()})
    )


def _requirements() -> list[str]:
    """What the code imports beside `hft_lib`, at the versions in use; MLflow brings pandas."""
    import mlflow
    import numba
    import numpy

    modules = (mlflow, msgspec, numba, numpy)
    return [f"{module.__name__}=={module.__version__}" for module in modules]


def _signature() -> dict[str, str | None]:
    columns = [{"type": kind, "name": name, "required": True} for name, kind in _INPUTS]
    answers = [{"type": "double", "name": name, "required": True} for name in _OUTPUTS]
    return {
        "inputs": msgspec.json.encode(columns).decode(),
        "outputs": msgspec.json.encode(answers).decode(),
        "params": None,
    }
