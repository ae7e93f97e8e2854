"""Every dependency that the settings name, asked once, each within a bound.

`checks` asks all of them at the same time, so the whole takes about as long as the slowest one.
"""

import http.client
import importlib
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from cli import options
from cli.console import emit, text
from cli.errors import Failed, told
from serving.runtime.addresses import masked
from serving.runtime.settings import Settings

# A healthy service on the same network answers in milliseconds; an operator waits this long gladly.
ANSWER_S_MAX = 2.0
# The client libraries are imported by their own check: on a busy machine that alone takes seconds.
CHECK_S_MAX = 10.0
# A day's journal of a few pairs, with its snapshots, is far below this.
FREE_BYTES_MIN = 1_000_000_000
EXCHANGE_URL = "https://api.binance.com"
TESTNET_URL = "https://testnet.binance.vision"


@dataclass(frozen=True)
class Check:
    """What was asked, whether it holds, what was found, and what to do where it does not."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


Ask = Callable[[Settings], str]


class Unwell(Exception):
    """A dependency answered, and the answer is no good; the text is one clause."""


def checks(settings: Settings) -> list[Check]:
    """Ask each dependency that `settings` names; one `Check` each, in a fixed order."""
    return asked(dependencies(settings), settings)


def dependencies(settings: Settings) -> list[tuple[str, Ask, str]]:
    """Name, question and remedy of what these settings need."""
    tracking = f"start MLflow at {masked(settings.mlflow_tracking_uri)} or set MLFLOW_TRACKING_URI"
    rows: list[tuple[str, Ask, str, bool]] = [
        ("python", python, "run make demo with Python 3.11 on the PATH", True),
        ("home", home, "make HFT_HOME a folder that this user may write", True),
        ("disk", disk, "free some disk, or set HFT_HOME to a larger one", True),
        ("kernels", kernels, "make the folder of compiled kernels writable by this user", True),
        ("pairs", pairs, "set PAIRS to Y~X with commas between", True),
        ("mlflow", mlflow, tracking, True),
        ("redis", redis, "start Redis at REDIS_URL, or unset it", bool(settings.redis_url)),
        (
            "kafka",
            kafka,
            "start Kafka at KAFKA_BOOTSTRAP_SERVERS, or unset it",
            bool(settings.kafka_bootstrap_servers),
        ),
        (
            "database",
            database,
            "start the database at DATABASE_URL, or unset it",
            bool(settings.database_url),
        ),
        (
            "exchange",
            exchange,
            "check the network and BINANCE_REST_URL, or set EXCHANGE=simulated",
            settings.exchange != "simulated",
        ),
    ]
    return [(name, ask, fix) for name, ask, fix, named in rows if named]


def asked(rows: list[tuple[str, Ask, str]], settings: Settings) -> list[Check]:
    """Ask every row at once; what has not answered in `CHECK_S_MAX` is unwell."""
    answers: dict[str, Check] = {}

    def answer(name: str, ask: Ask, fix: str) -> None:
        try:
            answers[name] = Check(name, True, ask(settings))
        # Whatever a client library raises is its service's answer, and is shown.
        except Exception as error:  # pylint: disable=broad-exception-caught
            answers[name] = Check(name, False, _told(error), fix)

    threads = [threading.Thread(target=answer, args=row, daemon=True) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CHECK_S_MAX)
    late = f"no answer within {CHECK_S_MAX:g} s"
    return [answers.get(name, Check(name, False, late, fix)) for name, _, fix in rows]


def _told(error: Exception) -> str:
    """The first line of an error, without passwords."""
    return masked((told(error).strip() or type(error).__name__).splitlines()[0])


def python(settings: Settings) -> str:
    """The interpreter is the one that the locks were made for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise Unwell(f"Python must be 3.11, was {version}")
    return f"Python {version}"


def home(settings: Settings) -> str:
    """`HFT_HOME` is there, or can be made, and takes a file."""
    settings.hft_home.mkdir(parents=True, exist_ok=True)
    _write_into(settings.hft_home)
    return f"{settings.hft_home} is writable"


def disk(settings: Settings) -> str:
    """The disk of `HFT_HOME` has room for a day."""
    free = shutil.disk_usage(_existing(settings.hft_home)).free
    if free < FREE_BYTES_MIN:
        raise Unwell(
            f"free disk must be at least {FREE_BYTES_MIN / 1e9:g} GB, was {free / 1e9:.2f} GB"
        )
    return f"{free / 1e9:.1f} GB free"


