"""What the edges of a simulated line bring, and what an uninterrupted line makes of it."""

from functools import cache
from typing import Any

import msgspec

from hft_lib.events import Event, Quote, TimePassed
from hft_lib.line import LineConfig
from serving.adapters.memory_bus import MemoryBus
from serving.runtime.chain import key_of
from serving.runtime.host import Host, serve
from serving.runtime.opening import FEED
from serving.services import INBOXES, STAGES
from tests.builders import DAY_NS, HOUR_NS, START_NS, Y, quote, story, story_config

# Two midnights and some hours: a promotion, a hand-over and a decision on both pairs.
END_NS = START_NS + 44 * HOUR_NS
STORIES = 3
REGISTRY = "registry"
JUMP_NS = START_NS + 21 * HOUR_NS

Said = dict[tuple[str, str], list[tuple[str, bytes]]]  # by log and writer: key and content, in order


class Told(msgspec.Struct, frozen=True):
    """A story: what the edges bring, what was said of it, every stage's end."""

    config: LineConfig
    feed: list[Event]
    words: list[Event]
    said: Said
    ends: dict[str, Any]


@cache
def told(number: int) -> Told:
    """One of the stories, told once without interruption; nobody changes it."""
    posts = story(seed=7 + number)
    feed = [fact for log, fact in posts if log == "ingestion" and _is_told(fact)]
    feed = [*_with_jump(feed), TimePassed(END_NS)]
    words = [fact for log, fact in posts if log == "orchestrator" and fact.time_ns == START_NS]
    return _tell(story_config(), feed, words)


def _is_told(fact: Any) -> bool:
    """The grid's moments and what else an edge brings before the end; the looks between are few."""
    if not START_NS <= fact.time_ns < END_NS or hasattr(fact, "decision_id"):
        return False
    between = isinstance(fact, Quote) and (fact.time_ns - START_NS) % HOUR_NS > DAY_NS // 86_400
    return not between or (fact.time_ns // HOUR_NS) % 4 == 0


def _with_jump(feed: list[Event]) -> list[Event]:
    """The feed's clock jumps two hours on and comes back, which ingestion has to refuse."""
    at = next(i for i, fact in enumerate(feed) if fact.time_ns > JUMP_NS)
    jumped = quote(Y, JUMP_NS + 2 * HOUR_NS, 100.0)
    return [*feed[:at], jumped, *feed[at:]]


def _tell(config: LineConfig, feed: list[Event], words: list[Event]) -> Told:
    said: Said = {}
    bus = MemoryBus(INBOXES, lambda log, fact: None)
    hosts = {stage.name: serve(stage, config, _Heard(bus, stage.name, said)) for stage in STAGES}
    for writer, log, facts in ((REGISTRY, "orchestrator", words), (FEED, "ingestion", feed)):
        edge = _Heard(bus, writer, said)
        for fact in facts:
            edge.write(log, fact)
    ends = {name: end_of(host) for name, host in hosts.items()}
    return Told(config, feed, words, said, ends)


def end_of(host: Host) -> tuple[int, int, bytes]:
    """All that a stage has come to: facts read, facts written, state."""
    snapshot = host.snapshot()
    return snapshot.read, snapshot.written, snapshot.state


class _Heard:
    """A bus that notes what one writer says."""

    def __init__(self, bus: MemoryBus, writer: str, said: Said) -> None:
        self._bus, self._writer, self._said = bus, writer, said
        self._edge = writer not in INBOXES
        self.read = bus.read

    def write(self, log: str, fact: Event) -> None:
        key = "" if self._edge else key_of(fact)
        content = msgspec.msgpack.encode(fact)
        self._said.setdefault((log, self._writer), []).append((key, content))
        self._bus.write(log, fact)
