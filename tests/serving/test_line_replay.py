"""A line's tape and log replay to what the line wrote; whatever is another is found."""

import math
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hft_lib.backtest.tally import Tally
from hft_lib.events import Event, Halted, Quote, Registered, SlotAssigned
from hft_lib.market.tape import Tape, TapeWriter
from serving.line_log import (
    LOGS,
    UPSTREAM,
    End,
    Ends,
    Given,
    LineHeader,
    LineLog,
    LineLogWriter,
    is_line_log,
)
from serving.line_replay import LineReplay
from serving.runtime.chain import Diverged, Outgoing, key_of
from serving.runtime.identity import content_sha256
from serving.runtime.journal import RECORDS, JournalError, read_header
from serving.services import stages
from tests.builders import story_config
from tests.serving.test_live_market import POSTS, REFUSAL, Script

OTHERS = {"execution": "host", "orchestrator": "registry"}  # who tells them what no stage does
LATE = 40  # facts of the feed that ingestion takes before what the orchestrator told it


class Written:
    """A line whose facts go to logs, as those of six services do."""

    def __init__(self) -> None:
        self.rows: list[Event] = []
        self.given: list[Given] = []
        self.tally = Tally()
        self._stages = {stage.name: stage for stage in stages()}
        self._states = {name: one.start(story_config()) for name, one in self._stages.items()}
        self._heard: Counter[str] = Counter()
        self._chains: dict[str, Outgoing] = defaultdict(lambda: Outgoing(""))
        self._late: list[tuple[int, Event]] = []

    def take(self, writer: str, log: str, fact: Event) -> None:
        """A fact comes into a log, and its stage steps on it."""
        key = "" if writer in ("feed", "host", "registry") else key_of(fact)
        self._chains[writer].chain(log, key, msgspec.msgpack.encode(fact))
        if log == RECORDS:
            self.tally.take(fact)
        if log not in self._stages:
            return
        if UPSTREAM[log] == writer and fact != REFUSAL:
            self._heard[log] += 1
            if writer == "feed":
                self.rows.append(fact)
                self.tally.events += 1
        else:
            self.given.append(Given(log, self._heard[log], writer, fact))
        stage = self._stages[log]
        for made in stage.step(self._states[log], fact):
            for target in stage.routes[type(made)]:
                if target == "ingestion":  # it is busy, and hears of it later
                    self._late.append((self._heard[target] + LATE, made))
                else:
                    self.take(log, target, made)
        if log == "ingestion":
            self.tell_late(self._heard[log])

    def tell_late(self, heard: float) -> None:
        """What ingestion is told once it has taken so much of the feed."""
        while self._late and self._late[0][0] <= heard:
            self.take("orchestrator", "ingestion", self._late.pop(0)[1])

    def ends(self) -> tuple[End, ...]:
        """Where the chains of the logs end that are read."""
        return tuple(
            End(name.partition("\n")[0], writer, name.partition("\n")[2], mark.number, mark.digest)
            for writer, chains in self._chains.items()
            for name, mark in chains.marks.items()
            if name.partition("\n")[0] in (*LOGS, RECORDS)
        )


def the_story() -> Written:
    """The whole story on six logs, the market each event at a time of its own."""
    made, events = Written(), iter(Script().events)
    for log, fact in POSTS:
        if log != "ingestion":
            made.take(OTHERS[log], log, fact)
        elif (event := next(events, None)) is not None:
            made.take("feed", log, event)
            if len(made.rows) % 50 == 0:
                made.take("feed", log, REFUSAL)
    made.tell_late(math.inf)
    return made


@pytest.fixture(scope="module")
def written() -> Written:
    """The line of the story."""
    return the_story()


def save(folder: Path, rows: list[Event], given: list[Given], ends: tuple[End, ...]) -> Path:
    """The tape and the log of a line in `folder`; where the log is."""
    config = story_config()
    header = LineHeader(
        line="kafka-x",
        config=config,
        config_sha256=content_sha256(config),
        sets=tuple(one.fact for one in given if isinstance(one.fact, Registered)),
        start_ns=0,
        git_commit="",
    )
    with TapeWriter(folder) as tape:
        tape.write(rows)  # type: ignore[arg-type]
        log = LineLogWriter(tape.directory / "line", header)
        for one in given:
            log.give(one)
        log.end(Ends(ends, (1,)))
    return folder / "line"


