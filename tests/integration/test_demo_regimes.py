"""The loop closed by one command: every step of it in the registry, the journal and the report."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.context import parse_time
from cli.demo_regimes import STEPS
from hft_lib.backtest.regime_change import BAD, BETTER, IDEAS, LUCKY
from hft_lib.events import DecisionRecorded, Fill
from hft_lib.evop.policy import Policy, policy_json
from hft_lib.evop.record import is_equal
from serving.runtime.journal import read_records
from tests.integration.conftest import Outside

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scenario runs."""
    return tmp_path_factory.mktemp("regimes")


@pytest.fixture(scope="module")
def outside(place: Path, outside_of: Any) -> Outside:
    """Verbs in processes of their own, in that folder."""
    made: Outside = outside_of(place)
    return made


@pytest.fixture(scope="module")
def known(outside: Outside) -> Any:
    """What the command said."""
    answer = outside("demo", "--scenario", "regime-change", "--out", "out", "--json")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    return answer.json


@pytest.fixture(scope="module")
def story(known: Any) -> dict[str, Any]:
    """The steps by name."""
    return {step["name"]: step for step in known["story"]}


@pytest.fixture(scope="module")
def records(known: Any) -> dict[int, Any]:
    """The decision records of the journal by number."""
    facts = read_records(Path(known["journal"]))
    decided = [json.loads(f.record) for f in facts if isinstance(f, DecisionRecorded)]
    return {record["number"]: record for record in decided}


def test_every_step_comes_in_the_order_of_the_story(known: Any, story: Any) -> None:
    assert known["scenario"] == "regime-change"
    assert set(story) == set(STEPS)
    times = [step["time"] for step in known["story"]]
    assert times == sorted(times)
    order = ["served", "bad_dropped", "regime_changed", "better_promoted"]
    order += ["predecessor_in_shadow", "lucky_promoted", "market_turned", "lucky_rolled_back"]
    assert [step["name"] for step in known["story"]][1:] == order


def test_the_pipeline_calibrated_and_registered_what_is_served(known: Any, story: Any) -> None:
    log = next(Path(known["registry"].removeprefix("sqlite:///")).parent.glob("*/pipeline.log"))
    for step in ("check-tape", "fit-kalman", "fit-garch", "fit-bocd", "walk-forward", "register"):
        assert f"Task '{step}' finished with status SUCCESS" in log.read_text()
    versions = [known["champion"]["version"]]
    versions += [item["version"] for item in known["challengers"]]
    assert len(set(versions)) == len(versions) == 4 + len(IDEAS)
    assert story["calibrated"]["version"] == known["champion"]["version"]
    assert known["in_sample"] is False


def test_each_step_is_the_decision_that_the_journal_holds(story: Any, records: Any) -> None:
    versions = {name: story[name]["version"] for name in story}
    for name, kind, who in (
        ("bad_dropped", "drop", BAD),
        ("better_promoted", "promote", BETTER),
        ("lucky_promoted", "promote", LUCKY),
        ("lucky_rolled_back", "rollback", BETTER),
    ):
        record = records[story[name]["decision"]]
        assert record["kind"] == kind
        assert record["challenger"]["alias"] == who
        assert record["challenger"]["model_version"] == versions[name]
    promoted, back = (records[story[n]["decision"]] for n in ("better_promoted", STEPS[-1]))
    assert promoted["champion"]["model_version"] == versions["predecessor_in_shadow"]
    assert back["champion"]["alias"] == LUCKY


def test_the_moves_follow_from_their_records_by_the_usual_policy(
    outside: Outside, known: Any, story: Any, records: Any
) -> None:
    usual = json.loads(policy_json(Policy()))
    for record in records.values():
        assert is_equal(record)
        assert record["case"]["policy"] == usual
    number = story["lucky_rolled_back"]["decision"]
    explained = outside("evop", "explain", number, "--journal", known["journal"], "--json")
    assert explained.json["equal"] is True
    for name in ("better_promoted", "lucky_promoted"):
        verdict = records[story[name]["decision"]]["verdict"]
        assert verdict["evidence"]["e"] >= 120.0
        assert all(guard["verdict"] for guard in verdict["guards"])
    # The market had turned before the lucky set was rolled back, and not before its promotion.
    turned = story["market_turned"]["time"]
    assert story["lucky_promoted"]["time"] < turned < story["lucky_rolled_back"]["time"]


def test_the_registry_shows_where_each_set_is_and_why(known: Any, story: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=known["registry"])
    (model,) = client.search_registered_models()
    better, bad = story["better_promoted"]["version"], story["bad_dropped"]["version"]
    lucky = story["lucky_promoted"]["version"]
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    assert aliases["champion"] == better
    assert lucky not in aliases.values()
    for version, steps in (
        (better, ("better_promoted", "lucky_rolled_back")),
        (bad, ("bad_dropped",)),
        (lucky, ("lucky_promoted",)),
    ):
        tags = client.get_model_version(model.name, version).tags
        for step in steps:
            assert story[step]["time"][:10] in tags[f"decision.evop-{story[step]['decision']}"]


def test_the_report_tells_every_step_and_marks_the_turns(known: Any) -> None:
    page = html.unescape(Path(known["report"]).read_text())
    section = page.split('<h2 id="story">')[1].split("</section>")[0]
    for step in known["story"]:
        said = section.replace("<code>", "").replace("</code>", "").replace("<strong>", "")
        assert step["title"] in said
        assert step["evidence"] in section
    for name in ("equity", "evidence", "spread"):
        drawn = page.split(f'<figure id="{name}">')[1].split("</figure>")[0]
        for word in ("quick", "dear"):
            assert re.search(rf">\s*{word}\s*<", drawn)


def test_a_replay_makes_its_orders_with_and_without_its_journal(
    outside: Outside, known: Any
) -> None:
    base = ("replay", "--tape", known["tape"], "--params", known["params_file"], "--json")
    for ways in (("--verify", known["journal"]), ("--start", known["start"])):
        replayed = outside(*base, *ways)
        assert replayed.code == 0, replayed.err
        assert replayed.json["orders_sha256"] == known["orders_sha256"]


def test_the_predecessor_trades_in_shadow_while_another_holds_the_capital(
    known: Any, story: Any, records: Any
) -> None:
    began, ended = (story[name]["time"] for name in ("better_promoted", "lucky_promoted"))
    record = records[story["better_promoted"]["decision"]]
    slot = f"slot-{record['champion']['slot']}"
    times = [
        fact.time_ns
        for fact in read_records(Path(known["journal"]))
        if isinstance(fact, Fill) and fact.account == slot
    ]
    inside = [time_ns for time_ns in times if _ns(began) < time_ns < _ns(ended)]
    assert len(inside) > 20


def _ns(text: str) -> int:
    time_ns = parse_time(text)
    assert time_ns is not None
    return time_ns
