"""The operator's words about pairs: which is in force, what is told of it, where they are kept."""

import threading
from pathlib import Path

import pytest

from hft_lib.events import Halted, Resumed
from serving.runtime import kept_words
from serving.runtime import latch as latches
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import PAIRS_FILE, FileLatch, PairWords, Reading, Watch, Word
from serving.runtime.line_latch import pair_fact
from serving.runtime.pair_words import ALL, PairsEdge, halt, in_force, newest_ns, resume

A, B = "A/USDT:USDT~A/USDT", "B/USDT:USDT~B/USDT"


def word(time_ns: int, run: bool = False, flatten: bool = False) -> Word:
    return Word(run=run, flatten=flatten, operator="ada", reason="drill", time_ns=time_ns)


class Looks(Watch):
    """A watch whose readings a test sets."""

    def __init__(self) -> None:
        super().__init__(FileLatch(Path("nowhere")))
        self.says()

    def reading(self) -> Reading:
        return self.now

    def says(self, words: PairWords | None = None, error: str = "") -> None:
        self.now = Reading(None, error, 0.0, words or {})


class Stage:
    """A stage of two pairs that keeps what it was told."""

    def __init__(self) -> None:
        self.settled = True
        self.heard = {A: 0, B: 0}
        self.told: list[tuple[str, Word]] = []

    def tell_pair(self, pair: str, said: Word) -> None:
        self.heard[pair] = said.time_ns
        self.told.append((pair, said))


class Scene:
    """An edge between both."""

    def __init__(self, opened_ns: int = 0) -> None:
        self.looks, self.stage = Looks(), Stage()
        self.edge = PairsEdge(self.looks, self.stage, opened_ns)

    def says(self, words: PairWords | None = None, error: str = "") -> list[tuple[str, Word]]:
        """What is told once the latch says `words`."""
        before = len(self.stage.told)
        self.looks.says(words, error)
        count = sum(self.edge.turn() for _ in range(3))
        told = self.stage.told[before:]
        assert count == len(told)
        return told


# --- what is told ---


def test_a_pair_is_halted_once_and_resumed_once_and_no_other_pair_is_told():
    scene = Scene()
    assert scene.says({A: word(5)}) == [(A, word(5))]
    assert scene.says({A: word(5)}) == []
    assert scene.says({A: word(6, run=True)}) == [(A, word(6, run=True))]


def test_a_way_back_is_told_although_nobody_had_said_a_halt():
    assert Scene().says({A: word(5, run=True)}) == [(A, word(5, run=True))]


def test_what_is_said_of_all_reaches_every_pair_until_one_is_resumed():
    scene = Scene()
    of_all = word(5, flatten=True)
    assert scene.says({ALL: of_all}) == [(A, of_all), (B, of_all)]
    back = word(6, run=True)
    assert scene.says({ALL: of_all, B: back}) == [(B, back)]


def test_nothing_is_told_before_the_stage_has_stepped_on_the_last():
    scene = Scene()
    scene.stage.settled = False
    assert scene.says({A: word(5)}) == []
    scene.stage.settled = True
    assert scene.edge.turn() == 1


def test_a_stage_that_was_told_before_a_restart_is_not_told_again():
    scene = Scene()
    scene.stage.heard = {A: 5, B: 0}
    assert scene.says({A: word(5)}) == []


def test_a_store_that_came_back_empty_or_older_lets_nothing_go():
    scene = Scene()
    scene.says({A: word(5, run=True)})
    scene.says({A: word(7)})
    assert scene.says({}) == [] and scene.says({A: word(5, run=True)}) == []


def test_what_cannot_be_read_says_nothing_of_a_pair():
    scene = Scene()
    assert scene.says({A: word(5)}, "gone") == []
    assert len(scene.says({A: word(5)})) == 1


def test_a_line_is_told_the_halts_that_it_was_opened_under_and_no_older_way_back():
    scene = Scene(opened_ns=6)
    assert scene.says({A: word(5), B: word(6, run=True)}) == [(A, word(5))]
    assert scene.says({A: word(5), B: word(7, run=True)}) == [(B, word(7, run=True))]


def test_the_fact_of_a_word_carries_its_number():
    said = word(9, flatten=True)
    assert pair_fact(A, said, 3) == Halted(3, A, True, "ada", "drill", 9)
    assert pair_fact(A, word(9, run=True), 3) == Resumed(3, A, "ada", "drill", 9)


# --- what is kept ---


@pytest.fixture
def latch(tmp_path: Path) -> FileLatch:
    return FileLatch(tmp_path / "home" / "latch")


def test_words_are_numbered_whatever_the_clock_says(
    latch: FileLatch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.time_ns", lambda: 100)
    assert halt(latch, A, False, "ada", "drill").time_ns == 100
    monkeypatch.setattr("time.time_ns", lambda: 50)
    assert resume(latch, A, "ada", "over").time_ns == 101
    assert halt(latch, B, True, "ada", "drill").time_ns == newest_ns(latch.look().pairs) == 102


def test_a_second_halt_keeps_closing_and_a_way_back_ends_it(latch: FileLatch):
    halt(latch, ALL, True, "ada", "drill")
    assert halt(latch, A, False, "bob", "again").flatten
    resume(latch, A, "bob", "over")
    assert not halt(latch, A, False, "bob", "again").flatten
    words = latch.look().pairs
    assert set(words) == {ALL, A}
    kept = in_force(words, B)
    assert kept is not None and kept.flatten and kept.operator == "ada"
    halt(latch, ALL, True, "cyd", "all of it")
    assert set(latch.look().pairs) == {ALL}


def test_the_words_of_pairs_leave_the_latch_alone(latch: FileLatch):
    halt(latch, A, False, "ada", "drill")
    assert latch.read() is None and latch.look().word is None
    latches.kill(latch, False, "ada", "drill", 1)
    assert set(latch.look().pairs) == {A}


def test_changes_at_one_moment_lose_none(latch: FileLatch):
    names = [f"P{i}~Q" for i in range(16)]
    threads = [
        threading.Thread(target=halt, args=(latch, name, False, "ada", "drill")) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = latch.look().pairs
    assert set(words) == set(names)
    assert len({said.time_ns for said in words.values()}) == len(names)


def test_words_that_are_none_of_ours_are_unreadable_and_stay(latch: FileLatch):
    path = latch.path.with_name(PAIRS_FILE)
    path.parent.mkdir()
    path.write_bytes(b'{"A~B": tr')
    with pytest.raises(Unreadable, match="no word of ours"):
        latch.look()
    with pytest.raises(Unreadable, match="no word of ours"):
        halt(latch, A, False, "ada", "drill")
    assert path.read_bytes() == b'{"A~B": tr'


def test_who_waits_too_long_for_another_process_is_told(
    latch: FileLatch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kept_words, "TURN_S_MAX", 0.05)

    def change(words: PairWords) -> PairWords:
        halt(latch, A, False, "ada", "drill")
        return words

    with pytest.raises(Unreadable, match="another process"):
        latch.change_pairs(change)
