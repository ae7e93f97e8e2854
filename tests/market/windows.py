"""Slower streams of depth: the changes of a window as one event, with ids that follow on."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from tests.market.listing import Key, Payload, Venue

# Speeds in milliseconds, and the names that a stream of each has.
SPEEDS: dict[Venue, dict[int, str]] = {
    "spot": {100: "depth@100ms", 1000: "depth"},
    "usdm": {0: "depth@0ms", 100: "depth@100ms", 250: "depth", 500: "depth@500ms"},
}


@dataclass
class Window:
    """What one slower stream has gathered since its last event."""

    key: Key
    stream: str
    every_ns: int
    due_ns: int = 0
    sent_id: int | None = None
    first: int = 0
    event: Payload | None = None
    sides: dict[str, dict[str, str]] = field(default_factory=lambda: {"b": {}, "a": {}})

    def take(self, event: Payload) -> None:
        """Add one depth event of the instrument."""
        if self.event is None:
            self.first = event["U"]
            if self.sent_id is None:
                self.sent_id = event.get("pu")
        for side, levels in self.sides.items():
            levels.update(event[side])
        self.event = event

    def flush(self, time_ns: int) -> bytes | None:
        """The window's event where it is due and something changed."""
        if time_ns < self.due_ns:
            return None
        self.due_ns = time_ns - time_ns % self.every_ns + self.every_ns
        if self.event is None:
            return None
        payload = {**self.event, "U": self.first}
        if "pu" in payload:
            payload["pu"] = self.sent_id
        for side, levels in self.sides.items():
            payload[side] = [list(level) for level in levels.items()]
            levels.clear()
        self.sent_id, self.event = payload["u"], None
        return msgspec.json.encode(payload)


def windows_of(key: Key, base_ms: int) -> list[Window]:
    """The slower streams of an instrument whose depth comes each `base_ms`."""
    venue, symbol = key
    return [
        Window(key, f"{symbol.lower()}@{name}", speed_ms * 1_000_000)
        for speed_ms, name in SPEEDS[venue].items()
        if speed_ms > base_ms
    ]


def direct(key: Key, base_ms: int) -> Iterator[str]:
    """The streams that carry the instrument's depth as it comes."""
    venue, symbol = key
    for speed_ms, name in SPEEDS[venue].items():
        if speed_ms <= base_ms:
            yield f"{symbol.lower()}@{name}"
