"""Who may do what in Redis, asked of a real server that has the manifests' own rules."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError

from cli.main import run_command
from serving.adapters import redis_audit, redis_latch
from serving.adapters.redis_audit import RedisTrail
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, Entry
from serving.adapters.redis_latch import KEY, MOVES_KEY, PAIRS_KEY, RedisLatch, RedisWords
from serving.adapters.redis_lease import RedisLease
from serving.orchestrator.audit_page import AuditPage
from serving.runtime import pair_words
from serving.runtime.audit import Unwritable
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import kill, opening, reset
from serving.runtime.lease import this_process
from serving.runtime.model_words import Move, ask
from serving.runtime.pages import Pages
from tests.integration.conftest import free_ports, needs
from tests.k8s import rendered
from tests.k8s.rendered import replaced
from tests.k8s.servers import CONFIG, running
from tests.k8s.test_configs import ready

USERS = ("services", "operator", "viewer")
PASSWORDS = {name: hashlib.sha256(name.encode()).hexdigest() for name in USERS}
PAIR = "SYN/USDT:USDT~SYN/USDT"
SAID = ("--operator", "ada", "--reason", "drill")
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


@dataclass(frozen=True)
class Server:
    """The server's port, and each user's way to it."""

    port: int

    def url(self, user: str, password: str = "") -> str:
        """What REDIS_URL is to this user."""
        return f"redis://{user}:{password or PASSWORDS[user]}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> Any:
        """A client of the product's own making."""
        return connect(self.url(user))

    def latch(self, user: str) -> RedisLatch:
        """The latch, as this user has it."""
        return RedisLatch(self.client(user), self.url(user))

    def moves(self, user: str) -> RedisWords[Move]:
        """The words about the capital, as this user has them."""
        return RedisWords(self.client(user), self.url(user), MOVES_KEY, Move)


