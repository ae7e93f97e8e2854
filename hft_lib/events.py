"""The vocabulary: every fact of the system, in the order in which a tick meets it.

A fact is an immutable msgspec struct, written to a log as a MessagePack array whose first item is
its name. `time_ns` is the receive time in nanoseconds since 1970 UTC, made monotone;
`exchange_time_ns` is the exchange's own clock and travels beside it (0 where the exchange gave
none). Prices are in the quote currency, sizes in base units. A `bytes` field holds the rows of one
named NumPy dtype of `hft_lib.rows`, one row a slot: a fact owns its bytes and is never a view of a
stage's state.
"""

from typing import TypeAlias

import msgspec

from hft_lib.parameters import Limits, Parameters, Reference


class Fact(msgspec.Struct, frozen=True, array_like=True, tag=True, tag_field="fact", gc=False):
    """Base of every fact; the tag is the class name."""


# --- the market, as an edge brings it ---


class Instrument(Fact):
    """What can be traded and at what cost; `short` is `none`, `borrow` (at `borrow_rate_annual`) or
    `perp`.

    `cadence_ns` is the usual time between two of its quotes: staleness is counted in it.
    """

    time_ns: int
    symbol: str
    kind: str
    short: str
    borrow_rate_annual: float
    taker_fee_rate: float
    maker_fee_rate: float
    price_tick: float
    quantity_step: float
    notional_min_quote: float
    cadence_ns: int
    more: bool = False


class Quote(Fact):
    """The best bid and ask with sizes; `update_id` is the exchange's sequence (0: it has none)."""

    time_ns: int
    exchange_time_ns: int
    symbol: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    update_id: int = 0
    more: bool = False


class Trade(Fact):
    """One trade of others; `side` is the taker's, `buy` or `sell`."""

    time_ns: int
    exchange_time_ns: int
    symbol: str
    price: float
    size: float
    side: str
    trade_id: int
    more: bool = False


class Depth(Fact):
    """A change of the book, or with `snapshot` the whole of it; a size of 0 removes the level."""

    time_ns: int
    exchange_time_ns: int
    symbol: str
    snapshot: bool
    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    more: bool = False


class Funding(Fact):
    """A perpetual's funding falls due: longs pay `rate` times the position's value to shorts."""

    time_ns: int
    exchange_time_ns: int
    symbol: str
    rate: float
    more: bool = False


class Mark(Fact):
    """The exchange's mark price of a perpetual."""

    time_ns: int
    exchange_time_ns: int
    symbol: str
    price: float
    more: bool = False


class TimePassed(Fact):
    """Nothing came until `time_ns`: what fell due may happen. It hastens and never decides."""

    time_ns: int


MarketEvent: TypeAlias = Instrument | Quote | Trade | Depth | Funding | Mark


# --- control: from the registry and the orchestrator, released in band by ingestion ---


class Registered(Fact):
    """The registry holds a parameter set for `pair`; `alias` is `champion`, or any other name for a
    candidate. `reference` is what the set was calibrated on, where that was recorded.
    """

    time_ns: int
    pair: str
    alias: str
    parameters: Parameters
    parameters_sha256: str
    model_version: str
    run_id: str
    git_commit: str
    tape_sha256: str
    reference: Reference | None = None


class RegistryRead(Fact):
    """The registry edge has said all that it holds of `pair` at `time_ns`; `Decided` answers it."""

    time_ns: int
    pair: str


class SlotAssigned(Fact):
    """From `effective_ns` on, `slot` of `pair` runs `parameters` as `generation`, flat and warming
    for `warmup_s`.

    `copy_from` names the slot whose filter states (beliefs, not parameters) it starts from, -1 for
    the priors. `late` is set by ingestion when the line had already passed `effective_ns`.
    `reference` is what the set was calibrated on, where that is known.
    """

    time_ns: int
    effective_ns: int
    pair: str
    slot: int
    generation: int
    role: str
    parameters: Parameters
    parameters_sha256: str
    model_version: str
    run_id: str
    copy_from: int
    warmup_s: float
    slots_version: int
    late: bool = False
    reference: Reference | None = None


class Promoted(Fact):
    """From `effective_ns` on the capital account of `pair` follows `slot`, if it still runs
    `generation`.
    """

    time_ns: int
    effective_ns: int
    pair: str
    slot: int
    generation: int
    model_version: str
    decision_id: str
    slots_version: int
    late: bool = False


class RolledBack(Fact):
    """The pointer moves back to the predecessor in `slot`, its models still warm."""

    time_ns: int
    effective_ns: int
    pair: str
    slot: int
    generation: int
    model_version: str
    decision_id: str
    slots_version: int
    late: bool = False


class Decided(Fact):
    """The orchestrator has answered the blocks that ended at `block_end_ns`, or what the registry
    held then; always the last of its answer.
    """

    time_ns: int
    pair: str
    block_end_ns: int


Control: TypeAlias = SlotAssigned | Promoted | RolledBack


# --- the line ---


class PairTick(Fact):
    """One accepted market event for one pair, with the tops of both legs after it.

    `grid_steps` is the number of whole grid intervals that this complete moment closes: 0 carries
    the last forecast. `more` says that another event of the same `time_ns` follows. `stale` says
    that a leg's last quote is older than its instrument allows. `y_time_ns` and `x_time_ns` are the
    receive times of the two tops (0: none yet).
    """

    time_ns: int
    pair: str
    leg: str
    event: MarketEvent
    y_bid: float
    y_bid_size: float
    y_ask: float
    y_ask_size: float
    x_bid: float
    x_bid_size: float
    x_ask: float
    x_ask_size: float
    y_time_ns: int
    x_time_ns: int
    grid_steps: int
    slots_version: int
    stale: bool
    more: bool


