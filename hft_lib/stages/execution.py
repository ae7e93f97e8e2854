"""Execution: a target for each slot, the gate, the two legs of every account, simulated fills, the day's blocks.

It alone knows what is held. Before an event at t it runs what fell due at or before t, each at its own time: order
arrivals and answers, and the end of a UTC day, which marks every account and closes the block.
"""

import base64
import hashlib
from typing import TypeAlias, assert_never

import msgspec
import numpy as np

from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    CapitalOrder,
    Event,
    Fill,
    Funding,
    Halted,
    HandedOver,
    Instrument,
    Marked,
    PairTick,
    Promoted,
    Rejected,
    Resumed,
    RiskView,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
    TimePassed,
)
from hft_lib.exchange import account as books
from hft_lib.line import LineConfig, PairConfig
from hft_lib.parameters import Limits
from hft_lib.risk import gate
from hft_lib.rows import HEDGE, RISK, VOLATILITY, Rows
from hft_lib.stage import Stage
from hft_lib.stages import desk as desk_kernels
from hft_lib.stages import legs as legs_kernels
from hft_lib.strategy import decision

Input: TypeAlias = (
    RiskView | SlotAssigned | Promoted | RolledBack | TimePassed | Halted | Resumed
)
DAY_NS = 86_400_000_000_000
ORDER_LIFE_NS = 2_000_000_000  # a request older than this is refused by a venue edge
LEGS = ("y", "x")
SHORTS = {"none": books.SHORT_NONE, "borrow": books.SHORT_BORROW, "perp": books.SHORT_PERP}


class SlotIdentity(msgspec.Struct):
    """Which parameter set a slot runs."""

    generation: int
    parameters_sha256: str


class PairDesk(msgspec.Struct):
    """Everything held and under way for one pair; rows of `accounts` are the slots and, last, capital."""

    config: PairConfig
    symbols: tuple[str, str]
    account_epoch: int
    borrow_rate_annual: float | None
    desk: Rows
    legs: Rows
    accounts: Rows
    orders: Rows
    order_ids: list[list[str]]
    strategies: Rows
    limits: Rows
    limits_version: int
    hedges: bytes
    volatilities: bytes
    risks: bytes
    hedge_rows: Rows
    volatility_rows: Rows
    risk_rows: Rows
    identities: list[SlotIdentity]
    slots_version: int
    block_start_ns: int
    block_end_ns: int
    block_alarm: bool
    volatility_sum: float
    volatility_count: int
    trades: int
    next_due_ns: int
    out: Rows


class ExecutionState(msgspec.Struct):
    """The desks of every pair."""

    pairs: dict[str, PairDesk]


def start(config: LineConfig) -> ExecutionState:
    """Flat accounts, no slots, no prices."""
    return ExecutionState({item.pair: _open_desk(config, item) for item in config.pairs})


def _open_desk(config: LineConfig, pair: PairConfig) -> PairDesk:
    slots, rows = config.slots, config.slots + 1
    assumptions = config.assumptions
    desk = np.zeros(1, desk_kernels.Desk)
    desk["capital_slot"] = -1
    desk["next_due_ns"] = desk_kernels.NEVER_NS
    desk["order_latency_ns"] = assumptions.order_latency_ns
    desk["response_latency_ns"] = assumptions.response_latency_ns
    desk["handover_ns_max"] = round(config.handover_s_max * 1e9)
    desk["capital"] = pair.capital_quote
    accounts = np.zeros(rows, books.Account)
    accounts["slot"] = np.arange(rows)
    accounts[slots]["live"] = 1
    accounts[slots]["slot"] = -1
    accounts[slots]["multiple"] = 1.0
    legs = np.zeros(2, books.Leg)
    legs["lots_per_unit"] = 1e8
    hedges, risks = np.zeros(slots, HEDGE), np.zeros(slots, RISK)
    volatilities = np.zeros(slots, VOLATILITY)
    return PairDesk(
        config=pair,
        symbols=(pair.y, pair.x),
        account_epoch=config.account_epoch,
        borrow_rate_annual=assumptions.borrow_rate_annual,
        desk=desk,
        legs=legs,
        accounts=accounts,
        orders=np.zeros((rows, 2), books.Order),
        order_ids=[["", ""] for _ in range(rows)],
        strategies=np.zeros(slots, decision.Params),
        limits=gate.limits_row(pair.limits, pair.capital_quote),
        limits_version=pair.limits.version,
        hedges=hedges.tobytes(),
        volatilities=volatilities.tobytes(),
        risks=risks.tobytes(),
        hedge_rows=hedges,
        volatility_rows=volatilities,
        risk_rows=risks,
        identities=[SlotIdentity(-1, "") for _ in range(slots)],
        slots_version=0,
        block_start_ns=0,
        block_end_ns=desk_kernels.NEVER_NS,
        block_alarm=False,
        volatility_sum=0.0,
        volatility_count=0,
        trades=0,
        next_due_ns=desk_kernels.NEVER_NS,
        out=np.zeros(8 * rows, legs_kernels.Outcome),
    )