def replayed(path: Path) -> tuple[LineReplay, Tally]:
    """A replay of what was saved."""
    tally = Tally()
    replay = LineReplay(LineLog(path), tally)
    replay.run(Tape.open(path.parent), lambda count: None)
    return replay, tally


def test_a_line_replays_to_all_that_it_wrote_though_control_came_late(
    written: Written, tmp_path: Path
) -> None:
    path = save(tmp_path / "t", written.rows, written.given, written.ends())
    replay, tally = replayed(path)
    assert any(isinstance(one.fact, SlotAssigned) and one.after for one in written.given)
    assert replay.behind == 0 and replay.compared > 2 * len(written.rows)
    assert tally.orders == written.tally.orders > 10
    assert tally.orders_sha256() == written.tally.orders_sha256()
    assert (tally.rejected, tally.events) == (written.tally.rejected, len(written.rows))


def test_a_log_that_was_read_while_the_line_ran_is_compared_as_far_as_it_goes(
    written: Written, tmp_path: Path
) -> None:
    fewer = tuple(end for end in written.ends() if end.log != RECORDS or end.writer != "execution")
    replay, tally = replayed(save(tmp_path / "t", written.rows, written.given, fewer))
    assert replay.behind > 10 and tally.orders == 0


def test_what_the_orchestrator_said_while_the_log_was_read_is_no_divergence(
    written: Written, tmp_path: Path
) -> None:
    said = [n for n, one in enumerate(written.given) if one.writer == "registry"]
    before = [one for n, one in enumerate(written.given) if n != said[-1]]
    kept = tuple(end for end in written.ends() if end.writer != "orchestrator")
    circle = tuple(
        end for end in written.ends() if (end.writer, end.log) == ("orchestrator", "ingestion")
    )
    assert replayed(save(tmp_path / "t", written.rows, before, kept + circle))[0].ahead > 0
    with pytest.raises(Diverged, match="orchestrator .* hft.records"):
        replayed(save(tmp_path / "all", written.rows, before, written.ends()))


def test_a_row_that_is_missing_or_another_is_found(written: Written, tmp_path: Path) -> None:
    ends = written.ends()
    with pytest.raises(Diverged, match="feed wrote .* facts to ingestion, a replay makes"):
        replayed(save(tmp_path / "cut", written.rows[:-1], written.given, ends))
    place = max(n for n, row in enumerate(written.rows) if isinstance(row, Quote))
    row = written.rows[place]
    assert isinstance(row, Quote)
    rows = [*written.rows]
    rows[place] = replace(row, exchange_time_ns=row.exchange_time_ns + 1)
    with pytest.raises(Diverged, match="(the tape brings|ingestion makes) for .* one is another"):
        replayed(save(tmp_path / "other", rows, written.given, ends))


def test_a_word_that_is_missing_or_at_another_place_is_found(
    written: Written, tmp_path: Path
) -> None:
    without = [one for one in written.given if not isinstance(one.fact, Halted)]
    assert len(without) < len(written.given)
    with pytest.raises(Diverged, match="one is another"):
        replayed(save(tmp_path / "without", written.rows, without, written.ends()))
    moved = [
        replace(one, after=one.after + 1) if isinstance(one.fact, SlotAssigned) else one
        for one in written.given
    ]
    with pytest.raises(Diverged, match="one is another"):
        replayed(save(tmp_path / "moved", written.rows, moved, written.ends()))
    late = [*written.given, Given("execution", 10**9, "host", without[0].fact)]
    with pytest.raises(Diverged, match="was told something after fact 1000000000"):
        replayed(save(tmp_path / "late", written.rows, late, written.ends()))


def test_a_file_that_was_cut_or_is_a_runs_journal_is_refused(
    written: Written, tmp_path: Path
) -> None:
    path = save(tmp_path / "t", written.rows, written.given, written.ends())
    assert is_line_log(path)
    with pytest.raises(JournalError, match="no header"):
        read_header(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(JournalError, match="no whole log of a line"):
        LineLog(path)
