"""The operators' words about the capital: what is told of them, where they are kept."""

import threading
from pathlib import Path
from typing import Any

import pytest

from hft_lib.events import MoveAsked
from serving.runtime.kept_words import Unreadable, WordsFile
from serving.runtime.model_words import (
    Move,
    Moves,
    MovesEdge,
    MovesWatch,
    ask,
    fact_of,
    looking,
    newest_ns,
)

A, B = "A/USDT:USDT~A/USDT", "B/USDT:USDT~B/USDT"


def move(time_ns: int, kind: Any = "promote") -> Move:
    return Move(move=kind, wanted="4", operator="ada", reason="drill", time_ns=time_ns)


class Scene:
    """An edge between a look that a test sets and a stage that keeps what it was told."""

    def __init__(self, opened_ns: int = 0) -> None:
        self.settled = True
        self.heard = {A: 0, B: 0}
        self.told: list[tuple[str, Move]] = []
        self.moves: Moves | None = None
        self.edge = MovesEdge(lambda: self.moves, self, opened_ns)

    def tell(self, pair: str, said: Move) -> None:
        self.heard[pair] = said.time_ns
        self.told.append((pair, said))

    def says(self, moves: Moves | None) -> list[tuple[str, Move]]:
        """What is told once the words are these."""
        self.moves, before = moves, len(self.told)
        count = sum(self.edge.turn() for _ in range(3))
        assert count == len(self.told) - before
        return self.told[before:]


def test_a_word_is_told_once_and_no_other_pair_is_told():
    scene = Scene()
    assert scene.says({A: move(5)}) == [(A, move(5))]
    assert scene.says({A: move(5)}) == []
    assert scene.says({A: move(6, "rollback"), "C~D": move(9)}) == [(A, move(6, "rollback"))]


def test_a_stage_that_answered_before_a_restart_is_not_told_again():
    scene = Scene()
    scene.heard[A] = 5
    assert scene.says({A: move(5), B: move(3)}) == [(B, move(3))]


def test_a_store_that_came_back_older_or_empty_and_one_that_cannot_be_read_say_nothing():
    scene = Scene()
    scene.says({A: move(7)})
    assert scene.says({A: move(5)}) == scene.says({}) == scene.says(None) == []


def test_a_line_is_told_no_word_of_before_its_opening():
    scene = Scene(opened_ns=6)
    assert scene.says({A: move(6), B: move(7)}) == [(B, move(7))]


def test_nothing_is_told_before_the_stage_has_stepped_on_the_last():
    scene = Scene()
    scene.settled = False
    assert scene.says({A: move(5)}) == []
    scene.settled = True
    assert scene.edge.turn() == 1


def test_the_fact_of_a_word_carries_all_of_it():
    assert fact_of(A, move(9), 3) == MoveAsked(3, A, "promote", "4", "ada", "drill", 9)


# --- what is kept ---


@pytest.fixture
def kept(tmp_path: Path) -> WordsFile[Move]:
    return WordsFile(tmp_path / "home" / "latch-moves", Move)


def test_words_are_numbered_whatever_the_clock_says_and_the_last_of_a_pair_is_kept(
    kept: WordsFile[Move], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.time_ns", lambda: 100)
    assert ask(kept, A, "promote", "4", "ada", "drill").time_ns == 100
    monkeypatch.setattr("time.time_ns", lambda: 50)
    assert ask(kept, B, "rollback", "", "bob", "over").time_ns == 101
    last = ask(kept, A, "rollback", "", "ada", "over")
    assert kept.read()[A] == last and newest_ns(kept.read()) == last.time_ns == 102


def test_words_at_one_moment_lose_none(kept: WordsFile[Move]):
    names = [f"P{i}~Q" for i in range(16)]
    words = [(kept, name, "promote", "4", "ada", "drill") for name in names]
    threads = [threading.Thread(target=ask, args=word) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = kept.read()
    assert set(known) == set(names) and len({one.time_ns for one in known.values()}) == 16


@pytest.mark.parametrize("content", [b'{"A~B": tr', b'{"A~B": {"move": "demote"}}'])
def test_words_that_are_none_of_ours_move_nothing_and_stay(kept: WordsFile[Move], content: bytes):
    kept.path.parent.mkdir()
    kept.path.write_bytes(content)
    assert looking(kept)() is None
    with pytest.raises(Unreadable, match="no word of ours"):
        ask(kept, A, "promote", "4", "ada", "drill")
    assert kept.path.read_bytes() == content


def test_the_watch_shows_what_was_asked_and_whether_it_can_be_read(kept: WordsFile[Move]):
    said = ask(kept, A, "promote", "4", "ada", "drill")
    seen = threading.Event()

    class Telling(WordsFile[Move]):
        def read(self) -> dict[str, Move]:
            try:
                return super().read()
            finally:
                seen.set()

    watch = MovesWatch(Telling(kept.path, Move))
    assert watch.moves() is None and watch.figures()["hft_moves_readable"][1] == 0.0
    with watch:
        assert seen.wait(10.0)
    assert watch.moves() == {A: said} and watch.why() == ""
    assert watch.document()["moves_asked"][A]["operator"] == "ada"
    assert watch.figures()["hft_moves_readable"][1] == 1.0