def kernels(settings: Settings) -> str:
    """Compiled functions are kept, or were when the image was made: a start compiles none again."""
    module = importlib.import_module("hft_lib.kernel")
    folder: Path = module.CACHE_DIR
    compiled = sum(1 for _ in folder.rglob("*.nbc"))
    if not module.KEPT and compiled:
        return f"{folder.name} is only read and holds {compiled} compiled functions"
    folder.mkdir(parents=True, exist_ok=True)
    _write_into(folder)
    return f"{folder.name} is writable and holds {compiled} compiled functions"


def pairs(settings: Settings) -> str:
    """The pairs were read (a malformed one ends the start before this)."""
    if not settings.pairs:
        return "none named: a verb takes --pair, its parameter file's, or the tape's only one"
    return ", ".join(settings.pairs)


def mlflow(settings: Settings) -> str:
    """The tracking store opens or answers; a store on disk that is not there yet can be made."""
    uri = settings.mlflow_tracking_uri
    if uri.startswith("http"):
        # /health answers even where the host check refuses every call of the API.
        return _get(uri, "/api/2.0/mlflow/experiments/search?max_results=1")
    return _open_database(uri)


def redis(settings: Settings) -> str:
    """Redis answers a ping."""
    client = importlib.import_module("redis").from_url(
        settings.redis_url,
        socket_timeout=ANSWER_S_MAX,
        socket_connect_timeout=ANSWER_S_MAX,
    )
    try:
        client.ping()
        return f"{masked(str(settings.redis_url))} answers"
    finally:
        client.close()


def kafka(settings: Settings) -> str:
    """Kafka tells its brokers and topics."""
    module = importlib.import_module("serving.adapters.kafka_client")
    admin = importlib.import_module("confluent_kafka.admin").AdminClient(
        {
            **module.client_config(settings.kafka_bootstrap_servers),
            "socket.timeout.ms": int(ANSWER_S_MAX * 1000),
        }
    )
    found = admin.list_topics(timeout=ANSWER_S_MAX)
    ours = sum(1 for topic in found.topics if topic.startswith("hft."))
    return f"{len(found.brokers)} brokers, {ours} hft topics"


def database(settings: Settings) -> str:
    """The database opens and answers."""
    return _open_database(str(settings.database_url))


def exchange(settings: Settings) -> str:
    """The exchange's public interface answers; no key is sent."""
    own = TESTNET_URL if settings.binance_testnet else EXCHANGE_URL
    if settings.exchange == "paper":
        own = EXCHANGE_URL
    return _get(settings.binance_rest_url or own, "/api/v3/ping")


def _write_into(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"hft doctor")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _get(base: str, path: str) -> str:
    parts = urlsplit(base)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(host, parts.port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.OK:
        raise Unwell(f"{masked(base)} must answer 200, was {status}")
    return f"{masked(base)} answers"


def _open_database(url: str) -> str:
    if url.startswith("sqlite"):
        return _open_file(Path(url.removeprefix("sqlite:///").partition("?")[0]))
    sqlalchemy = importlib.import_module("sqlalchemy")
    engine = sqlalchemy.create_engine(
        url,
        poolclass=importlib.import_module("sqlalchemy.pool").NullPool,
        # libpq counts in whole seconds and takes 2 as its least.
        connect_args={"connect_timeout": int(ANSWER_S_MAX)},
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
    return f"{masked(url)} answers"


def _open_file(path: Path) -> str:
    if not path.exists():
        _write_into(_existing(path.absolute().parent))
        return f"{path} is not there yet and can be made"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=ANSWER_S_MAX
    )
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
    return f"{path} opens, {tables} tables and indexes"


def doctor(context: typer.Context, as_json: options.JsonOption = False) -> None:
    """Check every dependency that the settings name; exit 1 where one is not well.

    Example: hft doctor --json
    """
    found = checks(context.obj)
    document = {"checks": [asdict(check) for check in found]}
    emit(document, as_json, print_checks)
    if not all(check.ok for check in found):
        raise Failed(f"not well: {', '.join(check.name for check in found if not check.ok)}")


def print_checks(document: dict[str, Any]) -> None:
    """The checks, for people: what is not well says what to do."""
    console = text()
    for check in document["checks"]:
        mark = "[green]ok [/green]" if check["ok"] else "[red]ill[/red]"
        console.print(f"{mark}  {check['name']:<10}", end="")
        console.print(check["detail"], markup=False)
        if not check["ok"]:
            console.print(f"     {'':<10}{check['fix']}", markup=False)
