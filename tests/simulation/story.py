"""What the edges of a simulated line bring, and what an uninterrupted line makes of it."""

from functools import cache
from typing import Any

import msgspec

from hft_lib.events import Event, Instrument, Promoted, Quote, RolledBack, TimePassed
from hft_lib.line import LineConfig
from serving.adapters.memory_bus import MemoryBus
from serving.runtime.chain import key_of
from serving.runtime.host import Host, serve
from serving.runtime.opening import FEED
from serving.services import INBOXES, stages
from tests.builders import HOUR_NS, S_NS, START_NS, Y, quote, story, story_config

REGISTRY = "registry"
STORIES = 3
# Three midnights, moments four hours apart, tests that end after a day: a run in some 30 ms.
SHORT_HOURS, SHORT_STEP_HOURS, SHORT_SILENT_HOURS = 74, 4, 14
# As told in tests/builders.py, to the first promotion and its hand-over.
LONG, LONG_HOURS = STORIES, 98
JUMP_NS = START_NS + 21 * HOUR_NS

Said = dict[
    tuple[str, str], list[tuple[str, bytes]]
]  # by log and writer: key and content, in order


class Told(msgspec.Struct, frozen=True):
    """A story: what the edges bring, what was said of it, every stage's end."""

    config: LineConfig
    feed: list[Event]
    words: list[Event]
    said: Said
    ends: dict[str, Any]


def number_of(seed: int) -> int:
    """The story that a seed tells: now and then the long one."""
    return LONG if seed % 25 == 24 else seed % STORIES


@cache
def told(number: int) -> Told:
    """One of the stories, told once without interruption; nobody changes it."""
    posts = story(seed=7 + number)
    words = [fact for log, fact in posts if log == "orchestrator" and fact.time_ns == START_NS]
    market = [fact for log, fact in posts if log == "ingestion" and not _is_control(fact)]
    if number == LONG:
        return _tell(story_config(), _until(market, LONG_HOURS), words)
    short = [_slow(fact) for fact in market if _is_short(fact)]
    line = story_config()
    policy = msgspec.structs.replace(line.policy, life_days=1, life_days_max=1)
    line = msgspec.structs.replace(line, policy=policy)
    return _tell(line, _with_jump(_until(short, SHORT_HOURS)), words)


def _is_control(fact: Any) -> bool:
    return isinstance(fact, Promoted | RolledBack)


def _is_short(fact: Any) -> bool:
    """Of the quotes those of every fourth hour, the flawed ones, and one hour after midnight."""
    hour, since_ns = divmod(fact.time_ns - START_NS, HOUR_NS)
    if not isinstance(fact, Quote) or since_ns == S_NS:
        return not 0 < hour < SHORT_SILENT_HOURS
    return since_ns <= 2 * S_NS and (hour % SHORT_STEP_HOURS == 0 or hour == 17)


def _slow(fact: Any) -> Any:
    """Instruments whose quotes come every fourth hour."""
    if not isinstance(fact, Instrument):
        return fact
    return msgspec.structs.replace(fact, cadence_ns=SHORT_STEP_HOURS * HOUR_NS)


def _until(feed: list[Event], hours: int) -> list[Event]:
    """The feed of the first hours, ended as a tape ends."""
    end_ns = START_NS + hours * HOUR_NS
    return [*(fact for fact in feed if fact.time_ns < end_ns), TimePassed(end_ns)]  # type: ignore


def _with_jump(feed: list[Event]) -> list[Event]:
    """The feed's clock jumps two hours on and comes back, which ingestion has to refuse."""
    at = next(i for i, fact in enumerate(feed) if fact.time_ns > JUMP_NS)  # type: ignore
    jumped = quote(Y, JUMP_NS + 2 * HOUR_NS, 100.0)
    return [*feed[:at], jumped, *feed[at:]]


def _tell(config: LineConfig, feed: list[Event], words: list[Event]) -> Told:
    said: Said = {}
    bus = MemoryBus(INBOXES, lambda log, fact: None)
    hosts = {stage.name: serve(stage, config, _Heard(bus, stage.name, said)) for stage in stages()}
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
