"""What the compiled desk did, as facts: orders, fills, refusals, hand-overs, marks and blocks."""

import hashlib
from typing import NamedTuple

import numpy as np

from hft_lib.base32 import base32
from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    CapitalOrder,
    Event,
    Fill,
    HandedOver,
    Marked,
    PairTick,
    Rejected,
    ShadowOrder,
)
from hft_lib.risk import gate
from hft_lib.rows import HEDGE, RISK, VOLATILITY
from hft_lib.stages import desk as desk_kernels
from hft_lib.stages import legs as legs_kernels
from hft_lib.stages.pair_desk import LEGS, PairDesk, account_name

DAY_NS = 86_400_000_000_000
ORDER_LIFE_NS = 2_000_000_000  # a request older than this is refused by a venue edge


class Outcome(NamedTuple):
    """A row of `legs.Outcome` as Python's own numbers: an element of a row costs a view of it."""

    kind: int
    time_ns: int
    account: int
    leg: int
    side: float
    quantity: float
    price: float
    fee: float
    slippage: float
    reason: int
    reduce_only: int
    purpose: int
    attempt: int
    sequence: int


class Known(NamedTuple):
    """What execution goes by at one moment: the slot that capital follows (-1 before the first),
    the mids, and a column a slot of what explains an order.
    """

    capital_slot: int
    y_mid: float
    x_mid: float
    z: list[float]
    intercept: list[float]
    hedge_ratio: list[float]
    spread_sd: list[float]
    run_length: list[float]


def known_now(pair: PairDesk) -> Known:
    """Read it once for all that a moment brought: the element of a row costs a view of it."""
    sheet = pair.sheet
    legs, forecasts = sheet["legs"][0], sheet["forecasts"][0]
    (y_bid, x_bid), (y_ask, x_ask) = legs["bid"].tolist(), legs["ask"].tolist()
    return Known(
        sheet["desk"]["capital_slot"].item(0),
        0.5 * (y_bid + y_ask),
        0.5 * (x_bid + x_ask),
        forecasts["z"].tolist(),
        forecasts["intercept"].tolist(),
        forecasts["hedge_ratio"].tolist(),
        forecasts["spread_sd"].tolist(),
        forecasts["run_length"].tolist(),
    )


def tell(pair: PairDesk, count: int, facts: list[Event]) -> None:
    """Append the facts of the first `count` outcomes, and note what falls due next."""
    if count:
        known = known_now(pair)
        for row in map(Outcome._make, pair.out[:count].tolist()):
            facts.append(_TELLERS[row.kind](pair, known, row))
    due_ns = pair.sheet["desk"]["next_due_ns"].item(0)
    pair.next_due_ns = min(pair.block_end_ns, due_ns) if pair.block_start_ns else 0


def tell_order(pair: PairDesk, known: Known, row: Outcome) -> CapitalOrder | ShadowOrder:
    """An approved order, with what explains it."""
    account, i = row.account, row.leg
    rows = len(pair.order_ids)
    capital = account == rows - 1
    slot = known.capital_slot if capital else account
    name = account_name(account, rows)
    identity = pair.identities[slot]
    time_ns, attempt = row.time_ns, row.attempt
    order_id = client_order_id(
        pair.account_epoch,
        pair.config.pair,
        name,
        identity.parameters_sha256,
        time_ns,
        row.sequence,
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
        side="buy" if row.side > 0.0 else "sell",
        type="market",
        quantity=row.quantity,
        price=None,
        reduce_only=bool(row.reduce_only),
        purpose=desk_kernels.PURPOSES[row.purpose],
        attempt=attempt,
        client_order_id=order_id,
        parameters_sha256=identity.parameters_sha256,
        expires_ns=time_ns + ORDER_LIFE_NS,
        z=known.z[slot],
        intercept=known.intercept[slot],
        hedge_ratio=known.hedge_ratio[slot],
        spread_sd=known.spread_sd[slot],
        y_mid=known.y_mid,
        x_mid=known.x_mid,
        run_length=known.run_length[slot],
        limits_version=pair.limits_version,
    )


def client_order_id(
    account_epoch: int,
    pair: str,
    account: str,
    parameters_sha256: str,
    time_ns: int,
    sequence: int,
    leg: str,
    attempt: int,
) -> str:
    """`h` and the base32 digest of what makes an order unique: the same order has the same id in
    every replay.
    """
    made_of = (
        f"{account_epoch}|{pair}|{account}|{parameters_sha256}|{time_ns}|{sequence}|{leg}|{attempt}"
    )
    return "h" + base32(hashlib.blake2b(made_of.encode(), digest_size=20).digest())


