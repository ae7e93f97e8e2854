"""Parameter sets: what cannot be run is refused by rule and value; content makes the hash."""

import hashlib
import math
from typing import Any

import msgspec
import pytest

from hft_lib.parameters import (
    Challenger,
    Evop,
    ParameterFile,
    Parameters,
    Provenance,
    check_parameters,
    parameter_sha256,
    read_parameter_file,
)
from tests.builders import PAIR, parameters


def changed(name: str, value: Any, base: Parameters | None = None) -> Parameters:
    """A parameter set with one value, by dotted name, changed."""
    base = base or parameters()
    part, _, field = name.rpartition(".")
    if not part:
        return msgspec.structs.replace(base, **{field: value})
    inner = msgspec.structs.replace(getattr(base, part), **{field: value})
    return msgspec.structs.replace(base, **{part: inner})


def file(**changes: Any) -> ParameterFile:
    provenance = Provenance(tape_sha256="t", start="2024-01-01", end="2024-02-01", trials=3)
    values = {"pair": PAIR, "params": parameters(), "evop": Evop(), "provenance": provenance}
    return ParameterFile(**{**values, **changes})


def test_a_good_set_passes():
    check_parameters(parameters())
    check_parameters(changed("garch.dof", 4.5))


NUMBERS = [
    f"{part}.{field}"
    for part in ("kalman", "garch", "bocd", "strategy")
    for field in getattr(parameters(), part).__struct_fields__
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_value_that_is_no_number_is_refused_by_name(name: str, value: float):
    with pytest.raises(ValueError, match=rf"{name} must be finite, was {value}"):
        check_parameters(changed(name, value))


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("grid_ms", 0, "at least 1"),
        ("kalman.intercept_drift_var", -1e-9, "at least 0"),
        ("kalman.hedge_drift_var", -1e-9, "at least 0"),
        ("kalman.noise_var", 0.0, "positive"),
        ("kalman.intercept_prior_var", 0.0, "positive"),
        ("kalman.hedge_prior_var", -1.0, "positive"),
        ("garch.omega", 0.0, "positive"),
        ("garch.alpha", -0.1, "at least 0"),
        ("garch.beta", -0.1, "at least 0"),
        ("garch.variance_prior", 0.0, "positive"),
        ("garch.dof", 2.0, "above 2"),
        ("bocd.hazard", 0.0, "between 0 and 1"),
        ("bocd.hazard", 1.0, "between 0 and 1"),
        ("bocd.prior_kappa", 0.0, "positive"),
        ("bocd.prior_alpha", 0.0, "positive"),
        ("bocd.prior_beta", 0.0, "positive"),
        ("bocd.alarm_run_length", 0, "at least 1"),
        ("bocd.alarm_probability", 1.0, "between 0 and 1"),
        ("bocd.alarm_hold_s", -1.0, "at least 0"),
        ("strategy.exit_z", -0.1, "at least 0"),
        ("strategy.horizon_s", 0.0, "positive"),
        ("strategy.risk_fraction", 0.0, "positive"),
        ("strategy.gross_fraction_max", 0.0, "positive"),
        ("strategy.edge_cost_ratio_min", -0.1, "at least 0"),
        ("strategy.warmup_s", -1.0, "at least 0"),
    ],
)
def test_each_rule_names_itself_and_the_value(name: str, value: float, rule: str):
    with pytest.raises(ValueError, match=rf"{name} must be {rule}.*, was {value}"):
        check_parameters(changed(name, value))


@pytest.mark.parametrize("name, value", [("strategy.entry_z", 0.3), ("strategy.stop_z", 1.0)])
def test_thresholds_that_are_out_of_order_are_refused(name: str, value: float):
    with pytest.raises(ValueError, match="exit_z < entry_z < stop_z must hold"):
        check_parameters(changed(name, value))


def test_a_variance_without_a_mean_is_refused():
    with pytest.raises(ValueError, match="below 1, was 1.0"):
        check_parameters(changed("garch.alpha", 0.3))


def test_a_fall_may_not_lower_the_variance():
    with pytest.raises(ValueError, match="garch.alpha [+] garch.gamma must be at least 0"):
        check_parameters(changed("garch.gamma", -0.5))


def test_half_of_the_asymmetry_is_persistence():
    with pytest.raises(ValueError, match="garch.gamma / 2 [+] garch.beta must be below 1"):
        check_parameters(changed("garch.gamma", 1.9))


def test_a_set_without_asymmetry_has_the_hash_it_had_before_there_was_one():
    content = msgspec.json.encode(parameters(), order="deterministic")
    before = content.replace(b',"gamma":0.0', b"")
    assert len(before) < len(content)
    assert parameter_sha256(parameters()) == hashlib.sha256(before).hexdigest()


def test_the_hash_is_of_content():
    assert parameter_sha256(parameters()) == parameter_sha256(parameters())
    hashes = {
        parameter_sha256(changed(name, 0.123)) for name in NUMBERS if "run_length" not in name
    }
    assert len(hashes) == len(NUMBERS) - 1 and parameter_sha256(parameters()) not in hashes


def test_the_hash_survives_the_file():
    content = msgspec.json.encode(file())
    assert parameter_sha256(read_parameter_file(content).params) == parameter_sha256(parameters())


def test_an_unknown_name_in_a_file_is_an_error():
    document = msgspec.json.decode(msgspec.json.encode(file()))
    document["params"]["strategy"]["entry"] = 2.0
    with pytest.raises(ValueError, match="parameter file.*entry"):
        read_parameter_file(msgspec.json.encode(document))


@pytest.mark.parametrize("content", [b"", b"{", b"entry_z = 2"])
def test_what_is_not_json_is_said_to_be_none(content: bytes):
    with pytest.raises(ValueError, match="not JSON"):
        read_parameter_file(content)


def test_a_challenger_is_checked_like_the_champion():
    bad = Challenger(name="b", params=changed("strategy.exit_z", -1.0))
    with pytest.raises(ValueError, match="exit_z"):
        read_parameter_file(msgspec.json.encode(file(challengers=(bad,))))


def test_all_slots_have_one_grid():
    other = Challenger(name="fine", params=changed("grid_ms", 1000))
    with pytest.raises(ValueError, match="same for all slots, was 1000 in challenger fine"):
        read_parameter_file(msgspec.json.encode(file(challengers=(other,))))
