"""A line's registry on its thread: aliases follow the log, what waits is said, hands are found."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hft_lib import lineage
from hft_lib.events import Event
from hft_lib.lineage import CHAMPION
from serving import registry_watch
from serving.registry_watch import MovesInProcess, Registry
from serving.runtime.settings import Settings
from tests.hft_lib.registry_world import candidate, client, entering_at, pair_of, settings
from tests.integration.conftest import free_ports
from tests.serving.adapters.test_mlflow_registry import moved

PAIR = pair_of("BTC")
WAIT_S_MAX = 60.0


def until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S_MAX
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A registry with two versions, the first of them champion."""
    store = client(tmp_path)
    experiment = lineage.experiment_id(store, str(tmp_path / "mlartifacts"))
    for entry_z in (2.0, 1.6):
        made = lineage.register(store, experiment, candidate(PAIR, entering_at(entry_z)))
        lineage.seat(store, PAIR, f"at-{made.version}", made.version)
    return tmp_path


def test_a_log_is_read_again_from_its_start_and_then_what_comes():
    before: list[Event] = [moved(PAIR, 0, "1", 1)]
    log = MovesInProcess(before)
    later = moved(PAIR, 1, "2", 2)
    assert log.more(0.0) == before and log.more(0.0) == []
    log.take("hft.registry", later)
    assert log.more(60.0) == [later]
    log.open(None)  # type: ignore[arg-type]  # nothing is waited for
    assert log.more(0.0) == [*before, later]


def test_aliases_follow_the_log_and_come_back_from_where_a_hand_put_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry_watch, "POLL_S", 0.2)
    store, log = client(home), MovesInProcess([moved(PAIR, 0, "1", 1)])
    registry = Registry(settings(home), (PAIR,), lambda: log, tells=False)
    registry.decided = {PAIR: "evop-1"}
    assert registry.waiting() == [PAIR], "nobody has looked yet"

    def champion() -> str:
        return lineage.read_aliases(store, PAIR)[CHAMPION]

    with registry:
        until(lambda: registry.waiting() == [])
        registry.decided = {PAIR: "evop-2"}
        assert registry.waiting() == [PAIR], "decided, and not moved yet"
        log.take("hft.registry", moved(PAIR, 1, "2", 2))
        until(lambda: registry.waiting() == [])
        assert champion() == "2"
        lineage.set_alias(store, PAIR, CHAMPION, "1")
        until(lambda: bool(registry.document()["registry"]["edited"]))
        until(lambda: champion() == "2")
    known: dict[str, Any] = registry.document()["registry"]
    assert known["aliases"] == {PAIR: {CHAMPION: "2", "predecessor": "1"}}
    assert "champion pointed to 1, the log says 2" in known["edited"][0]["what"]
    assert registry.figures()["hft_registry_aliases_edited"][1] == 1.0
    assert registry.found() == [], "nobody takes what is found"


def test_a_registry_that_is_away_is_said_and_what_was_decided_waits(tmp_path: Path):
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    chosen = Settings(hft_home=tmp_path, mlflow_tracking_uri=away)
    log = MovesInProcess([moved(PAIR, 0, "1", 1)])
    registry = Registry(chosen, (PAIR,), lambda: log)
    registry.decided = {PAIR: "evop-1"}
    with registry:
        until(lambda: "does not answer" in registry.document()["registry"]["why"])
    assert registry.why() == "", "the line does not wait"
    assert registry.document()["registry"]["aliases_waiting"] == [PAIR]
    figures = registry.figures()
    assert figures["hft_registry_away"][1] == figures["hft_registry_aliases_waiting"][1] == 1.0
