"""The Kalman filter beside filterpy (an update) and statsmodels (arrays, maximum likelihood)."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from filterpy.kalman import KalmanFilter
from statsmodels.tsa.statespace.mlemodel import MLEModel

from bench import series
from bench.series import Vector
from bench.timing import Case, Row, package, require_at_least, require_close
from hft_lib.fitting.kalman import fit_kalman
from hft_lib.models import kalman
from hft_lib.parameters import KalmanParameters

PAIRS = 200
PANEL_STEPS = 100
PANEL_NS_MAX = 2.0
UPDATES = 1000  # of a measured call: one alone is too short to time
OBSERVATIONS = 50_000
SHORT_NATS = 0.01
DIFFUSE = 1e3  # prior variance of the fits: 1e10 times the noise variance
SKIP = 2  # observations that a diffuse start takes

PARAMETERS = KalmanParameters(
    intercept_drift_var=1e-8,
    hedge_drift_var=2.5e-9,
    noise_var=9e-8,
    intercept_prior_mean=0.0,
    intercept_prior_var=1e-2,
    hedge_prior_mean=1.0,
    hedge_prior_var=1e-2,
)


def filterpy_filter(p: KalmanParameters) -> Any:
    """filterpy's filter of the same model; each update first sets x in its `H`."""
    peer = KalmanFilter(dim_x=2, dim_z=1)
    peer.x = np.array([p.intercept_prior_mean, p.hedge_prior_mean])
    peer.F, peer.H = np.eye(2), np.array([[1.0, 0.0]])
    peer.P = np.diag([p.intercept_prior_var, p.hedge_prior_var])
    peer.Q = np.diag([p.intercept_drift_var, p.hedge_drift_var])
    peer.R = np.array([[p.noise_var]])
    return peer


def filterpy_updates(peer: Any, y: list[float], x: list[float]) -> None:
    """Predict and update once for each price pair."""
    design = peer.H
    for yt, xt in zip(y, x, strict=True):
        peer.predict()
        design[0, 1] = xt
        peer.update(yt)


def our_updates(p: KalmanParameters) -> tuple[Callable[[list[float], list[float]], None], Any]:
    """One compiled call for each price pair; and the state it works on."""
    rows, states, live = kalman.params_row(p), kalman.new_states(1), np.ones(1, np.int64)
    kalman.start(rows[0], states[0])
    step = kalman.stepper()

    def update(y: list[float], x: list[float]) -> None:
        for yt, xt in zip(y, x, strict=True):
            step(rows, states, live, yt, xt, 1)

    return update, states


def one_update() -> Case:
    """An update called from Python, against filterpy's predict and update."""
    y, x = (values.tolist() for values in series.pair(UPDATES, seed=1))
    update, states = our_updates(PARAMETERS)
    peer = filterpy_filter(PARAMETERS)
    update(y, x)
    filterpy_updates(peer, y, x)
    ours = [states[0]["intercept"], states[0]["hedge_ratio"]]
    require_close("intercept and hedge ratio", ours, peer.x, rel=1e-9)
    return Case(
        ours=lambda: update(y, x),
        peer=lambda: filterpy_updates(peer, y, x),
        peer_name=f"{package('filterpy')} predict and update",
        units=UPDATES,
    )


def one_step_of_panel() -> Case:
    """A step of 200 pairs in one call, against a call a pair."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([kalman.params_row(spread(rng)) for _ in range(PAIRS)])
    states, live = kalman.new_states(PAIRS), np.ones(1, np.int64)
    for row, state in zip(rows, states, strict=True):
        kalman.start(row, state)
    pairs = [series.pair(PANEL_STEPS, seed) for seed in range(PAIRS)]
    y, x = (np.ascontiguousarray(np.array(side).T) for side in zip(*pairs, strict=True))
    one, every = kalman.stepper(), kalman.panel_stepper()
    params, panel, instants = kalman.panel(rows), kalman.panel(states), list(zip(y, x, strict=True))
    # A pair at a time: contiguous arrays of one row, as the call takes them.
    each = [(rows[i : i + 1], states[i : i + 1], live) for i in range(PAIRS)]
    prices = [list(zip(*row, strict=True)) for row in zip(y.tolist(), x.tolist(), strict=True)]

    def single_calls() -> None:
        for row in prices:
            for arrays, (yt, xt) in zip(each, row, strict=True):
                one(*arrays, yt, xt, 1)

    def panel_calls() -> None:
        for yt, xt in instants:
            every(params, panel, yt, xt, 1)

    single_calls()
    panel_calls()
    require_close("the panel's states", panel, kalman.panel(states))
    return Case(panel_calls, single_calls, "a call of our step a pair", PAIRS * PANEL_STEPS)


def spread(rng: np.random.Generator) -> KalmanParameters:
    """Parameters of one pair among many."""
    factors = np.exp(rng.normal(0.0, 0.5, 3)).tolist()
    names = ("intercept_drift_var", "hedge_drift_var", "noise_var")
    changed = {n: f * getattr(PARAMETERS, n) for n, f in zip(names, factors, strict=True)}
    return msgspec.structs.replace(PARAMETERS, **changed)


class Regression(MLEModel):
    """statsmodels' state space form of the model: a regression whose coefficients walk."""

    def __init__(self, y: Vector, x: Vector, start: KalmanParameters) -> None:
        super().__init__(y, k_states=2, loglikelihood_burn=0)
        self.start = start
        self["design"] = np.stack([np.ones_like(x), x])[None]
        self["transition"] = self["selection"] = np.eye(2)
        self.ssm.initialize_known(
            np.array([start.intercept_prior_mean, start.hedge_prior_mean]),
            np.diag(
                [
                    # Its first state is the first forecast: the first interval's drift is in it.
                    start.intercept_prior_var + start.intercept_drift_var,
                    start.hedge_prior_var + start.hedge_drift_var,
                ]
            ),
        )

    @property
    def param_names(self) -> list[str]:
        """The variances searched for."""
        return ["intercept_drift_var", "hedge_drift_var", "noise_var"]

    @property
    def start_params(self) -> Vector:
        """Where the search starts."""
        return np.array([getattr(self.start, name) for name in self.param_names])

    def transform_params(self, unconstrained: Vector) -> Vector:
        """Variances of what the optimiser moves: their logarithms."""
        return np.exp(unconstrained)

    def untransform_params(self, constrained: Vector) -> Vector:
        """The inverse of `transform_params`."""
        return np.log(constrained)

    def update(self, params: Vector, **kwargs: Any) -> None:
        """Put the variances into the system's matrices."""
        params = super().update(params, **kwargs)
        self["state_cov", 0, 0], self["state_cov", 1, 1], self["obs_cov", 0, 0] = params


