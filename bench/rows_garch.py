"""GARCH beside arch: the filter, a live step, and the fits of one series and of many."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from arch import arch_model

from bench import series
from bench.series import Vector
from bench.timing import Case, Row, Unequal, package, require_at_least, require_close
from hft_lib.fitting.egarch import fit_egarch
from hft_lib.fitting.garch import fit_garch, fit_garch_many
from hft_lib.fitting.result import Fit, FitRefused
from hft_lib.models import egarch, garch
from hft_lib.parameters import EgarchParameters, GarchParameters

OBSERVATIONS = 50_000
WINDOW = 1000  # observations that arch has when it forecasts the next
SERIES = 200
DOF = 6.0
GAMMA = 0.08
SHORT_NATS = 0.01

PARAMETERS = GarchParameters(mean=0.01, omega=0.02, alpha=0.08, beta=0.9, variance_prior=1.0)


def arch_of(values: Vector, kind: str) -> Any:
    """arch's model of `values`, as its users make it, but that its data are not rescaled."""
    shape: dict[str, Any] = {"vol": "EGARCH" if kind.startswith("egarch") else "GARCH"}
    shape["o"] = 0 if kind in ("normal", "t") else 1
    shape["dist"] = "t" if kind in ("t", "egarch-t") else "normal"
    return arch_model(values, mean="Constant", p=1, q=1, rescale=False, **shape)


def arch_fitted(values: Vector, kind: str) -> Any:
    """arch's fit from the array on; it computes standard errors only when they are asked for."""
    return arch_of(values, kind).fit(disp="off", show_warning=False)


def filtered() -> Case:
    """The variances forecast over an array of innovations, of given parameters."""
    values = series.garch(OBSERVATIONS, seed=1)
    row = garch.params_row(PARAMETERS)
    process = arch_of(values, "normal").volatility
    bounds = process.variance_bounds(values)
    # Ours begins with a variance, arch with what was before it: the same first variance.
    before = (1.0 - PARAMETERS.omega) / (PARAMETERS.alpha + PARAMETERS.beta)
    theirs = np.array([PARAMETERS.omega, PARAMETERS.alpha, PARAMETERS.beta])
    variance = np.empty(OBSERVATIONS)

    def peer() -> Any:
        return process.compute_variance(theirs, values - PARAMETERS.mean, variance, before, bounds)

    peer()
    track = garch.run(row, values)
    standardised = (values - PARAMETERS.mean) / np.sqrt(variance)
    require_close("variance", garch.variances(row, values), variance, rel=1e-10)
    require_close("variance of run", track["variance"], variance, rel=1e-10)
    require_close("standardised", track["standardised"], standardised, rel=1e-10, abs=1e-12)
    return Case(
        ours=lambda: garch.variances(row, values),
        peer=peer,
        peer_name=f"{package('arch')} compute_variance",
        units=OBSERVATIONS,
    )


def live_step() -> Case:
    """The next variance after one more innovation, against arch's fix and forecast."""
    values = series.garch(WINDOW + 1, seed=2)[1:]
    model = arch_of(values, "normal")
    p = PARAMETERS
    theirs = np.array([p.mean, p.omega, p.alpha, p.beta])
    # arch's own convention of what was before the sample, of deviations from the given mean.
    before = model.volatility.backcast(values - p.mean)
    prior = p.omega + (p.alpha + p.beta) * before
    cell = garch.new_cell(msgspec.structs.replace(p, variance_prior=prior))
    step, innovations = garch.step_cell, values.tolist()

    def update() -> None:
        for innovation in innovations:
            step(cell, innovation, 1)

    def peer() -> Any:
        return model.fix(theirs).forecast(horizon=1)

    update()
    forecast = float(peer().variance.to_numpy()[-1, 0])
    require_close("forecast variance", cell[7], forecast, rel=1e-10)
    return Case(
        ours=update,
        peer=peer,
        peer_name=f"{package('arch')} fix and forecast",
        units=WINDOW,
        peer_units=1,
    )


def our_fit(values: Vector, kind: str) -> Fit[Any]:
    """Our fit by arch's convention of what was before the sample."""
    if kind == "egarch-t":
        return fit_egarch(values, distribution="t", presample="backcast")
    distribution = "t" if kind == "t" else "normal"
    return fit_garch(
        values, distribution=distribution, presample="backcast", asymmetric=kind == "gjr"
    )


