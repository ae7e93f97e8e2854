"""Paper mode on Kafka: six processes on live market data, of which the feed's is killed; their
tape, which `hft tape export` makes of the log, replays to what they made.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hft_lib.backtest.tally import Tally
from hft_lib.events import MarketEvent, Rejected, TimePassed, Trade
from hft_lib.fitting.parameter_file import parameter_file
from hft_lib.market.tape import Tape
from hft_lib.parameters import Parameters
from hft_lib.stage import replay
from hft_lib.stages import ingestion
from serving.adapters.kafka_snapshots import Snapshots
from serving.line_export import export
from serving.line_log import LineLog
from serving.line_replay import LineReplay
from serving.runtime.opening import LINE, LineOpened
from tests.builders import parameters
from tests.integration.conftest import RedisServer
from tests.integration.six import SixProcesses, facts, recorded
from tests.integration.test_paper import PAIR, assert_whole
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
    params.write_bytes(msgspec.json.encode(parameter_file(lively(), PAIR, "", (0, 0), trials=1)))
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


def lively() -> Parameters:
    """A set for the small differences of the made-up market: it trades within seconds, and so
    little that minutes of it do not cost what locks it for the day.
    """
    chosen = parameters(
        horizon_s=2.5, entry_z=2.0, exit_z=0.1, warmup_s=1.0, gross_fraction_max=0.02
    )
    noise = 1e-9
    kalman = replace(
        chosen.kalman, noise_var=noise, intercept_drift_var=1e-14, hedge_drift_var=1e-16
    )
    garch = replace(chosen.garch, omega=noise / 4, variance_prior=noise)
    bocd = replace(chosen.bocd, alarm_hold_s=1.0)
    return replace(chosen, grid_ms=500, kalman=kalman, garch=garch, bocd=bocd)


def test_the_line_goes_on_after_its_feed_was_killed_and_its_log_says_all_of_it(
    six: SixProcesses, market: Market, servers: str, tmp_path: Path
) -> None:
    six.start()
    six.await_ready()
    six.wait_for("traded on", lambda: recorded(servers).orders > 0)
    assert six.state("ingestion")["feed"]["is_open"]
    market.inject("corrupt", rate=0.2, for_s=2.0, seed=2)
    six.wait_for("refused", lambda: bool(refused(servers)))
    market.inject("drop")
    six.wait_for("dropped", lambda: "DISCONNECTED" in {one.reason for one in refused(servers)})
    running = tmp_path / "running"
    export(servers, running, False, lambda messages: lambda count: None)
    six.kill("ingestion")
    reached_ns, orders = line_ns(six), recorded(servers).orders
    six.start("ingestion")
    six.await_ready("ingestion")
    six.wait_for("on again", lambda: line_ns(six) > reached_ns + 2_000_000_000)
    six.wait_for("more orders", lambda: recorded(servers).orders > orders)
    assert set(six.stop().values()) == {0}
    assert_inbox(servers)

    tape = tmp_path / "tape"
    made = six.verb("tape", "export", "--out", tape, "--json")
    assert made.code == 0, made.err
    assert_tape(servers, tape)
    checked = six.verb("replay", "--tape", tape, "--verify", made.json["journal"], "--json")
    assert checked.code == 0 and checked.json["verified"], checked.err
    told = recorded(servers)
    assert checked.json["orders"] == told.orders > orders
    assert checked.json["orders_sha256"] == told.orders_sha256()
    assert checked.json["rejected"] == dict(told.rejected)
    before = Tally()
    LineReplay(LineLog(running / "line"), before).run(Tape.open(running), lambda count: None)
    assert 0 < before.orders <= orders and before.rejected["BROKEN_FRAME"]


def assert_tape(servers: str, tape: Path) -> None:
    """Every message is a row with both its times, and what was refused is beside the rows."""
    inbox = facts(servers, "hft.ingestion")
    fed = [fact for fact in inbox if isinstance(fact, MarketEvent | TimePassed)]
    assert list(Tape.open(tape).events()) == fed
    lines = (tape / "rejected.jsonl").read_bytes().splitlines()
    flaws = [fact for fact in inbox if isinstance(fact, Rejected)]
    assert [msgspec.json.decode(line, type=Rejected) for line in lines] == flaws


def assert_inbox(servers: str) -> None:
    """What ingestion's inbox holds is in order and whole, and leads to what was told on."""
    inbox = facts(servers, "hft.ingestion")
    fed = [fact for fact in inbox if isinstance(fact, MarketEvent | TimePassed)]
    times = [fact.time_ns for fact in fed]
    assert times == sorted(set(times)), "each at a time of its own"
    trades = [fact for fact in fed if isinstance(fact, Trade)]
    assert len(trades) > 20
    assert_whole(trades)
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