def step(state: ExecutionState, event: Input) -> tuple[Event, ...]:
    """Run what fell due, then act on one event."""
    match event:
        case RiskView():
            return observe(state.pairs[event.tick.pair], event)
        case TimePassed():
            facts: list[Event] = []
            for pair in state.pairs.values():
                run_due(pair, event.time_ns, facts)
            return tuple(facts)
        case SlotAssigned():
            return assign(state.pairs[event.pair], event)
        case Promoted() | RolledBack():
            return move_pointer(state.pairs[event.pair], event)
        case Halted() | Resumed():
            return latch(state, event)
        case _:
            assert_never(event)


def observe(pair: PairDesk, view: RiskView) -> tuple[Event, ...]:
    """One tick of the line: what fell due, the event's own effect, and at a complete moment the decisions."""
    tick = view.tick
    time_ns = tick.time_ns
    facts: list[Event] = []
    if not pair.block_start_ns:
        open_first_block(pair, time_ns)
    if time_ns >= pair.next_due_ns:
        run_due(pair, time_ns, facts)
    if tick.leg and isinstance(tick.event, Instrument | Funding):
        apply_terms(pair, LEGS.index(tick.leg), tick.event)
    if tick.more:
        return tuple(facts)
    if tick.slots_version != pair.slots_version:
        return (*facts, *halt_on_mismatch(pair, time_ns, tick.slots_version))
    load(pair, view)
    count = desk_kernels.trade(
        pair.desk,
        pair.legs,
        pair.accounts,
        pair.orders,
        pair.strategies,
        pair.hedge_rows,
        pair.volatility_rows,
        pair.risk_rows,
        pair.limits,
        pair.out,
        time_ns,
        tick.stale,
        tick.y_bid,
        tick.y_bid_size,
        tick.y_ask,
        tick.y_ask_size,
        tick.y_time_ns,
        tick.x_bid,
        tick.x_bid_size,
        tick.x_ask,
        tick.x_ask_size,
        tick.x_time_ns,
    )
    if count:
        tell(pair, count, facts)
    if tick.grid_steps:
        facts.append(marked(pair, tick))
    return tuple(facts)


def marked(pair: PairDesk, tick: PairTick) -> Marked:
    """The pair at a grid point, as the followed slot and the mids see it."""
    slot = int(pair.desk[0]["capital_slot"])
    y_mid, x_mid = 0.5 * (tick.y_bid + tick.y_ask), 0.5 * (tick.x_bid + tick.x_ask)
    equities = tuple(pair.accounts["equity"].tolist())
    if slot < 0:
        return Marked(
            tick.time_ns, tick.pair, slot, y_mid, x_mid, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            False, False, equities,
        )  # fmt: skip
    hedge, volatility, risk = pair.hedge_rows[slot], pair.volatility_rows[slot], pair.risk_rows[slot]
    account = pair.accounts[slot]
    spread_sd = float(volatility["spread_sd"])
    return Marked(
        time_ns=tick.time_ns,
        pair=tick.pair,
        capital_slot=slot,
        y_mid=y_mid,
        x_mid=x_mid,
        intercept=float(hedge["intercept"]),
        hedge_ratio=float(hedge["hedge_ratio"]),
        innovation=float(hedge["innovation"]),
        innovation_var=float(volatility["variance_next"]),
        spread=float(account["z"]) * spread_sd,
        spread_sd=spread_sd,
        run_length=float(risk["run_length"]),
        recent_probability=float(risk["recent_probability"]),
        alarm=bool(risk["alarm"]),
        warm=tick.time_ns >= int(account["warm_at_ns"]),
        equities_quote=equities,
    )


