"""Pairs by name: `Y~X`, two symbols, the dependent one first."""

from collections.abc import Sequence


def legs_of(pair: str) -> tuple[str, str]:
    """The two symbols of `Y~X`; raises ValueError for anything else."""
    legs = pair.split("~")
    if len(legs) != 2 or legs[0] == legs[1] or not all(legs):
        raise ValueError(
            f"a pair must be two symbols Y~X, such as BTC/USDT:USDT~BTC/USDT, was {pair!r}"
        )
    return legs[0], legs[1]


def currency_of(pair: str) -> str:
    """The quote currency of `Y~X`, as the symbols name it."""
    return pair.split("~")[0].split(":")[0].rsplit("/", 1)[-1]


def possible_pairs(symbols: Sequence[str]) -> list[str]:
    """Perpetual against spot of one coin."""
    return [f"{y}~{x}" for y in symbols for x in symbols if ":" in y and y.split(":")[0] == x]


def pair_on(symbols: Sequence[str], pair: str = "") -> str:
    """`pair` if both its legs are among `symbols`; where it is empty the only possible one.

    Only two symbols are a pair too, in the order of the alphabet. Raises ValueError otherwise.
    """
    possible = possible_pairs(symbols) or (["~".join(sorted(symbols))] if len(symbols) == 2 else [])
    if not pair and len(possible) != 1:
        raise ValueError(f"which pair? Name it Y~X; the tape has {', '.join(symbols)}")
    wanted = pair or possible[0]
    missing = [leg for leg in legs_of(wanted) if leg not in symbols]
    if missing:
        raise ValueError(
            f"the tape lacks {' and '.join(missing)} of pair {wanted}: it has {', '.join(symbols)}"
        )
    return wanted