def tell_fill(pair: PairDesk, known: Known, row: Outcome) -> Fill:
    """A fill, under its order's id."""
    account, i = row.account, row.leg
    rows = len(pair.order_ids)
    capital = account == rows - 1
    slot = known.capital_slot if capital else account
    pair.trades += 1
    return Fill(
        time_ns=row.time_ns,
        pair=pair.config.pair,
        account=account_name(account, rows),
        slot=slot,
        generation=pair.identities[slot].generation,
        leg=LEGS[i],
        side="buy" if row.side > 0.0 else "sell",
        quantity=row.quantity,
        price=row.price,
        fee_quote=row.fee,
        slippage_quote=row.slippage,
        liquidity="taker",
        client_order_id=pair.order_ids[account][i],
        trade_id=pair.trades,
    )


def tell_refusal(pair: PairDesk, _: Known, row: Outcome) -> Rejected:
    """A refusal of the gate, by its stable code."""
    name = account_name(row.account, len(pair.order_ids))
    subject = f"{pair.config.pair}/{name}/{LEGS[row.leg]}"
    purpose = desk_kernels.PURPOSES[row.purpose]
    reason = gate.REASONS[row.reason]
    return Rejected(row.time_ns, "execution", reason, subject, f"refused to {purpose}")


def tell_handover(pair: PairDesk, known: Known, row: Outcome) -> HandedOver:
    """The capital account is where its new slot is."""
    slot = known.capital_slot
    capital = pair.accounts[-1]
    return HandedOver(
        time_ns=row.time_ns,
        pair=pair.config.pair,
        slot=slot,
        generation=pair.identities[slot].generation,
        started_ns=int(capital["handover_started_ns"]),
        cost_quote=row.fee,
        flattened=row.kind == legs_kernels.FLATTENED,
    )


_TELLERS = {
    legs_kernels.ORDERED: tell_order,
    legs_kernels.FILLED: tell_fill,
    legs_kernels.REFUSED: tell_refusal,
    legs_kernels.HANDED_OVER: tell_handover,
    legs_kernels.FLATTENED: tell_handover,
}


def marked(pair: PairDesk, tick: PairTick) -> Marked:
    """The pair at a grid point, as the followed slot and the mids see it."""
    slot = int(pair.desk[0]["capital_slot"])
    y_mid, x_mid = 0.5 * (tick.y_bid + tick.y_ask), 0.5 * (tick.x_bid + tick.x_ask)
    accounts = pair.accounts
    equities = tuple(accounts["equity"].tolist())
    if slot < 0:
        return Marked(
            tick.time_ns, tick.pair, slot, y_mid, x_mid, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            False, False, equities,
        )  # fmt: skip
    hedge = np.frombuffer(pair.hedges, HEDGE)[slot]
    volatility = np.frombuffer(pair.volatilities, VOLATILITY)[slot]
    risk = np.frombuffer(pair.risks, RISK)[slot]
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
        variance_next=float(volatility["variance_next"]),
        spread=float(pair.forecasts[slot]["z"]) * spread_sd,
        spread_sd=spread_sd,
        run_length=float(risk["run_length"]),
        recent_probability=float(risk["recent_probability"]),
        alarm=bool(risk["alarm"]),
        warm=tick.time_ns >= int(accounts[slot]["warm_at_ns"]),
        equities_quote=equities,
        drawdown_max_quote=float(accounts[-1]["drawdown_max"]),
    )


def close_block(pair: PairDesk) -> BlockClosed:
    """Mark every account to the last mids at the day's end, say what the day brought, and begin the
    next.
    """
    end_ns = pair.block_end_ns
    legs, accounts = pair.legs, pair.accounts
    desk_kernels.mark_all(pair.desk, legs, accounts, end_ns)
    stale = bool((legs["time_ns"] + legs["stale_after_ns"] < end_ns).any())
    closed = BlockClosed(
        time_ns=end_ns,
        pair=pair.config.pair,
        start_ns=pair.block_start_ns,
        end_ns=end_ns,
        capital_slot=int(pair.desk[0]["capital_slot"]),
        slots_version=pair.slots_version,
        accounts=tuple(
            account_block(pair, row, account_name(row, len(accounts)))
            for row, live in enumerate(accounts["live"].tolist())
            if live
        ),
        alarm=pair.block_alarm,
        volatility_mean=pair.volatility_sum / max(1, pair.volatility_count),
        flagged=stale,
    )
    desk_kernels.open_blocks(accounts)
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


def refusal(pair: PairDesk, time_ns: int, reason: str, detail: str) -> Rejected:
    """A refusal that concerns the pair as a whole."""
    return Rejected(time_ns, "execution", reason, pair.config.pair, detail)
