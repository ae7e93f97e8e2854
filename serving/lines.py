"""What a line is opened with: its configuration, from parameter files of one pair each."""

from collections.abc import Iterable, Sequence

import msgspec

from hft_lib.events import Registered
from hft_lib.line import LineConfig, PairConfig, registrations
from hft_lib.parameters import Assumptions, Evop, ParameterFile
from serving.runtime.opening import NotThisLine
from serving.runtime.settings import Settings


def line_of(
    settings: Settings,
    pairs: Iterable[tuple[str, Evop]],
    grid_ms: int,
    borrow_rate_annual: float | None,
) -> LineConfig:
    """The line of `pairs` under these settings, each with a capital share of its own."""
    capital_quote = settings.champion_initial_capital
    return LineConfig(
        pairs=tuple(
            PairConfig(pair=pair, capital_quote=capital_quote, evop=evop) for pair, evop in pairs
        ),
        grid_ms=grid_ms,
        challengers_max=settings.evop_max_challengers,
        assumptions=Assumptions(borrow_rate_annual=borrow_rate_annual),
    )


def in_order(settings: Settings, files: Sequence[ParameterFile]) -> tuple[ParameterFile, ...]:
    """The files in the order of PAIRS, or as they were named where that is unset.

    Raises NotThisLine unless there is one for each pair, all on one grid.
    """
    named = [file.pair for file in files]
    wanted = settings.pairs or tuple(named)
    if sorted(named) != sorted(wanted) or len(set(named)) != len(named):
        raise NotThisLine(
            f"the parameter files must be of {', '.join(wanted)}, one each, were of "
            f"{', '.join(named)}"
        )
    grids = sorted({file.params.grid_ms for file in files})
    if len(grids) > 1:
        raise NotThisLine(
            f"grid_ms must be the same for all pairs of a line, was {' and '.join(map(str, grids))}"
        )
    return tuple(sorted(files, key=lambda file: wanted.index(file.pair)))


def config_of(
    settings: Settings, files: Sequence[ParameterFile], borrow_rate_annual: float | None
) -> LineConfig:
    """The line of the files' pairs, in their order."""
    pairs = [(file.pair, file.evop) for file in files]
    return line_of(settings, pairs, files[0].params.grid_ms, borrow_rate_annual)


def sets_of(files: Iterable[ParameterFile], time_ns: int) -> list[Registered]:
    """What the registry would say of the files at `time_ns`, pair by pair."""
    return [item for file in files for item in registrations(file, time_ns)]


def begun_at(sets: Iterable[Registered], start_ns: int) -> list[Registered]:
    """The sets as the registry says them at the run's first moment."""
    return [msgspec.structs.replace(item, time_ns=start_ns) for item in sets]


def is_registered(settings: Settings, sets: Sequence[Registered]) -> bool:
    """Whether a line of these sets has its registry: one is named, and all of them are its."""
    named = "mlflow_tracking_uri" in settings.model_fields_set
    return named and all(item.model_version for item in sets)
