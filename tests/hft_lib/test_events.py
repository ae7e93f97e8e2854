"""The vocabulary: facts are immutable, named on the wire, and of types that cannot be mistaken."""

import typing

import msgspec
import pytest

from hft_lib import events
from hft_lib.events import (
    CapitalOrder,
    Event,
    Fact,
    Order,
    PairTick,
    Quote,
    ShadowOrder,
    TimePassed,
    VenueRequest,
)
from tests.builders import X, quote, told

FACTS = sorted(
    (
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Fact) and kind not in (Fact, Order)
    ),
    key=lambda kind: kind.__name__,
)
DECODER = msgspec.msgpack.Decoder(Event)


def members(union: typing.Any) -> set[type]:
    return set(typing.get_args(union))


def test_every_fact_is_an_event():
    assert members(Event) == set(FACTS)


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_a_fact_is_an_immutable_array_that_begins_with_its_name(kind: type[Fact]):
    config = kind.__struct_config__
    assert config.frozen and config.array_like
    assert (config.tag, config.tag_field) == (kind.__name__, "fact")


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_a_fact_has_its_time_or_carries_the_tick_that_has(kind: type[Fact]):
    assert "time_ns" in kind.__struct_fields__ or kind.__struct_fields__[0] == "tick"


def test_a_fact_cannot_be_changed():
    with pytest.raises(AttributeError):
        TimePassed(1).time_ns = 2


def test_an_unknown_name_is_refused():
    with pytest.raises(msgspec.ValidationError):
        DECODER.decode(msgspec.msgpack.encode(["Rumour", 1]))


def test_a_fact_of_another_type_of_value_is_refused():
    fields = list(msgspec.structs.astuple(quote(X, 1, 2.0)))
    fields[3] = "100"
    with pytest.raises(msgspec.ValidationError):
        DECODER.decode(msgspec.msgpack.encode(["Quote", *fields]))


def test_a_fact_of_an_older_shorter_form_takes_the_defaults():
    shorter = ["Quote", *msgspec.structs.astuple(quote(X, 1, 2.0))[:-2]]
    decoded = DECODER.decode(msgspec.msgpack.encode(shorter))
    assert isinstance(decoded, Quote) and (decoded.update_id, decoded.more) == (0, False)


def test_orders_of_capital_and_shadow_are_different_types_of_the_same_fields():
    assert CapitalOrder.__struct_fields__ == ShadowOrder.__struct_fields__
    assert not issubclass(ShadowOrder, CapitalOrder) and not issubclass(CapitalOrder, ShadowOrder)


def test_a_venue_request_is_typed_for_capital_alone():
    assert typing.get_type_hints(VenueRequest)["order"] is CapitalOrder


def test_a_tick_holds_its_market_event_and_comes_back_whole():
    tick = next(f for f in told().inboxes["kalman_filter"] if isinstance(f, PairTick))
    assert DECODER.decode(msgspec.msgpack.encode(tick)) == tick
