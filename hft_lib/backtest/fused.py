"""A line of one pair whose plain ticks go through one compiled loop: the facts of the six stages,
but for the marks at each grid point, at a fraction of their cost.

The stages are there and own their states. What the loop leaves, control, the ends of days, every
flaw, goes through them; then the loop goes on where they are. So nothing is decided in two ways,
and `hft_lib.stage.Line` over the same feed is in the same state at the end of each stretch, bit for
bit.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from hft_lib.backtest import fused_kernel
from hft_lib.backtest.fused_kernel import KNOWN, PLACE, RULES
from hft_lib.backtest.fused_rows import Prepared
from hft_lib.backtest.replay import STAGES
from hft_lib.events import Event, Marked
from hft_lib.kernel import Direct
from hft_lib.line import LineConfig
from hft_lib.market.cleaning import (
    CLOCK_JUMP_NS_MAX,
    LATE_NS,
    TRADES_A_SECOND_MAX,
    UPDATES_A_SECOND_MAX,
    Doubt,
    SymbolState,
)
from hft_lib.rows import Rows
from hft_lib.stage import Line, Stage
from hft_lib.stages.desk_facts import tell

NEVER_NS = np.iinfo(np.int64).max
NUMBER_MAX = 2**62  # of two such neither sum nor difference overflows
# The loop is worth its beginning where it takes so many rows; where it takes fewer, the stages take
# more and more before it is tried again, up to so many.
WORTH_ROWS, STINT_MAX = 8, 64
_RUN = Direct(fused_kernel.run)
_RULES = (CLOCK_JUMP_NS_MAX, LATE_NS, UPDATES_A_SECOND_MAX, TRADES_A_SECOND_MAX)  # as in `RULES`


class FusedLine:
    """The stages of `config`, which has one pair: all six, or those that lead up to execution.

    Raises ValueError where it has another number of pairs.
    """

    def __init__(self, config: LineConfig, stages: Iterable[Stage[Any, Any]] = STAGES) -> None:
        if len(config.pairs) != 1:
            raise ValueError(f"a fused line has one pair, was {len(config.pairs)}")
        self.line = Line(stages, config)
        states, pair = self.line.states, config.pairs[0].pair
        self._ingestion = states["ingestion"]
        self._place_on_grid = self._ingestion.pairs[pair]
        self._symbols = (
            self._ingestion.symbols[config.pairs[0].y],
            self._ingestion.symbols[config.pairs[0].x],
        )
        self._filters = states["kalman_filter"].pairs[pair]
        self._models = states["garch_model"].pairs[pair]
        self._window = states["garch_model"].windows[pair]
        self._risk = states["risk_manager"].pairs[pair]
        self._correlations = states["risk_manager"].correlations
        self._desk = states["execution"].pairs[pair]
        self._rules: Rows = np.array([_RULES], RULES)
        self._known: Rows = np.zeros(2, KNOWN)
        self._place: Rows = np.zeros(1, PLACE)
        self._stint = 1  # rows that the stages take next
        self._settled, self._traded = (np.zeros_like(self._desk.out) for _ in range(2))

    def post(self, inbox: str, event: Event) -> list[tuple[str, Event]]:
        """Let the stages take one fact; returns what leaves the line, each with its log."""
        return _unmarked(self.line.post(inbox, event))

    def feed(self, brought: Prepared | Event) -> Iterator[tuple[str, Event]]:
        """Take what a feed brings (`fused_rows.prepared_feed`); yields what leaves the line, each
        with its log.
        """
        if not isinstance(brought, Prepared):
            yield from self.post("ingestion", brought)
            return
        at, count = 0, len(brought.rows)
        while at < count:
            if self._is_plain():
                after, made = self._run(brought.rows, at)
                yield from made
                self._stint = 1 if after - at >= WORTH_ROWS else min(2 * self._stint, STINT_MAX)
                at = after
                if made:
                    continue
            end = min(at + self._stint, count)
            for row in range(at, end):
                yield from self.post("ingestion", brought.event(row))
            at = end

    def _is_plain(self) -> bool:
        """Whether the loop can go on from the stages: no side of a book is empty, the first block
        is open, and what execution goes by is what the line carries.
        """
        desk = self._desk
        return (
            all(map(_is_usual, self._symbols))
            and desk.block_start_ns > 0
            and desk.slots_version == self._place_on_grid.slots_version
            and desk.limits_version == self._risk.limits.version
        )

    def _run(self, rows: Rows, at: int) -> tuple[int, list[tuple[str, Event]]]:
        """Run the loop from row `at`; the row after the last it took, and what leaves the line."""
        pending, desk, models = self._ingestion.pending, self._desk, self._models
        stop_ns = min(pending[0].effective_ns if pending else NEVER_NS, desk.block_end_ns)
        self._load()
        after = _RUN.call(
            rows, at, stop_ns, self._rules, self._known, self._place,
            self._filters.params, self._filters.states, self._filters.hedges,
            models.params, models.states, models.horizons, models.live, models.volatilities,
            self._window.values, self._window.clock, self._window.warm_ns,
            self._risk.params, self._risk.detectors, self._risk.watches, self._risk.risks,
            self._correlations.log_mids, self._correlations.returns,
            self._correlations.stepped_ns, self._correlations.products, self._risk.row,
            desk.sheet, self._settled, self._traded,
        )  # fmt: skip
        if after == at:
            return at, []
        place = _Place._make(self._place[0].tolist())
        self._store(place)
        facts: list[Event] = []
        for count, made in ((place.settled, self._settled), (place.traded, self._traded)):
            desk.out[:count] = made[:count]
            tell(desk, count, facts)
        return after, _unmarked(self.line.send_on("execution", facts))

    def _load(self) -> None:
        """Take over from the stages."""
        pair, desk = self._place_on_grid, self._desk
        for row, symbol in enumerate(self._symbols):
            self._known[row] = _known(symbol, pair.stale_cadences_max)
        self._place[0] = _Place(
            time_ns=self._ingestion.time_ns,
            grid_ns=pair.grid_ns,
            grid_index=pair.grid_index,
            is_stale=pair.stale_told,
            is_waiting=any(symbol.quote_ns == 0 for symbol in self._symbols),
            is_open=bool(self._ingestion.open),
            moments=self._window.moments,
            volatility_sum=desk.volatility_sum,
            volatility_count=desk.volatility_count,
            alarm=desk.block_alarm,
        )

    def _store(self, place: "_Place") -> None:
        """Hand over to the stages."""
        pair, desk, ingestion = self._place_on_grid, self._desk, self._ingestion
        for symbol, row in zip(self._symbols, self._known.tolist()):
            _set_known(symbol, _Known._make(row))
        ingestion.time_ns = place.time_ns
        ingestion.open = {pair.pair} if place.is_open else set()
        pair.grid_index = place.grid_index
        self._window.moments = place.moments
        desk.volatility_sum, desk.volatility_count = place.volatility_sum, place.volatility_count
        desk.block_alarm = bool(place.alarm)
        if place.stepped:
            self._filters.forecast = self._filters.hedges.tobytes()
            self._models.forecast = self._models.volatilities.tobytes()
            self._risk.verdict = self._risk.risks.tobytes()
        if place.looked:
            desk.hedges, desk.volatilities = self._filters.forecast, self._models.forecast
            desk.risks = self._risk.verdict


def _unmarked(leaving: list[tuple[str, Event]]) -> list[tuple[str, Event]]:
    return [(log, fact) for log, fact in leaving if not isinstance(fact, Marked)]


def _is_usual(symbol: SymbolState) -> bool:
    """Whether a leg's book has no empty side, and what is known of it are numbers that 64 bits
    hold.
    """
    numbers = symbol.gap_ns, abs(symbol.clock_offset_ns or 0)
    return not symbol.is_one_sided and max(numbers) < NUMBER_MAX


class _Place(NamedTuple):
    """A row of `PLACE`."""

    time_ns: int
    grid_ns: int
    grid_index: int
    is_stale: int
    is_waiting: int
    is_open: int
    moments: int
    volatility_sum: float
    volatility_count: int
    alarm: int
    settled: int = 0
    traded: int = 0
    stepped: int = 0
    looked: int = 0


class _Known(NamedTuple):
    """A row of `KNOWN`."""

    top: tuple[float, float, float, float]
    quote_ns: int
    quote_exchange_ns: int
    update_id: int
    update_suspect: int
    update_believed_ns: int
    update_is_sure: int
    trade_id: int
    trade_suspect: int
    trade_believed_ns: int
    trade_is_sure: int
    trade_exchange_ns: int
    depth_id: int
    depth_suspect: int
    depth_believed_ns: int
    depth_is_sure: int
    has_offset: int
    offset_ns: int
    late_since_ns: int
    stale_after_ns: float
    gap_ns: int


def _known(symbol: SymbolState, stale_cadences_max: float) -> _Known:
    update, trade, depth = symbol.update_doubt, symbol.trade_doubt, symbol.depth_doubt
    offset_ns = symbol.clock_offset_ns
    return _Known(
        top=(symbol.bid, symbol.bid_size, symbol.ask, symbol.ask_size),
        quote_ns=symbol.quote_ns,
        quote_exchange_ns=symbol.quote_exchange_ns,
        update_id=symbol.update_id,
        update_suspect=update.suspect,
        update_believed_ns=update.time_ns,
        update_is_sure=update.is_sure,
        trade_id=symbol.trade_id,
        trade_suspect=trade.suspect,
        trade_believed_ns=trade.time_ns,
        trade_is_sure=trade.is_sure,
        trade_exchange_ns=symbol.trade_exchange_ns,
        depth_id=symbol.depth_id,
        depth_suspect=depth.suspect,
        depth_believed_ns=depth.time_ns,
        depth_is_sure=depth.is_sure,
        has_offset=offset_ns is not None,
        offset_ns=offset_ns or 0,
        late_since_ns=symbol.late_since_ns,
        stale_after_ns=symbol.cadence_ns * stale_cadences_max,
        gap_ns=symbol.gap_ns,
    )


def _set_known(symbol: SymbolState, known: _Known) -> None:
    symbol.bid, symbol.bid_size, symbol.ask, symbol.ask_size = map(float, known.top)
    symbol.quote_ns, symbol.quote_exchange_ns = known.quote_ns, known.quote_exchange_ns
    symbol.update_id, symbol.trade_id = known.update_id, known.trade_id
    symbol.depth_id = known.depth_id
    symbol.update_doubt = Doubt(
        known.update_suspect, known.update_believed_ns, bool(known.update_is_sure)
    )
    symbol.trade_doubt = Doubt(
        known.trade_suspect, known.trade_believed_ns, bool(known.trade_is_sure)
    )
    symbol.depth_doubt = Doubt(
        known.depth_suspect, known.depth_believed_ns, bool(known.depth_is_sure)
    )
    symbol.trade_exchange_ns = known.trade_exchange_ns
    symbol.clock_offset_ns = known.offset_ns if known.has_offset else None
    symbol.late_since_ns = known.late_since_ns
