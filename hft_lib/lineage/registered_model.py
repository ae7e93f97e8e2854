"""The code that a registered version carries: MLflow loads it with the parameter set and runs it.

    mlflow.pyfunc.load_model("models:/BTC-USDT-PERP~BTC-USDT@champion").predict(moments)

`moments` has a row for each complete moment at a grid point, with `time_ns` (receive time,
nanoseconds since 1970 UTC, increasing) and the mids `y_mid` and `x_mid` in the quote currency. The
answer has a row for each: what the stages say at that moment, by the same compiled steps, from the
priors on. z is the spread over its forecast standard deviation at the trading horizon; run_length
is in grid intervals, everything else in log units.

MLflow copies this file into the model's folder, so it stands alone; `hft_lib` must be installed
where it is loaded. Only research loads it: a service reads the parameter set, verified by its hash,
and never runs a loaded file.
"""

from pathlib import Path
from typing import Any

import mlflow
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.pyfunc import PythonModel

from hft_lib.models import bocd, garch, kalman
from hft_lib.models.inputs import Counts, Vector, vector
from hft_lib.models.special import log
from hft_lib.parameters import Parameters, check_parameters


class RegisteredParameters(PythonModel):
    """One parameter set with the models that run it."""

    parameters: Parameters

    def load_context(self, context: Any) -> None:
        """Read the version's parameter set; raises ValueError where it cannot be run."""
        content = Path(context.artifacts["parameters"]).read_bytes()
        self.parameters = msgspec.json.decode(content, type=Parameters)
        check_parameters(self.parameters)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The stages' view of each moment, as a table with the index of `model_input`."""
        times_ns = np.asarray(model_input["time_ns"], dtype=np.int64)
        columns = forecasts(self.parameters, times_ns, model_input["y_mid"], model_input["x_mid"])
        return pd.DataFrame(columns, index=model_input.index)


def forecasts(
    parameters: Parameters,
    times_ns: npt.NDArray[np.int64],
    y_mid: npt.ArrayLike,
    x_mid: npt.ArrayLike,
) -> dict[str, Vector]:
    """The columns of the answer, each (time,).

    Raises ValueError for mids or times that no line would carry.
    """
    y, x = _logs("y_mid", y_mid, times_ns.size), _logs("x_mid", x_mid, times_ns.size)
    steps = _grid_steps(times_ns, parameters.grid_ms * 1_000_000)
    hedge = kalman.run(kalman.params_row(parameters.kalman), y, x, steps)
    innovations = hedge["innovation"].copy()
    row = garch.params_row(parameters.garch)
    volatility = garch.run(row, innovations, steps)
    scores = garch.normal_scores(row, volatility["standardised"])
    regime = bocd.run(bocd.params_row(parameters.bocd), scores)
    spread_sd = _spread_sd(parameters, innovations, steps)
    spread = y - hedge["intercept"] - hedge["hedge_ratio"] * x
    return {
        "hedge_ratio": hedge["hedge_ratio"].copy(),
        "intercept": hedge["intercept"].copy(),
        "innovation": innovations,
        "spread_sd": spread_sd,
        "z": spread / spread_sd,
        "run_length": regime["run_length"].copy(),
    }


def _logs(name: str, mids: npt.ArrayLike, length: int) -> Vector:
    values = vector(name, mids, length)
    if length and values.min() <= 0.0:
        first = int(np.argmax(values <= 0.0))
        raise ValueError(f"{name} must be positive, was {values[first]} at {first}")
    return np.array([log(value) for value in values], dtype=np.float64)


def _grid_steps(times_ns: npt.NDArray[np.int64], grid_ns: int) -> Counts:
    """Whole grid intervals that each moment closes: the first of a line closes one."""
    steps = np.diff(times_ns // grid_ns, prepend=times_ns[:1] // grid_ns - 1)
    if steps.size and steps.min() < 1:
        first = int(np.argmin(steps))
        raise ValueError(
            f"time_ns must reach a new grid point of {grid_ns} ns with each row, was "
            f"{times_ns[first]} at {first}"
        )
    return steps.astype(np.int64)


def _spread_sd(parameters: Parameters, innovations: Vector, steps: Counts) -> Vector:
    """Standard deviation at the horizon, forecast before each innovation, as garch_model has it."""
    p = garch.params_row(parameters.garch)
    horizon = max(1, round(parameters.strategy.horizon_s * 1000.0 / parameters.grid_ms))
    state = garch.new_states(1)
    garch.start(p[0], state[0])
    expected = np.empty(innovations.size)
    for t, (innovation, passed) in enumerate(zip(innovations, steps.tolist(), strict=True)):
        expected[t] = garch.forecast_variance(p[0], state[0], passed - 1 + horizon)
        garch.step(p[0], state[0], innovation, passed)
    spread_sd: Vector = np.sqrt(expected)
    return spread_sd


mlflow.models.set_model(RegisteredParameters())
