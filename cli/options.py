"""The options that several verbs share, each defined once."""

from pathlib import Path
from typing import Annotated

import typer

TapeOption = Annotated[Path, typer.Option(help="The tape's folder.")]
OptionalTapeOption = Annotated[
    Path | None, typer.Option(help="The tape's folder; the synthetic market where there is none.")
]
ParamsOption = Annotated[
    list[Path] | None,
    typer.Option(help="The parameter file; named again for each pair of the line."),
]
PairOption = Annotated[
    str | None,
    typer.Option(
        help="Y~X, such as BTC/USDT:USDT~BTC/USDT; by default the parameter file's, "
        "PAIRS, or the tape's only perpetual and spot of one coin."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the synthetic market.", min=0)]
OutOption = Annotated[Path | None, typer.Option(help="A new folder for what the run makes.")]
StartOption = Annotated[str | None, typer.Option(help="First time, ISO 8601 UTC.")]
OrdersOption = Annotated[Path | None, typer.Option(help="Write the approved orders as CSV.")]
FillsOption = Annotated[Path | None, typer.Option(help="Write the fills as CSV.")]
EndOption = Annotated[str | None, typer.Option(help="Time to stop before, ISO 8601 UTC.")]


def _finite(value: float | None) -> float | None:
    if value is not None and not 0.0 <= value < 1e3:
        raise typer.BadParameter(f"must be from 0 to 1000, was {value}")
    return value


BorrowOption = Annotated[
    float | None,
    typer.Option(
        "--assume-borrow",
        help="Assume that spot can be borrowed at this rate a year (0.05 is 5 %); "
        "without it a spot leg is never sold short.",
        callback=_finite,
    ),
]
JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="A run's journal; the latest run's by default.")
]
