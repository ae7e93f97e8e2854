"""Paper mode: the whole line on live market data over HTTP and WebSocket, and its tape."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import pytest
from msgspec.structs import replace

from hft_lib.events import Trade
from hft_lib.fitting.parameter_file import parameter_file
from hft_lib.market.cleaning import CLOCK_JUMP_NS_MAX
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from tests.builders import parameters
from tests.cli.conftest import HFT, ROOT, Answer
from tests.integration.conftest import free_ports
from tests.market.generated import Generated
from tests.market.server import Market

pytestmark = pytest.mark.slow

PAIR = "BTC/USDT:USDT~BTC/USDT"
BEGUN_S_MAX = 120.0
PORTS = 6


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    """A market of its own, at its own pace."""
    with Market(Generated(seed=11)) as served:
        yield served


@pytest.fixture
def environment(market: Market, tmp_path: Path) -> dict[str, str]:
    """What a process on that market is told."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HFT_HOME": str(tmp_path / "home"),
        "EXCHANGE": "paper",
        "BINANCE_REST_URL": market.rest_url,
        "BINANCE_WS_URL": market.ws_url,
    }


@pytest.fixture
def hft(environment: dict[str, str], tmp_path: Path) -> Callable[..., Answer]:
    """A verb in a process of its own."""

    def run(*words: object) -> Answer:
        done = subprocess.run(
            [*HFT, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A set that steps each second."""
    path = tmp_path / "params.json"
    path.write_bytes(msgspec.json.encode(set_file()))
    return path


def set_file() -> ParameterFile:
    """A file of the pair that was fitted to nothing: what it earns is no question here."""
    chosen = replace(parameters(horizon_s=5.0), grid_ms=1000)
    return parameter_file(chosen, PAIR, "", (0, 0), trials=1)


def verified(hft: Callable[..., Answer], known: dict[str, Any]) -> dict[str, Any]:
    """What a replay of the run's tape says, every fact compared."""
    replayed = hft(
        *("replay", "--tape", known["tape"], "--params", known["params_file"]),
        *("--verify", known["journal"], "--json"),
    )
    assert replayed.code == 0, replayed.err
    assert replayed.json["verified"] and replayed.json["complete"]
    return replayed.json


def test_a_live_run_replays_to_the_same_facts_through_faults_and_a_second_start(
    hft: Callable[..., Answer], params: Path, market: Market, tmp_path: Path
) -> None:
    market.inject("corrupt", rate=0.05, for_s=3.0, seed=1)
    ran = hft("run", "--params", params, "--for", "8s", "--out", "live", "--json")
    assert ran.code == 0, ran.err
    first = ran.json
    assert first["events"] > 100
    kinds = Tape.open(first["tape"]).manifest.rows_by_kind
    assert all(kinds[kind] for kind in ("Quote", "Trade", "Depth", "Instrument", "Mark"))
    assert verified(hft, first)["orders_sha256"] == first["orders_sha256"]

    market.inject("drop")
    again = hft("run", "--resume", tmp_path / "live", "--for", "6s", "--json")
    assert again.code == 0, again.err
    assert again.json["events"] > first["events"]
    both = verified(hft, again.json)
    assert both["events"] == again.json["events"]
    assert sum(both["rejected"].values()) > 0, "what was corrupt is on record"
    trades = [fact for fact in Tape.open(again.json["tape"]).events() if isinstance(fact, Trade)]
    assert_whole(trades)
    # Between the two runs more than five seconds passed: their trades came late, and were taken.
    assert any(fact.time_ns - fact.exchange_time_ns > CLOCK_JUMP_NS_MAX for fact in trades)
    assert "CLOCK_JUMP" not in both["rejected"] and "TRADES_LOST" not in both["rejected"]


def assert_whole(trades: list[Trade]) -> None:
    """Each trade once, and none missing between the first and the last of a symbol."""
    for symbol in PAIR.split("~"):
        ids = [trade.trade_id for trade in trades if trade.symbol == symbol]
        assert ids == list(range(ids[0], ids[0] + len(ids))), symbol


def test_a_tape_or_another_pace_is_refused_on_the_live_market(
    hft: Callable[..., Answer], params: Path
) -> None:
    refused = hft("run", "--params", params, "--tape", "x", "--for", "1s")
    assert (refused.code, refused.sentence) == (
        2,
        "hft: EXCHANGE=paper trades on the live market: leave --tape out",
    )


def test_six_services_in_one_process_trade_on_it_and_end_with_its_tape(
    environment: dict[str, str], params: Path, tmp_path: Path
) -> None:
    port = free_ports(PORTS)[0]
    words = [sys.executable, "-m", "serving", "all", "--bus", "memory", "--port", str(port)]
    words += ["--params", str(params)]
    # A signal that comes within the tracer finds its lock taken for good.
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as served:
        try:
            until(lambda: asked(port, "readyz") == "ready\n", served)
            until(lambda: state(port)["feed"]["is_open"], served)
            until(lambda: state(port + 4).get("line_ns", 0) > 0, served)
            assert "hft_feed_frames_total" in asked(port, "metrics")
        finally:
            served.send_signal(signal.SIGTERM)
            _, said = served.communicate(timeout=60)
    assert served.returncode == 0, said
    tape = Tape.open(tmp_path / "home" / "paper" / "tape")
    assert {"Quote", "Trade"} <= set(tape.manifest.rows_by_kind)


def asked(port: int, page: str) -> str:
    """A page as text; empty where nothing answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
            content: bytes = answer.read()
            return content.decode()
    except URLError:
        return ""


def state(port: int) -> dict[str, Any]:
    """What a service says of itself."""
    known: dict[str, Any] = json.loads(asked(port, "state") or "{}")
    return known


def until(holds: Callable[[], Any], served: subprocess.Popen[bytes]) -> None:
    """Wait for what is under way."""
    end_s = time.monotonic() + BEGUN_S_MAX
    while not holds():
        assert served.poll() is None, "the services ended"
        assert time.monotonic() < end_s
        time.sleep(0.1)
