"""A pair's data as a notebook studies it: cleaned, aligned, on the models' grid, with a fitting
window that ends before the data do.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hft_lib.backtest.sampling import Moments, sample_tape, slower_cadence_ns
from hft_lib.fitting.calibrate import iso_ms, relate
from hft_lib.fitting.grid import grid_moments
from hft_lib.fitting.parameter_file import complete, parameter_file, write_parameter_file
from hft_lib.fitting.relation import P_VALUE_MAX, Relation
from hft_lib.fitting.result import require
from hft_lib.market import synthetic
from hft_lib.market.pairs import pair_on
from hft_lib.market.synthetic import SyntheticMarket
from hft_lib.market.tape import Tape, TapeError, is_tape
from hft_lib.models.inputs import Counts, Vector
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    ParameterFile,
)

FIT_SHARE = 0.7  # of the window; what comes after is kept to judge by
# A study moves numbers, not gigabytes: where a tape holds more, name a window.
POINTS_MIN = 70

Progress = Callable[[str, float], None]
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Truth:
    """What a made-up market was made from, at the grid moments (time,); `break_ns` is when its
    relation jumps.
    """

    hedge_ratio: Vector
    intercept: Vector
    spread: Vector
    break_ns: int


@dataclass(frozen=True)
class Study:
    """A pair on a tape. `moments` are all its complete moments; `time_ns`, `log_y`, `log_x`
    (time,) those of the grid, `steps` (time,) the whole grid intervals since the one before.

    `fit` are the rows to fit on, `rest` those to judge by. The `relation` is that of the former.
    """

    pair: str
    tape: Tape
    moments: Moments
    relation: Relation
    grid_ms: int
    time_ns: npt.NDArray[np.int64]
    log_y: Vector
    log_x: Vector
    steps: Counts
    fit: slice
    rest: slice
    truth: Truth | None

    @property
    def spread(self) -> Vector:
        """The deviation from the fixed relation of the fitting window, log units (time,)."""
        spread: Vector = self.log_y - self.relation.intercept
        return spread - self.relation.hedge_ratio * self.log_x

    @property
    def fit_end_ns(self) -> int:
        """Time of the fitting window's last moment on the grid."""
        return int(self.time_ns[self.fit][-1])

    @property
    def grid_h(self) -> float:
        """The grid in hours."""
        return self.grid_ms / 3.6e6

    def described(self) -> str:
        """What was loaded, in three lines without a path or a clock: the same everywhere."""
        made = "synthetic market" if self.truth is not None else "tape"
        days = (int(self.moments.time_ns[-1]) - int(self.moments.time_ns[0])) / 8.64e13
        return "\n".join(
            (
                f"{made} {self.tape.sha256[:12]}: {self.pair}, {days:.4g} days",
                f"{self.moments.time_ns.size:,} complete moments of {self.tape.rows:,} rows",
                f"grid {self.grid_ms / 6e4:.4g} min: {self.time_ns.size:,} steps, the first "
                f"{self.fit.stop:,} (to {iso_ms(self.fit_end_ns)[:16]}Z) to fit on",
            )
        )

    def relation_sentence(self) -> str:
        """What the fitting window says of the pair, and whether to go on."""
        found = self.relation
        p_value = f"p = {found.p_value:.2g}" if found.p_value >= 1e-4 else "p < 0.0001"
        ratio = f"hedge ratio {found.hedge_ratio:.4g}, {p_value}"
        if not found.cointegrated:
            return (
                f"The legs do NOT hold together in the fitting window ({ratio}; {P_VALUE_MAX} is "
                "the bar). What follows still computes, but a spread that need not come back is "
                "no trade: read it as a warning, and choose another pair or window."
            )
        if found.half_life_s is None:
            return f"The legs hold together ({ratio}), but the spread shows no half-life."
        return (
            f"The legs hold together in the fitting window ({ratio}): a deviation halves in "
            f"{found.half_life_s / 60.0:.3g} min."
        )

    def write(
        self,
        out: str | Path,
        kalman: KalmanParameters,
        garch: GarchParameters | None = None,
        bocd: BocdParameters | None = None,
        *,
        trials: int = 1,
    ) -> ParameterFile:
        """Write the parameter file of these models at `out`; what is not given is fitted to the
        fitting window. A path that is not absolute is below the project's root.
        """
        rows = self.fit
        params = complete(
            self.log_y[rows],
            self.log_x[rows],
            self.steps[rows],
            self.grid_ms,
            kalman,
            garch=garch,
            bocd=bocd,
            half_life_s=self.relation.half_life_s,
        )
        window_ns = (int(self.moments.time_ns[0]), self.fit_end_ns)
        file = parameter_file(params, self.pair, self.tape.sha256, window_ns, trials=trials)
        write_parameter_file(from_root(out), file)
        return file

    def replay_command(self, out: str | Path) -> str:
        """The line that runs a parameter file over what was not fitted on, from the root."""
        after = iso_ms(self.fit_end_ns + 1_000_000)
        return f"hft replay --tape {_shown(self.tape.path)} --params {out} --start {after}"