def load(pair: PairDesk, view: RiskView) -> None:
    """Take the forecasts that the view carries, where they changed, and the limits in force."""
    if view.hedges != pair.hedges:
        pair.hedges = view.hedges
        pair.hedge_rows = np.frombuffer(view.hedges, HEDGE)
    if view.volatilities != pair.volatilities:
        pair.volatilities = view.volatilities
        pair.volatility_rows = np.frombuffer(view.volatilities, VOLATILITY)
    if view.risks != pair.risks:
        pair.risks = view.risks
        pair.risk_rows = np.frombuffer(view.risks, RISK)
    if view.limits.version != pair.limits_version:
        pair.limits = gate.limits_row(view.limits, pair.config.capital_quote)
        pair.limits_version = view.limits.version
    slot = int(pair.desk[0]["capital_slot"]) if view.tick.grid_steps else -1
    if slot >= 0:
        pair.volatility_sum += float(pair.volatility_rows[slot]["spread_sd"])
        pair.volatility_count += 1
        pair.block_alarm = pair.block_alarm or bool(pair.risk_rows[slot]["alarm"])


def apply_terms(pair: PairDesk, i: int, event: Instrument | Funding) -> None:
    """Take a leg's terms, or settle its funding on what every account holds."""
    leg = pair.legs[i]
    if isinstance(event, Funding):
        desk_kernels.settle_funding(pair.legs, pair.accounts, i, event.rate)
        return
    leg["stale_after_ns"] = round(event.cadence_ns * pair.config.limits.stale_cadences_max)
    leg["taker_fee_rate"] = event.taker_fee_rate
    leg["lots_per_unit"] = lots_per_unit(event.quantity_step)
    leg["notional_min"] = event.notional_min_quote
    leg["short"] = SHORTS[event.short]
    leg["borrow_rate_annual"] = event.borrow_rate_annual
    if event.short == "none" and pair.borrow_rate_annual is not None:
        leg["short"] = books.SHORT_BORROW
        leg["borrow_rate_annual"] = pair.borrow_rate_annual


def lots_per_unit(quantity_step: float) -> float:
    """Lots in one base unit; a whole number where the step divides one, so that quantities print short."""
    lots = 1.0 / quantity_step
    return float(round(lots)) if abs(lots - round(lots)) < 1e-6 * lots else lots


# --- what falls due ---


def run_due(pair: PairDesk, until_ns: int, facts: list[Event]) -> None:
    """Order arrivals, answers and ends of days up to `until_ns`, each at its own time, in order."""
    while pair.block_end_ns <= until_ns:
        settle(pair, pair.block_end_ns, facts)
        facts.append(close_block(pair))
    settle(pair, until_ns, facts)


def settle(pair: PairDesk, until_ns: int, facts: list[Event]) -> None:
    """Order arrivals and answers up to `until_ns`."""
    count = desk_kernels.settle(
        pair.desk, pair.legs, pair.accounts, pair.orders, until_ns, pair.out
    )
    tell(pair, count, facts)


