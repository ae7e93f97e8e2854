"""Some thousand mutated frames through each parser, and what the fuzzer would say of a bad one."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hft_lib.events import Depth, Quote, Trade
from hft_lib.market.kraken_ws import KrakenParser, Taken

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "fuzz_frames.py"
FRAMES, SEED = 3_000, 20_240_808
# The parsers, and a reason for which each refuses what is wrong.
REASONS = {
    "binance": "BROKEN_LINE",
    "kraken": "CHECKSUM",
    "live": "BROKEN_FRAME",
    "live-kraken": "DEPTH_WITHOUT_SNAPSHOT",
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_frames", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_frames"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", REASONS)
def test_mutated_recorded_frames_are_accepted_or_refused_with_a_reason(
    script: ModuleType, market_data: Path, name: str
) -> None:
    outcome = script.fuzz(name, FRAMES, SEED, market_data)
    assert outcome.failures == []
    assert outcome.frames == FRAMES
    # Both ends are met, so that neither is taken on trust.
    assert outcome.accepted > 100
    assert REASONS[name] in outcome.reasons


@pytest.mark.parametrize("name", REASONS)
def test_mutated_made_up_frames_are_accepted_or_refused_with_a_reason(
    script: ModuleType, name: str
) -> None:
    outcome = script.fuzz(name, FRAMES, SEED, None)
    assert (outcome.failures, outcome.frames) == ([], FRAMES)
    # A live feed takes what is made up once: its ids never go on.
    assert outcome.accepted > (5 if name == "live" else 100)


def test_one_seed_makes_the_same_frames(script: ModuleType) -> None:
    seeds = script.seeds_of("kraken", None)
    streams = [list(script.stream(random.Random(seed), seeds, 200)) for seed in (1, 1, 2)]
    assert streams[0] == streams[1] != streams[2]
    assert len(set(streams[0]) - set(seeds)) > 50


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (RuntimeError("broke"), "RuntimeError: broke"),
        (Depth(1, 0, "A/B", True, 0, 1, 0, (), ()), "time went back"),
    ],
)
def test_a_parser_that_breaks_or_turns_time_back_is_told_with_its_frame(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, gives: Any, said: str
) -> None:
    def take(self: KrakenParser, receive_ns: int, frame: bytes) -> Taken:
        if isinstance(gives, Exception):
            raise gives
        late = Depth(receive_ns if frame == b"1" else 1, 0, "A/B", True, 0, 1, 0, (), ())
        return Taken((late,))

    monkeypatch.setattr(KrakenParser, "take", take)
    outcome = script.Outcome()
    script.fuzz_kraken([b"1", b"2"], outcome)
    assert said in outcome.failures[-1] and "2" in outcome.failures[-1]


@pytest.mark.parametrize(
    "event",
    [
        Quote(1, 0, "A/B", float("nan"), 1.0, 2.0, 1.0),
        Quote(1, 0, "A/B", 3.0, 1.0, 2.0, 1.0),
        Trade(1, 0, "A/B", 1.0, float("inf"), "buy", 1),
        Trade(1, 0, "A/B", 0.0, 1.0, "buy", 1),
        Depth(1, 0, "A/B", True, 0, 1, 0, ((1.0, -1.0),), ()),
    ],
)
def test_numbers_that_are_none_are_not_sane(script: ModuleType, event: Any) -> None:
    assert not script.sane(event)


def test_the_command_tells_what_became_of_the_frames() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--frames", "300", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "kraken: 300 frames" in done.stdout and "binance: 300 frames" in done.stdout
