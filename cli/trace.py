"""`hft trace`: from an order's id to everything that led to it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from cli import options
from cli.console import emit, text
from cli.context import iso
from cli.errors import BadInput
from cli.runs import journals, read_facts, read_header
from hft_lib.events import (
    CapitalOrder,
    DecisionRecorded,
    Event,
    Fill,
    Promoted,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
)
from hft_lib.parameters import Limits
from serving.runtime.journal import RECORDS, JournalError
from serving.runtime.settings import Settings


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What an order's log was begun with; empty and None what it does not say, `unknown` why."""

    git_commit: str = ""
    tape_sha256: str = ""
    config_sha256: str = ""
    limits: Limits | None = None
    journal: str | None = None
    line: str | None = None
    unknown: dict[str, str] = {}


def trace(
    context: typer.Context,
    order_id: str,
    journal: options.JournalOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Say where an order came from: slot, model version, run, commit, data, features, verdict.

    Searches the ledger of the line on Kafka where KAFKA_BOOTSTRAP_SERVERS is set, then the journals
    under HFT_HOME, newest first. Order ids are in the file that `hft replay --orders` writes, in
    every journal and in the ledger.

    Example: hft trace hk74enmkevejjogzhecgctagiatsksgoo --json
    """
    settings: Settings = context.obj
    unread: list[str] = []
    if journal is None and settings.kafka_bootstrap_servers is not None:
        from cli import trace_line

        known = trace_line.find(settings, order_id, unread)
        if known is not None:
            emit(known, as_json, print_trace)
            return
    paths = [journal] if journal else journals(settings)
    for path in paths:
        try:
            found = find(path, order_id)
        except (JournalError, BadInput) as error:  # the order may be in another one
            unread.append(str(error))
            continue
        if found is not None:
            emit(found, as_json, print_trace)
            return
    where = f"journal {journal}" if journal else f"the {len(paths)} journals of {settings.hft_home}"
    but = (
        f"; {'; '.join(unread)}" if unread else ": `hft replay --orders FILE` lists a run's orders"
    )
    raise BadInput(f"no order {order_id!r} in {where}{but}")


def find(path: Path, order_id: str) -> dict[str, Any] | None:
    """All that the journal at `path` says of the order; None where it has no such order."""
    assigned: dict[tuple[int, int], SlotAssigned] = {}
    decisions: dict[tuple[str, int, int], Event] = {}
    records = (record for _, record in read_facts(path, (RECORDS,)))
    for fact in records:
        if isinstance(fact, SlotAssigned):
            assigned[fact.slot, fact.generation] = fact
        elif isinstance(fact, Promoted | RolledBack):
            decisions["moved", fact.slot, fact.generation] = fact
        elif isinstance(fact, DecisionRecorded):
            decisions[fact.decision_id, -1, -1] = fact
        elif isinstance(fact, CapitalOrder | ShadowOrder) and fact.client_order_id == order_id:
            slot = assigned.get((fact.slot, fact.generation))
            moved = decisions.get(("moved", fact.slot, fact.generation))
            decision_id = decision_of(fact.account, moved)
            recorded = decisions.get((decision_id, -1, -1))
            fills = list(_fills(records, order_id))
            return document(_source(path, fact.pair), fact, slot, moved, recorded, fills)
    return None


def _source(path: Path, pair: str) -> Source:
    header = read_header(path)
    return Source(
        git_commit=header.git_commit,
        tape_sha256=header.tape_sha256,
        config_sha256=header.config_sha256,
        limits=next(item.limits for item in header.config.pairs if item.pair == pair),
        journal=str(path),
    )


def decision_of(account: str, moved: Any) -> str:
    """The decision by which capital follows a slot; empty for a shadow's order."""
    return str(getattr(moved, "decision_id", "")) if account == "capital" else ""


def _fills(records: Iterator[Event], order_id: str) -> Iterator[Fill]:
    """The order's fills; an order may fill in parts, hours apart."""
    for fact in records:
        if isinstance(fact, Fill) and fact.client_order_id == order_id:
            yield fact


def document(
    source: Source, order: Any, slot: Any, moved: Any, recorded: Any, fills: Sequence[Any]
) -> dict[str, Any]:
    """All that is known of an order: as facts of a log, or as rows of a ledger, which have the same
    names.
    """
    parameters = getattr(slot, "parameters", None)
    decision_id = decision_of(order.account, moved)
    return {
        "order_id": order.client_order_id,
        "pair": order.pair,
        "account": order.account,
        "slot": order.slot,
        "generation": order.generation,
        "role": slot.role if slot else None,
        "time": iso(order.time_ns),
        "order": {
            "leg": order.leg,
            "symbol": order.symbol,
            "side": order.side,
            "type": order.type,
            "quantity": order.quantity,
            "purpose": order.purpose,
            "attempt": order.attempt,
            "reduce_only": order.reduce_only,
        },
        "fills": [
            {"time": iso(fill.time_ns), "quantity": fill.quantity, "price": fill.price,
             "fee_quote": fill.fee_quote, "slippage_quote": fill.slippage_quote}
            for fill in fills
        ],  # fmt: skip
        "model_version": slot.model_version if slot else None,
        "run_id": slot.run_id if slot else None,
        "parameters_sha256": order.parameters_sha256,
        "parameters": msgspec.to_builtins(parameters) if parameters else None,
        "git_commit": source.git_commit or None,
        "tape_sha256": source.tape_sha256 or None,
        "config_sha256": source.config_sha256 or None,
        "features": {
            "z": order.z,
            "intercept": order.intercept,
            "hedge_ratio": order.hedge_ratio,
            "spread_sd": order.spread_sd,
            "y_mid": order.y_mid,
            "x_mid": order.x_mid,
            "run_length": order.run_length,
        },
        "verdict": {
            "gate": "APPROVED",
            "purpose": order.purpose,
            "limits_version": order.limits_version,
            "limits": msgspec.to_builtins(source.limits),
        },
        "decision": {
            "decision_id": decision_id or None,
            "kind": getattr(recorded, "kind", None),
            "effective": iso(moved.effective_ns) if moved is not None else None,
        },
        "journal": source.journal,
        "line": source.line,
        "unknown": source.unknown,
    }


def print_trace(known: dict[str, Any]) -> None:
    """The trace, for people."""
    console = text()
    order, features = known["order"], known["features"]
    console.print(
        f"[bold]{order['side']} {order['quantity']:g} {order['symbol']}[/bold] at {known['time']}, "
        f"{order['purpose']}, account {known['account']} of slot {known['slot']}"
    )
    for fill in known["fills"]:
        console.print(
            f"  filled {fill['quantity']:g} at {fill['price']:.10g}, fee {fill['fee_quote']:.4f}, "
            f"spread and slippage {fill['slippage_quote']:.4f}"
        )
    console.print(
        f"  z {features['z']:.3f}, hedge ratio {features['hedge_ratio']:.5f}, forecast sd "
        f"{features['spread_sd'] * 1e4:.2f} bp, expected run length {features['run_length']:.0f}"
    )
    for label in ("model_version", "run_id", "parameters_sha256", "git_commit", "tape_sha256"):
        console.print(f"  {label:<20}{known[label] or 'none'}")
    console.print(f"  {'config_sha256':<20}{known['config_sha256'] or 'none'}")
    for label, why in known["unknown"].items():
        console.print(f"  no {label}: {why}")
    decision = known["decision"]
    if decision["decision_id"]:
        console.print(f"  capital follows this slot by decision {decision['decision_id']}")
