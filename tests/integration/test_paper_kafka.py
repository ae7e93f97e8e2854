"""Paper mode on Kafka: six processes on live market data, of which the feed's is killed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hft_lib.events import MarketEvent, Rejected, TimePassed, Trade
from hft_lib.stage import replay
from hft_lib.stages import ingestion
from serving.adapters.kafka_snapshots import Snapshots
from serving.runtime.opening import LINE, LineOpened
from tests.integration.conftest import RedisServer
from tests.integration.six import SixProcesses, facts
from tests.integration.test_paper import PAIR, set_file
from tests.market.generated import Generated
from tests.market.server import Market

pytestmark = pytest.mark.slow


@pytest.fixture
def market() -> Iterator[Market]:
    """A market of its own, at its own pace."""
    with Market(Generated(seed=12)) as served:
        yield served


@pytest.fixture
def six(
    servers: str, redis_server: RedisServer, market: Market, tmp_path: Path
) -> Iterator[SixProcesses]:
    """The services on that market; nothing is started yet."""
    params = tmp_path / "params.json"
    params.write_bytes(msgspec.json.encode(set_file()))
    made = SixProcesses(servers, redis_server.url, tmp_path, tmp_path, params)
    made.options["ingestion"] = ()
    made.environment |= {
        "EXCHANGE": "paper",
        "PAIRS": PAIR,
        "BINANCE_REST_URL": market.rest_url,
        "BINANCE_WS_URL": market.ws_url,
    }
    yield made
    made.end()


def test_the_line_goes_on_after_its_feed_was_killed_and_its_inbox_says_all_of_it(
    six: SixProcesses, market: Market, servers: str
) -> None:
    six.start()
    six.await_ready()
    six.wait_for("traded on", lambda: line_ns(six) > 0)
    assert six.state("ingestion")["feed"]["is_open"]
    market.inject("corrupt", rate=0.2, for_s=2.0, seed=2)
    six.wait_for("refused", lambda: bool(refused(servers)))
    six.kill("ingestion")
    reached_ns = line_ns(six)
    six.start("ingestion")
    six.await_ready("ingestion")
    six.wait_for("on again", lambda: line_ns(six) > reached_ns + 2_000_000_000)
    assert set(six.stop().values()) == {0}

    inbox = facts(servers, "hft.ingestion")
    fed = [fact for fact in inbox if isinstance(fact, MarketEvent | TimePassed)]
    times = [fact.time_ns for fact in fed]
    assert times == sorted(set(times)), "each at a time of its own"
    trades = [(fact.symbol, fact.trade_id) for fact in fed if isinstance(fact, Trade)]
    assert len(trades) == len(set(trades)) > 20
    opened = Snapshots(servers, "test").read(LINE, LineOpened)
    assert opened is not None
    made = list(replay(ingestion.STAGE, opened.config, inbox))
    # The last facts of the edge may not have been stepped on when the service was stopped.
    told = facts(servers, "hft.kalman_filter")
    assert told == [fact for fact in made if not isinstance(fact, Rejected)][: len(told)]
    on_record = refused(servers)
    flaws = [fact for fact in made if isinstance(fact, Rejected) and fact.stage == "feed"]
    assert "BROKEN_FRAME" in {flaw.reason for flaw in on_record}
    assert on_record == flaws[: len(on_record)]


def line_ns(six: SixProcesses) -> int:
    """How far execution is."""
    return int(six.state("execution").get("line_ns", 0))


def refused(servers: str) -> list[Rejected]:
    """What the feed refused, as it is on record."""
    records = facts(servers, "hft.records")
    return [fact for fact in records if isinstance(fact, Rejected) and fact.stage == "feed"]
