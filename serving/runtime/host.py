"""Two verbs run everything: `serve` hosts a stage on a bus, `connect` joins the bus to an edge.

A bus is anything that takes a fact for a log and hands each log's facts, in order, to its one
reader.
"""

from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import numpy as np

from hft_lib.events import Event
from hft_lib.stage import Stage, kinds, restore, snapshot

Reader = Callable[[Event], None]


class Misdirected(Exception):
    """A fact came into an inbox whose stage takes none of its kind, or none of its pair."""


class Bus(Protocol):
    """Logs by name."""

    def write(self, log: str, fact: Event) -> None:
        """Append a fact to `log`."""

    def read(self, log: str, reader: Reader) -> None:
        """Hand every fact of `log` from now on to `reader`, in order."""


class Feed(Protocol):
    """An edge that brings the world in: facts, each with the inbox that it is for."""

    def facts(self) -> Iterable[tuple[str, Event]]:
        """What the world brings, in order of time."""


class Sink(Protocol):
    """An edge that only reads: the logs it reads, and what it does with a fact of them."""

    @property
    def logs(self) -> tuple[str, ...]:
        """The logs that it reads."""

    def take(self, log: str, fact: Event) -> None:
        """Use one fact."""


class Snapshot(msgspec.Struct, frozen=True):
    """A stage at a point of its inbox: facts read, facts written, state."""

    stage: str
    read: int
    written: int
    state: bytes


class Host:
    """A stage at work: its state, and how many facts it has read and written."""

    def __init__(self, stage: Stage[Any, Any], config: Any, bus: Bus) -> None:
        self.stage = stage
        self.state = stage.start(config)
        self._config = config
        self.read = 0
        self.written = 0
        # Told of every fact made, once it is written, on the thread that steps.
        self.on_made: Callable[[Event], None] | None = None
        self._pair_of = {kind: _pair_getter(kind) for kind in kinds(stage)}
        self._pairs = frozenset(("", *(item.pair for item in config.pairs)))
        self._step = stage.step
        self._routes = stage.routes
        self._write = bus.write

    @property
    def grid_s(self) -> float:
        """Seconds from one grid point of the line to the next."""
        return float(self._config.grid_ms) / 1e3

    def take(self, fact: Event) -> None:
        """Step on one fact of the inbox and write what came of it.

        Raises Misdirected, and steps on nothing, for a kind that the stage does not take and for a
        pair that is none of the line's.
        """
        pair_of = self._pair_of.get(type(fact))
        if pair_of is None:
            raise Misdirected(f"{self.stage.name} takes no {type(fact).__name__}")
        if pair_of(fact) not in self._pairs:
            raise Misdirected(f"the line has no pair {pair_of(fact)!r}")
        self.read += 1
        for made in self._step(self.state, fact):
            self.written += 1
            for log in self._routes[type(made)]:
                self._write(log, made)
            if self.on_made is not None:
                self.on_made(made)

    def snapshot(self) -> Snapshot:
        """The stage as it is now."""
        return Snapshot(self.stage.name, self.read, self.written, snapshot(self.state))

    def restore(self, saved: Snapshot) -> None:
        """Go on from `saved`; raises ValueError for another stage's, or of another layout."""
        if saved.stage != self.stage.name:
            raise ValueError(f"a snapshot of {saved.stage} is none of {self.stage.name}")
        state = restore(self.stage, saved.state)
        ours = _layout(self.stage.start(self._config))
        for name, kinds_there in _layout(state).items():
            if name in ours and not kinds_there <= ours[name]:
                raise ValueError(f"{name} must be laid out as in this program, was not")
        self.state = state
        self.read, self.written = saved.read, saved.written


@cache
def _pair_getter(kind: type) -> Callable[[Any], str]:
    """How the pair of a fact is read; empty for what concerns all."""
    names = {field.name for field in msgspec.structs.fields(kind)}
    if "pair" in names:
        return attrgetter("pair")
    return attrgetter("tick.pair") if "tick" in names else lambda fact: ""


def _layout(state: Any) -> dict[str, set[Any]]:
    """The kinds of all arrays in a state, by the struct and field that hold them."""
    found: dict[str, set[Any]] = {}
    _collect(state, "", found)
    return found


def _collect(value: Any, name: str, found: dict[str, set[Any]]) -> None:
    if isinstance(value, np.ndarray):
        found.setdefault(name, set()).add(value.dtype)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            _collect(getattr(value, field), f"{type(value).__name__}.{field}", found)
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, name, found)


def serve(stage: Stage[Any, Any], config: Any, bus: Bus) -> Host:
    """Host `stage` on `bus`: it reads its inbox from now on."""
    host = Host(stage, config, bus)
    bus.read(stage.name, host.take)
    return host


def connect(edge: Sink, bus: Bus) -> None:
    """Join a reading edge to `bus`: it is handed every fact of its logs from now on."""
    for log in edge.logs:
        bus.read(log, lambda fact, log=log: edge.take(log, fact))  # type: ignore[misc]
