"""A whole run with every secret set: none is in what it says, shows, writes or is started with."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import msgspec
import pytest
import redis
from pydantic import SecretStr

from hft_lib.market import synthetic
from serving.runtime.settings import SECRETS, Settings, load_settings
from tests.hft_lib.test_parameters import file
from tests.integration.conftest import free_ports, needs
from tests.integration.memory_line import NAMES, Serving

PAIR = "SYN/USDT:USDT~SYN/USDT"


def made_up(name: str) -> str:
    """A secret of no use, the same each time."""
    return hashlib.sha256(name.encode()).hexdigest()[:40]


NO_ADDRESS = {"PAIRS"}


def may_hold_a_secret(name: str) -> bool:
    """Whether a setting is a secret, or an address, which may hold one."""
    annotation: Any = Settings.model_fields[name.lower()].annotation
    kinds = {annotation, *get_args(annotation)}
    return SecretStr in kinds or (str in kinds and name not in NO_ADDRESS)


def values(redis_port: int, closed: int) -> dict[str, str]:
    """Every setting that may hold a secret, holding one."""
    addresses = {
        "KAFKA_BOOTSTRAP_SERVERS": f"me:{made_up('KAFKA_BOOTSTRAP_SERVERS')}@127.0.0.1:{closed}",
        "REDIS_URL": f"redis://:{made_up('REDIS_URL')}@127.0.0.1:{redis_port}/0",
        "DATABASE_URL": f"postgresql://me:{made_up('DATABASE_URL')}@127.0.0.1:{closed}/hft",
        "MLFLOW_TRACKING_URI": f"http://me:{made_up('MLFLOW_TRACKING_URI')}@127.0.0.1:{closed}",
    }
    for name in ("BINANCE_REST", "BINANCE_WS", "BINANCE_DATA", "KRAKEN_REST", "KRAKEN_WS"):
        scheme = "ws" if name.endswith("WS") else "http"
        addresses[f"{name}_URL"] = f"{scheme}://me:{made_up(f'{name}_URL')}@127.0.0.1:{closed}"
    return addresses | {name: made_up(name) for name in SECRETS}


def test_every_setting_that_may_hold_a_secret_is_tried():
    wanted = {name.upper() for name in Settings.model_fields if may_hold_a_secret(name.upper())}
    given = values(6379, 1)
    assert set(given) == wanted
    assert load_settings(given).secrets() == {made_up(name) for name in given}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis that asks for the password of `values`."""
    needs("redis-server")
    (port,) = free_ports(1)
    password = made_up("REDIS_URL")
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    words += ["--dir", str(tmp_path), "--requirepass", password]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    client, until_s = redis.Redis(port=port, password=password), time.monotonic() + 60.0
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < until_s
            time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


def market(folder: Path) -> tuple[str, ...]:
    """The words that name some hours of a synthetic market, and parameters that nobody fitted."""
    synthetic.write(3, folder / "tape", synthetic.SyntheticMarket(days=0.5))
    named = ("--tape", str(folder / "tape"), "--params", str(folder / "params.json"))
    (folder / "params.json").write_bytes(msgspec.json.encode(file(pair=PAIR)))
    return named


def asked(serving: Serving, headers: dict[str, str]) -> list[str]:
    """Every page of every service, with its headers."""
    found = []
    with httpx.Client(timeout=10.0) as client:
        for place in range(len(NAMES)):
            for path in ("/", "/healthz", "/readyz", "/metrics", "/state", "/audit"):
                url = f"http://127.0.0.1:{serving.port + place}{path}"
                answer = client.get(url, headers=headers)
                found.append(f"{path} {answer.status_code} {answer.headers}\n{answer.text}")
    return found


def test_no_secret_of_a_run_is_anywhere_but_in_its_environment(
    guarded: int, tmp_path: Path, outside_of: Any, monkeypatch: pytest.MonkeyPatch
):
    (closed,) = free_ports(1)
    given = values(guarded, closed) | {"ENVIRONMENT": "staging", "LOG_LEVEL": "DEBUG"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    verbs = outside_of(tmp_path)
    serving = Serving(tmp_path)
    told: dict[str, str] = {}
    try:
        serving.start("all", "--bus", "memory", *market(tmp_path))
        serving.await_ready()
        bearer = {"Authorization": f"Bearer {given['HFT_OPERATOR_TOKEN']}"}
        pages = asked(serving, bearer)
        assert len([page for page in pages if page.startswith("/state 200")]) == len(NAMES)
        assert len([page for page in pages if page.startswith(("/ 200", "/audit 200"))]) == 2
        told["pages"] = "".join(pages)
        almost = {"Authorization": f"Bearer {given['HFT_OPERATOR_TOKEN']}x"}
        refused = asked(serving, almost)
        assert [page for page in refused if page.startswith("/state 401")]
        told["refusals"] = "".join(refused)
        for words in (
            ("doctor",),
            ("doctor", "--json"),
            ("status",),
            ("kill", "--operator", "ada", "--reason", "drill"),
            ("audit", "--json"),
            ("models", "list"),
            ("ledger", "rebuild"),
        ):
            answer = verbs(*words)
            told[" ".join(words)] = answer.out + answer.err
    finally:
        serving.stop()
    told["log"] = serving.log
    assert "starting" in told["log"] and "access is refused" in told["log"]
    checks = {row["name"] for row in json.loads(told["doctor --json"].splitlines()[0])["checks"]}
    assert {"kafka", "redis", "mlflow", "database"} <= checks
    assert json.loads(told["audit --json"])["records"][-1]["outcome"] == "done"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "journal" for path in files)
    secrets = {name: made_up(name) for name in values(1, 1)}
    shown = [
        (name, place)
        for name, secret in secrets.items()
        for place, text in told.items()
        if secret in text
    ]
    written = [
        (name, str(path.relative_to(tmp_path)))
        for path in files
        for name, secret in secrets.items()
        if secret.encode() in path.read_bytes()
    ]
    assert (shown, written) == ([], [])


def test_a_start_that_fails_tells_no_secret(tmp_path: Path, outside_of: Any):
    given = values(1, 1) | {"ENVIRONMENT": "staging", "EXCHANGE": "binance"}
    serving = Serving(tmp_path)
    for wrong in ({"HFT_VIEWER_TOKEN": made_up("HFT_OPERATOR_TOKEN")}, {"REDIS_URL": "x"}, {}):
        serving.start("ingestion", **{**given, **wrong})
        assert serving.ended() == 2
    assert len(serving.log.splitlines()) == 3, serving.log
    assert not [name for name in given if made_up(name) in serving.log]
