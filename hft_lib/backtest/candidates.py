"""Candidates beside a champion, and what they did next to it over the window that the champion was
fitted on.

What a candidate earned in sample is no evidence for it: the figures here set scales and, for the
set named `lucky`, show why. EVOP judges on days after the window alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from hft_lib.backtest.fused import FusedLine
from hft_lib.backtest.fused_rows import events_in, prepared_feed
from hft_lib.events import BlockClosed, Promoted, SlotAssigned
from hft_lib.line import LineConfig
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import Challenger, Parameters, parameter_sha256
from hft_lib.stages import execution, garch_model, ingestion, kalman_filter, risk_manager

# Everything but the orchestrator: the sets under comparison stay where they are put.
_STAGES = (
    ingestion.STAGE,
    kalman_filter.STAGE,
    garch_model.STAGE,
    risk_manager.STAGE,
    execution.STAGE,
)
TWINS = 6  # sets alike but for noise, of which the luckiest is chosen


class Comparison(NamedTuple):
    """Daily results of whole days in the quote currency, (days, sets); the first set is the
    champion.
    """

    names: tuple[str, ...]
    daily_quote: np.ndarray[tuple[int, int], np.dtype[np.float64]]

    def difference(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Daily results of `name` less the champion's, (days,)."""
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = (
            self.daily_quote[:, self.names.index(name)] - self.daily_quote[:, 0]
        )
        return found

    def s0_quote(self, names: Iterable[str]) -> float:
        """Root mean square, over `names`, of the standard deviations of active daily differences; 0
        without any.
        """
        variances = []
        for name in names:
            active = [value for value in self.difference(name).tolist() if value != 0.0]
            if len(active) > 1:
                mean = math.fsum(active) / len(active)
                total = math.fsum((value - mean) * (value - mean) for value in active)
                variances.append(total / (len(active) - 1))
        return math.sqrt(math.fsum(variances) / len(variances)) if variances else 0.0


def with_strategy(params: Parameters, **changes: float) -> Parameters:
    """`params` with other strategy parameters."""
    strategy = msgspec.structs.replace(params.strategy, **changes)
    return msgspec.structs.replace(params, strategy=strategy)


def planted(champion: Parameters) -> list[Challenger]:
    """Sets whose worth next to `champion` is known on the synthetic market: a worse, an equal and a
    better one.
    """
    known = champion.strategy
    return [
        Challenger(
            name="worse", params=with_strategy(champion, entry_z=known.entry_z + 0.6, exit_z=1.0)
        ),
        Challenger(name="equal", params=with_strategy(champion, stop_z=known.stop_z + 0.5)),
        Challenger(
            name="better",
            params=with_strategy(champion, entry_z=known.entry_z - 0.4, exit_z=0.2),
        ),
    ]


def ordinary(champion: Parameters) -> list[Challenger]:
    """Sets that a desk would try next to `champion` on a market whose truth nobody knows."""
    known = champion.strategy
    return [
        Challenger(
            name="bold",
            params=with_strategy(champion, entry_z=1.0, exit_z=0.2, edge_cost_ratio_min=0.0),
        ),
        Challenger(
            name="patient", params=with_strategy(champion, entry_z=known.entry_z + 0.5, exit_z=0.2)
        ),
        Challenger(
            name="eager", params=with_strategy(champion, entry_z=known.entry_z - 0.4, exit_z=0.2)
        ),
    ]


def twins(champion: Parameters, seed: int) -> list[Challenger]:
    """Sets that differ from `champion` in what should not matter: the luckiest of them in sample is
    luck alone.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    made = []
    for number in range(TWINS):
        kalman = msgspec.structs.replace(
            champion.kalman,
            noise_var=champion.kalman.noise_var * math.exp(random.normal(0.0, 0.5)),
            hedge_drift_var=champion.kalman.hedge_drift_var * math.exp(random.normal(0.0, 0.5)),
        )
        params = msgspec.structs.replace(champion, kalman=kalman)
        made.append(Challenger(name=f"twin-{number}", params=params))
    return made


def compare(
    config: LineConfig,
    sets: Sequence[tuple[str, Parameters]],
    tape: Tape,
    start_ns: int,
    end_ns: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Comparison:
    """Run every set in its own slot over start_ns <= time < end_ns of the tape, and take each whole
    day's result; `advance` is told events done.
    """
    pair = config.pairs[0].pair
    y, x = legs_of(pair)
    line = FusedLine(msgspec.structs.replace(config, challengers_max=len(sets)), _STAGES)
    for slot, (_, params) in enumerate(sets):
        line.post("ingestion", _assigned(pair, slot, params, start_ns))
    line.post("ingestion", Promoted(start_ns, start_ns, pair, 0, 0, "", "", len(sets) + 1))
    days = []
    for brought in prepared_feed(tape, start_ns, end_ns, (y, x)):
        for log, fact in line.feed(brought):
            if log == "orchestrator" and isinstance(fact, BlockClosed) and not fact.flagged:
                shadows = [item for item in fact.accounts if item.slot >= 0]
                if all(item.whole for item in shadows):
                    days.append([item.equity_change_quote for item in shadows])
        if advance is not None:
            advance(events_in(brought))
    daily = np.array(days, np.float64).reshape(len(days), len(sets))
    return Comparison(tuple(name for name, _ in sets), daily)


def _assigned(pair: str, slot: int, params: Parameters, start_ns: int) -> SlotAssigned:
    return SlotAssigned(
        time_ns=start_ns,
        effective_ns=start_ns,
        pair=pair,
        slot=slot,
        generation=0,
        role="explorer",
        parameters=params,
        parameters_sha256=parameter_sha256(params),
        model_version="",
        run_id="",
        copy_from=-1,
        warmup_s=params.strategy.warmup_s,
        slots_version=slot + 1,
    )
