"""What the page is gathered from, made up: a line round the orchestrator, services that tell, a
latch.
"""

from collections.abc import Callable
from typing import Any

from hft_lib.events import Event
from hft_lib.health.verdict import judge
from hft_lib.health.window import WINDOW
from serving.adapters.redis_directory import DirectoryError, Entry
from serving.orchestrator.decisions import Latest
from serving.orchestrator.gathering import Gathered, Gatherer
from serving.runtime.latch import Look, Unreadable, Word
from serving.services import SERVICES
from tests.hft_lib.evop.world import PAIR, World, per_set, world
from tests.hft_lib.health.made import REFERENCE, Made

NOW_NS = 1_900_000_000_000_000_000
SINCE_NS = NOW_NS - 3_600 * 10**9
RUN = Word(run=True, operator="orchestrator", reason="the line was opened", time_ns=SINCE_NS)
HALT = Word(run=False, operator="ada", reason="an outage", time_ns=SINCE_NS)


def world_with_test(days: int = 14) -> World:
    """A champion, a set under test that is better, one that waits."""
    gain = per_set({1.5: 6.0, 1.6: 3.0}, seed=3)
    return world(gain, ("bold", 1.5), ("calm", 1.6)).run(days)


def holding(account: str, slot: int, **changes: Any) -> dict[str, Any]:
    """A row of execution's document."""
    known = {"pair": PAIR, "account": account, "slot": slot, "generation": 1, "y": 2.5, "x": -0.25}
    known |= {"equity_quote": 1234.56, "drawdown_max_quote": 210.25, "fills": 4321}
    return known | changes


def judged(slot: int, generation: int = 1, scale: float = 1.0) -> dict[str, Any]:
    """A row of garch_model's document: a model that is right where `scale` is 1."""
    made = Made(WINDOW, seed=5 + slot)
    values = made.values(REFERENCE, slot=slot, generation=generation, scores=scale * made.scores)
    return judge(PAIR, values).document()


class Board:
    """The services and the latch as the page finds them; a test changes what they say."""

    def __init__(self, made: World | None = None) -> None:
        self.world = made if made is not None else world_with_test()
        self.silent: set[str] = set()
        self.missing: dict[str, str] = {}
        self.away = ""
        self.word: Word | None = RUN
        self.pairs: dict[str, Word] = {}
        self.unreadable = ""
        self.where = "redis://here:6379/0 hft:latch"
        self.read, self.state = 1, self.world.state
        self.dead: dict[str, int] = {}
        self.execution: dict[str, Any] = {
            "line_ns": self.world.state.pairs[0].block_end_ns + 10**9,
            "alarms": [],
            "left_out": {},
            "latch": {"halted": False},
            "under_way": [],
            "pairs": [{"pair": PAIR, "held_by": [], "flatten": False, "locked": "", "word_ns": 0}],
            "holdings": [
                holding("capital", -1),
                holding("slot-0", 0, equity_quote=-7.5),
                holding("slot-1", 1, equity_quote=99.0, drawdown_max_quote=1.0),
            ],
        }
        self.health = [
            judged(slot.slot, slot.generation)
            for slot in self.world.state.pairs[0].slots
            if slot.role != "free"
        ]
        self.latest = Latest()
        self.gatherer = Gatherer(self, self, self.latest, now_ns=lambda: NOW_NS)
        self.on_made: Callable[[Event], None] | None = None
        self.gatherer.follow(self)
        for fact in self.world.facts:
            self.latest.made(fact)
        self.gatherer.turn()

    def gathered(self) -> Gathered:
        """What the page would show."""
        return self.gatherer.gathered()

    # --- the services ---

    def entries(self) -> dict[str, Entry]:
        if self.away:
            raise DirectoryError(self.away)
        return {
            service.name: Entry(
                service=service.name,
                host="box",
                pid=7,
                port=service.port,
                epoch=1,
                since_ns=SINCE_NS,
                beat_ns=NOW_NS,
                why_not_ready=self.missing.get(service.name, ""),
            )
            for service in SERVICES
            if service.name not in self.silent
        }

    def documents(self) -> dict[str, dict[str, Any]]:
        if self.away:
            raise DirectoryError(self.away)
        told: dict[str, dict[str, Any]] = {
            name: {"lag": {name: 3}, "read": 1234, "dead_letters": self.dead.get(name, 0)}
            for name in self.entries()
        }
        if "execution" in told:
            told["execution"] |= self.execution
        if "garch_model" in told:
            told["garch_model"] |= {"health": self.health, "health_left_out": 0}
        return told

    # --- the latch ---

    def look(self) -> Look:
        if self.unreadable:
            raise Unreadable(self.unreadable)
        return Look(self.word, self.pairs)
