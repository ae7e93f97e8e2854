"""The six services in a simulated world: real workers, buses and stages; one seed says who steps,
what arrives and who dies.
"""

import threading
from collections import Counter
from collections.abc import Callable

from hft_lib.events import Event
from serving.runtime.chain import Diverged, Superseded
from serving.runtime.chained import BusError, ChainedBus
from serving.runtime.feeding import Feeding, limit_ns
from serving.runtime.opening import FEED
from serving.runtime.service import Worker
from serving.runtime.snapshots import SnapshotKeeper
from serving.services import SERVICES, SINGLETONS, Service
from tests.simulation.story import REGISTRY, Told
from tests.simulation.world import (
    FAULTS,
    Chance,
    Killed,
    Life,
    Message,
    Odds,
    SimClient,
    SimClock,
    SimStore,
    World,
)

# A run takes some 700 steps; what takes this many has come to a stand.
STEPS_MAX = 20_000
QUIET_ROUNDS_MAX = 2_000
POISONS = (
    Message("", None, b"no header"),
    Message("", b"\x00", b"a header that is none"),
    Message("", b"\x96\x01", b"a header that was cut"),
)

# No operator speaks in a story: of the orchestrator's host there is nothing to announce, and the
# seeds that found something go on finding it.
EDGES = {**SINGLETONS, "orchestrator": ("registry",)}


class Stalled(AssertionError):
    """The line came to a stand before all of the feed was through."""


class Process:
    """One process of a service, from its start to its end; it is its worker's broker."""

    def __init__(self, world: World, service: Service, story: Told) -> None:
        self.name = service.name
        self.world = world
        self.life = Life(world)
        self.client = SimClient(self.life)
        self.clock = SimClock(world)
        self.worker: Worker | None = None
        self.sleeps_until = 0
        self._service = service
        self._story = story
        self._edge: Callable[[], int] = lambda: 0

    def snapshots(self, name: str) -> SnapshotKeeper:
        """Its snapshots."""
        return SnapshotKeeper(SimStore(self.life), name)

    def bus(self, name: str, epoch: int) -> ChainedBus:
        """Its logs."""
        return ChainedBus(self.client, name, epoch, now_ns=lambda: self.world.step)

    def turn(self) -> None:
        """Start, or do what a worker does in a turn."""
        if self.worker is None:
            is_single, edges = self.name in EDGES, EDGES.get(self.name, ())
            self.worker = Worker(
                self, self._service, self._story.config, is_single, edges, self.clock.now_s
            )
            self._edge = self._edge_of(self.worker)
        else:
            self.worker.turn(self._edge)

    def stop(self) -> None:
        """End as SIGTERM ends it."""
        stopped = threading.Event()
        stopped.set()
        if self.worker is not None:
            self.worker.run(stopped)

    def _edge_of(self, worker: Worker) -> Callable[[], int]:
        match self.name:
            case "ingestion":
                return _FeedEdge(worker, self._story).turn
            case "orchestrator":
                return _RegistryEdge(worker, self._story.words).turn
            case _:
                return lambda: 0


class _FeedEdge:
    """The feed into the line, as far as the line has answered."""

    def __init__(self, worker: Worker, story: Told) -> None:
        self._worker = worker
        self._events = story.feed
        self._pairs = [item.pair for item in story.config.pairs]
        self._lead_ns = round(story.config.lead_s * 1e9)
        self._feeding: Feeding | None = None

    def turn(self) -> int:
        """Write what may go now; how many facts."""
        if self._feeding is None:
            inlet = self._worker.bus.edge(FEED, "ingestion")
            self._feeding = Feeding(iter(self._events[inlet.number :]), inlet)
        until_ns = limit_ns(self._worker.host.state.decided_ns, self._pairs, self._lead_ns)
        return self._feeding.push(until_ns, self._worker.bus.heard("ingestion", FEED))


class _RegistryEdge:
    """What the registry holds into the orchestrator's inbox, once."""

    def __init__(self, worker: Worker, words: list[Event]) -> None:
        self._worker = worker
        self._words = words

    def turn(self) -> int:
        """Write what was not written yet; how many facts."""
        if not self._words:
            return 0
        inlet = self._worker.bus.edge(REGISTRY, "orchestrator")
        rest, self._words = self._words[inlet.number :], []
        for fact in rest:
            inlet.write(fact)
        return len(rest)


