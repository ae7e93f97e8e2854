"""A real MLflow tracking server, which a test may kill and start again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from serving.adapters import mlflow_store

START_S_MAX = 120.0
ADMIN = ("registrar", "a-password-of-tests")


class RegistryServer:
    """The server on `port`, its artifacts in `folder`, and its database where none is named.

    With `users`, the address of another database, it asks for a name and a password, `ADMIN`'s.
    """

    def __init__(
        self, folder: Path, port: int, database: str | None = None, users: str | None = None
    ) -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._database = database or f"sqlite:///{folder / 'mlflow.db'}"
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        words = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        words += ["--host", "127.0.0.1", "--port", str(self._port)]
        words += ["--backend-store-uri", self._database]
        words += ["--artifacts-destination", str(self._folder / "artifacts")]
        # Its job runners are three more processes, which nothing here asks for.
        quiet = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        environment = {**os.environ, **quiet}
        if self._users is not None:
            words += ["--app-name", "basic-auth"]
            environment |= self._auth(self._users)
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
        with (self._folder / "server.log").open("ab") as log:
            # A session of its own: its workers end with it.
            self._process = subprocess.Popen(
                words, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        until = time.monotonic() + START_S_MAX
        while not self._answers():
            assert time.monotonic() < until and self._process.poll() is None
            time.sleep(0.2)

    def _auth(self, users: str) -> dict[str, str]:
        """What the server is told of its users."""
        config = self._folder / "auth.ini"
        lines = [
            "[mlflow]",
            "default_permission = NO_PERMISSIONS",
            f"database_uri = {users}",
            f"admin_username = {ADMIN[0]}",
            f"admin_password = {ADMIN[1]}",
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        ]
        config.write_text("\n".join(lines) + "\n")
        return {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "tests"}

    def _answers(self) -> bool:
        try:
            mlflow_store.ask(self.uri)
        except mlflow_store.Unreachable:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
