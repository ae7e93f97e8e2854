"""What holds of every stage and of their line: over the table, so a new stage is tested at once."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    Event,
    Fill,
    HandedOver,
    PairTick,
    Promoted,
    Quote,
    Rejected,
    RiskView,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
    TimePassed,
    VenueRequest,
)
from hft_lib.stage import Line, Stage, replay, restore, snapshot
from hft_lib.stages import desk
from serving.services import INBOXES, stages
from tests.builders import (
    PAIR,
    PAIR2,
    S_NS,
    START_NS,
    Posts,
    Told,
    encoded,
    market_only,
    story,
    story_config,
    told,
)

EXECUTION: Stage[Any, Any] = next(stage for stage in stages() if stage.name == "execution")
EVERY_STAGE = pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
KINDS = (CapitalOrder, ShadowOrder, Fill, BlockClosed)


def traded(line: Told) -> list[bytes]:
    """Orders, fills and blocks: what a decision comes to."""
    return encoded(fact for kind in KINDS for fact in line.records(kind))


def retold(posts: Posts) -> Told:
    return Told(posts, story_config())


# --- the story is worth the name ---


def test_the_story_holds_everything_that_a_line_does():
    line = told()
    orders, fills = line.records(CapitalOrder) + line.records(ShadowOrder), line.records(Fill)
    purposes = {order.purpose for order in orders}
    assert {"enter", "exit", "unwind", "hand-over", "flatten"} <= purposes
    ordered = {order.client_order_id: order.quantity for order in orders}
    assert any(fill.quantity < ordered[fill.client_order_id] for fill in fills)
    assert len(line.records(BlockClosed)) == 12
    assert {fact.pair for fact in line.records(Promoted) if fact.slot == 1} == {PAIR, PAIR2}
    assert any(isinstance(fact, RolledBack) for fact in line.inboxes["execution"])
    assert {fact.flattened for fact in line.records(HandedOver)} == {True, False}
    reasons = {fact.reason for fact in line.records(Rejected)}
    assert {"NAN", "CROSSED", "DISORDER", "GAP", "CLOCK_JUMP", "UNKNOWN_SYMBOL"} <= reasons
    assert {"STALE_LEG", "NO_BORROW", "ORDER_NOTIONAL", "PROMOTION_GONE"} <= reasons
    capital = [account for block in line.records(BlockClosed) for account in block.accounts]
    assert any(account.funding_quote != 0.0 for account in capital)
    assert any(account.borrow_quote > 0.0 for account in capital)


# --- the table ---


@EVERY_STAGE
def test_a_stages_name_is_its_inboxs(stage: Stage[Any, Any]):
    assert stage.name in INBOXES and [other.name for other in stages()].count(stage.name) == 1
    assert set(told().hosts) == INBOXES == set(told().inboxes)
    assert told().hosts[stage.name].read == len(told().inboxes[stage.name]) > 0


@EVERY_STAGE
def test_routes_cover_what_the_stage_makes_and_lead_somewhere(stage: Stage[Any, Any]):
    made = {type(fact) for fact in replay(stage, story_config(), told().inboxes[stage.name])}
    assert made and made <= set(stage.routes)
    for logs in stage.routes.values():
        assert logs and all(log in INBOXES or log.startswith("hft.") for log in logs)


@EVERY_STAGE
def test_the_story_makes_every_fact_that_the_stage_can(stage: Stage[Any, Any]):
    # A route that nothing here takes is a route that no test of this file has seen.
    made = {type(fact) for fact in replay(stage, story_config(), told().inboxes[stage.name])}
    assert set(stage.routes) - made <= {RolledBack}
    if stage.name != "orchestrator":
        assert set(stage.routes) == made


# --- replay equals live ---


@EVERY_STAGE
def test_replay_of_an_inbox_equals_what_the_host_wrote(stage: Stage[Any, Any]):
    line = told()
    made = list(replay(stage, story_config(), line.inboxes[stage.name]))
    assert len(made) == line.hosts[stage.name].written
    away = [(log, fact) for fact in made for log in stage.routes[type(fact)] if log not in INBOXES]
    mine = {kind for kind, logs in stage.routes.items() if any(log not in INBOXES for log in logs)}
    heard = [(log, fact) for log, fact in line.leaving if type(fact) in mine]
    if stage.name in ("ingestion", "execution"):  # both tell refusals
        heard = [
            (log, fact)
            for log, fact in heard
            if not isinstance(fact, Rejected) or fact.stage == stage.name
        ]
    assert encoded(away) == encoded(heard)


@EVERY_STAGE
def test_what_a_stage_hands_on_is_what_the_next_one_reads(stage: Stage[Any, Any]):
    line = told()
    for target in INBOXES:
        sent = encoded(
            fact
            for fact in replay(stage, story_config(), line.inboxes[stage.name])
            if target in stage.routes[type(fact)]
        )
        kinds = {kind for kind, logs in stage.routes.items() if target in logs}
        posted = {id(fact) for log, fact in line.kept if log == target}  # by an edge
        heard = [fact for fact in line.inboxes[target] if type(fact) in kinds]
        if target in ("ingestion", "orchestrator"):
            heard = [fact for fact in heard if id(fact) not in posted]
        assert sent == encoded(heard)


def test_a_line_equals_the_hosts_on_the_bus():
    line = Line(stages(), story_config())
    leaving = [item for log, fact in story() for item in line.post(log, fact)]
    kept = [item for item in told().kept if item[0] not in INBOXES]
    assert encoded(leaving) == encoded(kept)
    for name, host in told().hosts.items():
        assert snapshot(line.states[name]) == host.snapshot().state


@EVERY_STAGE
def test_step_is_deterministic_and_shares_nothing(stage: Stage[Any, Any]):
    # Two states of one process, stepped in turn: a global, a shared default or a view would show.
    one, other = stage.start(story_config()), stage.start(story_config())
    for event in told().inboxes[stage.name]:
        assert encoded(stage.step(one, event)) == encoded(stage.step(other, event))
    assert snapshot(one) == snapshot(other)


@EVERY_STAGE
def test_a_fact_owns_its_bytes(stage: Stage[Any, Any]):
    # Encoded as it is made and again when all is over: a view of the state would have changed.
    state = stage.start(story_config())
    kept: list[tuple[Event, bytes]] = []
    for event in told().inboxes[stage.name]:
        kept += [(fact, msgspec.msgpack.encode(fact)) for fact in stage.step(state, event)]
    assert all(msgspec.msgpack.encode(fact) == before for fact, before in kept)


@EVERY_STAGE
def test_every_fact_survives_the_wire(stage: Stage[Any, Any]):
    decoder = msgspec.msgpack.Decoder(Event)
    for fact in replay(stage, story_config(), told().inboxes[stage.name]):
        content = msgspec.msgpack.encode(fact)
        assert msgspec.msgpack.encode(decoder.decode(content)) == content


# --- restart equals no restart ---


@EVERY_STAGE
def test_a_snapshot_is_the_state(stage: Stage[Any, Any]):
    state = told().hosts[stage.name].state
    content = snapshot(state)
    assert snapshot(restore(stage, content)) == content
    with pytest.raises(msgspec.DecodeError):
        restore(stage, content[:-1])


@EVERY_STAGE
def test_one_step_after_a_restart_equals_one_step_without_at_every_offset(
    stage: Stage[Any, Any],
):
    state = stage.start(story_config())
    for offset, event in enumerate(told().inboxes[stage.name]):
        restarted = restore(stage, snapshot(state))
        assert encoded(stage.step(restarted, event)) == encoded(stage.step(state, event)), offset
        assert snapshot(restarted) == snapshot(state), f"after {type(event).__name__} at {offset}"


@EVERY_STAGE
def test_the_rest_after_a_restart_gives_the_same_state_from_fifty_offsets(stage: Stage[Any, Any]):
    inbox = told().inboxes[stage.name]
    offsets = set(np.linspace(0, len(inbox) - 1, 50).astype(int).tolist())
    state, saved = stage.start(story_config()), {}
    for offset, event in enumerate(inbox):
        if offset in offsets:
            saved[offset] = snapshot(state)
        stage.step(state, event)
    for offset, content in saved.items():
        restarted = restore(stage, content)
        for event in inbox[offset:]:
            stage.step(restarted, event)
        assert snapshot(restarted) == snapshot(state), f"from {offset}"


def test_a_restart_compiles_nothing_again():
    # Rows of a restored state, or of a fact, that were of another type than those of a fresh one
    # would compile the desk anew in the middle of a day: half a minute without an answer.
    compiled: tuple[Any, ...] = (desk.trade_sheet, desk.settle_sheet, desk.forecast_sheet)
    state, seen = EXECUTION.start(story_config()), set()
    for offset, event in enumerate(told().inboxes["execution"][:600]):
        EXECUTION.step(state, event)
        if offset and offset % 50 == 0:
            state = restore(EXECUTION, snapshot(state))
        if offset >= 300:
            seen.add(tuple(len(function.signatures) for function in compiled))
    assert len(seen) == 1 and min(seen.pop()) >= 1


def _restarted(line: Line) -> Line:
    """A line of new processes, each restored from the snapshot of the old one."""
    new = Line(stages(), story_config())
    for stage in stages():
        new.states[stage.name] = restore(stage, snapshot(line.states[stage.name]))
    new._runs = {s.name: (s.step, new.states[s.name], s.routes) for s in stages()}
    return new


def test_the_whole_line_restarts_at_every_post():
    line = Line(stages(), story_config())
    leaving = []
    for log, fact in story():
        line = _restarted(line)
        leaving += line.post(log, fact)
    assert encoded(leaving) == encoded(item for item in told().kept if item[0] not in INBOXES)
    for name, host in told().hosts.items():
        assert snapshot(line.states[name]) == host.snapshot().state


# --- time passed hastens and never decides ---


def thinned(posts: Posts) -> Posts:
    return market_only(posts, lambda fact: not isinstance(fact, TimePassed))


def doubled(posts: Posts) -> Posts:
    """A `TimePassed` twice at every midnight, and half a second after every moment."""
    more: Posts = []
    for (log, fact), (_, following) in pairwise(posts):
        more.append((log, fact))
        if log == "ingestion" and isinstance(fact, TimePassed):
            more.append((log, fact))
        elif log == "ingestion" and fact.time_ns + S_NS // 2 <= following.time_ns:
            more.append((log, TimePassed(fact.time_ns + S_NS // 2)))
    return [*more, posts[-1]]


def test_time_passed_thinned_gives_the_same_orders_fills_and_blocks():
    posts = story()
    last = posts.pop()  # the end of the tape closes what is still open
    assert traded(retold([*thinned(posts), last])) == traded(told())


def test_time_passed_doubled_gives_the_same_orders_fills_and_blocks():
    posts = doubled(story())
    assert len(posts) > len(story()) + 200
    assert traded(retold(posts)) == traded(told())


# --- leak-free ---


def _altered(posts: Posts, after_ns: int) -> Posts:
    """The same story with every price beyond `after_ns` half of what it was."""

    def alter(fact: Event) -> Event:
        if isinstance(fact, Quote) and fact.time_ns > after_ns:
            return msgspec.structs.replace(fact, bid=0.5 * fact.bid, ask=0.5 * fact.ask)
        return fact

    return [(log, alter(fact)) for log, fact in posts]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_what_a_line_said_does_not_change_with_what_comes_after(share: float):
    posts = story()
    cut = int(share * len(posts))
    while posts[cut][0] != "ingestion" or getattr(posts[cut][1], "more", False):
        cut += 1
    cut_ns = posts[cut][1].time_ns
    before = encoded(told().leaving[: told().ends[cut]])
    without = retold(posts[: cut + 1])
    assert encoded(without.leaving) == before
    altered = retold(_altered(posts, cut_ns))
    assert encoded(altered.leaving[: altered.ends[cut]]) == before
    assert encoded(altered.leaving) != encoded(told().leaving)


@EVERY_STAGE
def test_no_fact_is_of_a_later_time_than_what_led_to_it(stage: Stage[Any, Any]):
    state, now_ns = stage.start(story_config()), 0
    for event in told().inboxes[stage.name]:
        now_ns = max(now_ns, getattr(event, "effective_ns", 0), time_ns_of(event))
        for fact in stage.step(state, event):
            assert time_ns_of(fact) <= now_ns, f"{fact} at {now_ns}"


def time_ns_of(fact: Any) -> int:
    """When a fact happened; those of the line carry it in their tick."""
    time_ns: int = fact.tick.time_ns if hasattr(fact, "tick") else fact.time_ns
    return time_ns


@EVERY_STAGE
def test_what_a_stage_said_does_not_change_with_what_comes_after(stage: Stage[Any, Any]):
    inbox = told().inboxes[stage.name]
    whole = [encoded(facts) for facts in _stepped(stage, inbox)]
    for cut in (len(inbox) // 3, 2 * len(inbox) // 3):
        reversed_rest = inbox[:cut] + [event for event in inbox[cut:] if type(event) is TimePassed]
        assert [encoded(f) for f in _stepped(stage, reversed_rest)][:cut] == whole[:cut]


def _stepped(stage: Stage[Any, Any], inbox: list[Event]) -> Iterator[tuple[Event, ...]]:
    state = stage.start(story_config())
    return (stage.step(state, event) for event in inbox)


# --- one capital, by types ---


def test_only_the_capital_account_has_orders_that_a_venue_takes():
    capital, shadow = told().records(CapitalOrder), told().records(ShadowOrder)
    assert {order.account for order in capital} == {"capital"}
    assert {order.account for order in shadow} == {"slot-0", "slot-1", "slot-2"}


def test_a_venue_request_cannot_hold_a_shadow_order():
    capital, shadow = told().records(CapitalOrder)[0], told().records(ShadowOrder)[0]
    decoder = msgspec.msgpack.Decoder(Event)
    request = VenueRequest(START_NS, capital)
    assert decoder.decode(msgspec.msgpack.encode(request)) == request
    smuggled = msgspec.msgpack.encode(["VenueRequest", START_NS, shadow])
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(smuggled)


def test_no_capital_order_comes_before_a_pointer_is_set():
    state, pointed = EXECUTION.start(story_config()), set()
    for event in told().inboxes["execution"]:
        if isinstance(event, Promoted):
            pointed.add(event.pair)
        for fact in EXECUTION.step(state, event):
            assert not isinstance(fact, CapitalOrder) or fact.pair in pointed


def test_without_a_promotion_there_is_no_capital_order():
    state = EXECUTION.start(story_config())
    made: list[Event] = []
    for event in told().inboxes["execution"]:
        if not isinstance(event, Promoted | RolledBack):
            made += EXECUTION.step(state, _unversioned(event))
    assert any(isinstance(fact, ShadowOrder) for fact in made)
    assert not any(isinstance(fact, CapitalOrder) for fact in made)


def _unversioned(event: Any) -> Any:
    """The event as of a slot table that never changed, so that what is left out is no mismatch."""
    if isinstance(event, RiskView):
        return msgspec.structs.replace(event, tick=_unversioned(event.tick))
    if isinstance(event, PairTick | SlotAssigned):
        return msgspec.structs.replace(event, slots_version=0)
    return event


# --- what came is accounted for ---


def test_order_ids_are_unique_and_every_fill_has_its_order():
    orders = told().records(CapitalOrder) + told().records(ShadowOrder)
    ids = [order.client_order_id for order in orders]
    assert len(ids) == len(set(ids)) and all(len(one) <= 36 for one in ids)
    by_id = {order.client_order_id: order for order in orders}
    for fill in told().records(Fill):
        order = by_id[fill.client_order_id]
        assert (fill.account, fill.leg, fill.side) == (order.account, order.leg, order.side)
        assert 0.0 < fill.quantity <= order.quantity
