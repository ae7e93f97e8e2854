"""Lengths of time as people write them."""

import re

from cli.errors import BadInput

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(option: str, text: str | None) -> float | None:
    """The seconds of a length such as `90s`, `10m`, `1.5h` or `2d`; None of None.

    Raises BadInput for anything else, and for nothing at all.

    >>> seconds_of("--for", "1.5h")
    5400.0
    """
    if text is None:
        return None
    found = _LENGTH.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if seconds <= 0.0:
        raise BadInput(f"{option} must be a length such as 90s, 10m, 8h or 2d, was {text!r}")
    return seconds