class SimLine:
    """A line of six services, run under one seed until all of `story` is through."""

    def __init__(self, seed: int, story: Told, odds: Odds | None = None) -> None:
        chance = Chance(seed)
        self.world = World(chance, (odds or Odds()).swarmed(chance))
        self.story = story
        self.poisons: list[tuple[str, Message]] = []
        self.counts: Counter[str] = Counter()
        self.processes = {service.name: self._process(service) for service in SERVICES}
        self._old: list[Process] = []
        self._faults = 0

    def run(self) -> None:
        """Run to the end: with faults while there are some left, then until all is quiet.

        Raises Diverged where a reader says so, Stalled where the line comes to a stand.
        """
        while self._faults < self.world.odds.faults_max and self.world.step < STEPS_MAX:
            self.world.step += 1
            self._step()
            if self.world.step % 16 == 0 and self._is_through():
                break
        self._settle()

    # --- with faults ---

    def _step(self) -> None:
        chance = self.world.chance
        if chance.happens(0.5):
            process = chance.pick([*self.processes.values(), *self._old])
            if process.sleeps_until <= self.world.step:
                self._turn(process)
        else:
            self.world.carry()
        self._fault(chance.share())

    def _fault(self, draw: float) -> None:
        """At most one fault, by where `draw` falls among the odds."""
        odds = self.world.odds
        for name in FAULTS:
            draw -= getattr(odds, name)
            if draw < 0.0:
                self._faults += 1
                self.counts[name] += 1
                getattr(self, f"_{name}")()
                return

    def _kill(self) -> None:
        self.world.chance.pick([*self.processes.values()]).life.end_soon()

    def _replace(self) -> None:
        """A second process of a service begins while the first still runs: it was only away."""
        name = self.world.chance.pick([*self.processes])
        old = self.processes[name]
        old.life.calls_left = 50 + self.world.chance.below(800)
        self._old.append(old)
        self.processes[name] = self._process(old._service)

    def _second(self) -> None:
        """A second process of a service is started by mistake, and ended again."""
        process = self.world.chance.pick([*self.processes.values()])
        second = self._process(process._service)
        second.life.calls_left = 10 + self.world.chance.below(200)
        self._old.append(second)

    def _stop(self) -> None:
        process = self.world.chance.pick([*self.processes.values()])
        self._guarded(process, process.stop)
        self._end(process)

    def _outage(self) -> None:
        """The broker is away for a while."""
        self.world.away_until = self.world.step + self.world.chance.below(100)

    def _sleep(self) -> None:
        """A process gets no turn for a while."""
        process = self.world.chance.pick([*self.processes.values()])
        process.sleeps_until = self.world.step + self.world.chance.below(150)

    def _cut(self) -> None:
        self.world.cut()

    def _poison(self) -> None:
        name = self.world.chance.pick([*self.processes])
        message = self.world.chance.pick(POISONS)
        self.world.log(name).append(message)
        self.poisons.append((name, message))

    # --- without ---

    def _settle(self) -> None:
        self.world.calm()
        for process in self._old:
            process.client.lose()
        self._old = []
        for process in self.processes.values():
            process.life.calls_left = -1
        for _ in range(QUIET_ROUNDS_MAX):
            if self._is_through():
                return
            for process in [*self.processes.values()]:
                self._turn(process)
                self.world.carry()
        raise Stalled(f"not through after {QUIET_ROUNDS_MAX} rounds: {self._where()}")

    def _is_through(self) -> bool:
        fed = len(self.story.feed)
        workers = [process.worker for process in self.processes.values()]
        return self.world.is_silent and all(
            worker is not None
            and worker.bus.offset(worker.name) == len(self.world.log(worker.name))
            and (worker.name != "ingestion" or worker.bus.heard("ingestion", FEED) == fed)
            for worker in workers
        )

    def _where(self) -> str:
        told = []
        for name, process in self.processes.items():
            bus = process.worker.bus if process.worker is not None else None
            at = (bus.offset(name), bus.seen, bus.fenced) if bus is not None else "down"
            told.append(f"{name} {at} of {len(self.world.log(name))}")
        return ", ".join(told)

    # --- leaves ---

    def _process(self, service: Service) -> Process:
        return Process(self.world, service, self.story)

    def _turn(self, process: Process) -> None:
        if not self._guarded(process, process.turn):
            self._end(process)

    def _guarded(self, process: Process, act: Callable[[], None]) -> bool:
        """Whether a process lives on after `act`."""
        try:
            act()
        except (Killed, BusError, Superseded) as end:
            self.counts[type(end).__name__] += 1
            return False
        except Diverged as divergence:
            raise Diverged(f"{process.name} stands still: {divergence}") from divergence
        return True

    def _end(self, process: Process) -> None:
        process.client.lose()
        if process in self._old:
            self._old.remove(process)
        else:
            self.processes[process.name] = self._process(process._service)