def render(folder: Path, passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what the pod's start runs, as far as its own words say."""
    item = rendered.named("staging", "StatefulSet", "redis")
    (start,) = rendered.template(item)["spec"]["initContainers"]
    words = " ".join([*start["command"], *start["args"]])
    (folder / "passwords").mkdir(exist_ok=True)
    for name, password in passwords.items():
        (folder / "passwords" / name).write_text(password)
    words = replaced(
        words,
        {
            "/etc/hft-redis-passwords": folder / "passwords",
            "/etc/hft-redis-users": folder,
            "/etc/hft-redis/": f"{CONFIG}/",
        },
    )
    return subprocess.run(words.split(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of this file."""
    needs("redis-server", "redis-cli")
    folder = tmp_path_factory.mktemp("redis")
    done = render(folder, PASSWORDS)
    assert done.returncode == 0, done.stderr
    (port,) = free_ports(1)
    config = (CONFIG / "redis.conf").read_text()
    config = replaced(
        config,
        {
            "port 6379": f"port {port}\nbind 127.0.0.1",
            "dir /data": f"dir {folder}",
            "/etc/hft-redis-users": str(folder),
        },
    )
    (folder / "redis.conf").write_text(config)
    words = ["redis-server", str(folder / "redis.conf"), "--save", ""]
    made = Server(port)

    def is_up() -> bool:
        try:
            return bool(made.client("viewer").ping())
        except redis.ConnectionError:
            return False

    with running(words, folder / "log", is_up):
        yield made


@pytest.fixture
def server(started: Server) -> Server:
    """The server with nothing said: each key is emptied by whoever may."""
    operator, services = started.client("operator"), started.client("services")
    for key in (KEY, PAIRS_KEY, MOVES_KEY):
        operator.set(key, b"gone", px=1)
    while any(services.get(key) for key in (KEY, PAIRS_KEY, MOVES_KEY)):
        continue
    return started


Act = Callable[[Server, str], object]
WORDS: dict[str, Act] = {
    "kill": lambda server, user: kill(server.latch(user), True, "ada", "drill", 2),
    "reset": lambda server, user: reset(server.latch(user), "ada", "drill", 3),
    "halt": lambda server, user: pair_words.halt(server.latch(user), PAIR, True, "ada", "drill"),
    "move": lambda server, user: ask(server.moves(user), PAIR, "rollback", "", "ada", "drill"),
}


@pytest.mark.parametrize("word", WORDS)
def test_an_operator_can_say_every_word_and_nobody_else_any(server: Server, word: str):
    server.latch("services").open(opening("orchestrator", 1))
    for user in ("services", "viewer"):
        with pytest.raises(Unreadable) as caught:
            WORDS[word](server, user)
        assert isinstance(caught.value.__cause__, NoPermissionError)
    assert server.latch("viewer").look() == (opening("orchestrator", 1), {})
    assert server.moves("viewer").read() == {}
    WORDS[word](server, "operator")
    look, moves = server.latch("viewer").look(), server.moves("viewer").read()
    assert look.word != opening("orchestrator", 1) or look.pairs or moves


def test_a_service_opens_an_absent_latch_and_never_lets_a_killed_one_go(server: Server):
    word = kill(server.latch("operator"), False, "ada", "drill", 2)
    server.latch("services").open(opening("orchestrator", 9))
    assert server.latch("services").read() == word
    client = server.client("services")
    for words in (("SET", KEY, "x"), ("DEL", KEY), ("SETNX", PAIRS_KEY, "x"), ("GETDEL", KEY)):
        with pytest.raises(NoPermissionError):
            client.execute_command(*words)
    for line in ("redis.call('SET',KEYS[1],'x')", "redis.call('DEL',KEYS[1])"):
        with pytest.raises(ResponseError):
            client.eval(line, 1, KEY)
        with pytest.raises(ResponseError):  # a key that the script does not own up to
            client.eval(line.replace("KEYS[1]", f"'{KEY}'"), 0)
    assert server.latch("services").read() == word


def test_a_service_has_its_lease_and_its_heartbeat_and_an_operator_sees_them(server: Server):
    directory = Directory(server.client("services"), server.url("services"))
    directory.announce(ENTRY, {"lag": {}})
    me = this_process("execution")
    lease = RedisLease(server.client("services"), server.url("services"), "execution")
    assert lease.claim(me) == me == lease.renew(me)
    for user in ("operator", "viewer"):
        seen = Directory(server.client(user), server.url(user))
        assert seen.entries() == {"execution": ENTRY}
        with pytest.raises(NoPermissionError):
            server.client(user).set("hft:lease:execution", "mine")
    lease.release(me)
    directory.withdraw("execution")
    assert directory.entries() == {} and lease.holder() is None


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "words",
    [
        "FLUSHALL",
        "FLUSHDB",
        "SHUTDOWN NOSAVE",
        "CONFIG SET appendonly no",
        "CONFIG GET *",
        "ACL LIST",
        "ACL SETUSER viewer +@all",
        "KEYS *",
        "SCAN 0",
        "REPLICAOF 127.0.0.1 1",
        "MODULE LIST",
        "CLIENT KILL TYPE normal",
        "RENAME hft:latch hft:x",
        "DEL hft:latch",
        "EXPIRE hft:latch 1",
        "SET other 1",
        "GET other",
        "DEL hft:audit",
        "LTRIM hft:audit 1 0",
        "LPOP hft:audit",
        "LSET hft:audit 0 x",
        "LREM hft:audit 0 x",
        "SET hft:audit x",
        "EXPIRE hft:audit 1",
        "PUBLISH a b",
        "MONITOR",
    ],
)
def test_nobody_may_flush_configure_search_or_rewrite(server: Server, user: str, words: str):
    with pytest.raises(NoPermissionError):
        server.client(user).execute_command(*words.split())


def test_without_a_password_or_with_a_wrong_one_nothing_is_answered(server: Server):
    for client in (redis.Redis(port=server.port), connect(server.url("operator", "wrong"))):
        with pytest.raises(redis.AuthenticationError):
            client.get(KEY)


def test_the_pods_probe_needs_no_password(server: Server):
    assert ready(server.port) == 0


# --- the verbs ---


Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hft(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Verb:
    """Run a verb as a user of Redis: its code, what it said, and to whom."""
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(user: str, *words: str, password: str = "") -> tuple[int, str, str]:
        monkeypatch.setenv("REDIS_URL", server.url(user, password))
        capfd.readouterr()
        code = run_command(list(words))
        return code, *capfd.readouterr()

    return run


def records(hft: Verb) -> list[dict[str, Any]]:
    """What an operator's `hft audit` tells."""
    code, out, err = hft("operator", "audit", "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)["records"]
    return found


def test_an_operators_verb_acts_and_is_on_record_by_the_user_of_redis(hft: Verb):
    before = len(records(hft))
    assert hft("operator", "kill", *SAID)[0] == 0
    assert hft("operator", "pair", "halt", PAIR, *SAID)[0] == 0
    assert hft("operator", "reset-kill", "--operator", "ada", "--reason", " ")[0] == 2
    rows = records(hft)[before:]
    assert [(row["verb"], row["outcome"]) for row in rows] == [
        ("kill", "done"),
        ("pair halt", "done"),
        ("reset-kill", "refused"),
    ]
    assert {row["who"].split(",")[0] for row in rows} == {"redis user operator"}


def test_a_viewers_verb_is_refused_with_its_reason_and_its_status_is_not(
    hft: Verb, server: Server, tmp_path: Path
):
    server.latch("services").open(opening("orchestrator", 1))
    for words in (("flatten",), ("pair", "halt", PAIR), ("reset-kill", *SAID), ("kill", *SAID)):
        code, _, err = hft("viewer", *words)
        assert code == 3, err
        assert "no permissions" in err and PASSWORDS["viewer"] not in err
    assert server.latch("viewer").look() == (opening("orchestrator", 1), {})
    assert json.loads(hft("viewer", "status", "--json")[1])["latch"]["latch"] == "run"
    # Redis takes no record of who may not write there: it is on this machine.
    kept = (tmp_path / "home" / "audit.jsonl").read_text().splitlines()
    outcomes = [(line["verb"], line["outcome"]) for line in map(json.loads, kept)]
    assert outcomes == [
        ("flatten", "refused"),
        ("pair halt", "refused"),
        ("reset-kill", "refused"),
        ("kill", "asked"),
        ("kill", "refused"),
    ]


def test_a_wrong_password_is_a_refusal_and_stays_out_of_what_is_said(hft: Verb):
    code, out, err = hft("operator", "flatten", password="wr0ng-and-secret")
    assert code == 3 and "wr0ng" not in out + err


def test_a_full_trail_refuses_all_but_a_kill(hft: Verb, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis_audit, "ENTRIES_MAX", 0)
    code, _, err = hft("operator", "flatten")
    assert code == 3 and "is full" in err
    code, _, err = hft("operator", "kill", *SAID)
    assert code == 0 and "acts all the same" in err


def test_the_services_page_shows_the_trail_that_the_operator_wrote(server: Server, hft: Verb):
    hft("operator", "kill", *SAID)
    (port,) = free_ports(1)
    pages = Pages("orchestrator", port)
    pages.mount(AuditPage(RedisTrail(server.client("services"), server.url("services"))))
    pages.open()
    with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
        told = client.get(f"http://127.0.0.1:{port}/audit").json()
    pages.close()
    assert told["records"][-1]["verb"] == "kill"
    assert PASSWORDS["services"] not in str(told)
    with pytest.raises(Unwritable):
        RedisTrail(server.client("viewer"), server.url("viewer")).entries(1)


# --- the pod's start ---


def test_a_short_password_ends_the_start_and_is_not_shown(tmp_path: Path):
    done = render(tmp_path, {**PASSWORDS, "operator": "short-one"})
    assert done.returncode == 1
    assert done.stderr == (
        "redis-users: the password of operator must be at least 32 characters, had 9\n"
    )
    assert not (tmp_path / "users.acl").exists()


def test_a_missing_password_ends_the_start(tmp_path: Path):
    assert render(tmp_path, {"services": PASSWORDS["services"]}).returncode != 0
    assert not (tmp_path / "users.acl").exists()


def test_what_redis_is_given_holds_no_password_and_is_its_own_alone(tmp_path: Path):
    assert render(tmp_path, PASSWORDS).returncode == 0
    made = tmp_path / "users.acl"
    text = made.read_text()
    assert not [one for one in PASSWORDS.values() if one in text] and "@services@" not in text
    assert made.stat().st_mode & 0o077 == 0
    assert [line.split()[:3] for line in text.splitlines()][0] == ["user", "default", "off"]
    shutil.rmtree(tmp_path / "passwords")


def test_the_keys_of_the_rules_are_those_of_the_code():
    rules = (CONFIG / "users.rules").read_text()
    for key in (redis_latch.KEY, redis_latch.PAIRS_KEY, redis_latch.MOVES_KEY, redis_audit.KEY):
        assert f"~{key}" in rules