def theirs_by_ours(values: Vector, kind: str, found: Any) -> float:
    """Our log likelihood at arch's parameters, from the presample variance that both take."""
    p = {name.removesuffix("[1]"): float(value) for name, value in found.params.items()}
    before = garch.presample_variance(values, float(values.mean()), "backcast")
    shape: dict[str, Any] = {"mean": p["mu"], "dof": p.get("nu"), "gamma": p.get("gamma", 0.0)}
    shape |= {name: p[name] for name in ("omega", "alpha", "beta")}
    if kind == "egarch-t":
        prior = math.exp(p["omega"] + p["beta"] * math.log(before))
        log_form = EgarchParameters(variance_prior=prior, **shape)
        return egarch.log_likelihood(egarch.params_row(log_form), values)
    persistence = p["alpha"] + 0.5 * shape["gamma"] + p["beta"]
    square_form = GarchParameters(variance_prior=p["omega"] + persistence * before, **shape)
    return garch.log_likelihood(garch.params_row(square_form), values)


def require_fits_equal(
    sample: Sequence[Vector], kind: str, fits: Sequence[Fit[Any] | FitRefused]
) -> None:
    """Ours reaches arch's likelihood on each series, and arch's function and ours are the same."""
    for number, (values, fit) in enumerate(zip(sample, fits, strict=True)):
        found = arch_fitted(values, kind)
        theirs = theirs_by_ours(values, kind, found)
        where = f"log likelihood of series {number}"
        if isinstance(fit, FitRefused):
            raise Unequal(where, fit, theirs, "no refusal")
        require_close(f"{where} at arch's parameters", theirs, found.loglikelihood, rel=1e-9)
        require_at_least(where, fit.log_likelihood, theirs, SHORT_NATS)


def fits(kind: str, size: int, count: int) -> Callable[[], Case]:
    """Fits of `count` series of `size` observations each, from the array on."""

    def prepare() -> Case:
        sample = [simulated(kind, size, seed) for seed in range(20, 20 + count)]
        require_fits_equal(sample, kind, [our_fit(values, kind) for values in sample])
        return Case(
            ours=lambda: [our_fit(values, kind) for values in sample],
            peer=lambda: [arch_fitted(values, kind) for values in sample],
            peer_name=f"{package('arch')} fit",
            units=count,
        )

    return prepare


def many() -> Case:
    """Fits of 200 series in one call, against arch's one after another."""
    sample = np.stack([simulated("normal", WINDOW, seed) for seed in range(100, 100 + SERIES)])

    def ours() -> Sequence[Fit[Any] | FitRefused]:
        return fit_garch_many(sample, presample="backcast")

    require_fits_equal(list(sample), "normal", ours())
    return Case(
        ours=ours,
        peer=lambda: [arch_fitted(values, "normal") for values in sample],
        peer_name=f"{package('arch')} fit, one after another",
    )


def simulated(kind: str, size: int, seed: int) -> Vector:
    """A series of the kind that is then fitted to it."""
    if kind == "egarch-t":
        return series.egarch(size, seed, DOF)
    dof = DOF if kind == "t" else np.inf
    return series.garch(size, seed, dof, GAMMA if kind == "gjr" else 0.0)


ROWS = (
    Row("GARCH filter over an array, an observation", 3.5, filtered),
    Row("GARCH live step, one call from Python", 4000.0, live_step),
    Row("GARCH-normal fit, 1k observations", 90.0, fits("normal", 1_000, 8)),
    Row("GARCH-normal fit, 50k observations", 25.0, fits("normal", 50_000, 2)),
    Row("GARCH-t fit, 1k observations", 60.0, fits("t", 1_000, 8)),
    Row("GARCH-t fit, 50k observations", None, fits("t", 50_000, 2)),
    Row("GJR fit, 1k observations", 150.0, fits("gjr", 1_000, 8)),
    Row("GJR fit, 50k observations", None, fits("gjr", 50_000, 2)),
    Row("EGARCH-t fit, 1k observations", 25.0, fits("egarch-t", 1_000, 8)),
    Row("EGARCH-t fit, 50k observations", None, fits("egarch-t", 50_000, 2)),
    Row("GARCH-normal fits of 200 series, 1k observations each", None, many, target_ns=10e6),
)
