"""Effect once: what is taken, what is dropped, what ends the reading."""

import msgspec
import pytest

from hft_lib.events import SCHEMA_VERSION, Decided, TimePassed
from serving.runtime.chain import (
    Diverged,
    Header,
    Incoming,
    Marks,
    Outgoing,
    Undecodable,
    Verdict,
    key_of,
    read_fact,
    read_header,
)
from tests.builders import PAIR, START_NS, told

FACTS = [msgspec.msgpack.encode(TimePassed(START_NS + i)) for i in range(5)]


def stamped(writer: Outgoing, contents: list[bytes] = FACTS) -> list[tuple[Header, bytes]]:
    return [(read_header(writer.header("log", "", content)), content) for content in contents]


def test_facts_in_order_are_taken_once():
    incoming = Incoming("log")
    messages = stamped(Outgoing("writer"))
    assert [incoming.judge(h, "", c) for h, c in messages] == [Verdict.TAKE] * 5
    assert [incoming.judge(h, "", c) for h, c in messages] == [Verdict.SEEN] * 5
    assert incoming.mark("writer").number == 5 and incoming.mark("other").number == 0


def test_a_writer_that_begins_again_at_its_snapshot_continues_its_chain():
    incoming, writer = Incoming("log"), Outgoing("writer")
    first = stamped(writer, FACTS[:2])
    saved = msgspec.msgpack.encode(writer.marks)
    first += stamped(writer, FACTS[2:4])
    again = Outgoing("writer", epoch=1)
    again.marks = msgspec.msgpack.decode(saved, type=Marks)
    second = stamped(again, FACTS[2:])
    verdicts = [incoming.judge(h, "", c) for h, c in first + second]
    assert verdicts == [Verdict.TAKE] * 4 + [Verdict.SEEN] * 2 + [Verdict.TAKE]


def test_an_edge_goes_on_after_what_was_heard_of_it():
    incoming, edge = Incoming("log"), Outgoing("edge")
    for message in stamped(edge, FACTS[:2]):
        incoming.judge(*spread(message))
    stamped(edge, FACTS[2:3])  # sent, but it never arrived
    again = Outgoing("edge")
    again.continue_at("log", "", incoming.mark("edge"))
    assert again.number("log") == 2
    rest = stamped(again, FACTS[2:])
    assert [incoming.judge(*spread(message)) for message in rest] == [Verdict.TAKE] * 3


def test_a_gap_diverges():
    incoming = Incoming("log")
    first, _, third, *_ = stamped(Outgoing("writer"))
    incoming.judge(*spread(first))
    with pytest.raises(Diverged, match="must go on with 2, came 3"):
        incoming.judge(*spread(third))


def test_another_history_diverges_at_the_first_number_that_tells():
    incoming = Incoming("log")
    for message in stamped(Outgoing("writer"), FACTS[:2]):
        incoming.judge(*spread(message))
    other = stamped(Outgoing("writer"), [FACTS[3], FACTS[1], FACTS[2]])
    assert incoming.judge(*spread(other[0])) is Verdict.SEEN
    with pytest.raises(Diverged, match="number 2 of writer"):
        incoming.judge(*spread(other[1]))


def test_content_that_was_changed_on_the_way_diverges():
    incoming = Incoming("log")
    (header, _), *_ = stamped(Outgoing("writer"))
    with pytest.raises(Diverged, match="must have the digest"):
        incoming.judge(header, "", FACTS[1])


def test_each_key_has_a_chain_of_its_own():
    incoming, writer = Incoming("log"), Outgoing("writer")
    one = read_header(writer.header("log", "a", FACTS[0]))
    two = read_header(writer.header("log", "b", FACTS[1]))
    assert one.number == two.number == 1
    assert incoming.judge(two, "b", FACTS[1]) is Verdict.TAKE
    assert incoming.judge(one, "a", FACTS[0]) is Verdict.TAKE


def test_an_older_epoch_is_not_heard():
    incoming = Incoming("log")
    old, new = Outgoing("writer", epoch=1), Outgoing("writer", epoch=2)
    ours, theirs = stamped(new), stamped(old)
    assert incoming.judge(*spread(theirs[0])) is Verdict.TAKE
    assert incoming.judge(*spread(ours[0])) is Verdict.SEEN
    assert incoming.judge(*spread(theirs[1])) is Verdict.FENCED
    assert incoming.judge(*spread(ours[1])) is Verdict.TAKE


def test_an_older_epoch_is_not_heard_on_keys_of_which_the_newer_has_not_spoken():
    incoming = Incoming("log")
    old, new = Outgoing("writer", epoch=1), Outgoing("writer", epoch=2)
    ours = read_header(new.header("log", "a", FACTS[0]))
    theirs = read_header(old.header("log", "b", FACTS[1]))
    assert incoming.judge(ours, "a", FACTS[0]) is Verdict.TAKE
    assert incoming.judge(theirs, "b", FACTS[1]) is Verdict.FENCED


def test_an_announcement_says_nothing_and_begins_an_epoch():
    incoming = Incoming("log")
    old, new = Outgoing("writer", epoch=1), Outgoing("writer", epoch=2)
    (first, content), *rest = stamped(old)
    assert incoming.judge(first, "", content) is Verdict.TAKE
    announced = read_header(new.announcement())
    assert incoming.judge(announced, "", b"") is Verdict.SEEN
    assert incoming.epochs == {"writer": 2} and incoming.mark("writer").number == 1
    assert incoming.judge(rest[0][0], "", rest[0][1]) is Verdict.FENCED
    new.continue_at("log", "", incoming.mark("writer"))
    assert incoming.judge(*spread(stamped(new, FACTS[1:])[0])) is Verdict.TAKE


@pytest.mark.parametrize(
    "content, why", [(None, "no header"), (b"", "cannot be read"), (b"\x93\x01", "cannot be read")]
)
def test_a_message_without_our_header_is_undecodable(content: bytes | None, why: str):
    with pytest.raises(Undecodable, match=why):
        read_header(content)


@pytest.mark.parametrize(
    "schema, content, why",
    [
        (SCHEMA_VERSION + 1, FACTS[0], f"schema version must be {SCHEMA_VERSION}, was"),
        (SCHEMA_VERSION, b"\x00", "no fact"),
        (SCHEMA_VERSION, FACTS[0][:-3], "no fact"),
        (SCHEMA_VERSION, msgspec.msgpack.encode(("Unheard", 1)), "no fact"),
    ],
)
def test_another_schema_and_bytes_that_are_no_fact_are_undecodable(
    schema: int, content: bytes, why: str
):
    with pytest.raises(Undecodable, match=why):
        read_fact(Header(schema, 1, "writer", 0, 1, b""), content)


def test_the_key_is_the_pair_of_any_fact_that_is_of_one():
    inboxes = told().inboxes
    keys = {key_of(fact) for fact in inboxes["execution"] if not isinstance(fact, TimePassed)}
    assert PAIR in keys and "" not in keys
    assert key_of(TimePassed(1)) == "" and key_of(Decided(1, PAIR, 1)) == PAIR


def spread(message: tuple[Header, bytes]) -> tuple[Header, str, bytes]:
    return message[0], "", message[1]
