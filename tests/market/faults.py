"""What can go wrong: a fault, what it strikes, and those that change frames on their way out.

Faults strike what is sent, never what is true: the market's own record stays whole. Several can be
active at once; a frame passes through all that match it, in the order in which they were injected.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec

from tests.market.listing import Kind, Payload, Venue


@dataclass(frozen=True)
class Frame:
    """One message of one stream on its way to its subscribers."""

    venue: Venue
    symbol: str
    kind: Kind
    stream: str
    payload: bytes
    # Instead of the JSON text: other bytes, as a text or a binary message.
    mangled: Callable[[bytes], bytes] | None = None
    binary: bool = False
    # How the message goes through the socket: whole, in fragments, torn, or cut off.
    passage: str = "whole"
    pause_s: float = 0.0


@dataclass
class Fault:
    """One injected fault; what is None or empty strikes all."""

    name: str
    venue: Venue | None = None
    symbol: str | None = None
    kinds: tuple[str, ...] = ()
    rate: float = 1.0
    count: int | None = None
    for_s: float | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    hits: int = 0
    over: bool = False
    held: dict[tuple[Venue, str], Frame] = field(default_factory=dict)  # by market and stream
    # What a fault of state puts back when it ends.
    before: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(f"{self.seed} {self.name}")

    def meets(self, venue: Venue, symbol: str | None = None, kind: str | None = None) -> bool:
        """Whether it is aimed at this."""
        return (
            not self.over
            and self.venue in (None, venue)
            and (symbol is None or self.symbol in (None, symbol))
            and (kind is None or not self.kinds or kind in self.kinds)
        )

    def strikes(self) -> bool:
        """Whether it strikes now, by its rate and count; counts the hit."""
        if self.over or (self.rate < 1 and self.random.random() >= self.rate):
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.hits += 1
        return True

    def told(self) -> Payload:
        """What the control page says of it."""
        shown = ("number", "name", "venue", "symbol", "kinds", "rate", "count", "for_s", "seed")
        return {name: getattr(self, name) for name in (*shown, "options", "hits", "over")}


Strike = Callable[[Fault, Frame], list[Frame]]


def lose(fault: Fault, frame: Frame) -> list[Frame]:
    """The frame never comes."""
    return []


def duplicate(fault: Fault, frame: Frame) -> list[Frame]:
    """The frame comes several times."""
    return [frame] * int(fault.options.get("times", 2))


def disorder(fault: Fault, frame: Frame) -> list[Frame]:
    """The frame is held until the stream's next one has gone."""
    fault.held[frame.venue, frame.stream] = frame
    return []


def corrupt(fault: Fault, frame: Frame) -> list[Frame]:
    """The text is cut off, empty, mixed up, or binary rubbish."""
    how = fault.options.get("how") or fault.random.choice(("cut", "mixed", "binary", "empty"))
    seed = fault.random.random()
    return [
        replace(frame, mangled=lambda text: MANGLED[how](text, Random(seed)), binary=how in BINARY)
    ]


def cut(text: bytes, random: Random) -> bytes:
    """The beginning of a text."""
    return text[: random.randrange(1, len(text))]


def mixed(text: bytes, random: Random) -> bytes:
    """A text with some of its characters replaced and no longer JSON."""
    mixed_up = bytearray(text)
    for _ in range(max(1, len(text) // 20)):
        mixed_up[random.randrange(len(text))] = random.choice(b'{}[]",:x0')
    # Chance may leave it well-formed: the last brace goes in any case.
    mixed_up[-1] = ord("{")
    return bytes(mixed_up)


MANGLED: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut": cut,
    "mixed": mixed,
    "binary": lambda text, random: random.randbytes(len(text)),
    "empty": lambda text, random: b"",
}
BINARY = ("binary",)
# What a number can turn into. A bare NaN is no JSON, yet many parsers take it.
POISONS: tuple[Any, ...] = ("NaN", None, "-1.00", "Infinity", "", "abc", "0", "1e400", "BARE")
BARE = '"BARE"'
PRICES = {"trade": "p", "aggTrade": "p", "mark": "p", "quote": "b"}


def poison(fault: Fault, frame: Frame) -> list[Frame]:
    """A price, or a quantity, is no number that can be used."""
    options = fault.options
    value = options["value"] if "value" in options else fault.random.choice(POISONS)
    message = msgspec.json.decode(frame.payload)
    if frame.kind == "depth":
        side = "b" if message["b"] else "a"
        if not message[side]:
            return [frame]
        message[side][0][int(options.get("quantity", False))] = value
    elif frame.kind in PRICES:
        message[options.get("field", PRICES[frame.kind])] = value
    text = msgspec.json.encode(message).replace(BARE.encode(), b"NaN")
    return [replace(frame, payload=text)]


def partial(fault: Fault, frame: Frame) -> list[Frame]:
    """The message comes in fragments, torn in two by a pause, or breaks off with the connection."""
    how = fault.options.get("how") or fault.random.choice(("fragments", "torn"))
    return [replace(frame, passage=how, pause_s=float(fault.options.get("pause_s", 0.05)))]


@dataclass(frozen=True)
class Striking:
    """A fault of frames: what it does, and which kinds it is aimed at unless told otherwise."""

    strike: Strike
    kinds: tuple[str, ...] = ()


FRAME_FAULTS: dict[str, Striking] = {
    "gap": Striking(lose, ("depth",)),
    "missed": Striking(lose, ("trade", "aggTrade")),
    "silence": Striking(lose),
    "duplicate": Striking(duplicate),
    "disorder": Striking(disorder, ("depth", "trade", "quote", "aggTrade")),
    "corrupt": Striking(corrupt),
    "poison": Striking(poison, ("trade", "quote", "depth", "mark", "aggTrade")),
    "partial": Striking(partial),
}


def passed(fault: Fault, frame: Frame) -> list[Frame]:
    """What one fault makes of one frame; what it held of this stream follows."""
    held = fault.held.pop((frame.venue, frame.stream), None)
    struck = fault.meets(frame.venue, frame.symbol, frame.kind) and held is None and fault.strikes()
    frames = FRAME_FAULTS[fault.name].strike(fault, frame) if struck else [frame]
    return frames + [held] if held is not None else frames


def strike_all(faults: list[Fault], frame: Frame) -> list[Frame]:
    """What all active faults of frames make of one frame."""
    frames = [frame]
    for fault in faults:
        if fault.name in FRAME_FAULTS:
            frames = [made for one in frames for made in passed(fault, one)]
    return frames
