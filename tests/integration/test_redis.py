"""Latch, lease and directory in a real Redis, which is killed and is away."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.main import run_command
from serving.adapters.live.weights import BudgetUnreadable, RedisBudget
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import (
    DOCUMENT_BYTES_MAX,
    Directory,
    DirectoryError,
    Entry,
    Heartbeat,
)
from serving.adapters.redis_latch import KEY, MOVES_KEY, PAIRS_KEY, RedisLatch, latch_of, moves_of
from serving.adapters.redis_lease import RedisLease
from serving.runtime import model_words, pair_words
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import FileLatch, PairWords, kill, opening, reset
from serving.runtime.lease import Unreachable, this_process
from serving.runtime.settings import Settings, load_settings
from serving.services import SERVICES
from tests.integration.conftest import RedisServer

ENTRY = Entry(
    service="execution",
    host="here",
    pid=7,
    port=8003,
    epoch=3,
    since_ns=1,
    beat_ns=2,
    why_not_ready="",
)


@pytest.fixture
def latch(redis_server: RedisServer) -> RedisLatch:
    return RedisLatch(connect(redis_server.url), redis_server.url)


def test_a_kill_survives_redis_being_killed(latch: RedisLatch, redis_server: RedisServer):
    assert latch.read() is None and latch.is_durable()
    latch.open(opening("orchestrator", 1))
    word = kill(latch, True, "ada", "drill", 2)
    redis_server.kill()
    with pytest.raises(Unreadable, match="127.0.0.1"):
        latch.read()
    with pytest.raises(Unreadable):
        reset(latch, "ada", "over", 3)
    redis_server.start()
    latch.open(opening("orchestrator", 4))
    assert latch.read() == word
    assert reset(latch, "ada", "over", 5) == latch.read()


def test_what_is_no_word_is_unreadable(latch: RedisLatch, redis_server: RedisServer):
    connect(redis_server.url).set(KEY, b"\xff{")
    with pytest.raises(Unreadable, match="no word of ours"):
        latch.read()
    connect(redis_server.url).delete(KEY)
    connect(redis_server.url).lpush(KEY, "another kind of key")
    with pytest.raises(Unreadable, match="WRONGTYPE"):
        latch.read()


def test_the_words_of_pairs_survive_redis_being_killed(
    latch: RedisLatch, redis_server: RedisServer
):
    assert latch.look() == (None, {})
    halted = pair_words.halt(latch, "A~B", True, "ada", "drill")
    word = kill(latch, False, "ada", "drill", 2)
    redis_server.kill()
    with pytest.raises(Unreadable, match="127.0.0.1"):
        latch.look()
    with pytest.raises(Unreadable):
        pair_words.resume(latch, "A~B", "ada", "over")
    redis_server.start()
    assert latch.look() == (word, {"A~B": halted})
    assert pair_words.resume(latch, "A~B", "ada", "over").time_ns > halted.time_ns


def test_words_of_pairs_that_are_none_are_unreadable(latch: RedisLatch, redis_server: RedisServer):
    client = connect(redis_server.url)
    client.set(PAIRS_KEY, b"[]")
    with pytest.raises(Unreadable, match="hft:latch:pairs holds no word of ours"):
        latch.look()
    client.delete(PAIRS_KEY)
    client.lpush(PAIRS_KEY, "another kind of key")
    with pytest.raises(Unreadable, match="WRONGTYPE"):
        latch.look()
    with pytest.raises(Unreadable):
        pair_words.halt(latch, "A~B", True, "ada", "drill")


def test_a_change_that_another_one_overtook_is_made_again(
    latch: RedisLatch, redis_server: RedisServer
):
    other = RedisLatch(connect(redis_server.url), redis_server.url)
    seen: list[set[str]] = []

    def change(words: PairWords) -> PairWords:
        seen.append(set(words))
        if len(seen) == 1:
            pair_words.halt(other, "C~D", False, "bob", "meanwhile")
        return {**words, "A~B": next(iter(other.look().pairs.values()))}

    latch.change_pairs(change)
    assert seen == [set(), {"C~D"}] and set(latch.look().pairs) == {"A~B", "C~D"}

    def always_late(words: PairWords) -> PairWords:
        pair_words.halt(other, "C~D", False, "bob", "again")
        return words

    with pytest.raises(Unreadable, match="was changed 20 times"):
        latch.change_pairs(always_late)


def test_the_words_about_capital_survive_redis_being_killed_beside_those_of_pairs(
    latch: RedisLatch, redis_server: RedisServer
):
    moves = moves_of(Settings(redis_url=redis_server.url))
    assert moves.read() == {}
    pair_words.halt(latch, "A~B", False, "ada", "drill")
    first = model_words.ask(moves, "A~B", "promote", "4", "ada", "drill")
    last = model_words.ask(moves, "C~D", "rollback", "", "bob", "over")
    redis_server.kill()
    with pytest.raises(Unreadable, match="127.0.0.1"):
        moves.read()
    assert model_words.looking(moves)() is None
    redis_server.start()
    assert moves.read() == {"A~B": first, "C~D": last} and last.time_ns > first.time_ns
    assert set(latch.look().pairs) == {"A~B"}
    connect(redis_server.url).set(MOVES_KEY, b"nothing")
    with pytest.raises(Unreadable, match="hft:moves holds no word of ours"):
        moves.read()


def test_the_settings_name_the_latch(redis_server: RedisServer, tmp_path: Any):
    home = {"HFT_HOME": str(tmp_path)}
    assert isinstance(latch_of(load_settings(home)), FileLatch)
    assert isinstance(latch_of(load_settings({**home, "REDIS_URL": redis_server.url})), RedisLatch)


def test_a_password_is_never_told(redis_server: RedisServer):
    url = f"redis://:s3cret@127.0.0.1:{redis_server.port}/0"
    latch = RedisLatch(connect(url), url)
    redis_server.kill()
    with pytest.raises(Unreadable) as told:
        latch.read()
    assert "s3cret" not in str(told.value) + latch.where


def test_a_lease_is_one_processs_until_it_ends(redis_server: RedisServer):
    client = connect(redis_server.url)
    lease = RedisLease(client, redis_server.url, "execution", ttl_s=0.3)
    one, two = this_process("execution"), this_process("execution")
    assert lease.claim(one) == lease.claim(two) == lease.renew(one) == one
    lease.release(two)
    assert lease.holder() == one
    assert lease.claim(two, over=one) == two
    assert lease.renew(one) == two
    lease.release(two)
    assert lease.holder() is None


def test_a_lease_that_lapsed_is_renewed_unless_another_had_it_since(redis_server: RedisServer):
    lease = RedisLease(connect(redis_server.url), redis_server.url, "execution", ttl_s=0.05)
    one, two = this_process("execution"), this_process("execution")
    lease.claim(one)
    time.sleep(0.1)
    assert lease.renew(one) == one
    time.sleep(0.1)
    lease.claim(two)
    lease.release(two)
    assert lease.renew(one) == two


def test_a_lease_without_redis_is_unreachable(redis_server: RedisServer):
    lease = RedisLease(connect(redis_server.url), redis_server.url, "execution")
    redis_server.kill()
    with pytest.raises(Unreachable):
        lease.claim(this_process("execution"))
    redis_server.start()
    me = this_process("execution")
    assert lease.claim(me) == me


def test_an_answer_that_does_not_come_ends_within_a_second(
    latch: RedisLatch, redis_server: RedisServer
):
    with redis_server.frozen():
        began = time.monotonic()
        with pytest.raises(Unreadable):
            latch.look()
        assert time.monotonic() - began < 1.0


# --- the directory ---


def test_an_entry_and_its_document_are_there_until_withdrawn(redis_server: RedisServer):
    client = connect(redis_server.url)
    directory = Directory(client, redis_server.url)
    directory.announce(ENTRY, {"read": 9})
    assert directory.entries() == {"execution": ENTRY}
    assert directory.documents() == {"execution": {"read": 9}}
    assert 0 < client.pttl("hft:service:execution") <= 5000
    assert 0 < client.pttl("hft:state:execution") <= 5000
    directory.withdraw("execution")
    assert not directory.entries() and not directory.documents()


def test_a_document_beyond_its_bound_is_left_out_and_said(redis_server: RedisServer):
    directory = Directory(connect(redis_server.url), redis_server.url)
    directory.announce(ENTRY, {"long": "x" * DOCUMENT_BYTES_MAX})
    assert "at most" in directory.documents()["execution"]["left_out"]


def test_what_is_no_entry_is_an_error(redis_server: RedisServer):
    connect(redis_server.url).set("hft:service:execution", "nonsense")
    with pytest.raises(DirectoryError, match="no entry of ours"):
        Directory(connect(redis_server.url), redis_server.url).entries()


def test_a_heartbeat_goes_on_when_redis_is_back(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("serving.adapters.redis_directory.BEAT_S", 0.02)
    directory = Directory(connect(redis_server.url), redis_server.url)
    beats = threading.Event()

    def look() -> tuple[Entry, dict[str, Any]]:
        beats.set()
        return ENTRY, {}

    heartbeat = Heartbeat(directory, look)
    heartbeat.open()
    until_there(directory)
    redis_server.kill()
    beats.clear()
    assert beats.wait(10.0)
    redis_server.start()
    connect(redis_server.url).flushdb()
    until_there(directory)
    heartbeat.close()
    assert directory.entries() == {}


def until_there(directory: Directory) -> None:
    """Wait for an entry."""
    deadline = time.monotonic() + 10.0
    while not directory.entries():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- the verbs ---


def test_status_shows_who_is_there_and_fails_where_one_is_missing(
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    directory = Directory(connect(redis_server.url), redis_server.url)
    for service in SERVICES[1:]:
        entry = msgspec.structs.replace(ENTRY, service=service.name, port=service.port)
        directory.announce(entry, {"read": 9, "lag": {service.name: 4}, "dead_letters": 1})
    assert run_command(["status", "--json"]) == 1
    said = capfd.readouterr()
    assert "not ready: ingestion" in said.err
    rows = {row["service"]: row for row in json.loads(said.out)["services"]}
    assert rows["ingestion"]["why_not_ready"] == "no heartbeat"
    assert rows["execution"] | {"ready": True, "lag": 4, "epoch": 3, "port": 8003} == (
        rows["execution"]
    )
    why = msgspec.structs.replace(ENTRY, service="ingestion", why_not_ready="catches up")
    directory.announce(why, {})
    assert run_command(["status"]) == 1
    assert "catches up" in capfd.readouterr().out
    directory.announce(msgspec.structs.replace(ENTRY, service="ingestion"), {})
    wide = {"state": "off", "words": "too wide"}
    judged = {"pair": "A~B", "slot": 2, "state": "off", "calibration": wide}
    judged |= dict.fromkeys(("whiteness", "drift"), {"state": "good", "words": "white"})
    volatility = msgspec.structs.replace(ENTRY, service="garch_model")
    directory.announce(volatility, {"health": [judged]})
    capfd.readouterr()
    assert run_command(["status", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["models"] == [judged]
    assert run_command(["status"]) == 0
    assert "A~B slot 2: off, forecasts too wide" in capfd.readouterr().out
    redis_server.kill()
    capfd.readouterr()
    assert run_command(["status", "--json"]) == 1
    known = json.loads(capfd.readouterr().out)
    assert known["services"] == [] and known["latch"]["latch"] == "halt"


def test_a_kill_warns_of_a_redis_that_forgets(
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert run_command(["kill", "--reason", "drill"]) == 0
    assert "warning" not in capfd.readouterr().err
    connect(redis_server.url).config_set("appendonly", "no")
    assert run_command(["kill", "--reason", "drill"]) == 0
    assert "appendonly" in capfd.readouterr().err
    redis_server.kill()
    assert run_command(["kill"]) == 1
    assert "halts by itself" in capfd.readouterr().err.replace("\n", " ")


def test_the_budget_of_request_weight_is_shared_and_a_ban_ends_by_itself(
    redis_server: RedisServer,
):
    def budget() -> RedisBudget:
        return RedisBudget(connect(redis_server.url), redis_server.url, "venue")

    now_s = 1_700_000_040.0
    budget().note("spot", now_s, None, 200)
    assert budget().take("spot", 60, now_s) == 0.0
    assert budget().take("spot", 41, now_s + 1) == pytest.approx(59.5)
    budget().note("spot", now_s, 100, None)
    assert budget().take("spot", 1, now_s + 1) > 0.0, "the venue has counted more"
    assert budget().take("spot", 60, now_s + 60) == 0.0
    budget().ban(time.time() + 1.0)
    budget().ban(time.time() + 0.1)
    assert 0.0 < budget().banned_s(now_s) <= 1.0 and budget().take("linear", 1, now_s) > 0.0
    time.sleep(1.1)
    assert budget().banned_s(now_s) == 0.0 and budget().take("linear", 1, now_s) == 0.0
    redis_server.kill()
    with pytest.raises(BudgetUnreadable):
        budget().take("spot", 1, now_s)