def open_study(
    tape: str | Path = "",
    pair: str = "",
    *,
    market: SyntheticMarket = SyntheticMarket(),
    seed: int = 7,
    grid_ms: int = 0,
    fit_share: float = FIT_SHARE,
    progress: Progress | None = None,
) -> Study:
    """Load a pair: from the folder `tape`, or where it is empty from the synthetic `market` of
    `seed`, whose truth is known. `pair` is needed only where the tape could mean several.

    The grid is the one that calibration chooses, or `grid_ms`; the first `fit_share` of the time is
    for fitting. `progress` is told what is being done and the share done. A path that is not
    absolute is below the project's root. Raises TapeError, ValueError for a wrong name, FitRefused
    where the data are too few to study.
    """
    tell = progress or _say_nothing
    opened = Tape.open(from_root(tape)) if str(tape) else synthetic_tape(seed, market, tell)
    name = pair_on(opened.symbols, pair)
    moments = _moments(opened, name, tell)
    require(moments.time_ns.size >= POINTS_MIN, "too few complete moments", moments.time_ns.size)
    start_ns, end_ns = int(moments.time_ns[0]), int(moments.time_ns[-1])
    split_ns = start_ns + round((end_ns - start_ns) * fit_share)
    early = moments.time_ns <= split_ns
    tell("relating the legs", 0.5)
    sampled = (moments.time_ns[early], moments.log_y[early], moments.log_x[early])
    related, chosen_ms = relate(*sampled, slower_cadence_ns(opened, name, split_ns + 1))
    grid_ms = grid_ms or chosen_ms
    indices, steps = grid_moments(moments.time_ns, grid_ms)
    time_ns = moments.time_ns[indices]
    count = int(np.searchsorted(time_ns, split_ns, side="right"))
    require(count >= POINTS_MIN // 2, f"too few steps of {grid_ms} ms to fit on", count)
    require(count < time_ns.size, "no step is left to judge by: the fitting share", fit_share)
    tell("done", 1.0)
    return Study(
        pair=name,
        tape=opened,
        moments=moments,
        relation=related,
        grid_ms=grid_ms,
        time_ns=time_ns,
        log_y=moments.log_y[indices],
        log_x=moments.log_x[indices],
        steps=steps,
        fit=slice(0, count),
        rest=slice(count, time_ns.size),
        truth=None if str(tape) else _truth(opened, time_ns),
    )


def synthetic_tape(seed: int, market: SyntheticMarket, progress: Progress | None = None) -> Tape:
    """The tape of a synthetic market, kept under `runs/tapes` by its magnitudes and seed."""
    content = msgspec.json.encode(market, order="deterministic")
    name = f"study-{hashlib.sha256(content).hexdigest()[:8]}-{seed}"
    path = from_root(Path("runs", "tapes", name))
    if is_tape(path):
        return Tape.open(path)
    rows, done, tell = market.days * 2 * 86_400.0 / market.step_s, 0, progress or _say_nothing

    def count(written: int) -> None:
        nonlocal done
        done += written
        tell("making a synthetic market", min(done / rows, 1.0))

    tell("making a synthetic market", 0.0)
    try:
        return synthetic.write(seed, path, market, count)
    except (TapeError, OSError):
        # Two notebooks at once may make the same market: the first to end names it.
        if not is_tape(path):
            raise
        return Tape.open(path)


def from_root(path: str | Path) -> Path:
    """`path`, or where it is not absolute the one below the project's root: a notebook's current
    folder is its own.
    """
    return _ROOT / path


def _shown(path: Path) -> str:
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)


def _moments(tape: Tape, pair: str, tell: Progress) -> Moments:
    done = 0

    def count(events: int) -> None:
        nonlocal done
        done += events
        tell("cleaning and aligning", min(done / tape.rows, 1.0))

    return sample_tape(tape, pair, advance=count)


def _truth(tape: Tape, time_ns: npt.NDArray[np.int64]) -> Truth:
    """The truth beside a synthetic tape, as it stood at each time."""
    table = pq.read_table(tape.path / synthetic.TRUTH_ROWS)
    known = {name: table.column(name).to_numpy() for name in table.column_names}
    rows = np.searchsorted(known["time_ns"], time_ns, side="right") - 1
    document = msgspec.json.decode((tape.path / synthetic.TRUTH).read_bytes())
    return Truth(
        hedge_ratio=known["hedge_ratio"][rows],
        intercept=known["intercept"][rows],
        spread=known["spread"][rows],
        break_ns=int(document["break_ns"]),
    )


def _say_nothing(_what: str, _share: float) -> None:
    """Progress that nobody watches."""
