"""A registry for tests: real MLflow on a database file, a runnable set, candidates of it."""

from pathlib import Path
from typing import Any

import msgspec

from hft_lib.lineage import Candidate
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Parameters,
    Provenance,
    StrategyParameters,
)
from serving.adapters import mlflow_store
from serving.runtime.settings import Settings

PARAMETERS = Parameters(
    grid_ms=1000,
    kalman=KalmanParameters(
        intercept_drift_var=1e-10,
        hedge_drift_var=1e-12,
        noise_var=1e-8,
        intercept_prior_mean=0.0,
        intercept_prior_var=1.0,
        hedge_prior_mean=1.0,
        hedge_prior_var=1e-4,
    ),
    garch=GarchParameters(mean=0.0, omega=1e-9, alpha=0.1, beta=0.8, variance_prior=1e-8),
    bocd=BocdParameters(
        hazard=0.01, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
    ),
    strategy=StrategyParameters(
        entry_z=2.0,
        exit_z=0.5,
        stop_z=5.0,
        horizon_s=10.0,
        risk_fraction=0.01,
        gross_fraction_max=1.0,
        edge_cost_ratio_min=1.0,
        warmup_s=30.0,
    ),
)
PROVENANCE = Provenance(
    tape_sha256="7a" * 32,
    start="2024-08-08T00:00:00Z",
    end="2024-08-09T00:00:00Z",
    trials=3,
    git_commit="c0ffee",
    seed=7,
)


def settings(home: Path) -> Settings:
    """The embedded default below `home`."""
    return Settings(hft_home=home)


def client(home: Path) -> Any:
    """A client on the embedded default below `home`, made at first use."""
    return mlflow_store.open_client(settings(home))


def entering_at(entry_z: float) -> Parameters:
    """The parameter set with another entry: another content."""
    strategy = msgspec.structs.replace(PARAMETERS.strategy, entry_z=entry_z)
    return msgspec.structs.replace(PARAMETERS, strategy=strategy)


def candidate(pair: str, parameters: Parameters = PARAMETERS, **changes: Any) -> Candidate:
    """A calibrated candidate of `pair`."""
    made = Candidate(
        pair=pair,
        name="fitted",
        parameters=parameters,
        provenance=PROVENANCE,
        config_sha256="c1" * 32,
        code_sha256="c2" * 32,
        lock_sha256="c3" * 32,
        metrics={"kalman.log_likelihood": -12.5},
        diagnostics={"garch": {"converged": True, "standard_errors": {"omega": None}}},
    )
    return msgspec.structs.replace(made, **changes)


def pair_of(coin: str) -> str:
    """Perpetual against spot of a coin: a pair, and so a registered model, for one test."""
    return f"{coin}/USDT:USDT~{coin}/USDT"


def artifact(home: Path, name: str) -> Path:
    """The one file `name` that the newest version left in the artifact store."""
    found = sorted((home / "mlartifacts").rglob(name), key=lambda path: path.stat().st_mtime_ns)
    return found[-1]
