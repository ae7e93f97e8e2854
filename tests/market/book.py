"""An order book as quantities by price, and the changes that lead from one to another."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.market.listing import units

# Price in units of 1e-8, and the quantity as it was written.
Level = tuple[int, str]


def empty(quantity: str) -> bool:
    """Whether a quantity takes its level away."""
    return float(quantity) == 0.0


def levels(rows: Iterable[Iterable[str]]) -> list[Level]:
    """Levels from the rows of a depth message."""
    return [(units(price), quantity) for price, quantity in rows]


@dataclass
class Book:
    """Both sides of a book."""

    bids: dict[int, str] = field(default_factory=dict)
    asks: dict[int, str] = field(default_factory=dict)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take the changes of one depth event."""
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, quantity in changes:
                if empty(quantity):
                    side.pop(price, None)
                else:
                    side[price] = quantity

    def copy(self) -> "Book":
        """A book of its own with the same levels."""
        return Book(dict(self.bids), dict(self.asks))

    def best(self) -> tuple[Level | None, Level | None]:
        """The best bid and ask, None where a side is empty."""
        bid, ask = max(self.bids, default=None), min(self.asks, default=None)
        return (
            None if bid is None else (bid, self.bids[bid]),
            None if ask is None else (ask, self.asks[ask]),
        )

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """The best `depth` levels of each side, best first."""
        bids = sorted(self.bids.items(), reverse=True)[:depth]
        return bids, sorted(self.asks.items())[:depth]

    def moved(self, shift: int, hidden: str | None) -> "Book":
        """The book with each price `shift` higher and one side, `bids` or `asks`, hidden."""
        return Book(
            {} if hidden == "bids" else dict(moved(self.bids.items(), shift)),
            {} if hidden == "asks" else dict(moved(self.asks.items(), shift)),
        )


def moved(rows: Iterable[Level], shift: int) -> list[Level]:
    """Levels with each price `shift` higher; a price has to stay positive."""
    return [(price + shift, quantity) for price, quantity in rows if price + shift > 0]


def changes(old: dict[int, str], new: dict[int, str]) -> list[Level]:
    """What leads from one side to another, as a depth event says it."""
    gone = [(price, "0") for price in old if price not in new]
    return gone + [(p, quantity) for p, quantity in new.items() if old.get(p) != quantity]
