"""The replay of notebooks is that of `hft replay`: the same orders, the same decisions."""

from pathlib import Path

import msgspec
import pytest

from cli.context import parse_time
from hft_lib.backtest.replay import replay
from hft_lib.evop.record import encode_record, is_equal
from hft_lib.line import LineConfig, PairConfig, registrations
from hft_lib.market.tape import Tape
from hft_lib.parameters import read_parameter_file
from tests.cli.conftest import Verb

START = "2024-01-04T00:00:00.001Z"


def test_the_same_orders_and_money_as_the_verb(hft: Verb, tape: Path, params: Path) -> None:
    given = ("--tape", tape, "--params", params, "--start", START)
    wanted = hft("replay", *given, "--json").json
    file, opened, told = read_parameter_file(params.read_bytes()), Tape.open(tape), []
    config = LineConfig(
        pairs=(PairConfig(pair=file.pair, capital_quote=10_000.0, evop=file.evop),),
        grid_ms=file.params.grid_ms,
    )
    start_ns = parse_time(START)
    assert start_ns is not None
    found = replay(
        opened,
        config,
        registrations(file, start_ns),
        start_ns,
        progress=lambda what, share: told.append((what, share)),
    )
    assert wanted["orders"] == len(found.capital_orders) + found.shadow_orders > 0
    assert wanted["fills"] == len(found.fills)
    changes = [a.equity_change_quote for b in found.blocks for a in b.accounts if a.slot < 0]
    assert wanted["pnl_quote"] == pytest.approx(sum(changes), rel=1e-9)
    assert list(found.params) == ["champion", "bold", "patient", "eager"]
    assert [one.kind for one in found.decisions][:2] == ["start", "test"]
    records = [one.record for one in found.decisions]
    assert all(is_equal(msgspec.json.decode(encode_record(one))) for one in records if one)
    assert len({one.decision_id for one in found.moves}) == len(found.moves) == 1
    assert told[-1] == ("done", 1.0) and all(0.0 <= share <= 1.0 for _, share in told)


def test_a_line_of_several_pairs_is_refused(tape: Path) -> None:
    pairs = tuple(PairConfig(pair=f"{x}/U:U~{x}/U", capital_quote=1.0) for x in "AB")
    with pytest.raises(ValueError, match="the line must have one pair, had 2"):
        replay(Tape.open(tape), LineConfig(pairs=pairs, grid_ms=1), [], 0)
