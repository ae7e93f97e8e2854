"""Leases: one holder, a second one that refuses, one that is told that it lost."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
import structlog

from serving.runtime import lease as leases
from serving.runtime.lease import Held, Holder, Keeper, Unreachable, is_dead, this_process

ELSEWHERE = Holder(
    service="execution", host="far", pid=7, place="", born="", since_ns=0, token="other"
)


class Place:
    """A lease in memory, which can be away."""

    def __init__(self, held: Holder | None = None) -> None:
        self.held = held
        self.away = False
        self.claims: list[float] = []

    def _answer(self) -> None:
        if self.away:
            raise Unreachable("nobody answers")

    def holder(self) -> Holder | None:
        self._answer()
        return self.held

    def claim(self, holder: Holder, over: Holder | None = None) -> Holder:
        self._answer()
        self.claims.append(time.monotonic())
        if self.held is None or self.held in (holder, over):
            self.held = holder
        return self.held

    renew = claim

    def release(self, holder: Holder) -> None:
        self._answer()
        if self.held == holder:
            self.held = None


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TTL_S": 0.2, "RENEW_S": 0.02, "REFUSE_S": 0.1, "LOOK_S": 0.01}.items():
        monkeypatch.setattr(leases, name, value)


def keeper(place: Place, lost: list[Holder]) -> Keeper:
    return Keeper(place, this_process("execution"), lost.append)


def test_a_free_lease_is_taken_renewed_and_given_back():
    place, lost = Place(), list[Holder]()
    kept = keeper(place, lost)
    assert kept.acquire(threading.Event(), lambda what: None)
    until(lambda: len(place.claims) > 3)
    kept.close()
    assert place.held is None and not lost


def test_a_second_one_refuses_and_says_who_holds_it():
    with pytest.raises(Held, match="one execution alone: process 7 on far, since 1970-01-01"):
        keeper(Place(ELSEWHERE), []).acquire(threading.Event(), lambda what: None)


def test_the_lease_of_a_process_that_ended_here_is_taken_over():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    there = msgspec.structs.replace(
        this_process("execution"), pid=process.pid, born=leases._born(process.pid), token="dead"
    )
    assert not is_dead(there)
    process.kill()
    assert until(lambda: is_dead(there)), "a zombie is dead"
    process.communicate()
    place = Place(there)
    kept = keeper(place, [])
    assert kept.acquire(threading.Event(), lambda what: None) and place.held != there
    kept.close()


def test_who_runs_elsewhere_is_never_taken_for_dead():
    assert not is_dead(ELSEWHERE)
    assert not is_dead(this_process("execution"))


def test_a_lease_that_another_took_is_told_once():
    place, lost = Place(), list[Holder]()
    kept = keeper(place, lost)
    kept.acquire(threading.Event(), lambda what: None)
    place.held = ELSEWHERE
    until(lambda: bool(lost))
    kept.close()
    assert (lost, place.held) == ([ELSEWHERE], ELSEWHERE)


def test_a_holder_goes_on_while_the_place_is_away_and_claims_again():
    place, lost = Place(), list[Holder]()
    kept = keeper(place, lost)
    kept.acquire(threading.Event(), lambda what: None)
    place.away = True
    until(lambda: "nobody answers" in kept.why())
    place.held, place.away = None, False
    until(lambda: place.held is not None and not kept.why())
    kept.close()
    assert not lost


def test_a_start_waits_for_the_place_and_lets_the_old_holder_come_first():
    place, lost, said = Place(), list[Holder](), list[str]()
    place.away = True
    threading.Timer(0.05, setattr, (place, "away", False)).start()
    threading.Timer(0.15, setattr, (place, "held", ELSEWHERE)).start()
    with pytest.raises(Held):
        keeper(place, lost).acquire(threading.Event(), said.append)
    assert "the lease can be had: nobody answers" in said[0]


def test_a_start_that_waits_for_the_place_says_so_in_the_log_once():
    place, stop = Place(), threading.Event()
    place.away = True
    said: list[str] = []

    def heard(what: str) -> None:
        said.append(what)
        if len(said) == 3:
            stop.set()

    with structlog.testing.capture_logs() as logged:
        assert not keeper(place, []).acquire(stop, heard)
    assert [(line["event"], line["why"]) for line in logged] == [
        ("waits for the lease", "nobody answers")
    ]


def test_a_start_that_is_told_to_stop_takes_nothing():
    stop = threading.Event()
    stop.set()
    assert not keeper(Place(), []).acquire(stop, lambda what: None)


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True
