"""Faults of the exchange's state: each begins, and ends when its time is over or it is cleared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tests.market.budget import LIMITS
from tests.market.connections import Connection
from tests.market.exchange import Exchange, venues
from tests.market.faults import FRAME_FAULTS, Fault
from tests.market.instrument import Instrument
from tests.market.listing import units

GOING_AWAY = 1001
HALTED = {"spot": "BREAK", "usdm": "SETTLING"}
FILTERS = ("tick_size", "step_size", "min_notional")


class Host(Protocol):
    """What holds the exchange and its listening socket."""

    exchange: Exchange

    def refuse(self) -> None:
        """Stop listening."""

    def listen_again(self) -> None:
        """Listen at the same address again."""

    def close_soon(self, connection: Connection, code: int, reason: str) -> None:
        """Close a connection as the protocol has it."""


def others(host: Host, fault: Fault, instrument: Instrument | None = None) -> list[Fault]:
    """The other active faults of this name, of those that are aimed at an instrument."""
    return [
        other
        for other in host.exchange.faults
        if other is not fault
        and other.name == fault.name
        and (instrument is None or other.meets(*instrument.listing.key))
    ]


def connections(host: Host, fault: Fault) -> list[Connection]:
    """The connections that a fault is aimed at."""
    return [each for each in host.exchange.connections if fault.meets(each.venue)]


def drop(host: Host, fault: Fault) -> None:
    """Connections break: without a word, or closed with a code."""
    for connection in connections(host, fault):
        fault.hits += 1
        if fault.options.get("how", "abort") == "abort":
            connection.abort()
        else:
            code = int(fault.options.get("code", GOING_AWAY))
            host.close_soon(connection, code, str(fault.options.get("reason", "dropped")))


def day_end(host: Host, fault: Fault) -> None:
    """Connections end, as each does after 24 hours."""
    for connection in connections(host, fault):
        fault.hits += 1
        host.close_soon(connection, GOING_AWAY, "disconnected after 24 hours")


def terminated(host: Host, fault: Fault) -> None:
    """Streams end with `eventStreamTerminated`; the connection stays open and nothing comes."""
    event = {"e": "eventStreamTerminated", "E": host.exchange.now_ms()}
    for connection in connections(host, fault):
        fault.hits += 1
        host.exchange.unsubscribe(connection, list(connection.streams))
        connection.offer(msgspec.json.encode(event))


def settle(host: Host, fault: Fault) -> None:
    """Funding is settled now, at `funding_rate` where one is given."""
    exchange = host.exchange
    for instrument in exchange.aimed(fault):
        if "funding_rate" in fault.options:
            exchange.rates[instrument.listing.key] = str(fault.options["funding_rate"])
    exchange.settle(exchange.now_ms())
    fault.hits += 1


def refuse(host: Host, fault: Fault) -> None:
    """Connections are refused, and those that stand break unless `drop` is false."""
    fault.hits += 1
    host.refuse()
    if fault.options.get("drop", True):
        for connection in list(host.exchange.connections):
            connection.abort()


def accept(host: Host, fault: Fault) -> None:
    """Connections are accepted again."""
    if not others(host, fault):
        host.listen_again()


def maintenance(host: Host, fault: Fault) -> None:
    """Requests get 503, handshakes too; streams are terminated and closed unless told otherwise."""
    fault.hits += 1
    if fault.options.get("terminate", True):
        terminated(host, fault)
    if fault.options.get("close", True):
        for connection in connections(host, fault):
            host.close_soon(connection, GOING_AWAY, "maintenance")


def jump(host: Host, fault: Fault) -> None:
    """Prices are higher by a share, 0.2 unless told otherwise, at once."""
    for instrument in host.exchange.aimed(fault):
        tick = units(instrument.listing.tick_size)
        share = float(fault.options.get("share", 0.2))
        shift = round(instrument.middle() * share / tick) * tick
        fault.before[instrument.listing.key] = shift
        instrument.jump += shift
        instrument.change()
        fault.hits += 1


def jump_back(host: Host, fault: Fault) -> None:
    """Prices go back, where `back` says so; else the jump stays."""
    for instrument in host.exchange.aimed(fault):
        if fault.options.get("back", False):
            instrument.jump -= fault.before[instrument.listing.key]
            instrument.change()


def freeze(host: Host, fault: Fault) -> None:
    """Prices stand still, yet frames come."""
    for instrument in host.exchange.aimed(fault):
        instrument.frozen = True
        fault.hits += 1


def thaw(host: Host, fault: Fault) -> None:
    """Prices follow the market again."""
    for instrument in host.exchange.aimed(fault):
        instrument.frozen = bool(others(host, fault, instrument))
        instrument.change()


def one_sided(host: Host, fault: Fault) -> None:
    """One side of the book is empty."""
    fault.before["side"] = fault.options.get("side") or fault.random.choice(("bids", "asks"))
    for instrument in host.exchange.aimed(fault):
        instrument.hidden = fault.before["side"]
        instrument.change()
        fault.hits += 1


def two_sided(host: Host, fault: Fault) -> None:
    """Both sides are there again."""
    for instrument in host.exchange.aimed(fault):
        left = others(host, fault, instrument)
        instrument.hidden = left[-1].before["side"] if left else None
        instrument.change()


def halt(host: Host, fault: Fault) -> None:
    """Symbols do not trade: their status says so and nothing comes of them."""
    for instrument in host.exchange.aimed(fault):
        host.exchange.relist(instrument, status=HALTED[instrument.listing.venue])
        fault.hits += 1


def resume(host: Host, fault: Fault) -> None:
    """Symbols trade again."""
    for instrument in host.exchange.aimed(fault):
        if not others(host, fault, instrument):
            host.exchange.relist(instrument, status="TRADING")
            instrument.change()


def wanted_filters(fault: Fault) -> dict[str, str]:
    """The filters that a fault sets."""
    return {name: str(fault.options[name]) for name in FILTERS if name in fault.options}


def filters(host: Host, fault: Fault) -> None:
    """Filters are others: `tick_size`, `step_size`, `min_notional`."""
    for instrument in host.exchange.aimed(fault):
        host.exchange.relist(instrument, **wanted_filters(fault))
        fault.hits += 1


def filters_back(host: Host, fault: Fault) -> None:
    """Filters are the listed ones, but for what other faults set."""
    listed = {listing.key: listing for listing in host.exchange.source.listings}
    for instrument in host.exchange.aimed(fault):
        back = {name: getattr(listed[instrument.listing.key], name) for name in FILTERS}
        for other in others(host, fault, instrument):
            back |= wanted_filters(other)
        host.exchange.relist(instrument, **back)


def clock(host: Host, fault: Fault) -> None:
    """The exchange's clock is off, by 7 s unless told otherwise."""
    fault.before["offset_ms"] = round(float(fault.options.get("offset_s", 7.0)) * 1000)
    host.exchange.offset_ms += fault.before["offset_ms"]
    fault.hits += 1


