"""The doctor: well on a laptop with nothing set, and a remedy for whatever does not answer."""

import http.server
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cli import doctor
from cli.doctor import Check, checks
from serving.runtime.settings import Settings, load_settings

SECRET = "s3cr3t-value"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def found(environ: dict[str, str]) -> dict[str, Check]:
    return {check.name: check for check in checks(load_settings(environ))}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a listener that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    """An address at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Answers(http.server.BaseHTTPRequestHandler):
    """200 for the paths that the doctor should ask, 403 for any other."""

    def do_GET(self) -> None:
        known = ("/api/2.0/mlflow/experiments/search?max_results=1", "/api/v3/ping")
        self.send_response(200 if self.path in known else 403)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_laptop_with_nothing_set_is_well(home: Path) -> None:
    answers = checks(load_settings({}))
    names = ["python", "home", "disk", "kernels", "pairs", "mlflow"]
    assert [check.name for check in answers] == names
    assert [check for check in answers if not check.ok or check.fix] == []
    assert "can be made" in answers[-1].detail


def test_the_pairs_are_told(home: Path) -> None:
    pair = "BTC/USDT:USDT~BTC/USDT"
    assert found({"PAIRS": pair})["pairs"].detail == pair


def test_a_home_that_cannot_be_made_is_told(home: Path) -> None:
    home.parent.joinpath("file").touch()
    check = found({"HFT_HOME": "file/runs"})["home"]
    assert not check.ok
    assert "HFT_HOME" in check.fix


def test_a_full_disk_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_BYTES_MIN", 10**18)
    check = found({})["disk"]
    assert not check.ok
    assert "free disk must be at least" in check.detail


def test_another_python_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 12, 1))
    assert found({})["python"].detail == "Python must be 3.11, was 3.12.1"


def test_a_tracking_store_on_disk_is_opened(home: Path) -> None:
    home.mkdir()
    with sqlite3.connect(home / "mlflow.db") as store:
        store.execute("CREATE TABLE experiments (id INTEGER)")
    store.close()
    assert "opens, 1 tables" in found({})["mlflow"].detail


def test_a_tracking_store_that_is_no_database_is_told(home: Path) -> None:
    home.mkdir()
    (home / "mlflow.db").write_text("not a database, and long enough for the header of one " * 9)
    check = found({})["mlflow"]
    assert not check.ok
    assert "not a database" in check.detail


def test_a_tracking_server_is_asked_at_its_interface(home: Path, web: str) -> None:
    assert found({"MLFLOW_TRACKING_URI": web})["mlflow"].ok
    check = found({"MLFLOW_TRACKING_URI": f"{web}/elsewhere"})["mlflow"]
    assert not check.ok
    assert check.detail.endswith("must answer 200, was 403")


def test_the_exchange_is_asked_where_one_is_named(home: Path, web: str, refused: str) -> None:
    paper = {"EXCHANGE": "paper", "BINANCE_REST_URL": web}
    assert found(paper)["exchange"].ok
    assert not found({**paper, "BINANCE_REST_URL": f"http://{refused}"})["exchange"].ok


def services(address: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": f"http://{address}",
        "REDIS_URL": f"redis://:{SECRET}@{address}/0",
        "KAFKA_BOOTSTRAP_SERVERS": address,
        "DATABASE_URL": f"postgresql+psycopg://hft:{SECRET}@{address}/hft",
        "EXCHANGE": "paper",
        "BINANCE_REST_URL": f"http://{address}",
    }


def outside(answers: dict[str, Check]) -> list[Check]:
    return [answers[name] for name in ("mlflow", "redis", "kafka", "database", "exchange")]


def test_services_that_refuse_are_told_with_a_remedy(home: Path, refused: str) -> None:
    for check in outside(found(services(refused))):
        assert not check.ok, check
        assert check.fix, check
        assert SECRET not in f"{check}"


def test_services_that_hang_are_told_within_the_bound(home: Path, silent: str) -> None:
    # Imports are not the services' time.
    found(services(silent))
    started = time.monotonic()
    answers = outside(found(services(silent)))
    assert time.monotonic() - started < doctor.CHECK_S_MAX
    assert [check for check in answers if check.ok] == []


def test_a_check_that_never_ends_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECK_S_MAX", 0.05)
    ended = threading.Event()

    def waits(settings: Settings) -> str:
        ended.wait(10)
        return "too late"

    (check,) = doctor.asked([("slow", waits, "wake it")], load_settings({}))
    ended.set()
    assert check == Check("slow", False, "no answer within 0.05 s", "wake it")


def test_a_database_on_disk_is_opened(home: Path) -> None:
    path = home.parent / "ledger.db"
    sqlite3.connect(path).close()
    assert found({"DATABASE_URL": f"sqlite:///{path}"})["database"].ok


def test_a_kafka_that_is_away_is_told_in_a_sentence(home: Path) -> None:
    answer = found({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})["kafka"]
    assert not answer.ok and answer.detail.startswith("Failed to get metadata: ")


def test_kafka_tells_its_brokers(home: Path) -> None:
    # librdkafka's own broker, inside the client: enough for one question of metadata.
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    brokers = producer.list_topics(timeout=5).brokers
    address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    assert found({"KAFKA_BOOTSTRAP_SERVERS": address})["kafka"].detail == "1 brokers, 0 hft topics"
