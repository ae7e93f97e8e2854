"""The world of a simulated line: logs, a network, a disk and clocks, all under one seed.

What a real broker does is kept: a message that was acknowledged stays, one writer's messages come
to a log in the order in which they were sent, a value that was put whole replaces the one before.
Everything else may happen: messages are under way for long, those of other writers overtake them,
retries bring them twice, what was under way when its writer died arrives in part or much later, and
a write to the disk is cut where its writer died.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from serving.runtime.chained import Away, BusError, Received

T = TypeVar("T")
_DRAWS = 4096
LOSE_STEPS_MAX = 200  # so that something of every chain still follows what is lost


class Killed(BaseException):
    """The process ended at this point: nothing more of it happens."""


class Chance:
    """All the chance of a run, from one seed."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._drawn: list[float] = []

    def share(self) -> float:
        """A number from 0 to 1."""
        if not self._drawn:
            self._drawn = self._generator.random(_DRAWS).tolist()
        return self._drawn.pop()

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens now."""
        return self.share() < probability

    def below(self, count: int) -> int:
        """An integer from 0 to `count` - 1."""
        return int(self.share() * count)

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[self.below(len(items))]


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How often what happens: the probability of each fault at one step of the schedule.

    A seed has some of them often and leaves some out (swarm testing, Groce et al. 2012): a fault
    that always comes with all others hides what it would do alone.
    """

    kill: float = 0.008
    replace: float = 0.006
    second: float = 0.003
    stop: float = 0.003
    outage: float = 0.002
    sleep: float = 0.004
    poison: float = 0.002
    cut: float = 0.002
    faults_max: int = 24
    # of one message that arrives
    duplicate: float = 0.02
    # of one message on its way to an inbox in the first steps; a broker that does this is broken
    lose: float = 0.0
    # of one look at a clock
    clock_jump: float = 0.05

    def swarmed(self, chance: "Chance") -> "Odds":
        """The odds of one seed."""
        return msgspec.structs.replace(
            self,
            **{name: getattr(self, name) * chance.pick((0.0, 0.0, 1.0, 4.0)) for name in FAULTS},
        )


FAULTS = ("kill", "replace", "second", "stop", "outage", "sleep", "poison", "cut")


class Message(msgspec.Struct, frozen=True, gc=False):
    """What a log holds."""

    key: str
    header: bytes | None
    content: bytes


class Wire:
    """What one client has sent to one log and the broker does not have yet."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.under_way: deque[Message] = deque()
        self.held_until = 0


class World:
    """The broker with its logs, the network to it, the disk of snapshots."""

    def __init__(self, chance: Chance, odds: Odds) -> None:
        self.chance = chance
        self.odds = odds
        self.step = 0
        self.puts = 0
        self.is_calm = False
        self.away_until = 0
        self.logs: dict[str, list[Message]] = {}
        self.kept: list[tuple[str, bytes | None]] = []
        self._wires: list[Wire] = []

    @property
    def is_away(self) -> bool:
        """Whether the broker is away now."""
        return self.step < self.away_until

    def refusal(self) -> BusError:
        """What a broker that is away does: a process waits for it, or ends and begins again."""
        return (Away if self.step % 2 else BusError)("the broker is away")

    def calm(self) -> None:
        """From now on the broker is there and nothing is held up on its way."""
        self.is_calm = True
        self.away_until = 0
        for wire in self._wires:
            wire.held_until = 0

    def log(self, name: str) -> list[Message]:
        """What a log holds."""
        return self.logs.setdefault(name, [])

    # --- the network ---

    def wire(self, log: str) -> Wire:
        """A way to a log."""
        wire = Wire(log)
        self._wires.append(wire)
        return wire

    @property
    def is_silent(self) -> bool:
        """Whether nothing is under way."""
        return not any(wire.under_way for wire in self._wires)

    def carry(self) -> None:
        """Some messages of some writer arrive, unless the broker is away."""
        self._wires = [wire for wire in self._wires if wire.under_way]
        wires = [wire for wire in self._wires if wire.held_until <= self.step]
        if wires and not self.is_away:
            wire = self.chance.pick(wires)
            self.arrive(wire, 1 + self.chance.below(len(wire.under_way)))

    def arrive(self, wire: Wire, count: int) -> None:
        """The first `count` messages of a wire arrive; one of them may come again later."""
        log = self.log(wire.log)
        for _ in range(count):
            message = wire.under_way.popleft()
            if self.odds.lose and self._is_lost(wire):
                continue
            log.append(message)
            if self.chance.happens(self.odds.duplicate):
                again = self.wire(wire.log)
                again.under_way.append(message)
                self._hold(again)

    def _is_lost(self, wire: Wire) -> bool:
        is_early = self.step < LOSE_STEPS_MAX and not wire.log.startswith("hft.")
        return is_early and self.chance.happens(self.odds.lose)

    def lose(self, wire: Wire) -> None:
        """Its writer died: a first part of what was under way may still arrive, at any time."""
        arrives = self.chance.below(len(wire.under_way) + 1) if self.chance.happens(0.6) else 0
        while len(wire.under_way) > arrives:
            wire.under_way.pop()
        self._hold(wire)

    def _hold(self, wire: Wire) -> None:
        if self.chance.happens(0.5) and not self.is_calm:
            wire.held_until = self.step + self.chance.below(400)

    # --- the disk ---

    def keep(self, key: str, value: bytes | None) -> None:
        """Write a value, or that there is none; older ones of its key go away at some time."""
        self.puts += 1
        self.kept.append((key, value))
        if self.chance.happens(0.5):
            last = dict(self.kept)
            self.kept = [(k, v) for k, v in self.kept if last[k] is v and v is not None]

    def cut(self) -> None:
        """The last value that was written is half there."""
        if self.kept:
            key, value = self.kept[-1]
            self.kept[-1] = (key, value[: self.chance.below(len(value))] if value else value)


class Life:
    """What is left of a process's life: it may end at any call of the world, or at none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls_left = -1

    def end_soon(self) -> None:
        """End at one of the next calls."""
        self.calls_left = self.world.chance.below(60)

    def call(self) -> None:
        """One call of the world begins; raises Killed where the process ends instead."""
        if self.calls_left == 0:
            raise Killed
        self.calls_left -= 1 if self.calls_left > 0 else 0