def clock_back(host: Host, fault: Fault) -> None:
    """The clock is right again."""
    host.exchange.offset_ms -= fault.before["offset_ms"]


def budget(host: Host, fault: Fault) -> None:
    """The budget of request weight is another: `limit` a minute."""
    for venue in venues(fault):
        host.exchange.budget.limits[venue] = int(fault.options["limit"])
        fault.hits += 1


def budget_back(host: Host, fault: Fault) -> None:
    """The budget is the usual one, but for what another fault set."""
    for venue in venues(fault):
        left = [other for other in others(host, fault) if other.meets(venue)]
        limit = int(left[-1].options["limit"]) if left else LIMITS[venue]
        host.exchange.budget.limits[venue] = limit


Change = Callable[[Host, Fault], None]


@dataclass(frozen=True)
class Scenario:
    """How a fault of state begins and ends; without an end it is over at once."""

    begin: Change
    end: Change | None = None


def nothing(host: Host, fault: Fault) -> None:
    """That the fault is active is all."""


SCENARIOS: dict[str, Scenario] = {
    "drop": Scenario(drop),
    "day_end": Scenario(day_end),
    "terminated": Scenario(terminated),
    "settle": Scenario(settle),
    "refuse": Scenario(refuse, accept),
    "maintenance": Scenario(maintenance, nothing),
    "jump": Scenario(jump, jump_back),
    "freeze": Scenario(freeze, thaw),
    "one_sided": Scenario(one_sided, two_sided),
    "halt": Scenario(halt, resume),
    "filters": Scenario(filters, filters_back),
    "clock": Scenario(clock, clock_back),
    "budget": Scenario(budget, budget_back),
}
# What strikes requests, handshakes and subscriptions: `rest` and `streams` ask for these.
REQUEST_FAULTS = {
    "too_many": "429, with `retry_after_s` or without",
    "ban": "418 for `ban_s`; what comes in that time is a violation",
    "error": "an answer of `status` and `code`",
    "slow": "the answer comes after `delay_s`",
    "reset": "the connection breaks instead of an answer",
    "cut_json": "half of the JSON, as a whole answer",
    "cut_body": "half of the promised body, then the connection breaks",
    "garbage_body": "bytes that are no JSON",
    "stale_snapshot": "a depth snapshot that is `behind` events old",
    "refuse_stream": "a handshake is answered `status`",
    "refuse_subscribe": "a subscription is refused, or not answered where `answer` is false",
}


def begin(host: Host, fault: Fault) -> None:
    """Begin a fault; one that is unknown is refused."""
    if fault.name in FRAME_FAULTS:
        fault.kinds = fault.kinds or FRAME_FAULTS[fault.name].kinds
    elif fault.name in SCENARIOS:
        scenario = SCENARIOS[fault.name]
        # It may need to know whom it meets before it is among the active ones.
        scenario.begin(host, fault)
        fault.over = scenario.end is None
    elif fault.name not in REQUEST_FAULTS:
        raise ValueError(f"no fault is named {fault.name}: {', '.join(sorted(catalogue()))}")


def end(host: Host, fault: Fault) -> None:
    """End a fault, once; what it held is sent, what it changed is put back."""
    if fault.over:
        return
    scenario = SCENARIOS.get(fault.name)
    if scenario is not None and scenario.end is not None:
        scenario.end(host, fault)
    fault.over = True
    host.exchange.release(fault)


def catalogue() -> dict[str, str]:
    """Every fault by name, and what it does in a line."""
    frames = {name: str(fault.strike.__doc__) for name, fault in FRAME_FAULTS.items()}
    states = {name: str(scenario.begin.__doc__) for name, scenario in SCENARIOS.items()}
    return frames | states | REQUEST_FAULTS
