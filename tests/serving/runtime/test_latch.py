"""The latch: its word, what is told of it, what is told while it cannot be read."""

from pathlib import Path

import pytest

from hft_lib.events import Halted, Resumed
from serving.adapters.redis_client import ANSWER_S_MAX
from serving.runtime import latch as latches
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import (
    ABSENT,
    HOST,
    POLL_S,
    STALE_S,
    UNREADABLE,
    WENT_BACK,
    FileLatch,
    InMemory,
    LatchEdge,
    Reading,
    Watch,
    Word,
    fact_of,
    kill,
    opening,
    reset,
)
from serving.runtime.service import PUMP_S

RUN = Word(run=True, operator="hft run", reason="opened", time_ns=1)
KILLED = Word(run=False, operator="ada", reason="drill", time_ns=2)


class Looks(Watch):
    """A watch whose readings a test sets."""

    def __init__(self) -> None:
        super().__init__(FileLatch(Path("nowhere")))
        self.now = Reading(RUN, "", 0.0)

    def reading(self) -> Reading:
        return self.now

    def says(self, word: Word | None, error: str = "") -> None:
        self.now = Reading(word, error, 0.0)


class Stage:
    """A stage that keeps what it was told."""

    settled = True

    def __init__(self) -> None:
        self.held = (False, False)
        self.told: list[tuple[bool, bool, str, str]] = []

    def tell(self, halted: bool, flatten: bool, operator: str, reason: str) -> None:
        self.held = (halted, flatten)
        self.told.append((halted, flatten, operator, reason))


