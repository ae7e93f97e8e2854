"""`python -m serving all --bus memory`: all pages answer, and a kill changes no order."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.runs import journal_tally
from hft_lib import lineage
from hft_lib.backtest.candidates import ordinary
from hft_lib.lineage import Candidate
from hft_lib.market import synthetic
from hft_lib.parameters import read_parameter_file
from hft_lib.plots.words import money
from serving.runtime.judged import EVERY_S
from tests.hft_lib.registry_world import client
from tests.integration.conftest import Outside
from tests.integration.memory_line import NAMES, PAGES, Serving

DAYS = 8.0
PAIR = "SYN/USDT:USDT~SYN/USDT"
SLOW = ("--speed", "100000")  # some seconds for the tape
KILLS = 4
HEALTH_CHECK = Path(__file__).resolve().parents[2] / "scripts" / "health-check.sh"
ORDERS = "hft_orders_total{"


class Market:
    """Some days of a synthetic market, parameters fitted to half of them, and their replay."""

    def __init__(self, folder: Path, outside: Outside) -> None:
        self.tape, self.params = folder / "tape", folder / "params.json"
        synthetic.write(3, self.tape, synthetic.SyntheticMarket(days=DAYS))
        fit = ("--end", "2024-01-04T00:00:00Z", "--out", self.params)
        assert outside("calibrate", "--tape", self.tape, *fit).code == 0
        file = read_parameter_file(self.params.read_bytes())
        whole = msgspec.structs.replace(file, challengers=tuple(ordinary(file.params)))
        self.params.write_bytes(msgspec.json.encode(whole))
        replay = outside("replay", "--tape", self.tape, "--params", self.params, "--json")
        assert replay.code == 0 and replay.json["orders"] > 0
        self.replay: dict[str, Any] = replay.json
        self.words = ("--tape", self.tape, "--params", self.params)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, outside_of: Any) -> Market:
    folder = tmp_path_factory.mktemp("market")
    return Market(folder, outside_of(folder))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    yield made
    made.kill()


def is_through(serving: Serving, market: Market) -> bool:
    return serving.state("ingestion").get("read", 0) >= market.replay["events"]


def orders_of(serving: Serving) -> str:
    """The hash of the orders that the line's journal holds."""
    return journal_tally(serving.home / "line" / "journal").orders_sha256()


def test_all_six_answer_every_page_over_a_tape_and_stay_up_after_it(
    serving: Serving, market: Market
) -> None:
    serving.start("all", *market.words)
    serving.await_ready()
    serving.wait_for("through", lambda: is_through(serving, market))
    the_health_check_finds_all_six_ready(serving)
    for place, name in enumerate(NAMES):
        assert {path: serving.page(place, path)[0] for path in PAGES} == dict.fromkeys(PAGES, 200)
        assert serving.state(name)["service"] == name
        assert "hft_ready 1.0" in serving.page(place, "/metrics")[1]
    execution = NAMES.index("execution")
    figures = serving.page(execution, "/metrics")[1]
    counted = [line.split()[1] for line in figures.splitlines() if line.startswith(ORDERS)]
    assert sum(map(float, counted)) == market.replay["orders"]
    assert 'hft_tick_latency_seconds_count{hop="order"}' in figures
    assert "hft_position_base" in figures and "hft_latch_halted 0.0" in figures
    the_operators_page_shows_the_line(serving)
    judged = the_models_are_judged(serving)
    code, seconds = serving.stop()
    assert code == 0 and seconds < 10.0
    assert orders_of(serving) == market.replay["orders_sha256"]
    assert "trace=journal-" in serving.log
    serving.start("all")
    serving.await_ready()
    serving.wait_for("judged again", lambda: bool(serving.state("garch_model").get("health")))
    assert serving.state("garch_model")["health"] == judged  # a restart changes nothing of it
    assert serving.stop()[0] == 0


def the_health_check_finds_all_six_ready(serving: Serving) -> None:
    """`scripts/health-check.sh` over the pages of the process."""
    environ = {**os.environ, "PORT_FIRST": str(serving.port)}
    done = subprocess.run(
        [HEALTH_CHECK, "--local"], env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "".join(f"{name}: ready\n" for name in NAMES))


def the_models_are_judged(serving: Serving) -> list[dict[str, Any]]:
    """By slot in figures and state, and on the operator's page; the last rows."""
    slots = {row["slot"] for row in serving.state("execution")["holdings"] if row["slot"] >= 0}
    through_ns = serving.state("execution")["line_ns"]

    def is_judged() -> bool:
        rows = serving.state("garch_model").get("health", [])
        return through_ns > 0 and {row["slot"] for row in rows} == slots

    serving.wait_for("every slot judged", is_judged)
    time.sleep(EVERY_S + 1.0)  # what came since the last look
    figures = serving.page(NAMES.index("garch_model"), "/metrics")[1]
    assert "hft_innovation_mean{" in figures and "hft_model_health{" in figures
    assert f'feature="return_y",pair="{PAIR}",slot="0"' in figures
    page = serving.page(NAMES.index("orchestrator"), "/")[1]
    assert 'id="in-health"' in page and "0, champion</th>" in page
    rows: list[dict[str, Any]] = serving.state("garch_model")["health"]
    assert all(row["observations"] >= 50 and row["shifts"] for row in rows)
    return rows


def the_operators_page_shows_the_line(serving: Serving) -> None:
    """On the orchestrator's port, and no other's."""
    place = NAMES.index("orchestrator")

    def shows_what_is_held() -> bool:
        held = serving.state("execution")["holdings"]
        figures = [money(row["equity_quote"], "USDT") for row in held]
        page = serving.page(place, "/")[1]
        return len(held) > 1 and all(f">{figure}</td>" in page for figure in figures)

    serving.wait_for("what is held on the page", shows_what_is_held)
    status, page = serving.page(place, "/")
    assert status == 200 and "6 of 6" in page and '<p class="word">RUNNING</p>' in page
    assert "TRADING" in page and "<code>hft evop explain 1</code>" in page
    assert {serving.page(other, "/")[0] for other in range(len(NAMES)) if other != place} == {404}


