"""The benchmark's logic: equal results or no times, ratios the right way round, JSON alone on
stdout, and series that are the same on each machine. No speed is asserted.
"""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from bench import models, series, timing
from bench.timing import Case, Row, Unequal, require_at_least, require_close

KEYS = ["name", "ours_ns", "peer", "peer_ns", "ratio", "target_ratio"]


def work(loops: int) -> Callable[[], object]:
    return lambda: sum(range(loops))


def row(name: str = "a row", target: float | None = 2.0, units: int = 1) -> Row:
    case = Case(ours=work(100), peer=work(10_000), peer_name="peer 1.0", units=units)
    return Row(name, target, lambda: case)


def unequal() -> Case:
    require_close("state", [1.0, 2.0], [1.0, 3.0], rel=1e-9)
    raise AssertionError("two is not three")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MEASURE_S_MIN", 1e-4)


def use(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> None:
    monkeypatch.setattr(models, "all_rows", lambda: rows)


def test_json_is_a_list_of_rows_alone_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, row("one"), row("two", None))
    assert models.main(["--json", "--repeats", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [list(item) for item in found] == [KEYS, KEYS]
    assert [item["name"] for item in found] == ["one", "two"]
    assert [item["target_ratio"] for item in found] == [2.0, None]
    assert found[0]["peer"] == "peer 1.0"


def test_the_ratio_is_the_peers_time_over_ours() -> None:
    found = timing.measure(row(), repeats=3)
    assert found["ratio"] == found["peer_ns"] / found["ours_ns"]
    # A hundred times the work: whatever the machine does meanwhile, it is not the quicker one.
    assert found["ratio"] > 5.0


def test_a_target_in_nanoseconds_is_a_ratio_to_this_runs_peer() -> None:
    case = row().prepare()
    found = timing.measure(Row("a row", None, lambda: case, target_ns=2.0), repeats=1)
    assert found["target_ratio"] == found["peer_ns"] / 2.0


def test_times_are_of_one_unit_of_work() -> None:
    one, hundred = timing.race(row().prepare(), 3), timing.race(row(units=100).prepare(), 3)
    assert hundred[0] < one[0] / 10.0
    assert hundred[1] < one[1] / 10.0


def test_each_side_has_its_own_units() -> None:
    case = Case(work(10_000), work(10_000), "peer", units=1, peer_units=100)
    ours, peer = timing.race(case, 3)
    assert peer < ours / 10.0


def test_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def note(side: str) -> Callable[[], object]:
        def call() -> None:
            order.append(side)
            work(20_000)()

        return call

    timing.race(Case(note("ours"), note("peer"), "peer"), repeats=4)
    turns = [a for a, b in zip(order, order[1:] + [""], strict=True) if a != b]
    # Both warm up and are sized first; then each of the four repeats has both.
    assert turns == ["ours", "peer"] * 5


def test_unequal_results_end_with_one_and_give_no_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, row("fine"), Row("bad", 2.0, unequal))
    assert models.main(["--json", "--repeats", "1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "bad: state at (1,): ours 2.0, peer 3.0" in printed.err


def test_the_table_says_what_was_reached() -> None:
    found = [
        {"name": n, "ours_ns": 50.0, "peer": "p", "peer_ns": 1e6, "ratio": 2e4, "target_ratio": t}
        for n, t in (("reached", 100.0), ("missed", 1e5), ("free", None))
    ]
    lines = models.table(found).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["reached", "missed", "free"]
    assert [" yes " in line for line in lines] == [True, False, False]
    assert [" no " in line for line in lines] == [False, True, False]
    assert all("50 ns" in line and "1 ms" in line and "20,000.0" in line for line in lines)


@pytest.mark.parametrize(
    ("ns", "text"), [(0.5, "0.5 ns"), (1.0, "1 ns"), (1234.0, "1.23 µs"), (2.5e9, "2.5 s")]
)
def test_durations_are_in_a_unit_that_fits(ns: float, text: str) -> None:
    assert models.duration(ns) == text


def test_a_pattern_chooses_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, row("GARCH fit"), row("Kalman update"))
    assert models.main(["--json", "--repeats", "1", "--only", "kalman"]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["Kalman update"]


@pytest.mark.parametrize("argv", [["--only", "("], ["--repeats", "0"], ["--repeats", "few"]])
def test_bad_usage_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    use(monkeypatch, row())
    with pytest.raises(SystemExit) as ended:
        models.main(argv)
    assert ended.value.code == 2
    assert argv[0] in capsys.readouterr().err


def test_a_pattern_that_matches_no_row_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, row())
    assert models.main(["--json", "--only", "none such"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "none such" in printed.err


def test_close_results_pass_and_the_worst_place_is_named() -> None:
    require_close("state", [1.0, 2.0 + 1e-12], [1.0, 2.0], rel=1e-9)
    with pytest.raises(Unequal, match=r"state at \(1, 0\): ours 5.0, peer 4.0") as caught:
        require_close("state", [[1.0], [5.0]], [[1.1], [4.0]], abs=1e-3)
    assert (caught.value.ours, caught.value.peer) == (5.0, 4.0)


@pytest.mark.parametrize("ours", [[math.nan], [math.inf], [1.0, 1.0], []])
def test_what_is_not_finite_or_not_there_is_unequal(ours: list[float]) -> None:
    with pytest.raises(Unequal):
        require_close("state", ours, [1.0], abs=1e9)


def test_a_likelihood_may_be_higher_but_not_lower() -> None:
    require_at_least("log likelihood", 5.0, 1.0, short=0.01)
    require_at_least("log likelihood", 0.995, 1.0, short=0.01)
    for ours in (0.98, math.nan):
        with pytest.raises(Unequal, match="log likelihood"):
            require_at_least("log likelihood", ours, 1.0, short=0.01)


def test_series_are_functions_of_their_seeds() -> None:
    for make in (
        lambda seed: series.garch(50, seed),
        lambda seed: series.egarch(50, seed, 6.0),
        lambda seed: series.pair(50, seed)[0],
        lambda seed: series.regimes(50, 0.1, seed),
    ):
        assert np.array_equal(make(1), make(1))
        assert not np.array_equal(make(1), make(2))


@pytest.mark.parametrize("gamma", [0.0, 0.08])
def test_garch_series_have_variance_near_one(gamma: float) -> None:
    assert series.garch(100_000, 3, gamma=gamma).var() == pytest.approx(1.0, rel=0.1)