class Scene:
    """An edge between both; `rests` counts the waits, of which each may change the readings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(latches, "HOLD_S_MAX", 0.05)
        self.looks, self.stage, self.rests = Looks(), Stage(), 0
        self.back_after = self.end_after = 10**9
        self.memory = InMemory()
        self.edge = LatchEdge(self.looks, self.stage, self.rest, self.memory)

    def rest(self, seconds: float) -> bool:
        self.rests += 1
        if self.rests >= self.back_after:
            self.looks.says(RUN)
        return self.rests >= self.end_after


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_kill_is_told_once_and_its_reset_once(scene: Scene):
    assert scene.edge.turn() == 0
    scene.looks.says(KILLED)
    assert [scene.edge.turn() for _ in range(3)] == [1, 0, 0]
    scene.looks.says(Word(run=True, operator="bob", reason="over", time_ns=3))
    assert [scene.edge.turn() for _ in range(3)] == [1, 0, 0]
    assert scene.stage.told == [(True, False, "ada", "drill"), (False, False, "bob", "over")]


def test_a_kill_that_also_closes_is_told_after_one_that_does_not(scene: Scene):
    scene.looks.says(KILLED)
    scene.edge.turn()
    scene.looks.says(Word(run=False, flatten=True, operator="bob", reason="close", time_ns=3))
    scene.edge.turn()
    assert scene.stage.told[-1] == (True, True, "bob", "close")


def test_nothing_is_told_before_the_stage_has_stepped_on_the_last(scene: Scene):
    scene.stage.settled = False
    scene.looks.says(KILLED)
    assert scene.edge.turn() == 0 and not scene.stage.told


def test_a_stage_that_was_told_before_a_restart_is_not_told_again(scene: Scene):
    scene.stage.held = (True, False)
    scene.looks.says(KILLED)
    assert scene.edge.turn() == 0


def test_an_absent_latch_halts_at_once(scene: Scene):
    scene.looks.says(None)
    assert scene.edge.turn() == 1 and scene.rests == 0
    assert scene.stage.told == [(True, False, HOST, ABSENT)]


def test_a_latch_that_is_back_soon_has_held_the_line_and_told_nothing(scene: Scene):
    scene.back_after = 2
    scene.looks.says(None, "gone")
    assert scene.edge.turn() == 0
    assert scene.rests == 2 and not scene.stage.told


def test_an_end_that_is_asked_for_while_the_line_rests_tells_nothing(scene: Scene):
    scene.end_after = 2
    scene.looks.says(None, "gone")
    assert scene.edge.turn() == 0
    assert scene.rests == 2 and not scene.stage.told


def test_a_latch_that_stays_away_is_told_once_and_lets_go_when_it_says_run(scene: Scene):
    scene.looks.says(None, "gone")
    assert [scene.edge.turn() for _ in range(3)] == [1, 0, 0]
    assert scene.rests > 1 and scene.stage.told == [(True, False, HOST, UNREADABLE)]
    scene.looks.says(RUN)
    assert scene.edge.turn() == 1
    assert scene.stage.told[-1][:3] == (False, False, HOST)


def test_a_kill_stays_and_keeps_closing_while_the_latch_cannot_be_read(scene: Scene):
    scene.looks.says(Word(run=False, flatten=True, operator="ada", reason="drill", time_ns=2))
    scene.edge.turn()
    scene.looks.says(None, "gone")
    assert scene.edge.turn() == 0 and scene.rests == 0
    assert scene.stage.held == (True, True) and len(scene.stage.told) == 1


def test_a_kill_that_came_while_the_latch_was_away_is_told_by_its_name(scene: Scene):
    scene.looks.says(None, "gone")
    scene.edge.turn()
    scene.looks.says(KILLED)
    assert [scene.edge.turn() for _ in range(2)] == [1, 0]
    assert scene.stage.told[-1] == (True, False, "ada", "drill")


def test_a_latch_that_went_back_before_the_kill_lets_nothing_go(scene: Scene):
    scene.looks.says(KILLED)
    scene.edge.turn()
    scene.looks.says(RUN)
    assert [scene.edge.turn() for _ in range(2)] == [0, 0]
    assert scene.stage.held == (True, False)
    assert "older than the kill of ada (drill)" in scene.edge.why()
    scene.looks.says(Word(run=True, operator="bob", reason="over", time_ns=3))
    assert scene.edge.turn() == 1 and scene.edge.why() == ""
    assert scene.stage.told[-1] == (False, False, "bob", "over")


def test_a_latch_that_went_back_halts_a_stage_that_forgot_the_kill(scene: Scene):
    scene.memory.keep(KILLED)  # its process ended between the two
    assert scene.edge.turn() == 1 and scene.rests == 0
    assert scene.stage.told == [(True, False, HOST, WENT_BACK)]
    scene.looks.says(Word(run=True, operator="bob", reason="over", time_ns=3))
    assert scene.edge.turn() == 1
    assert scene.stage.told[-1] == (False, False, "bob", "over")


def test_new_risk_is_sent_only_under_a_word_that_says_run_and_to_a_stage_that_goes(scene: Scene):
    assert scene.edge.may_send()
    scene.looks.says(KILLED)
    assert not scene.edge.may_send(), "before the stage is told"
    scene.edge.turn()
    scene.looks.says(RUN)
    assert not scene.edge.may_send(), "older than the kill"
    scene.looks.says(Word(run=True, operator="bob", reason="over", time_ns=3))
    assert not scene.edge.may_send(), "the stage was not let go yet"
    scene.edge.turn()
    assert scene.edge.may_send()
    for word, error in ((None, ""), (None, "gone")):
        scene.looks.says(word, error)
        assert not scene.edge.may_send()


def test_a_word_is_later_than_the_one_it_replaces_whatever_the_clocks(tmp_path: Path):
    latch = FileLatch(tmp_path / "latch")
    kill(latch, False, "ada", "her clock is ahead", 1000)
    assert reset(latch, "bob", "over", 7).time_ns == 1001
    assert kill(latch, False, "ada", "again", 5).time_ns == 1002


def test_the_pages_say_what_was_told_and_what_is_missing(scene: Scene):
    assert scene.edge.why() == "" and scene.edge.document()["latch"]["word"] == "run"
    scene.looks.says(None, "gone")
    scene.edge.turn()
    assert "gone" in scene.edge.why()
    gauges = {name: value for name, (_, value) in scene.edge.figures().items()}
    assert gauges["hft_latch_halted"] == 1.0 and gauges["hft_latch_readable"] == 0.0


def test_the_bounds_on_a_kills_way_to_the_inbox_add_up_to_less_than_a_second():
    looks = POLL_S + 2 * ANSWER_S_MAX  # a look just begun, whose first connection is broken
    assert looks + PUMP_S < 1.0 <= STALE_S


# --- the file ---


def test_a_file_holds_the_word_through_kill_and_reset(tmp_path: Path):
    latch = FileLatch(tmp_path / "home" / "latch")
    assert latch.read() is None
    latch.open(opening("hft run", 1))
    kill(latch, True, "ada", "drill", 2)
    latch.open(opening("hft run", 3))
    word = kill(latch, False, "bob", "again", 4)
    assert latch.read() == word and word.flatten, "what closes keeps closing"
    assert not word.run and word.operator == "bob"
    word = reset(latch, "ada", "over", 5)
    assert latch.read() == word and word.run and not word.flatten
    assert sorted(path.name for path in latch.path.parent.iterdir()) == ["latch"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"run": tr',
        b'{"run": true, "operator": "ada", "reason": "over", "time_ns": 9' + b"9" * 22 + b"}",
        b'{"nested": ' + b"[" * 100_000,
    ],
    ids=["cut", "a time that no clock says", "nested without end"],
)
def test_a_file_that_holds_no_word_is_unreadable_and_can_be_killed(tmp_path: Path, content: bytes):
    latch = FileLatch(tmp_path / "latch")
    latch.path.write_bytes(content)
    with pytest.raises(Unreadable, match="no word of ours"):
        latch.read()
    kill(latch, False, "ada", "drill", 1)
    word = latch.read()
    assert word is not None and not word.run


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "home").write_text("a file where a folder must be")
    with pytest.raises(Unreadable, match="home"):
        kill(FileLatch(tmp_path / "home" / "latch"), False, "ada", "drill", 1)


def test_a_watch_sees_a_kill_and_takes_no_old_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    latch = FileLatch(tmp_path / "latch")
    latch.write(RUN)
    with Watch(latch) as watch:
        assert watch.reading().word == RUN
        kill(latch, False, "ada", "drill", 2)
        for _ in range(200):
            if watch.reading().word == latch.read():
                break
            watch._stop.wait(0.02)
        assert watch.reading().word == latch.read()
    monkeypatch.setattr(latches, "STALE_S", -1.0)
    assert "no look ended" in watch.reading().error


def test_the_fact_of_a_word_is_of_no_pair():
    assert fact_of(True, True, "ada", "drill", 7) == Halted(7, "", True, "ada", "drill")
    assert fact_of(False, False, "ada", "over", 7) == Resumed(7, "", "ada", "over")