class SimClient:
    """What carries the messages of one process: `Client` over the simulated network."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._world = life.world
        self._wires: dict[str, Wire] = {}
        self._offsets: dict[str, int] = {}

    def append(self, log: str, key: str, header: bytes, content: bytes) -> None:
        """Send a message."""
        self._life.call()
        wire = self._wires.get(log)
        if wire is None or not wire.under_way:
            wire = self._wires[log] = self._world.wire(log)
        wire.under_way.append(Message(key, header, content))

    def send(self) -> None:
        """What was appended is under way already: any part of it may arrive before it is sent."""

    def bounds(self, log: str) -> tuple[int, int]:
        """The first offset of a log and the one after its last."""
        return 0, len(self._world.log(log))

    def assign(self, offsets: Mapping[str, int]) -> None:
        """Begin to receive."""
        self._offsets = dict(offsets)

    def receive(self, timeout_s: float) -> Iterator[Received]:
        """Some of what came, or nothing."""
        self._life.call()
        for name, offset in self._offsets.items():
            log = self._world.log(name)
            end = min(len(log), offset + self._world.chance.below(48))
            for at in range(offset, end if not self._world.is_away else offset):
                self._offsets[name] = at + 1
                message = log[at]
                yield Received(name, at, message.key.encode(), message.header, message.content)

    def flush(self, timeout_s: float) -> None:
        """Everything sent arrives, in an order of the logs that chance takes."""
        wires = [wire for wire in self._wires.values() if wire.under_way]
        while wires:
            self._life.call()
            if self._world.is_away:
                raise self._world.refusal()
            wire = self._world.chance.pick(wires)
            self._world.arrive(wire, 1 + self._world.chance.below(len(wire.under_way)))
            wires = [wire for wire in wires if wire.under_way]

    def close(self) -> None:
        """Receive nothing more."""
        self._offsets = {}

    def lose(self) -> None:
        """The process ended without a word."""
        for wire in self._wires.values():
            self._world.lose(wire)


class SimStore:
    """`Store` on the simulated disk, for one process."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._world = life.world

    def put(self, key: str, value: bytes) -> None:
        """Write a value; where the process ends meanwhile, as much of it as chance takes."""
        try:
            self._life.call()
        except Killed:
            written = self._world.chance.below(2 * len(value))
            if written:
                self._world.keep(key, value[:written])
            raise
        if self._world.is_away:
            raise self._world.refusal()
        self._world.keep(key, value)

    def drop(self, key: str) -> None:
        """Keep no value of `key` any more."""
        self._life.call()
        if self._world.is_away:
            raise self._world.refusal()
        self._world.keep(key, None)

    def values(self) -> list[tuple[str, bytes | None]]:
        """Every key and value that is there, in order."""
        return list(self._world.kept)


class SimClock:
    """The clock of one process: it goes on, and now and then it jumps, back as well as on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now_s = 1e6 * world.chance.share()

    def now_s(self) -> float:
        """What it shows."""
        self._now_s += 0.01
        if self._world.chance.happens(self._world.odds.clock_jump):
            self._now_s += 400.0 * (self._world.chance.share() - 0.5)
        return self._now_s
