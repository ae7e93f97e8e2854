"""Numbers, money and times as people read them: few digits, thousands separated, a minus sign that
is one, UTC.
"""

import math
from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"
MONTHS = (
    "January February March April May June July August September October November December".split()
)


def number(value: float, digits: int = 4) -> str:
    """`value` in `digits` significant digits, all of them before the point: 12,345, 0.0123,
    -4.5e-07.
    """
    if not math.isfinite(value):
        return "not a number" if value != value else "∞" if value > 0 else f"{MINUS}∞"
    if value == 0.0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:,.{max(digits - 1 - exponent, 0)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return text.replace("-", MINUS)


def count(items: int, one: str, many: str = "") -> str:
    """`1 block`, `1,200 blocks`, `no blocks`."""
    words = one if items == 1 else many or f"{one}s"
    return f"{items:,} {words}" if items else f"no {words}"


def money(value: float, currency: str) -> str:
    """`value` of `currency`; a cent is the least that is said."""
    shown = 0.0 if abs(value) < 0.005 else value
    digits = 0 if abs(shown) >= 1000.0 else 1 if abs(shown) >= 100.0 else 2
    return f"{shown:,.{digits}f}\N{NO-BREAK SPACE}{currency}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share as a percentage in three significant digits."""
    return f"{number(100.0 * share, 3)}\N{NO-BREAK SPACE}%"


def moment(time_ns: int) -> datetime:
    """The UTC time of `time_ns`."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)


def day(time_ns: int) -> str:
    """`12 April 2025`."""
    when = moment(time_ns)
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def minute(time_ns: int) -> str:
    """`2025-04-12 08:30 UTC`."""
    return f"{moment(time_ns):%Y-%m-%d %H:%M} UTC"


def second(time_ns: int) -> str:
    """`2025-04-12 08:30:05 UTC`."""
    return f"{moment(time_ns):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """`6 min`, `3.5 h`, `41 days`: one unit, the largest that fits twice."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{number(seconds / size, 3)} {unit}"
    return f"{number(seconds, 3)} s"
