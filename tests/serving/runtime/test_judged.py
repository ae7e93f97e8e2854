"""What the volatility service shows of its slots' models: judgements of its own state, no more."""

from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hft_lib.health import window as windows
from hft_lib.health.verdict import NOMINALS, judge
from hft_lib.stage import restore, snapshot
from hft_lib.stages import garch_model
from hft_lib.stages.garch_model import GarchState
from serving.adapters.redis_directory import DOCUMENT_BYTES_MAX
from serving.runtime import judged as module
from serving.runtime.judged import EVERY_S, ROWS_SHOWN_MAX, Judged
from tests.builders import PAIR, PAIR2, story_config, told
from tests.hft_lib.health.made import REFERENCE

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def shown(state: GarchState) -> Judged:
    judged = Judged(lambda: state, Clock())
    assert judged.turn() == 0
    return judged


def samples(judged: Judged) -> Samples:
    registry = CollectorRegistry()
    registry.register(judged)
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_every_slot_of_every_pair_has_its_figures():
    state = told().hosts["garch_model"].state
    found, expected = samples(shown(state)), 0
    for pair in (PAIR, PAIR2):
        for values in windows.slots_of(state.windows[pair]):
            row, slot = judge(pair, values), str(values.slot)
            labels = {"pair": pair, "slot": slot}
            assert found[of("hft_model_observations", **labels)] == row.observations
            variance = found[of("hft_model_score_variance", **labels)]
            assert variance == pytest.approx(row.variance, nan_ok=True)
            for nominal, share in zip(NOMINALS, row.covered, strict=True):
                name = of("hft_model_coverage", **labels, nominal=str(nominal))
                assert found[name] == pytest.approx(share, nan_ok=True)
            p_value = found[of("hft_model_p_value", **labels, test="ljung_box")]
            assert p_value == pytest.approx(row.white_p, nan_ok=True)
            for aspect in ("whiteness", "calibration", "drift"):
                assert 0.0 <= found[of("hft_model_health", **labels, aspect=aspect)] <= 3.0
            expected += 1
    assert expected == len(shown(state).rows()) >= 6
    assert all(row.observations > 0 for row in shown(state).rows())


def test_after_a_restart_the_judgements_are_the_same():
    state = told().hosts["garch_model"].state
    again = restore(garch_model.STAGE, snapshot(state))
    assert [row.document() for row in shown(again).rows()] == [
        row.document() for row in shown(state).rows()
    ]


def test_a_look_is_a_copy_and_comes_seldom_and_only_of_what_went_on(
    monkeypatch: pytest.MonkeyPatch,
):
    state, clock = restore(garch_model.STAGE, snapshot(told().hosts["garch_model"].state)), Clock()
    judged, counted = Judged(lambda: state, clock), list[str]()

    def count(pair: str, values: Any) -> Any:
        counted.append(pair)
        return judge(pair, values)

    monkeypatch.setattr(module, "judge", count)
    judged.turn()
    before = [row.document() for row in judged.rows()]
    slots = len(windows.slots_of(state.windows[PAIR2]))
    counted.clear()
    windows.assign(state.windows[PAIR2], 0, 99, 0, None)
    assert [row.document() for row in judged.rows()] == before and counted == []
    clock.now_s += EVERY_S / 2
    judged.turn()
    assert [row.document() for row in judged.rows()] == before
    clock.now_s += EVERY_S
    judged.turn()
    after = {(row.pair, row.slot): row for row in judged.rows()}
    assert after[PAIR2, 0].generation == 99 and after[PAIR2, 0].observations == 0
    assert counted == [PAIR2] * slots


def test_a_service_with_nothing_to_judge_says_so():
    judged = shown(garch_model.start(story_config()))
    assert judged.document() == {"health": [], "health_left_out": 0}
    assert samples(judged) == {} and judged.why() == "" and judged.figures() == {}


def test_a_document_of_many_slots_fits_and_those_furthest_from_good_come_first():
    window = windows.empty(6)
    random = np.random.Generator(np.random.PCG64(2))
    window.values[:] = random.standard_normal(window.values.shape)
    window.values[:, windows.SHARED + 5] *= 4.0
    for slot in range(6):
        window.generations[slot] = 123
    window.clock["taken"] = windows.WINDOW
    window.references = [REFERENCE] * 6
    state = GarchState({}, {f"LONGNAME{n}/USDT:USDT~LONGNAME{n}/USDT": window for n in range(40)})
    told_of = shown(state).document()
    assert len(told_of["health"]) == ROWS_SHOWN_MAX and told_of["health_left_out"] == 240 - 50
    assert {row["slot"] for row in told_of["health"][:40]} == {5}
    first, last = (told_of["health"][at]["calibration"]["state"] for at in (0, -1))
    assert first == "off" != last
    assert len(msgspec.json.encode(told_of)) < DOCUMENT_BYTES_MAX - 4096
