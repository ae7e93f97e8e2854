"""`hft pairs scan`: what it answers, what it says to people, how it ends."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import run_command
from cli.pairs import interval_s
from tests.cli.conftest import Verb

START_MS = 1_699_999_200_000
HOUR_MS = 3_600_000
POINTS = 800
KEYS = {"pair", "hedge_ratio", "half_life_s", "p_value", "q_value", "claimed", "reason"}


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tape of three coins, a wrapper of the first, and one that was delisted."""
    rng = np.random.default_rng(1)
    log_prices = 3.0 + np.cumsum(0.01 * rng.normal(size=(3, POINTS)), axis=1)
    closes = dict(zip(("AAA", "BBB", "CCC"), np.exp(log_prices)))
    closes["WAAA"] = closes["AAA"] * np.exp(0.003 * rng.normal(size=POINTS))
    closes["GONE"] = np.where(np.arange(POINTS) < 40, closes["BBB"] * 1.1, np.nan)
    folder = tmp_path_factory.mktemp("coins")
    times = [START_MS + n * HOUR_MS for n in range(POINTS)]
    pq.write_table(pa.table({"ts": times, **closes}), folder / "wide.parquet")
    words = ["tape", "import", "--format", "bars", str(folder / "wide.parquet")]
    assert run_command([*words, "--out", str(folder / "tape")]) == 0
    return folder / "tape"


def test_the_answer_has_every_key_and_every_pair(hft: Verb, coins: Path) -> None:
    answer = hft("pairs", "scan", "--tape", coins, "--json")
    assert answer.code == 0 and answer.err == ""
    known = answer.json
    assert (known["tested"], known["claimed"], len(known["pairs"])) == (6, 1, 10)
    assert known["interval_s"] == 3600.0 and len(known["tape_sha256"]) == 64
    assert all(set(pair) >= KEYS for pair in known["pairs"])
    best, *others = known["pairs"]
    assert all((pair["p_asymptotic"] is None) == (pair["p_value"] is None) for pair in others)
    assert all(p["p_asymptotic"] <= p["p_value"] for p in known["pairs"] if p["p_value"])
    assert best["pair"] == "WAAA/USDT~AAA/USDT" and best["claimed"] is True
    assert best["hedge_ratio"] == pytest.approx(1.0, abs=0.02) and best["q_value"] < 0.001
    assert best["half_life_s"] <= 3600.0 and best["start"].endswith("Z")
    assert all(pair["claimed"] is False and pair["reason"] for pair in others)
    untested = [pair for pair in known["pairs"] if pair["p_value"] is None]
    assert len(untested) == 4 and all("was 40" in pair["reason"] for pair in untested)


def test_the_text_is_narrow_and_says_what_to_try_next(hft: Verb, coins: Path) -> None:
    answer = hft("pairs", "scan", "--tape", coins)
    *lines, following = answer.out.splitlines()
    assert answer.code == 0 and max(map(len, lines)) <= 100
    assert lines[0].startswith("6 of 10 pairs tested every 1 h, ")
    assert lines[1].startswith("1 claimed at a false discovery rate of 0.05")
    assert "p: the square root for pairs not hedged closely" in answer.out
    assert "not tested: " in answer.out and "at least 100, was 40" in answer.out
    expected = f"next    hft calibrate --tape {coins} --pair 'WAAA/USDT~AAA/USDT'"
    assert following == expected


def test_interval_window_and_level_are_taken(hft: Verb, coins: Path) -> None:
    window = ("--start", "2023-11-20T00:00:00Z", "--end", "2023-12-10T00:00:00Z")
    options = ("--interval", "2h", "--fdr", "1e-30", *window, "--json")
    known = hft("pairs", "scan", "--tape", coins, *options).json
    assert (known["interval_s"], known["level"], known["claimed"]) == (7200.0, 1e-30, 0)
    assert known["start"] == "2023-11-20T00:00:00.000Z"
    assert known["end"] == "2023-12-09T22:00:00.000Z"
    assert known["pairs"][0]["reason"].endswith("over 1e-30")


def test_a_pair_that_does_not_hold_is_said_not_to(hft: Verb, coins: Path) -> None:
    window = ("--start", "2023-11-20T00:00:00Z", "--end", "2023-12-10T00:00:00Z")
    options = ("--interval", "2h", "--fdr", "1e-30", *window)
    answer = hft("pairs", "scan", "--tape", coins, *options)
    assert answer.code == 0 and "No pair is claimed" in answer.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fdr", "0"), "--fdr must be between 0 and 1, was 0.0"),
        (("--fdr", "nan"), "--fdr must be between 0 and 1, was nan"),
        (
            ("--interval", "quick"),
            "--interval must be from 1s to 7d, such as 15m or 1h, was 'quick'",
        ),
        (("--interval", "30d"), "--interval must be from 1s to 7d"),
        (("--end", "2020-01-01T00:00:00Z"), "--end must be after the tape's start"),
        (("--start", "2023-11-20", "--end", "2023-11-20T00:30:00"), "two multiples of 3600 s"),
    ],
)
def test_bad_input_ends_with_2_and_a_sentence(
    hft: Verb, coins: Path, options: tuple[str, ...], said: str
) -> None:
    answer = hft("pairs", "scan", "--tape", coins, *options)
    assert answer.code == 2 and said in answer.sentence


