"""What must hold after a run, whatever happened in it."""

from collections import Counter

import msgspec

from serving.runtime.chain import Incoming, Verdict, read_header
from serving.runtime.chained import DEAD_LETTERS, DeadLetter
from tests.simulation.line import SimLine
from tests.simulation.story import Said, end_of
from tests.simulation.world import Message

LETTERS = msgspec.msgpack.Decoder(DeadLetter)


def check(line: SimLine) -> None:
    """The run ended as the uninterrupted one did, and its logs say nothing else."""
    poisons = {id(message) for _, message in line.poisons}
    taken = {
        log: _taken(log, [m for m in messages if id(m) not in poisons])
        for log, messages in line.world.logs.items()
    }
    letters = [LETTERS.decode(content) for _, content in _flat(taken.pop(DEAD_LETTERS, {}))]
    assert Counter((a.log, a.content) for a in letters) == Counter(
        (log, message.content) for log, message in line.poisons
    ), "not every poisoned message is buried once"
    said = line.story.said
    found = {key: facts for one in taken.values() for key, facts in one.items()}
    assert found.keys() == said.keys(), "somebody spoke who must not, or did not who must"
    for (log, writer), facts in found.items():
        _same(f"{writer} in {log}", facts, said[log, writer])
    for name, process in line.processes.items():
        assert process.worker is not None
        end = end_of(process.worker.host)
        assert end[:2] == line.story.ends[name][:2], f"{name} read and wrote {end[:2]}"
        assert end == line.story.ends[name], f"{name} ended in another state"


def _taken(log: str, messages: list[Message]) -> Said:
    """What a reader of the whole log takes, by writer; every repetition must repeat."""
    incoming, found = Incoming(log), {}  # type: ignore[var-annotated]
    numbered: dict[tuple[str, str, int], bytes] = {}
    for message in messages:
        header = read_header(message.header)
        number = (header.writer, message.key, header.number)
        assert (
            numbered.setdefault(number, message.content) == message.content
        ), f"{log}: {number} was said twice and not the same"
        if incoming.judge(header, message.key, message.content) is Verdict.TAKE:
            found.setdefault((log, header.writer), []).append((message.key, message.content))
    return found


def _flat(said: Said) -> list[tuple[str, bytes]]:
    return [fact for facts in said.values() for fact in facts]


def _same(who: str, found: list[tuple[str, bytes]], said: list[tuple[str, bytes]]) -> None:
    for at, (one, other) in enumerate(zip(found, said, strict=False)):
        assert one == other, f"{who}: fact {at} must be {other}, was {one}"
    assert len(found) == len(said), f"{who} said {len(found)} facts, must say {len(said)}"
