"""What drives the market: timed raw payloads of one instrument each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from tests.market.listing import Key, Listing, Payload


@dataclass(frozen=True, slots=True)
class Tick:
    """One payload as Binance words it, at nanoseconds since the source began."""

    time_ns: int
    key: Key
    kind: Literal["snapshot", "trade", "quote", "depth"]
    payload: Payload


class Source(Protocol):
    """Where ticks come from, in the order of time; of each instrument a snapshot comes first."""

    @property
    def listings(self) -> list[Listing]:
        """The instruments."""

    @property
    def base_ms(self) -> dict[Key, int]:
        """How often an instrument's depth comes, in milliseconds; 0 where it comes at once."""

    def ticks(self) -> Iterator[Tick]:
        """All ticks from the beginning, the same at each call."""
