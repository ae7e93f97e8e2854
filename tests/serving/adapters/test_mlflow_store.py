"""The way to MLflow: who answers, who does not, and how long that takes to find out."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.adapters import mlflow_store
from serving.runtime.settings import Settings


class _Answer(BaseHTTPRequestHandler):
    """Answers every request with the status that its server was given."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def answering() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_server_that_answers_is_reached_whatever_we_may(answering, status):
    answering.status = status
    mlflow_store.ask(f"http://127.0.0.1:{answering.server_port}")


def test_a_server_that_fails_is_not_reached(answering):
    answering.status = 503
    with pytest.raises(mlflow_store.Unreachable, match="does not answer: it answered 503"):
        mlflow_store.ask(f"http://127.0.0.1:{answering.server_port}")


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_closed_port_is_found_out_at_once(closed, scheme):
    began = time.monotonic()
    with pytest.raises(mlflow_store.Unreachable, match="Connection refused"):
        mlflow_store.ask(f"{scheme}://127.0.0.1:{closed}")
    assert time.monotonic() - began < 1.0


def test_a_hung_server_is_found_out_within_two_seconds(silent):
    began = time.monotonic()
    with pytest.raises(mlflow_store.Unreachable, match="timed out"):
        mlflow_store.ask(f"http://127.0.0.1:{silent}")
    assert time.monotonic() - began < 2.0


def test_a_password_is_not_told(closed):
    with pytest.raises(mlflow_store.Unreachable) as told:
        mlflow_store.ask(f"http://me:hunter2@127.0.0.1:{closed}")
    assert "hunter2" not in str(told.value)


def test_what_cannot_be_reached_is_not_opened(closed, tmp_path):
    settings = Settings(hft_home=tmp_path, mlflow_tracking_uri=f"http://127.0.0.1:{closed}")
    with pytest.raises(mlflow_store.Unreachable):
        mlflow_store.open_client(settings)


def test_the_embedded_store_lives_under_the_home_folder(tmp_path):
    settings = Settings(hft_home=tmp_path)
    assert mlflow_store.store_file(settings) == tmp_path / "mlflow.db"
    assert mlflow_store.artifact_location(settings) == str(tmp_path / "mlartifacts")


def test_a_servers_artifacts_are_its_own(tmp_path):
    settings = Settings(hft_home=tmp_path, mlflow_tracking_uri="http://mlflow:5000")
    assert mlflow_store.store_file(settings) is None
    assert mlflow_store.artifact_location(settings) is None
