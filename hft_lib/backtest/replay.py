"""The whole line over a tape, in one process and in memory: what a notebook asks of EVOP.

The six stages, the same as live, event by event. Nothing is journalled; the facts come back as the
record of the run that reports and figures are made from.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from hft_lib.backtest.record import RunRecord, TapeInfo
from hft_lib.events import Event, Registered
from hft_lib.line import LineConfig, registry_words
from hft_lib.market.merge import feed_events
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.stage import Line
from hft_lib.stages import (
    execution,
    garch_model,
    ingestion,
    kalman_filter,
    orchestrator,
    risk_manager,
)

STAGES = (
    ingestion.STAGE,
    kalman_filter.STAGE,
    garch_model.STAGE,
    risk_manager.STAGE,
    execution.STAGE,
    orchestrator.STAGE,
)
CHALLENGER = "challenger-"  # begins an alias in the registry; a figure has no room for it
TOLD_EVENTS = 4_096  # between two words of the progress
Progress = Callable[[str, float], None]


def replay(
    tape: Tape,
    config: LineConfig,
    sets: Sequence[Registered],
    start_ns: int,
    end_ns: int | None = None,
    *,
    fit_window: tuple[int, int] | None = None,
    progress: Progress = lambda what, share: None,
) -> RunRecord:
    """Run the one pair of `config` over `start_ns` <= time < `end_ns` with what a registry says.

    `sets` are the champion and its challengers in order of arrival, each by its alias.
    `fit_window` (start, end) in ns is where they were fitted, for the figures. `progress` is told
    the share done. Raises ValueError where there is not exactly one pair.
    """
    if len(config.pairs) != 1:
        raise ValueError(f"the line must have one pair, had {len(config.pairs)}")
    pair, line = config.pairs[0].pair, Line(STAGES, config)
    facts: list[Event] = []
    for said in registry_words(sets):
        facts += _recorded(line.post("orchestrator", said))
    span_ns = max((end_ns or tape.end_ns) - start_ns, 1)
    events = feed_events(tape, start_ns, end_ns, legs_of(pair))
    for count, event in enumerate(events):
        facts += _recorded(line.post("ingestion", event))
        if count % TOLD_EVENTS == 0:
            progress("replaying", min(max((event.time_ns - start_ns) / span_ns, 0.0), 1.0))
    progress("done", 1.0)
    return RunRecord.from_facts(
        facts,
        pair=pair,
        params={item.alias.removeprefix(CHALLENGER): item.parameters for item in sets},
        tape=_info(tape),
        fit_window=fit_window,
        versions={item.alias.removeprefix(CHALLENGER): item.model_version for item in sets},
        commit=sets[0].git_commit if sets else "",
        commands=(),
        assumptions=config.assumptions,
        capital_quote=config.pairs[0].capital_quote,
        config=msgspec.to_builtins(config),
    )


def _recorded(leaving: Iterable[tuple[str, Event]]) -> list[Event]:
    """What goes into the log of records: a promotion also goes to the registry."""
    return [fact for log, fact in leaving if log == execution.RECORDS]


def _info(tape: Tape) -> TapeInfo:
    return TapeInfo(
        sha256=tape.sha256,
        start_ns=tape.start_ns,
        end_ns=tape.end_ns,
        rows=tape.rows,
        symbols=tuple(tape.symbols),
        source=tape.manifest.source,
    )
