"""What a run comes to, counted as its facts pass: orders and their hash, fills, refusals, the
capital account's figures.

The hash is over the approved orders of all accounts, sorted by (time_ns, client_order_id), one line
each, as `ORDER_COLUMNS` names them. Facts come in the order of time, so only orders of one time are
held.
"""

import hashlib
import math
from collections import Counter
from typing import IO, Any

from hft_lib.events import BlockClosed, CapitalOrder, Event, Fill, Rejected, ShadowOrder
from hft_lib.exchange.account import X, Y
from hft_lib.stages.execution import ExecutionState

ORDER_COLUMNS = (
    "time_ns",
    "account",
    "pair",
    "leg",
    "side",
    "type",
    "quantity",
    "price",
    "client_order_id",
)
FILL_COLUMNS = (
    "time_ns",
    "account",
    "pair",
    "leg",
    "side",
    "quantity",
    "price",
    "fee_quote",
    "liquidity",
    "client_order_id",
    "trade_id",
)
DAYS_A_YEAR = 365.0


def csv_line(fact: Event, columns: tuple[str, ...]) -> str:
    """One line: integers as they are, floats by `repr`, what is absent empty."""
    values = (getattr(fact, name) for name in columns)
    return ",".join("" if value is None else _text(value) for value in values) + "\n"


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


class Tally:
    """Takes the facts that leave a line, in order; `orders` and `fills` are open text files, or
    None.
    """

    def __init__(self, orders: IO[str] | None = None, fills: IO[str] | None = None) -> None:
        self.events = 0
        self.orders = 0
        self.fills = 0
        self.rejected: Counter[str] = Counter()
        self.days: dict[int, float] = {}
        self._digest = hashlib.sha256()
        self._held: list[tuple[int, str, str]] = []
        self._orders_file, self._fills_file = orders, fills
        if orders is not None:
            orders.write(",".join(ORDER_COLUMNS) + "\n")
        if fills is not None:
            fills.write(",".join(FILL_COLUMNS) + "\n")

    def take(self, fact: Event) -> None:
        """Count one fact."""
        if isinstance(fact, CapitalOrder | ShadowOrder):
            self._take_order(fact)
        elif isinstance(fact, Fill):
            self.fills += 1
            if self._fills_file is not None:
                self._fills_file.write(csv_line(fact, FILL_COLUMNS))
        elif isinstance(fact, Rejected):
            self.rejected[fact.reason] += fact.count
        elif isinstance(fact, BlockClosed):
            self._take_block(fact)

    def _take_order(self, order: CapitalOrder | ShadowOrder) -> None:
        self.orders += 1
        if self._held and self._held[0][0] != order.time_ns:
            self._flush()
        line = csv_line(order, ORDER_COLUMNS)
        self._held.append((order.time_ns, order.client_order_id, line))

    def _take_block(self, block: BlockClosed) -> None:
        for account in block.accounts:
            if account.slot < 0:
                day = self.days.get(block.end_ns, 0.0)
                self.days[block.end_ns] = day + account.equity_change_quote

    def _flush(self) -> None:
        for _, _, line in sorted(self._held):
            self._digest.update(line.encode())
            if self._orders_file is not None:
                self._orders_file.write(line)
        self._held.clear()

    def orders_sha256(self) -> str:
        """The hash of the orders so far."""
        self._flush()
        return self._digest.hexdigest()

    def document(self, execution: ExecutionState) -> dict[str, Any]:
        """The figures that `replay`, `run` and `demo` print; money is the capital accounts'
        together.
        """
        capitals = [
            (pair, pair.accounts[len(pair.accounts) - 1]) for pair in execution.pairs.values()
        ]
        mids = {
            pair.config.pair: 0.5 * (pair.legs["bid"] + pair.legs["ask"]) for pair, _ in capitals
        }
        equity = sum(
            float(held["cash"])
            + float(held["position"][Y] * mids[pair.config.pair][Y])
            + float(held["position"][X] * mids[pair.config.pair][X])
            for pair, held in capitals
        )

        def total(name: str) -> float:
            return sum(float(held[name]) for _, held in capitals)

        return {
            "events": self.events,
            "orders": self.orders,
            "fills": self.fills,
            "pnl_quote": equity,
            "fees_quote": total("fees"),
            "slippage_quote": total("slippage"),
            "funding_quote": total("funding"),
            "borrow_quote": total("borrow"),
            "turnover_quote": total("turnover"),
            "sharpe_annual": sharpe_annual(list(self.days.values())),
            "max_drawdown_quote": total("drawdown_max"),
            "rejected": dict(sorted(self.rejected.items())),
            "orders_sha256": self.orders_sha256(),
        }


def sharpe_annual(daily_pnl: list[float]) -> float | None:
    """Annualised mean over standard deviation of daily results; None for fewer than two days, or
    days all alike.
    """
    n = len(daily_pnl)
    if n < 2:
        return None
    mean = math.fsum(daily_pnl) / n
    variance = math.fsum((value - mean) * (value - mean) for value in daily_pnl) / (n - 1)
    return mean / math.sqrt(variance) * math.sqrt(DAYS_A_YEAR) if variance > 0.0 else None