def test_orders_equal_the_replays_though_the_process_is_killed_and_started_again(
    serving: Serving, market: Market
) -> None:
    dice = random.Random(20261128)
    for number in range(KILLS):
        serving.start("all", *(market.words if number % 2 == 0 else ()), *SLOW)
        serving.await_ready()
        time.sleep(dice.uniform(0.1, 1.0))
        serving.kill()
    serving.start("all")
    serving.await_ready()
    serving.wait_for("through", lambda: is_through(serving, market))
    assert serving.stop()[0] == 0
    assert orders_of(serving) == market.replay["orders_sha256"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_is_in_order_while_the_tape_is_waited_for(
    serving: Serving, market: Market, number: int
) -> None:
    serving.start("all", *market.words, "--speed", "1")
    serving.await_ready()
    code, seconds = serving.stop(number)
    assert code == 0 and seconds < 10.0


def test_a_line_is_not_gone_on_with_over_another_tape(serving: Serving, market: Market) -> None:
    serving.start("all", *market.words, *SLOW)
    serving.await_ready()
    serving.stop()
    other = serving.home / "other"
    synthetic.write(4, other, synthetic.SyntheticMarket(days=2.0))
    serving.start("all", "--tape", other)
    assert serving.ended() == 3
    assert "--tape must be that of the line in" in serving.log.splitlines()[-1]


def test_a_kill_is_heard_and_held_through_a_restart(
    serving: Serving, market: Market, outside: Outside
) -> None:
    def halted() -> bool:
        return bool(serving.state("execution").get("latch", {}).get("halted"))

    serving.start("all", *market.words, "--speed", "5000")
    serving.await_ready()
    assert outside("kill", "--reason", "a test").code == 0
    serving.wait_for("halted", halted)
    serving.kill()
    serving.start("all")
    serving.await_ready()
    assert halted()


def test_one_service_alone_is_ready_and_says_that_nothing_comes_in(serving: Serving) -> None:
    serving.start("garch_model")
    serving.wait_for("ready", lambda: serving.page(0, "/readyz")[0] == 200)
    assert {path: serving.page(0, path)[0] for path in PAGES} == dict.fromkeys(PAGES, 200)
    code, seconds = serving.stop()
    assert code == 0 and seconds < 10.0
    assert "joined to nothing" in serving.log


def test_a_port_that_is_taken_is_one_sentence(serving: Serving, market: Market) -> None:
    serving.start("all", *market.words, *SLOW)
    serving.await_ready()
    second = Serving(serving.home.parent)
    second.port = serving.port
    second.start("garch_model")
    assert second.ended() == 3
    # The first one goes on, and its lines are in the same file.
    (said,) = [line for line in second.log.splitlines() if line.startswith("serving: ")]
    assert f"port {serving.port} of garch_model" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bus", "kafka"), "--bus kafka needs KAFKA_BOOTSTRAP_SERVERS"),
        (("--speed", "0"), "--speed must be positive"),
        (("--tape", "nowhere"), "nowhere"),
        (("--params", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_served_is_refused_with_2(
    serving: Serving, words: tuple[str, ...], said: str
) -> None:
    serving.start("all", *words)
    assert serving.ended() == 2
    assert said in serving.log.splitlines()[-1] and "Traceback" not in serving.log


def test_a_promotion_by_hand_moves_capital_and_alias_and_a_hand_edited_alias_is_put_right(
    serving: Serving, market: Market, outside: Outside
) -> None:
    file = read_parameter_file(market.params.read_bytes())
    store = client(serving.home)
    experiment = lineage.experiment_id(store, str(serving.home / "mlartifacts"))
    sets = {"champion": file.params} | {one.name: one.params for one in file.challengers}
    versions = {}
    for name, params in sets.items():
        found = Candidate(pair=file.pair, name=name, parameters=params, provenance=file.provenance)
        versions[name] = lineage.register(store, experiment, found).version
        lineage.seat(store, file.pair, name, versions[name])

    def champion() -> str:
        return lineage.read_aliases(store, file.pair)["champion"]

    by = ("--operator", "ada", "--reason", "drill", "--json")
    serving.start("all", "--tape", market.tape, *SLOW)
    serving.await_ready()
    promote = ("models", "promote", versions["eager"], *by)
    serving.wait_for("warm", lambda: outside(*promote, "--dry-run").code == 0)
    done = outside(*promote)
    assert done.code == 0 and done.json["record"]["kind"] == "promote", done.err
    serving.wait_for("the alias moved", lambda: champion() == versions["eager"])
    serving.kill()
    lineage.set_alias(store, file.pair, "champion", versions["patient"])
    strayed = outside("models", "list", "--json").json["strayed"]
    assert [(row["found"], row["wanted"]) for row in strayed] == [
        (versions["patient"], versions["eager"])
    ]
    serving.start("all", "--tape", market.tape, *SLOW)
    serving.await_ready()
    serving.wait_for("put right", lambda: champion() == versions["eager"])
    edited = serving.state("orchestrator")["registry"]["edited"]
    assert "champion pointed to" in edited[0]["what"]
    assert "was moved by hand" in serving.page(5, "/")[1]
    assert outside("models", "rollback", *by).code == 0, "told though the line was killed before"
    serving.wait_for("the alias moved back", lambda: champion() == versions["champion"])
    assert outside("models", "list", "--json").json["strayed"] == []
