"""From a pulled latch in the running services to the message: every part is the real one."""

from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase as LETTERS
from typing import Any

import httpx
import msgspec
import pytest

from hft_lib.backtest.candidates import ordinary
from hft_lib.market import synthetic
from hft_lib.parameters import read_parameter_file
from tests.integration.conftest import Outside, free_ports
from tests.integration.memory_line import NAMES, Serving
from tests.monitoring import panels
from tests.monitoring.watched import Watch
from tests.monitoring.written import metrics_in, rules

pytestmark = pytest.mark.slow
DAYS = 5.0
TOKENS = {f"HFT_{role.upper()}_TOKEN": f"{role}{LETTERS}" for role in ("viewer", "operator")}


@pytest.fixture
def serving(tmp_path: Path, outside: Outside) -> Iterator[Serving]:
    """Six services that trade a synthetic market, by parameters fitted to its first part."""
    tape, params = tmp_path / "tape", tmp_path / "params.json"
    synthetic.write(3, tape, synthetic.SyntheticMarket(days=DAYS))
    fit = ("--end", "2024-01-03T12:00:00Z", "--out", params)
    assert outside("calibrate", "--tape", tape, *fit).code == 0
    file = read_parameter_file(params.read_bytes())
    whole = msgspec.structs.replace(file, challengers=tuple(ordinary(file.params)))
    params.write_bytes(msgspec.json.encode(whole))
    made = Serving(tmp_path)
    made.start("all", "--tape", tape, "--params", params, **TOKENS)
    yield made
    made.kill()


@pytest.fixture
def watch(serving: Serving, tmp_path: Path) -> Iterator[Watch]:
    folder = tmp_path / "watch"
    folder.mkdir()
    targets = {name: serving.port + place for place, name in enumerate(NAMES)}
    made = Watch(folder, free_ports(2), targets)
    yield made
    made.end()


def test_a_pulled_latch_reaches_slack_and_the_pager_and_so_does_its_end(
    serving: Serving, watch: Watch, outside: Outside
):
    serving.await_ready()
    watch.start("production")
    watch.wait_for("scraped", lambda: len(watch.query('up{job="hft"} == 1')) == len(NAMES))
    watch.wait_for("a heartbeat", lambda: bool(watch.inbox.to("/heartbeat")))
    watch.wait_for("marked", lambda: bool(watch.query("hft_position_base")))
    assert told(watch, "latch_pulled") == []
    assert outside("kill", "--operator", "ada", "--reason", "a drill").code == 0
    watch.wait_for("in Slack", lambda: bool(told(watch, "latch_pulled")))
    (message,) = told(watch, "latch_pulled")
    (part,) = message["attachments"]
    assert part["title"] == "❌ production: latch_pulled" and part["color"] == "danger"
    assert "docs/runbooks/latch_pulled.md" in part["text"]
    assert message["channel"] == "#hft-alerts"
    watch.wait_for("at the pager", lambda: "trigger" in watch.paged("latch_pulled"))
    every_rule_asks_for_what_is_there(watch)
    every_panel_has_data(watch)
    wrong_tokens_are_told(serving, watch)
    let_go = outside("reset-kill", "--operator", "ada", "--reason", "over", "--json")
    assert let_go.code == 0, let_go.err
    watch.wait_for("over in Slack", lambda: len(told(watch, "latch_pulled")) == 2)
    (part,) = told(watch, "latch_pulled")[1]["attachments"]
    assert part["title"] == "✅ production: latch_pulled is over" and part["color"] == "good"
    watch.wait_for("over at the pager", lambda: "resolve" in watch.paged("latch_pulled"))


def wrong_tokens_are_told(serving: Serving, watch: Watch) -> None:
    """Who guesses at a page wakes somebody; who comes with no token or with theirs wakes nobody."""
    url = f"http://127.0.0.1:{serving.port + NAMES.index('orchestrator')}/state"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("viewer", TOKENS["HFT_VIEWER_TOKEN"])).status_code == 200
    assert told(watch, "access_guessed") == []
    answers = [httpx.get(url, auth=("viewer", f"{n}" * 40)).status_code for n in range(11)]
    assert answers == [401] * 10 + [429]
    watch.wait_for("a guess in Slack", lambda: bool(told(watch, "access_guessed")))
    (message,) = told(watch, "access_guessed")
    assert "orchestrator" in message["attachments"][0]["text"]
    watch.wait_for("a guess at the pager", lambda: "trigger" in watch.paged("access_guessed"))


def told(watch: Watch, alert: str) -> list[dict[str, Any]]:
    """What Slack was told of an alert."""
    messages = watch.inbox.to("/slack")
    return [one for one in messages if f": {alert}" in one["attachments"][0]["title"]]


def every_rule_asks_for_what_is_there(watch: Watch) -> None:
    """No rule fails, and each metric that one reads is there, but for those of other edges."""
    names: set[str] = set()
    for rule in rules():
        watch.query(rule["expr"])
        names |= metrics_in(rule["expr"])
    wanted = {name for name in names if not is_elsewhere(name)}
    missing = {name for name in wanted if not watch.query(f'{{__name__="{name}"}}')}
    assert missing == set()


def every_panel_has_data(watch: Watch) -> None:
    """Each query of each dashboard answers with series, but for those of other edges."""
    asked = 0
    for where, query in panels.queries():
        if not is_elsewhere(query):
            assert watch.query(query), f"{where}: {query}"
            asked += 1
    assert asked > 40


def is_elsewhere(query: str) -> bool:
    """Whether another test asks it, of who has it."""
    return panels.is_brokers(query) or panels.is_pipelines(query) or panels.is_disks(query)
