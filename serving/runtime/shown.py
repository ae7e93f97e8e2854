"""What execution holds, as documents: its accounts, who holds a pair back, what is under way.

Made of the stage's state by the thread that steps it, between two steps, so that what is held and
the count of fills that brought it there are of one point: whoever compares them with other books
compares like with like. Quantities are in base units, money in the quote currency.
"""

import time
from collections.abc import Callable
from typing import Any

from hft_lib.exchange.account import NONE
from hft_lib.stages.execution import BY_LATCH, BY_MISMATCH, BY_PAIR, ExecutionState
from hft_lib.stages.pair_desk import LEGS, PairDesk, account_name

# A service's document is one value of the directory, 512 KiB: 150 to 250 bytes a row.
ROWS_SHOWN_MAX = {"pairs": 500, "holdings": 1000, "under_way": 200}
SHOWN_EVERY_S = 0.5
HELD_BY = {BY_LATCH: "latch", BY_PAIR: "operator", BY_MISMATCH: "slots"}
LOCKED = ("", "day", "drawdown")


def holdings(state: ExecutionState) -> list[dict[str, Any]]:
    """What every live account holds, a row an account, the capital of every pair first.

    `slot` is -1 for capital, whose `generation` is that of the slot that it follows (-1: none).
    `fills` counts those of the whole pair, all accounts, up to which this is so.
    """
    rows = [(pair, row) for pair in state.pairs.values() for row in _live(pair)]
    rows.sort(key=lambda item: item[1] != len(item[0].accounts) - 1)
    return [_holding(pair, row) for pair, row in rows]


def _live(pair: PairDesk) -> list[int]:
    return [row for row, live in enumerate(pair.accounts["live"].tolist()) if live]


def _holding(pair: PairDesk, row: int) -> dict[str, Any]:
    account = pair.accounts[row]
    slot = int(account["slot"])
    followed = int(pair.desk[0]["capital_slot"]) if slot < 0 else slot
    y, x = account["position"].tolist()
    return {
        "pair": pair.config.pair,
        "account": account_name(row, len(pair.accounts)),
        "slot": slot,
        "generation": pair.identities[followed].generation if followed >= 0 else -1,
        "y": y,
        "x": x,
        "equity_quote": float(account["equity"]),
        "drawdown_max_quote": float(account["drawdown_max"]),
        "fills": pair.trades,
    }


def held_back(state: ExecutionState) -> list[dict[str, Any]]:
    """Whether each pair's capital may take new risk, a row a pair: who holds it back, whether it is
    closed, and what locked it (`day` until the day ends, `drawdown` until the operator resumes).

    `word_ns` numbers the last word of the operator that the stage was told, 0 before the first.
    """
    return [_held_back(pair) for pair in state.pairs.values()]


def _held_back(pair: PairDesk) -> dict[str, Any]:
    desk, capital = pair.desk[0], pair.accounts[-1]
    halted = int(desk["halted"])
    return {
        "pair": pair.config.pair,
        "held_by": [name for bit, name in HELD_BY.items() if halted & bit],
        "flatten": bool(desk["flatten"]),
        "locked": LOCKED[int(capital["locked"])],
        "word_ns": pair.word_ns,
    }


def under_way(state: ExecutionState) -> list[dict[str, Any]]:
    """Orders that were sent and not answered yet; `unknown` where the answer fell due and did not
    come, by the pair's last quote. Those come first: whoever shows some must not leave them out.
    """
    rows = [
        _order(pair, row, i)
        for pair in state.pairs.values()
        for row in range(len(pair.accounts))
        for i in range(len(LEGS))
        if int(pair.orders[row, i]["state"]) != NONE
    ]
    return sorted(rows, key=lambda row: not row["unknown"])


def _order(pair: PairDesk, row: int, i: int) -> dict[str, Any]:
    order = pair.orders[row, i]
    return {
        "pair": pair.config.pair,
        "account": account_name(row, len(pair.accounts)),
        "leg": LEGS[i],
        "side": "buy" if order["side"] > 0 else "sell",
        "quantity": float(order["quantity"]),
        "client_order_id": pair.order_ids[row][i],
        "answered_ns": int(order["answered_ns"]),
        "unknown": int(order["answered_ns"]) < int(pair.legs["time_ns"].max()),
    }


def document(state: ExecutionState) -> dict[str, Any]:
    """All of it, each list with how many rows were left out of it.

    `line_ns` is the time of the last quote (0: none yet), `alarms` the pairs whose followed
    relation was held to break today.
    """
    lists = {
        "pairs": held_back(state),
        "holdings": holdings(state),
        "under_way": under_way(state),
    }
    shown: dict[str, Any] = {name: rows[: ROWS_SHOWN_MAX[name]] for name, rows in lists.items()}
    shown["left_out"] = {name: len(lists[name]) - len(shown[name]) for name in lists}
    desks = state.pairs.values()
    shown["line_ns"] = max((int(pair.legs["time_ns"].max()) for pair in desks), default=0)
    alarmed = [pair.config.pair for pair in desks if pair.block_alarm]
    shown["alarms"] = alarmed[: ROWS_SHOWN_MAX["pairs"]]
    return shown


class ExecutionShown:
    """What execution's pages show of its state; `turn` is called by the thread that steps it."""

    def __init__(
        self, state: Callable[[], ExecutionState], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._now_s = now_s
        self._looked_s = 0.0
        self._document: dict[str, Any] = {}

    def turn(self) -> int:
        """Look at the state, unless that was done a moment ago; writes 0 facts, as an edge."""
        now_s = self._now_s()
        if not self._document or now_s - self._looked_s >= SHOWN_EVERY_S:
            self._document, self._looked_s = document(self._state()), now_s
        return 0

    # --- what the pages show ---

    def why(self) -> str:
        """Nothing of it is ever missing."""
        return ""

    def document(self) -> dict[str, Any]:
        """The last look."""
        return self._document

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        pairs = self._document.get("pairs", [])
        waiting = [row for row in self._document.get("under_way", []) if _is_capital(row)]
        counts = {
            "hft_pairs_halted": (
                "pairs that an operator halted",
                [row for row in pairs if "operator" in row["held_by"]],
            ),
            "hft_pairs_mismatched": (
                "pairs held back because their slots differ from the line's",
                [row for row in pairs if "slots" in row["held_by"]],
            ),
            "hft_pairs_locked": (
                "pairs that locked after a drawdown",
                [row for row in pairs if row["locked"] == "drawdown"],
            ),
            "hft_pairs_locked_day": (
                "pairs that locked after a day's loss",
                [row for row in pairs if row["locked"] == "day"],
            ),
            "hft_orders_under_way": ("orders of capital that wait for their answer", waiting),
            "hft_orders_unknown": (
                "orders of capital whose answer fell due and did not come",
                [row for row in waiting if row["unknown"]],
            ),
        }
        line_s = self._document.get("line_ns", 0) / 1e9
        return {
            **{name: (text, float(len(rows))) for name, (text, rows) in counts.items()},
            "hft_line_timestamp_seconds": ("time of the line's last quote, 0 before it", line_s),
        }


def _is_capital(row: dict[str, Any]) -> bool:
    return bool(row["account"] == "capital")