def test_intervals_are_read_in_their_units() -> None:
    assert [interval_s(one) for one in ("15m", "1h", "900s", "900", "1d")] == [
        900,
        3600,
        900,
        900,
        86_400,
    ]


def test_the_synthetic_pair_is_not_taken_for_one_that_always_holds(hft: Verb, tape: Path) -> None:
    known = hft("pairs", "scan", "--tape", tape, "--json").json
    (pair,) = known["pairs"]
    assert pair["pair"] == "SYN/USDT:USDT~SYN/USDT" and known["tested"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "files", "expected"),
    [
        (
            ("--start", "2025-05-04T00:00:00Z", "--end", "2025-05-18T00:00:00Z"),
            ("usdm_perp_1m_202505_202506/BTCUSDT_PERP", "spot_5m_202501_202506_pegged/BTCUSDT")
            + ("spot_5m_202501_202506_pegged/ETHUSDT", "spot_5m_202501_202506_pegged/DOGEUSDT"),
            {"BTC/USDT:USDT~BTC/USDT"},
        ),
        (
            ("--start", "2025-05-01T00:00:00Z", "--end", "2025-06-01T00:00:00Z"),
            tuple(
                f"spot_5m_202501_202506_pegged/{name}USDT"
                for name in ("BTC", "WBTC", "ETH", "WBETH", "ADA", "LINK", "FDUSD")
            ),
            {"WBTC/USDT~BTC/USDT", "WBETH/USDT~ETH/USDT"},
        ),
    ],
)
def test_one_asset_in_two_wrappers_is_claimed_and_ordinary_coins_are_not(
    hft: Verb,
    market_data: Path,
    tmp_path: Path,
    window: tuple[str, ...],
    files: tuple[str, ...],
    expected: set[str],
) -> None:
    paths = [market_data / f"binance_{name}.parquet" for name in files]
    assert hft("tape", "import", "--format", "bars", *paths, "--out", tmp_path / "t").code == 0
    known = hft("pairs", "scan", "--tape", tmp_path / "t", *window, "--json").json
    claimed = {pair["pair"] for pair in known["pairs"] if pair["claimed"]}
    assert claimed == expected


@pytest.mark.slow
def test_perpetual_and_spot_are_claimed_at_every_interval_though_one_recording_is_shorter(
    hft: Verb, market_data: Path, tmp_path: Path
) -> None:
    paths = [
        market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet",
        market_data / "binance_spot_5m_202501_202506_pegged" / "BTCUSDT.parquet",
    ]
    assert hft("tape", "import", "--format", "bars", *paths, "--out", tmp_path / "t").code == 0
    for interval in ("1m", "5m", "15m", "1h"):
        words = ("pairs", "scan", "--tape", tmp_path / "t", "--interval", interval, "--json")
        (pair,) = hft(*words).json["pairs"]
        assert pair["claimed"] and pair["pair"] == "BTC/USDT:USDT~BTC/USDT", interval
        assert pair["hedge_ratio"] == pytest.approx(1.0, abs=0.002)
        assert pair["note"] == "ended 14.7 days before the window"


@pytest.mark.slow
def test_a_coin_in_two_dollars_is_claimed_before_its_dollar_loses_the_peg_and_not_in_it(
    hft: Verb, market_data: Path, tmp_path: Path
) -> None:
    folder = market_data / "multivenue_btc_1m_202303_usdc_depeg"
    named: list[str] = []
    for symbol, name in (("BTC/USDC", "btcusdc"), ("BTC/USDT", "btcusdt")):
        named += ["--symbol", f"{symbol}={folder / f'binance_{name}.parquet'}"]
    assert hft("tape", "import", "--format", "bars", *named, "--out", tmp_path / "t").code == 0

    def claimed(*window: str) -> bool:
        known = hft("pairs", "scan", "--tape", tmp_path / "t", *window, "--json").json
        assert {*known["pairs"][0]["pair"].split("~")} == {"BTC/USDC", "BTC/USDT"}
        return bool(known["pairs"][0]["claimed"])

    assert claimed("--end", "2023-03-10T00:00:00Z")
    assert not claimed("--start", "2023-03-10T00:00:00Z", "--end", "2023-03-15T00:00:00Z")