class HedgeRatio(Fact):
    """The tick with each slot's relation of the pair: `hedges` holds rows of `rows.HEDGE`."""

    tick: PairTick
    hedges: bytes


class Volatility(Fact):
    """The tick with each slot's volatility forecast: `volatilities` holds rows of
    `rows.VOLATILITY`.
    """

    tick: PairTick
    hedges: bytes
    volatilities: bytes


class RiskView(Fact):
    """The tick with each slot's risk verdict, rows of `rows.RISK`, and the limits in force."""

    tick: PairTick
    hedges: bytes
    volatilities: bytes
    risks: bytes
    limits: Limits


# --- orders and what became of them ---


class Order(Fact):
    """What the gate approved, with all that explains it. `type` is `market`: immediate, the rest
    cancelled.
    """

    time_ns: int
    pair: str
    account: str
    slot: int
    generation: int
    leg: str
    symbol: str
    side: str
    type: str
    quantity: float
    price: float | None
    reduce_only: bool
    purpose: str
    attempt: int
    client_order_id: str
    parameters_sha256: str
    expires_ns: int
    z: float
    intercept: float
    hedge_ratio: float
    spread_sd: float
    y_mid: float
    x_mid: float
    run_length: float
    limits_version: int


class CapitalOrder(Order):
    """An approved order of the capital account: the only type that a venue edge takes."""


class ShadowOrder(Order):
    """An approved order of a slot's shadow account; it never leaves execution."""


class VenueRequest(Fact):
    """Ask the venue to execute `order`; refused by the venue edge after `order.expires_ns`."""

    time_ns: int
    order: CapitalOrder


class Fill(Fact):
    """An order traded `quantity` at `price` (mean over the levels it took); `liquidity` is `taker`
    or `maker`.
    """

    time_ns: int
    pair: str
    account: str
    slot: int
    generation: int
    leg: str
    side: str
    quantity: float
    price: float
    fee_quote: float
    slippage_quote: float
    liquidity: str
    client_order_id: str
    trade_id: int


class Rejected(Fact):
    """An input or an intent was refused by `stage` for the stable code `reason`; nothing of it was
    used but the fact.

    `subject` is a symbol, or `pair/account/leg` for an intent. `count` above 1 stands for a run of
    like refusals.
    """

    time_ns: int
    stage: str
    reason: str
    subject: str
    detail: str
    count: int = 1


class AccountBlock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One account over one block, in the quote currency; `slot` is -1 for capital."""

    account: str
    slot: int
    generation: int
    equity_change_quote: float
    equity_quote: float
    fees_quote: float
    slippage_quote: float
    funding_quote: float
    borrow_quote: float
    turnover_quote: float
    drawdown_quote: float
    active: bool
    whole: bool


class BlockClosed(Fact):
    """A UTC day of `pair` ended: every account marked to the last mids, before any later event
    acts.

    `flagged` says that a mark was stale: the block's figures are added to the next. `whole` of an
    account says that one generation ran, warm, from the block's start to its end.
    """

    time_ns: int
    pair: str
    start_ns: int
    end_ns: int
    capital_slot: int
    slots_version: int
    accounts: tuple[AccountBlock, ...]
    alarm: bool
    volatility_mean: float
    flagged: bool


class Marked(Fact):
    """A pair at a grid point: mids, the followed slot's forecasts, the equity of every account
    marked to the mids.

    `equities_quote` has a value a slot and, last, capital's. `spread` is in log units;
    `capital_slot` -1 before the first promotion leaves the forecasts 0. `drawdown_max_quote` is
    capital's largest so far, over every complete moment and not only those of the grid.
    """

    time_ns: int
    pair: str
    capital_slot: int
    y_mid: float
    x_mid: float
    intercept: float
    hedge_ratio: float
    innovation: float
    variance_next: float
    spread: float
    spread_sd: float
    run_length: float
    recent_probability: float
    alarm: bool
    warm: bool
    equities_quote: tuple[float, ...]
    drawdown_max_quote: float = 0.0


class HandedOver(Fact):
    """The capital account is at its new slot's position; getting there cost `cost_quote`."""

    time_ns: int
    pair: str
    slot: int
    generation: int
    started_ns: int
    cost_quote: float
    flattened: bool


class DecisionRecorded(Fact):
    """A decision of EVOP with its whole record: JSON from which a pure function recomputes it."""

    time_ns: int
    pair: str
    decision_id: str
    kind: str
    record: str


# --- the operator and the host ---


class Halted(Fact):
    """Stop new risk and cancel; with `flatten` also close. An empty `pair` is the latch, which
    holds all; a pair's own halt is another one. `word_ns` numbers an operator's words (0: none).
    """

    time_ns: int
    pair: str
    flatten: bool
    operator: str
    reason: str
    word_ns: int = 0


class Resumed(Fact):
    """The operator lets `pair` take new risk again, also after a drawdown; an empty `pair` says
    that the latch is let go, and lifts no pair's own halt. `word_ns` as in `Halted`.
    """

    time_ns: int
    pair: str
    operator: str
    reason: str
    word_ns: int = 0


Event: TypeAlias = (
    MarketEvent
    | TimePassed
    | Registered
    | RegistryRead
    | Control
    | Decided
    | PairTick
    | HedgeRatio
    | Volatility
    | RiskView
    | CapitalOrder
    | ShadowOrder
    | VenueRequest
    | Fill
    | Rejected
    | BlockClosed
    | Marked
    | HandedOver
    | DecisionRecorded
    | Halted
    | Resumed
)
SCHEMA_VERSION = 1
