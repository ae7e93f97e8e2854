"""Faults in the running line and what Alertmanager is told of them: every part is the real one.

Rules are the repository's; where a test waits for a fault they wait less before they fire.
"""

from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase as LETTERS
from time import sleep

import pytest
import redis

from tests.integration.conftest import Broker, RedisServer, emptied, free_ports
from tests.integration.six import NAMES, Played, SixProcesses
from tests.monitoring.watched import Watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOKENS = {f"HFT_{role.upper()}_TOKEN": f"{role}{LETTERS}" for role in ("viewer", "operator")}
SPEED = 10_000.0
CALM_S = 40.0
SOON_S = 2  # how long an alert waits where a fault is waited for
SINGLE = ("execution", "ingestion", "orchestrator")
# The watchdog always fires, how long an order takes is this machine's affair, and what the market
# brings is no fault of the line.
PASSED_OVER = {"watchdog", "order_latency", "promotion", "rollback", "relation_breaking"}
PASSED_OVER |= {"model_off", "drawdown_near", "day_loss_near", "pair_locked", "pair_locked_day"}


@pytest.fixture
def six(
    broker: Broker, redis_server: RedisServer, tmp_path: Path, played: Played
) -> Iterator[SixProcesses]:
    """A line that trades, guarded and with a ledger."""
    made = SixProcesses(emptied(broker), redis_server.url, tmp_path, played.tape, played.params)
    made.environment = {**TOKENS, "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    made.speed = SPEED
    made.start()
    made.await_ready()
    yield made
    made.end()


def watching(six: SixProcesses, folder: Path, for_s_max: int | None) -> Watch:
    """Prometheus and Alertmanager over the line, as production has them."""
    folder.mkdir()
    made = Watch(folder, free_ports(2), {name: six.port(name) for name in NAMES}, for_s_max)
    made.start("production")
    made.wait_for("scraped", lambda: len(made.query('up{job="hft"} == 1')) == len(NAMES))
    return made


@pytest.fixture
def calm(six: SixProcesses, tmp_path: Path) -> Iterator[Watch]:
    """Whom the rules alarm when they wait as long as they do."""
    made = watching(six, tmp_path / "calm", None)
    yield made
    made.end()


@pytest.fixture
def quick(six: SixProcesses, tmp_path: Path) -> Iterator[Watch]:
    """Whom they alarm soon."""
    made = watching(six, tmp_path / "quick", SOON_S)
    yield made
    made.end()


def of_all(alert: str, names: tuple[str, ...] = NAMES) -> set[tuple[str, str]]:
    """An alert of each of these services."""
    return {(alert, name) for name in names}


def fires(watch: Watch, wanted: set[tuple[str, str]]) -> None:
    """Each of these alerts fires."""
    alerts = {alert for alert, _ in wanted}
    watch.wait_for(f"{sorted(wanted)}", lambda: wanted <= watch.firing(*alerts))


def is_over(watch: Watch, *alerts: str) -> None:
    """None of these alerts fires any more."""
    watch.wait_for(f"the end of {alerts}", lambda: not watch.firing(*alerts))


def test_a_line_that_trades_and_is_restarted_alarms_nobody(six: SixProcesses, calm: Watch):
    for name in NAMES:
        assert six.stop_one(name) == 0
        six.start(name)
        six.await_ready(name)
    sleep(CALM_S)
    assert {alert for alert, _ in calm.fired()} <= PASSED_OVER


def test_faults_reach_the_pager_and_so_do_their_ends(
    six: SixProcesses, quick: Watch, broker: Broker, redis_server: RedisServer
):
    for name in NAMES:
        six.kill(name)
    fires(quick, of_all("health_check_failure"))
    six.start()
    six.await_ready()
    is_over(quick, "health_check_failure")
    broker.stop()
    fires(quick, of_all("broker_away"))
    broker.start()
    six.await_ready()
    is_over(quick, "broker_away", "not_ready")
    redis_server.kill()
    fires(quick, of_all("lease_lost", SINGLE) | {("latch_unreadable", "execution")})
    redis_server.start()
    is_over(quick, "lease_lost", "latch_unreadable")
    # A server that lost all it had says nothing of the latch, which is a halt.
    client = redis.Redis(port=redis_server.port)
    client.flushall()
    client.close()
    fires(quick, {("latch_pulled", "execution")})
    assert six.verb("reset-kill", "--operator", "bob", "--reason", "over").code == 0
    is_over(quick, "latch_pulled")
    for alert in ("health_check_failure", "broker_away", "lease_lost", "latch_pulled"):
        quick.wait_for(
            f"{alert} at the pager",
            lambda alert=alert: quick.paged(alert) == {"trigger", "resolve"},  # type: ignore
        )
