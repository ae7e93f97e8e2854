"""`hft calibrate`: fits the three models of a pair on a tape, and writes the parameter file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.console import command, emit, near, print_rows, progress, text
from cli.context import (
    Window,
    resolve_pair,
    window_of,
)
from cli.errors import BadInput
from hft_lib.backtest.sampling import Moments, sample_tape, slower_cadence_ns
from hft_lib.fitting.calibrate import MOMENTS_MIN, Calibration
from hft_lib.fitting.parameter_file import encode, file_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.lines import config_of
from serving.runtime.identity import content_sha256, git_commit
from serving.runtime.journal import replace_file
from serving.runtime.settings import Settings


def calibrate(
    context: typer.Context,
    tape: options.TapeOption,
    pair: options.PairOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the parameter file here.")] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Log the fit in MLflow and register its set.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Fit hedge ratio, volatility and changepoint models of a pair by maximum likelihood.

    Says what was found, with standard errors, whether each fit converged, and whether the pair
    holds together at all. With --out it writes the file that replay and run read. With --register
    the set becomes the pair's champion in MLflow, or a challenger where it has a champion.

    Example: hft calibrate --tape runs/tapes/synth-1-7 --out champion.json
    """
    settings: Settings = context.obj
    opened = Tape.open(tape)
    name = resolve_pair(pair, None, settings, opened)
    window = window_of(opened, start, end)
    if out is not None:
        _can_be_written(out)
    calibration, moments = fit_window(opened, name, window, opened.rows)
    document = {**calibration.document(), "tape_sha256": opened.sha256}
    file = parameter_file(opened, calibration)
    if out is not None:
        replace_file(out, encode(file))
        document |= {"params_file": str(out), "tape": str(tape)}
    if register:
        document["registered"] = register_fit(settings, file, calibration, moments)
    emit(document, as_json, print_calibration)


def _can_be_written(out: Path) -> None:
    """Say before the fit that its file has no place, not after it."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput(f"--out must be a file in a folder that exists, was {out}")


def fit_window(tape: Tape, pair: str, window: Window, rows: float) -> tuple[Calibration, Moments]:
    """Clean and align the pair over the window as a run would, and fit the three models to it.

    `rows` of the tape are about what the window holds. Returns also what was fitted.
    """
    from hft_lib.fitting.calibrate import calibrate as fit

    with progress("cleaning the fitting window", rows) as task:
        moments = sample_window(tape, pair, window, task.advance)
        return fit(*moments, pair, task.describe, slower_cadence_ns(tape, pair, window[1])), moments


def register_fit(
    settings: Settings, file: ParameterFile, calibration: Calibration, moments: Moments
) -> dict[str, Any]:
    """Register the set of a fit with its run and figures; returns name, version, run and alias."""
    from cli.registry import candidate, open_client, register_beside
    from hft_lib.backtest.fit_figures import fit_figures

    config = config_of(settings, (file,), None)
    found = candidate(
        file,
        "calibrated",
        file.params,
        content_sha256(config),
        fit_metrics(calibration),
        calibration.document(),
    )
    client = open_client(settings)
    return register_beside(settings, client, found, fit_figures(calibration, moments))


def fit_metrics(calibration: Calibration) -> dict[str, float]:
    """What the registry shows of a fit at a glance."""
    return {
        "log_likelihood_kalman": float(calibration.kalman.log_likelihood),
        "log_likelihood_garch": float(calibration.garch.log_likelihood),
        "log_likelihood_bocd": float(calibration.bocd.log_likelihood),
    }


def sample_window(tape: Tape, pair: str, window: Window, advance: Any) -> Moments:
    """The pair's complete moments over the window; BadInput where they are too few to fit."""
    moments = sample_tape(tape, pair, *window, advance)
    if moments.time_ns.size < MOMENTS_MIN:
        raise BadInput(
            f"the window must hold at least {MOMENTS_MIN} moments at which both legs have prices, "
            f"was {moments.time_ns.size}: name a longer one, or another tape"
        )
    return moments


def parameter_file(tape: Tape, calibration: Calibration, trials: int = 1) -> ParameterFile:
    """The file of a calibration alone, with the commit of the code that made it."""
    return file_of(calibration, tape.sha256, trials=trials, git_commit=git_commit())


def print_calibration(known: dict[str, Any]) -> None:
    """The fit, for people."""
    console = text()
    relation = known["relation"]
    console.print(
        f"[bold]{known['pair']}[/bold]  {known['observations']:,} observations, "
        f"{known['start']} to {known['end']}"
    )
    holds = "hold together" if relation["cointegrated"] else "do not hold together"
    half_life = relation["half_life_s"]
    console.print(
        f"  the legs {holds}: hedge ratio {relation['hedge_ratio']:.4f}, "
        + (f"half-life {half_life:,.0f} s" if half_life else "no half-life")
        + f", p = {relation['p_value']:.4g}"
    )
    for model in ("kalman", "garch", "bocd"):
        fit = known[model]
        state = "converged" if fit["converged"] else "did NOT converge"
        console.print(f"  {model}: {state}, log-likelihood {fit['log_likelihood']:,.3f}")
        for name, value in fit["params"].items():
            error = fit["standard_errors"].get(name)
            spread = f" ± {error:.3g}" if error is not None else ""
            shown = "none (normal)" if value is None else f"{value:.6g}{spread}"
            console.print(f"    {name:<24}{shown}")
    if "registered" in known:
        made = known["registered"]
        console.print(f"  registered as {made['alias']}: {made['name']} version {made['version']}")
    if "params_file" in known:
        written = Path(known["params_file"])
        again = command("hft", "replay", "--tape", Path(known["tape"]), "--params", written)
        print_rows((("written", near(written)), ("next", again)))
