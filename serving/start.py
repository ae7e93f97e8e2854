"""What a service, or all of them, were started with beside the settings."""

from pathlib import Path

import msgspec

from hft_lib.parameters import ParameterFile


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A tape and its pace (None: as fast as it goes), a parameter file for each pair."""

    tape: Path | None = None
    speed: float | None = None
    params: tuple[ParameterFile, ...] = ()
    borrow_rate_annual: float | None = None
