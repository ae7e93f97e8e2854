"""`hft tape`: one JSON object on stdout, the rest on stderr, an exit code that says the end."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import run_command
from hft_lib.market.tape import Tape

START_MS = 1_700_000_040_000


def bar_file(path: Path) -> Path:
    times = [START_MS + n * 60_000 for n in range(5)]
    values = {name: [10.0] * 5 for name in ("open", "high", "low", "close", "volume")}
    pq.write_table(pa.table({"ts": times, **values}), path)
    return path


@pytest.fixture
def hft(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a verb of `hft tape`; returns its exit code, what it printed, and its stderr."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        code = run_command(["tape", *map(str, arguments)])
        out, err = capfd.readouterr()
        lines = out.splitlines()
        assert len(lines) <= 1 or "--json" not in arguments
        return code, json.loads(out) if "--json" in arguments and out else {"text": out}, err

    return run


def test_bars_are_imported(hft: Any, tmp_path: Path) -> None:
    files = [bar_file(tmp_path / name) for name in ("BTCUSDT.parquet", "BTCUSDT_PERP.parquet")]
    code, told, _ = hft("import", "--format", "bars", *files, "--out", tmp_path / "a", "--json")
    assert code == 0
    assert (told["rows"], told["symbols"]) == (12, ["BTC/USDT", "BTC/USDT:USDT"])
    assert told["flaws"] == []
    assert Tape.open(tmp_path / "a").sha256 == told["tape_sha256"]
    again = hft("import", "--format", "bars", *files[::-1], "--out", tmp_path / "b", "--json")
    assert again[1]["tape_sha256"] == told["tape_sha256"]
    wide = ["--spread-bps", "5", "--out", tmp_path / "c", "--json"]
    assert hft("import", "--format", "bars", *files, *wide)[1]["tape_sha256"] != told["tape_sha256"]


def test_a_symbol_may_be_given_for_a_file_listed_or_not(hft: Any, tmp_path: Path) -> None:
    file = bar_file(tmp_path / "some_bars.parquet")
    for name, listed in (("a", [file]), ("b", [])):
        options = ["--format", "bars", "--symbol", f"X/USDT:USDT={file}", "--json"]
        code, told, _ = hft("import", *options, *listed, "--out", tmp_path / name)
        assert (code, told["symbols"], told["rows"]) == (0, ["X/USDT:USDT"], 6)


def test_recordings_are_imported_with_their_flaws(
    hft: Any, tmp_path: Path, market_data: Path
) -> None:
    folder = market_data / "ticks_hftbacktest_20240808"
    files = [folder / "spot_ethusdt_20240808.gz", folder / "usdm_ethusdt_20240808.gz"]
    options = ["--format", "binance-ws", "--out", tmp_path / "tape", "--json"]
    code, told, _ = hft("import", *files, *options)
    assert code == 0
    assert told["symbols"] == ["ETH/USDT", "ETH/USDT:USDT"]
    assert {flaw["reason"] for flaw in told["flaws"]} == {"DEPTH_BEFORE_SNAPSHOT"}
    assert set(told["flaws"][0]) >= {"reason", "symbol", "start", "end", "count"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["import", "--format", "bars", "FILE", "--out", "NEW", "--spread-bps", "-1"],
            "spread-bps",
        ),
        (["import", "--format", "bars", "FILE", "--out", "NEW", "--spread-bps", "nan"], "spread"),
        (["import", "--format", "bars", "--out", "NEW"], "no FILE"),
        (["import", "--format", "bars", "FILE", "--out", "NEW", "--symbol", "X"], "SYMBOL=FILE"),
        (["import", "--format", "bars", "FILE", "--out", "TAKEN"], "exists already"),
        (["import", "--format", "bars", "TEXT", "--out", "NEW"], "does not name its symbol"),
        (["import", "--format", "binance-ws", "TEXT", "--out", "NEW"], "no Binance message"),
        (["import", "--format", "bars", "NOTHING", "--out", "NEW"], "does not name its symbol"),
        (["import", "--format", "ticks", "FILE", "--out", "NEW"], "ticks"),
        (["check", "NOTHING"], "is not a file"),
        (["check", "TAKEN"], "no tape.json"),
        (["synth", "--seed", "1", "--out", "TAKEN"], "exists already"),
        (["synth", "--seed", "-1", "--out", "NEW"], "must be at least 0, was -1"),
        (["synth", "--seed", "1", "--days", "0", "--out", "NEW"], "--days must be"),
        (["synth", "--seed", "1", "--days", "2", "--ticks", "9", "--out", "NEW"], "exclude"),
    ],
)
def test_bad_usage_and_bad_input_end_with_2_and_a_sentence(
    hft: Any, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    bar_file(tmp_path / "BTCUSDT.parquet")
    (tmp_path / "text").write_text("not market data")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    places = {
        "FILE": tmp_path / "BTCUSDT.parquet",
        "TEXT": tmp_path / "text",
        "NEW": tmp_path / "new",
        "TAKEN": tmp_path / "taken",
        "NOTHING": tmp_path / "nothing",
    }
    code, told, err = hft(*[places.get(one, one) for one in arguments])
    assert code == 2
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
    assert told == {"text": ""}
    assert not (tmp_path / "new").exists()


def test_check_tells_flaws_and_ends_well(hft: Any, market_data: Path) -> None:
    path = market_data / "flaws" / "gemini_BTCUSD_mislabelled_1min.csv.gz"
    code, told, _ = hft("check", path, "--json")
    assert (code, told["rows"]) == (0, 50_500)
    assert {flaw["reason"] for flaw in told["flaws"]} >= {"NEWEST_FIRST", "ROUNDED_TIME", "GAP"}
    for flaw in told["flaws"]:
        assert set(flaw) >= {"reason", "symbol", "start", "end", "count"}
        assert flaw["start"].endswith("Z") and flaw["end"].endswith("Z")
    code, told, _ = hft("check", path)
    assert code == 0
    assert "NEWEST_FIRST" in told["text"] and "GAP" in told["text"]


def test_a_market_is_made_up_with_its_truth(hft: Any, tmp_path: Path) -> None:
    options = ["synth", "--seed", "4", "--days", "2", "--json"]
    code, told, _ = hft(*options, "--out", tmp_path / "a")
    assert code == 0
    assert told["symbols"] == ["SYN/USDT", "SYN/USDT:USDT"]
    assert json.loads(Path(told["truth"]).read_text())["seed"] == 4
    assert hft(*options, "--out", tmp_path / "b")[1]["tape_sha256"] == told["tape_sha256"]
    code, told, _ = hft("check", tmp_path / "a", "--json")
    assert (code, told["kind"]) == (0, "tape")
    code, told, _ = hft("synth", "--seed", "4", "--ticks", "500", "--out", tmp_path / "a")
    assert code == 2
    code, told, _ = hft(
        "synth", "--seed", "4", "--ticks", "500", "--replace", "--out", tmp_path / "a", "--json"
    )
    assert (code, told["rows"]) == (0, 502)
