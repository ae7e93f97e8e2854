"""The parameters that the orchestrator takes: what it refuses, and that it hands them on as they
are.
"""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hft_lib.events import Registered, SlotAssigned
from hft_lib.parameters import (
    Evop,
    ParameterFile,
    Provenance,
    StrategyParameters,
    parameter_sha256,
    read_parameter_file,
)
from hft_lib.stages import orchestrator
from serving.lines import config_of, sets_of
from serving.runtime.settings import Settings
from tests.builders import PAIR, parameters

ROOT = Path(__file__).resolve().parents[3]
START_NS = 1_700_000_000_000_000_000
FIELDS = StrategyParameters.__struct_fields__
# Of each value the least that is taken and what is just beyond it; z's are between each other.
LEAST = {
    "exit_z": (0.0, -1e-9),
    "horizon_s": (1e-9, 0.0),
    "risk_fraction": (1e-9, 0.0),
    "gross_fraction_max": (1e-9, 0.0),
    "edge_cost_ratio_min": (0.0, -1e-9),
    "warmup_s": (0.0, -1e-9),
}


def document(**strategy: Any) -> dict[str, Any]:
    """A parameter file as plain values, with values of its strategy changed."""
    provenance = Provenance(tape_sha256="7a9e", start="2024-01-01", end="2024-02-01", trials=1)
    file = ParameterFile(pair=PAIR, params=parameters(), evop=Evop(), provenance=provenance)
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(file))
    made["params"]["strategy"] |= strategy
    return made


def read(content: dict[str, Any]) -> ParameterFile:
    """The file as the orchestrator's `--params` reads it."""
    return read_parameter_file(msgspec.json.encode(content))


def word(**strategy: Any) -> bytes:
    """A set as the registry's edge writes it into the orchestrator's log."""
    (told,) = sets_of([read(document())], START_NS)
    made = msgspec.to_builtins(told)
    (content,) = (item for item in made if isinstance(item, dict))
    content["strategy"] |= strategy
    return msgspec.msgpack.encode(made)


def assigned(file: ParameterFile) -> SlotAssigned:
    """What the orchestrator makes of a file's champion."""
    state = orchestrator.STAGE.start(config_of(Settings(), [file], None))
    (told,) = sets_of([file], START_NS)
    facts = orchestrator.STAGE.step(state, told)
    (found,) = (fact for fact in facts if isinstance(fact, SlotAssigned))
    return found


class TestStrategyParameters:
    """When a spread is held, and how much of it."""

    def test_a_good_set_reaches_its_slot_as_it_was_written(self) -> None:
        file = read(document(entry_z=2.25, warmup_s=7200.0))
        found = assigned(file)
        assert found.parameters.strategy == file.params.strategy
        assert found.parameters.strategy.entry_z == 2.25
        assert found.warmup_s == 7200.0
        assert found.parameters_sha256 == parameter_sha256(file.params)

    @pytest.mark.parametrize("name", LEAST)
    def test_the_least_value_is_taken_and_what_is_below_it_refused(self, name: str) -> None:
        least, below = LEAST[name]
        assert getattr(assigned(read(document(**{name: least}))).parameters.strategy, name) == least
        with pytest.raises(ValueError, match=rf"strategy\.{name} must be .*, was {below}"):
            read(document(**{name: below}))

    @pytest.mark.parametrize(
        "thresholds",
        [
            {"exit_z": 1.0, "entry_z": 1.0},
            {"exit_z": 2.0, "entry_z": 1.0},
            {"entry_z": 6.0, "stop_z": 6.0},
            {"entry_z": 7.0, "stop_z": 6.0},
        ],
        ids=str,
    )
    def test_leaving_comes_before_entering_and_that_before_giving_up(
        self, thresholds: dict[str, float]
    ) -> None:
        with pytest.raises(ValueError, match="exit_z < entry_z < stop_z must hold, was"):
            read(document(**thresholds))

    @pytest.mark.parametrize("name", FIELDS)
    @pytest.mark.parametrize("value", ["2.0", True, None, [2.0]], ids=repr)
    def test_what_is_no_number_is_refused_by_name(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=rf"Expected `float`.*strategy\.{name}"):
            read(document(**{name: value}))

    @pytest.mark.parametrize("name", FIELDS)
    def test_a_number_without_an_end_is_refused_by_name(self, name: str) -> None:
        content = msgspec.json.encode(document(**{name: "?"})).replace(b'"?"', b"1e999")
        with pytest.raises(ValueError, match="out of range|must be finite"):
            read_parameter_file(content)

    @pytest.mark.parametrize("name", FIELDS)
    def test_nothing_is_left_to_a_default(self, name: str) -> None:
        content = document()
        del content["params"]["strategy"][name]
        with pytest.raises(ValueError, match=rf"missing required field `{name}`"):
            read(content)

    def test_a_name_that_is_none_of_its_own_is_refused(self) -> None:
        with pytest.raises(ValueError, match="unknown field `entry`"):
            read(document(entry=2.0))

    @pytest.mark.parametrize("name", FIELDS)
    def test_what_was_set_cannot_be_changed(self, name: str) -> None:
        strategy = assigned(read(document())).parameters.strategy
        with pytest.raises(AttributeError, match="immutable"):
            setattr(strategy, name, 9.0)
        with pytest.raises(AttributeError):
            strategy.entry = 9.0  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", FIELDS)
    def test_another_value_is_another_set(self, name: str) -> None:
        before = parameters()
        other = msgspec.structs.replace(before.strategy, **{name: 1.7})
        after = msgspec.structs.replace(before, strategy=other)
        assert before.strategy == parameters().strategy != other
        assert parameter_sha256(after) != parameter_sha256(before)

    def test_a_word_of_the_log_with_a_strange_or_missing_value_is_not_read(self) -> None:
        decoder = msgspec.msgpack.Decoder(Registered)
        assert decoder.decode(word()).parameters == parameters()
        for changes in ({"entry": 2.0}, {"entry_z": "2.0"}, {"entry_z": None}):
            with pytest.raises(msgspec.ValidationError):
                decoder.decode(word(**changes))

    def test_a_file_out_of_bounds_ends_the_service_before_it_begins(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.json"
        path.write_bytes(msgspec.json.encode(document(risk_fraction=-0.5)))
        words = ("-m", "serving", "orchestrator", "--bus", "memory", "--params", str(path))
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env={"HFT_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "strategy.risk_fraction must be positive, was -0.5" in done.stderr

    def test_numbers_stay_the_same_to_the_last_bit(self) -> None:
        strange = math.nextafter(1.5, 2.0)
        assert assigned(read(document(entry_z=strange))).parameters.strategy.entry_z == strange