def array() -> Case:
    """The filter over arrays: innovations, their variances and the filtered states."""
    y, x = series.pair(OBSERVATIONS, seed=2)
    row = kalman.params_row(PARAMETERS)
    model = Regression(y, x, PARAMETERS)
    model.update(model.start_params)
    track, peer = kalman.run(row, y, x), model.ssm.filter()
    require_close("intercept", track["intercept"], peer.filtered_state[0], rel=1e-9, abs=1e-9)
    require_close("hedge ratio", track["hedge_ratio"], peer.filtered_state[1], rel=1e-9)
    variances = peer.forecasts_error_cov[0, 0]
    require_close("innovation variance", track["innovation_var"], variances, rel=1e-9)
    return Case(
        ours=lambda: kalman.run(row, y, x),
        peer=model.ssm.filter,
        peer_name=f"{package('statsmodels')} ssm.filter",
        units=OBSERVATIONS,
    )


def diffuse(p: KalmanParameters) -> KalmanParameters:
    """The same variances from a start that knows nothing."""
    return msgspec.structs.replace(
        p,
        intercept_prior_mean=0.0,
        intercept_prior_var=DIFFUSE,
        hedge_prior_mean=0.0,
        hedge_prior_var=DIFFUSE,
    )


def searched(y: Vector, x: Vector) -> Regression:
    """statsmodels' model, ready to be fitted from a plausible start."""
    start = diffuse(msgspec.structs.replace(PARAMETERS, noise_var=3e-7))
    model = Regression(y, x, start)
    model.ssm.loglikelihood_burn = SKIP
    return model


def fitted(model: Regression) -> Vector:
    """statsmodels' most likely variances; neither standard errors nor a smoothed state."""
    return model.fit(disp=False, return_params=True)


def maximum_likelihood(size: int, count: int) -> Callable[[], Case]:
    """Fits of `count` pairs of `size` observations each."""

    def prepare() -> Case:
        pairs = [series.pair(size, seed) for seed in range(10, 10 + count)]
        models = [searched(y, x) for y, x in pairs]
        for number, ((y, x), model) in enumerate(zip(pairs, models, strict=True)):
            theirs = dict(zip(model.param_names, fitted(model).tolist(), strict=True))
            require_at_least(
                f"log likelihood of pair {number}",
                diffuse_log_likelihood(fit_kalman(y, x).params, y, x),
                diffuse_log_likelihood(msgspec.structs.replace(PARAMETERS, **theirs), y, x),
                SHORT_NATS,
            )
        return Case(
            ours=lambda: [fit_kalman(y, x) for y, x in pairs],
            peer=lambda: [fitted(model) for model in models],
            peer_name=f"{package('statsmodels')} MLEModel.fit",
            units=count,
        )

    return prepare


def diffuse_log_likelihood(p: KalmanParameters, y: Vector, x: Vector) -> float:
    """What both fits maximise, by our filter: nats of all but the first two observations."""
    return kalman.log_likelihood(kalman.params_row(diffuse(p)), y, x, skip=SKIP)


ROWS = (
    Row("Kalman update, one call from Python", 100.0, one_update),
    Row("Kalman filter over an array, an observation", 80.0, array),
    Row("Kalman panel of 200 pairs, a pair", None, one_step_of_panel, PANEL_NS_MAX),
    Row("Kalman maximum likelihood, 1k observations", 50.0, maximum_likelihood(1_000, 5)),
    Row("Kalman maximum likelihood, 50k observations", 50.0, maximum_likelihood(50_000, 1)),
)
