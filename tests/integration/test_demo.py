"""The whole loop from outside: recorded bars and ticks, and a market with a planted edge."""

from pathlib import Path

import pytest

from tests.cli.conftest import Answer
from tests.integration.conftest import Outside

pytestmark = pytest.mark.slow


def verified(outside: Outside, answer: Answer, tape: Path, alone: bool = True) -> None:
    """The demo's journal is what a replay makes, and its orders those of one that stands alone."""
    assert answer.code == 0, answer.err
    known = answer.json
    assert known["in_sample"] is False and known["orders"] > 0
    base = ("replay", "--tape", tape, "--params", known["params_file"], "--json")
    ways = (("--verify", known["journal"]), ("--start", known["start"]))
    for options in ways if alone else ways[:1]:
        replayed = outside(*base, *options)
        assert replayed.code == 0, replayed.err
        assert replayed.json["orders_sha256"] == known["orders_sha256"]
        assert replayed.json["in_sample"] is False


def test_bars_of_two_lengths_are_fitted_where_both_legs_trade(
    outside: Outside, market_data: Path
) -> None:
    perpetual = market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet"
    spot = market_data / "binance_spot_5m_202501_202506_pegged" / "BTCUSDT.parquet"
    bars = ("tape", "import", "--format", "bars", perpetual, spot, "--out", "btc", "--json")
    imported = outside(*bars).json
    assert imported["symbols"] == ["BTC/USDT", "BTC/USDT:USDT"]
    answer = outside("demo", "--tape", "btc", "--assume-borrow", "0.05", "--json")
    assert answer.json["start"] > "2025-05-01"  # the perpetual begins four months after the spot
    assert answer.json["tape_sha256"] == imported["tape_sha256"]
    known = answer.json
    verify = ("--params", known["params_file"], "--verify", known["journal"], "--json")
    checked = outside("replay", "--tape", "btc", *verify).json
    assert checked["orders_sha256"] == known["orders_sha256"] and checked["complete"] is True
    assert outside("replay", "--tape", "btc", *verify, "--assume-borrow", "0.1").code == 2


def test_ticks_are_traded_after_the_split(outside: Outside, market_data: Path) -> None:
    folder = market_data / "ticks_hftbacktest_20240808"
    files = [folder / f"{name}_btcusdt_20240808.gz" for name in ("spot", "usdm")]
    assert outside("tape", "import", "--format", "binance-ws", *files, "--out", "t").code == 0
    verified(outside, outside("demo", "--tape", "t", "--json"), Path("t"))


def test_the_planted_edge_takes_the_capital_and_the_alias_follows(
    outside: Outside, tmp_path: Path
) -> None:
    answer = outside("demo", "--json")
    known = answer.json
    verified(outside, answer, Path(known["tape"]), alone=False)
    kinds = [one["kind"] for one in known["decisions"]]
    assert kinds.count("promote") == 1
    assert {"drop", "expire"} <= set(kinds)
    moved = known["capital"][-1]
    better = next(one for one in known["challengers"] if one["name"] == "better")
    assert moved["set"] == "better" and moved["model_version"] == better["version"]
    models = outside("models", "list", "--json").json["models"]
    aliased = {alias: model["version"] for model in models for alias in model["aliases"]}
    assert aliased["champion"] == better["version"]
    assert aliased["predecessor"] == known["champion"]["version"]
    assert "challenger-better" not in aliased
    number = kinds.index("promote") + 1
    explained = outside("evop", "explain", number, "--json").json
    assert explained["equal"] is True
    traced = outside("trace", known["last_order_id"], "--json").json
    assert traced["account"] == "capital" and traced["model_version"] == better["version"]
    assert traced["decision"]["kind"] == "promote"
