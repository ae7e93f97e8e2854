"""What the market really published, kept whole, to be compared with what a client made of it."""

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from tests.market.book import Book, levels
from tests.market.listing import Key, Kind, Payload

# A book is rebuilt from the nearest copy before it: one in so many depth events.
COPY_EVERY = 500


@dataclass
class Log:
    """Encoded payloads under ids that never fall."""

    ids: array = field(default_factory=lambda: array("q"))
    payloads: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, number: int, payload: bytes) -> None:
        """Keep one payload; ids that fall would make every look-up wrong."""
        assert not self.ids or number >= self.ids[-1], f"id {number} after {self.ids[-1]}"
        self.ids.append(number)
        self.payloads.append(payload)

    def get(self, number: int) -> Payload | None:
        """The payload of this id, None where there is none."""
        at = bisect_left(self.ids, number)
        found = at < len(self.ids) and self.ids[at] == number
        return msgspec.json.decode(self.payloads[at]) if found else None

    def since(self, number: int, limit: int | None = None) -> list[Payload]:
        """Payloads from this id on, at most `limit`."""
        at = bisect_left(self.ids, number)
        end = None if limit is None else at + limit
        return [msgspec.json.decode(payload) for payload in self.payloads[at:end]]

    def last(self, limit: int) -> list[Payload]:
        """The newest payloads, oldest first."""
        start = max(0, len(self.payloads) - limit)
        return [msgspec.json.decode(payload) for payload in self.payloads[start:]]


@dataclass
class Truth:
    """Trades by id, books and quotes by update id; marks, funding, listings in their order."""

    logs: dict[tuple[Kind, Key], Log] = field(default_factory=lambda: defaultdict(Log))
    funding: dict[Key, Log] = field(default_factory=lambda: defaultdict(Log))
    listings: dict[Key, Log] = field(default_factory=lambda: defaultdict(Log))
    books: dict[Key, list[tuple[int, int, Book]]] = field(default_factory=lambda: defaultdict(list))

    def log(self, kind: Kind, key: Key) -> Log:
        """What was published of one kind and instrument."""
        return self.logs[kind, key]

    def trades(self, key: Key) -> dict[int, Payload]:
        """Every trade by its id."""
        return {trade["t"]: trade for trade in self.log("trade", key).since(0)}

    def starts(self, key: Key, update_id: int, book: Book) -> None:
        """Keep the book that the stream of depth begins with."""
        self.books[key].append((update_id, 0, book.copy()))

    def depth(self, key: Key, payload: bytes, update_id: int, book: Book) -> None:
        """Keep a depth event, and now and then the whole book after it."""
        log = self.log("depth", key)
        log.append(update_id, payload)
        if len(log) % COPY_EVERY == 0:
            self.books[key].append((update_id, len(log), book.copy()))

    def book(self, key: Key, update_id: int) -> Book | None:
        """The book after the last event whose `u` is at most this id; None before the first."""
        copies = self.books[key]
        at = bisect_right(copies, update_id, key=lambda copy: copy[0]) - 1
        if at < 0:
            return None
        _, start, kept = copies[at]
        log, book = self.log("depth", key), kept.copy()
        for payload in log.payloads[start : bisect_right(log.ids, update_id)]:
            event = msgspec.json.decode(payload)
            book.apply(levels(event["b"]), levels(event["a"]))
        return book

    def update_ids(self, key: Key) -> list[int]:
        """The update id of every book, the first one's included."""
        first = [self.books[key][0][0]] if self.books[key] else []
        return first + list(self.log("depth", key).ids)
