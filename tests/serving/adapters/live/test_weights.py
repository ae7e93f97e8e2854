"""The budget of request weight in a file: shared by processes, never beyond, bans kept."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.adapters.live import weights
from serving.adapters.live.figures import Figures
from serving.adapters.live.gate import RETRY_S, Gate
from serving.adapters.live.venue import CallFailed, Throttled
from serving.adapters.live.weights import FileBudget

ROOT = Path(__file__).resolve().parents[4]
NOW_S = 1_700_000_040.0  # a minute's begin
TAKER = """
import sys
from pathlib import Path
from serving.adapters.live.weights import FileBudget
budget = FileBudget(Path(sys.argv[1]))
sys.stdout.write(str(sum(budget.take("spot", 7, float(sys.argv[2])) == 0.0 for _ in range(50))))
"""


def test_weight_is_taken_up_to_our_share_and_is_back_in_the_next_minute(tmp_path: Path):
    budget = FileBudget(tmp_path / "home" / "weight.json")
    budget.note("spot", NOW_S, None, 200)
    assert budget.take("spot", 60, NOW_S) == 0.0 and budget.take("spot", 40, NOW_S + 5) == 0.0
    assert budget.take("spot", 1, NOW_S + 10) == pytest.approx(50.0 + weights.MARGIN_S)
    assert budget.take("linear", 60, NOW_S + 10) == 0.0, "each market has its own count"
    assert budget.take("spot", 60, NOW_S + 60) == 0.0


def test_a_request_heavier_than_the_budget_is_made_alone(tmp_path: Path):
    budget = FileBudget(tmp_path / "weight.json")
    budget.note("spot", NOW_S, None, 20)
    assert budget.take("spot", 50, NOW_S) == 0.0
    assert budget.take("spot", 1, NOW_S) > 0.0


def test_what_the_venue_has_counted_is_believed(tmp_path: Path):
    budget = FileBudget(tmp_path / "weight.json")
    budget.note("spot", NOW_S, weights.LIMIT_DEFAULT, None)
    assert budget.take("spot", 1, NOW_S) > 0.0
    budget.note("spot", NOW_S, 3, None)
    assert budget.take("spot", 1, NOW_S) > 0.0, "a smaller count is an older one"


def test_processes_share_one_budget(tmp_path: Path):
    path = tmp_path / "weight.json"
    words = [sys.executable, "-c", TAKER, str(path), str(NOW_S)]
    took = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=60)[0]) for process in took]
    assert sum(counts) == weights.LIMIT_DEFAULT // 7


def test_a_ban_holds_for_every_scope_and_is_never_shortened(tmp_path: Path):
    budget = FileBudget(tmp_path / "weight.json")
    budget.ban(NOW_S + 30)
    budget.ban(NOW_S + 10)
    other = FileBudget(tmp_path / "weight.json")
    assert other.take("spot", 1, NOW_S) == other.take("linear", 1, NOW_S) == 30.0
    assert other.banned_s(NOW_S + 29) == 1.0 and other.banned_s(NOW_S + 31) == 0.0
    assert other.take("spot", 1, NOW_S + 30) == 0.0


def test_a_file_that_says_nothing_allows_nothing_for_a_minute(tmp_path: Path):
    path = tmp_path / "weight.json"
    path.write_text('{"banned_until')
    budget = FileBudget(path)
    assert budget.take("spot", 1, NOW_S) == weights.MINUTE_S
    assert budget.take("spot", 1, NOW_S + 61) == 0.0


def test_a_folder_that_cannot_be_written_allows_nothing(tmp_path: Path):
    (tmp_path / "home").write_text("no folder")
    budget = FileBudget(tmp_path / "home" / "weight.json")
    with pytest.raises(weights.BudgetUnreadable, match="weight.json"):
        budget.take("spot", 1, NOW_S)


def test_the_gate_keeps_a_ban_without_a_time_and_asks_nothing_during_one(tmp_path: Path):
    figures = Figures()
    asked: list[float] = []

    async def throttled() -> None:
        asked.append(time.time())
        raise Throttled(418, None)

    async def two_calls() -> None:
        gate = Gate(FileBudget(tmp_path / "weight.json"), figures)
        with pytest.raises(Throttled):
            await gate.call("spot", 1, throttled)
        assert await gate.banned_s() == pytest.approx(RETRY_S[418], abs=2.0)
        with pytest.raises(CallFailed, match="no request is allowed"):
            await gate.call("spot", 1, throttled)

    asyncio.run(two_calls())
    assert len(asked) == 1
    assert figures.weight["spot"] == 1 and figures.ban_s > RETRY_S[418]