def open_first_block(pair: PairDesk, time_ns: int) -> None:
    """The first block runs from the first tick to the next midnight, and is not whole."""
    pair.block_start_ns = time_ns
    pair.block_end_ns = (time_ns // DAY_NS + 1) * DAY_NS
    pair.accounts["accrued_at_ns"] = time_ns
    pair.next_due_ns = pair.block_end_ns


def close_block(pair: PairDesk) -> BlockClosed:
    """Mark every account to the last mids at the day's end, say what the day brought, and begin the next."""
    end_ns = pair.block_end_ns
    desk_kernels.mark_all(pair.legs, pair.accounts, end_ns)
    stale = bool((pair.legs["time_ns"] + pair.legs["stale_after_ns"] < end_ns).any())
    names = [account_name(row, len(pair.accounts)) for row in range(len(pair.accounts))]
    closed = BlockClosed(
        time_ns=end_ns,
        pair=pair.config.pair,
        start_ns=pair.block_start_ns,
        end_ns=end_ns,
        capital_slot=int(pair.desk[0]["capital_slot"]),
        slots_version=pair.slots_version,
        accounts=tuple(
            account_block(pair, row, name)
            for row, name in enumerate(names)
            if pair.accounts[row]["live"]
        ),
        alarm=pair.block_alarm,
        volatility_mean=pair.volatility_sum / max(1, pair.volatility_count),
        flagged=stale,
    )
    desk_kernels.open_blocks(pair.accounts)
    pair.block_start_ns, pair.block_end_ns = end_ns, end_ns + DAY_NS
    pair.block_alarm, pair.volatility_sum, pair.volatility_count = False, 0.0, 0
    return closed


def account_block(pair: PairDesk, row: int, name: str) -> AccountBlock:
    """What one account did in the block that ends."""
    held = pair.accounts[row]
    slot = int(held["slot"])
    followed = int(pair.desk[0]["capital_slot"]) if slot < 0 else slot
    return AccountBlock(
        account=name,
        slot=slot,
        generation=pair.identities[followed].generation if followed >= 0 else -1,
        equity_change_quote=float(held["equity"] - held["block_equity"]),
        equity_quote=float(held["equity"]),
        fees_quote=float(held["fees"] - held["block_fees"]),
        slippage_quote=float(held["slippage"] - held["block_slippage"]),
        funding_quote=float(held["funding"] - held["block_funding"]),
        borrow_quote=float(held["borrow"] - held["block_borrow"]),
        turnover_quote=float(held["turnover"] - held["block_turnover"]),
        drawdown_quote=float(held["block_drawdown"]),
        active=bool(held["block_active"]),
        whole=int(held["whole_from_ns"]) <= pair.block_start_ns
        and pair.block_end_ns - pair.block_start_ns == DAY_NS,
    )


def account_name(row: int, rows: int) -> str:
    """`slot-N`, or `capital` for the last row."""
    return "capital" if row == rows - 1 else f"slot-{row}"


# --- control ---


def assign(pair: PairDesk, assigned: SlotAssigned) -> tuple[Event, ...]:
    """A slot starts over: new parameters, a flat account, warming."""
    slot = assigned.slot
    pair.slots_version = assigned.slots_version
    pair.strategies[slot] = decision.params_row(assigned.parameters.strategy)[0]
    pair.identities[slot] = SlotIdentity(assigned.generation, assigned.parameters_sha256)
    account = np.zeros(1, books.Account)
    account["slot"] = slot
    account["live"] = 1
    account["warm_at_ns"] = assigned.effective_ns + round(assigned.warmup_s * 1e9)
    account["whole_from_ns"] = account["warm_at_ns"]
    account["accrued_at_ns"] = assigned.effective_ns
    pair.accounts[slot] = account[0]
    pair.orders[slot] = np.zeros(2, books.Order)
    return ()


def move_pointer(pair: PairDesk, moved: Promoted | RolledBack) -> tuple[Event, ...]:
    """Point the capital account at another slot, unless what was promoted is gone."""
    pair.slots_version = moved.slots_version
    known = pair.identities[moved.slot].generation
    if known != moved.generation:
        detail = f"slot {moved.slot} runs generation {known}, not {moved.generation}"
        return (refusal(pair, moved.effective_ns, "PROMOTION_GONE", detail),)
    first = int(pair.desk[0]["capital_slot"]) < 0
    pair.desk[0]["capital_slot"] = moved.slot
    if not first:
        desk_kernels.start_handover(pair.accounts, moved.effective_ns)
    return ()


def latch(state: ExecutionState, event: Halted | Resumed) -> tuple[Event, ...]:
    """Hold back, or let go, the capital accounts of one pair or of all."""
    for name, pair in state.pairs.items():
        if event.pair not in ("", name):
            continue
        halted = isinstance(event, Halted)
        pair.desk[0]["halted"] = int(halted)
        pair.desk[0]["flatten"] = int(halted and event.flatten)
        if not halted:
            desk_kernels.unlock(pair.accounts)
    return ()


def halt_on_mismatch(pair: PairDesk, time_ns: int, version: int) -> tuple[Event, ...]:
    """A tick of another slot table than ours: halt the pair, say so once."""
    if pair.desk[0]["halted"]:
        return ()
    pair.desk[0]["halted"] = 1
    detail = f"the line is at slots version {version}, execution at {pair.slots_version}"
    return (refusal(pair, time_ns, "SLOTS_VERSION", detail),)


def refusal(pair: PairDesk, time_ns: int, reason: str, detail: str) -> Rejected:
    """A refusal that concerns the pair as a whole."""
    return Rejected(time_ns, "execution", reason, pair.config.pair, detail)


# --- what the kernels did, as facts ---


def tell(pair: PairDesk, count: int, facts: list[Event]) -> None:
    """Append the facts of the first `count` outcomes, and note what falls due next."""
    for row in pair.out[:count]:
        facts.append(_TELLERS[int(row["kind"])](pair, row))
    pair.next_due_ns = min(pair.block_end_ns, int(pair.desk[0]["next_due_ns"]))


def tell_order(pair: PairDesk, row: Rows) -> CapitalOrder | ShadowOrder:
    """An approved order, with what explains it."""
    account, i = int(row["account"]), int(row["leg"])
    capital = account == len(pair.accounts) - 1
    slot = int(pair.desk[0]["capital_slot"]) if capital else account
    name = account_name(account, len(pair.accounts))
    identity = pair.identities[slot]
    time_ns, attempt = int(row["time_ns"]), int(row["attempt"])
    legs = pair.legs
    order_id = client_order_id(
        pair.account_epoch,
        pair.config.pair,
        name,
        identity.parameters_sha256,
        time_ns,
        int(row["sequence"]),
        LEGS[i],
        attempt,
    )
    pair.order_ids[account][i] = order_id
    return gate.approve(
        capital,
        time_ns=time_ns,
        pair=pair.config.pair,
        account=name,
        slot=slot,
        generation=identity.generation,
        leg=LEGS[i],
        symbol=pair.symbols[i],
        side="buy" if row["side"] > 0 else "sell",
        type="market",
        quantity=float(row["quantity"]),
        price=None,
        reduce_only=bool(row["reduce_only"]),
        purpose=desk_kernels.PURPOSES[int(row["purpose"])],
        attempt=attempt,
        client_order_id=order_id,
        parameters_sha256=identity.parameters_sha256,
        expires_ns=time_ns + ORDER_LIFE_NS,
        z=float(pair.accounts[slot]["z"]),
        intercept=float(pair.hedge_rows[slot]["intercept"]),
        hedge_ratio=float(pair.hedge_rows[slot]["hedge_ratio"]),
        spread_sd=float(pair.volatility_rows[slot]["spread_sd"]),
        y_mid=float(0.5 * (legs[0]["bid"] + legs[0]["ask"])),
        x_mid=float(0.5 * (legs[1]["bid"] + legs[1]["ask"])),
        run_length=float(pair.risk_rows[slot]["run_length"]),
        limits_version=pair.limits_version,
    )


def client_order_id(*parts: str | int) -> str:
    """`h` and the base32 digest of what makes an order unique: the same order has the same id in every replay."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=20).digest()
    return "h" + base64.b32encode(digest).decode().lower()


def tell_fill(pair: PairDesk, row: Rows) -> Fill:
    """A fill, under its order's id."""
    account, i = int(row["account"]), int(row["leg"])
    capital = account == len(pair.accounts) - 1
    slot = int(pair.desk[0]["capital_slot"]) if capital else account
    pair.trades += 1
    return Fill(
        time_ns=int(row["time_ns"]),
        pair=pair.config.pair,
        account=account_name(account, len(pair.accounts)),
        slot=slot,
        generation=pair.identities[slot].generation,
        leg=LEGS[i],
        side="buy" if row["side"] > 0 else "sell",
        quantity=float(row["quantity"]),
        price=float(row["price"]),
        fee_quote=float(row["fee"]),
        slippage_quote=float(row["slippage"]),
        liquidity="taker",
        client_order_id=pair.order_ids[account][i],
        trade_id=pair.trades,
    )


def tell_refusal(pair: PairDesk, row: Rows) -> Rejected:
    """A refusal of the gate, by its stable code."""
    account, i = int(row["account"]), int(row["leg"])
    subject = f"{pair.config.pair}/{account_name(account, len(pair.accounts))}/{LEGS[i]}"
    purpose = desk_kernels.PURPOSES[int(row["purpose"])]
    reason = gate.REASONS[int(row["reason"])]
    return Rejected(int(row["time_ns"]), "execution", reason, subject, f"refused to {purpose}")


def tell_handover(pair: PairDesk, row: Rows) -> HandedOver:
    """The capital account is where its new slot is."""
    slot = int(pair.desk[0]["capital_slot"])
    capital = pair.accounts[len(pair.accounts) - 1]
    return HandedOver(
        time_ns=int(row["time_ns"]),
        pair=pair.config.pair,
        slot=slot,
        generation=pair.identities[slot].generation,
        started_ns=int(capital["handover_started_ns"]),
        cost_quote=float(row["fee"]),
        flattened=int(row["kind"]) == legs_kernels.FLATTENED,
    )


_TELLERS = {
    legs_kernels.ORDERED: tell_order,
    legs_kernels.FILLED: tell_fill,
    legs_kernels.REFUSED: tell_refusal,
    legs_kernels.HANDED_OVER: tell_handover,
    legs_kernels.FLATTENED: tell_handover,
}

RECORDS = "hft.records"
STAGE = Stage(
    name="execution",
    state_type=ExecutionState,
    start=start,
    step=step,
    routes={
        CapitalOrder: (RECORDS,),
        ShadowOrder: (RECORDS,),
        Fill: (RECORDS,),
        Rejected: (RECORDS,),
        BlockClosed: ("orchestrator", RECORDS),
        HandedOver: ("orchestrator", RECORDS),
        Marked: (RECORDS,),
    },
)
