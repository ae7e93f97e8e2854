"""`hft backtest`: the figures and orders of `hft replay`, of one set or of a grid."""

from pathlib import Path

import msgspec
import pytest

from cli.main import run_command
from hft_lib.parameters import read_parameter_file
from tests.cli.conftest import Verb, write

BORROW = ("--assume-borrow", "0.05")
WINDOW = ("--start", "2024-01-04T00:00:00Z", "--end", "2024-01-06T12:00:00Z")


@pytest.mark.parametrize("options", [(), BORROW, (*BORROW, *WINDOW)])
def test_it_says_what_replay_says(
    hft: Verb, tape: Path, params: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    said = []
    for verb in ("replay", "backtest"):
        files = ("--orders", tmp_path / f"{verb}.orders", "--fills", tmp_path / f"{verb}.fills")
        answer = hft(verb, "--tape", tape, "--params", params, *options, *files, "--json")
        assert answer.code == 0, answer.err
        said.append(answer.json)
        assert said[-1].pop("seconds") > 0.0
    assert said[0] == said[1] and said[0]["orders"] > 0
    for table in ("orders", "fills"):
        written = [(tmp_path / f"{verb}.{table}").read_bytes() for verb in ("replay", "backtest")]
        assert written[0] == written[1] and written[0].count(b"\n") == said[0][table] + 1


def test_a_sweep_runs_every_set_as_a_replay_of_it_alone(
    hft: Verb, tape: Path, params: Path, tmp_path: Path
) -> None:
    axes = ("--sweep", "strategy.entry_z=1.2,2", "--sweep", "strategy.exit_z=0.2,1.5")
    known = hft("backtest", "--tape", tape, "--params", params, *BORROW, *axes, "--json").json
    own = hft("replay", "--tape", tape, "--params", params, *BORROW, "--json").json
    assert known["orders_sha256"] == own["orders_sha256"]  # that of the file, with its challengers
    rows = known["sweep"]
    assert [row["values"]["strategy.exit_z"] for row in rows] == [0.2, 1.5, 0.2, 1.5]
    assert "exit_z < entry_z < stop_z" in rows[1]["refused"] and "orders" not in rows[1]
    file = read_parameter_file(params.read_bytes())
    for row in (rows[0], rows[2], rows[3]):
        strategy = msgspec.structs.replace(
            file.params.strategy,
            **{name.removeprefix("strategy."): value for name, value in row["values"].items()},
        )
        changed = msgspec.structs.replace(file.params, strategy=strategy)
        alone = msgspec.structs.replace(file, params=changed, challengers=())
        path = write(tmp_path / "alone.json", alone)
        figures = hft("replay", "--tape", tape, "--params", path, *BORROW, "--json").json
        assert {name: figures[name] for name in row if name != "values"} == {
            name: value for name, value in row.items() if name != "values"
        }
    ratios = [row.get("sharpe_annual") or float("-inf") for row in rows]
    best = known["best"]
    assert best["place"] == ratios.index(max(ratios)) and best["trials"] == 3
    assert best["values"] == rows[best["place"]]["values"]
    assert 0.0 <= best["deflated_sharpe"] <= 1.0


def test_people_are_shown_the_best_first_and_what_was_not_run(
    hft: Verb, tape: Path, params: Path
) -> None:
    axis = ("--sweep", "strategy.entry_z=0.2:2.2:1")
    out = hft("backtest", "--tape", tape, "--params", params, *BORROW, *axis).out
    assert "Back-test of SYN/USDT:USDT~SYN/USDT" in out and "Sweep of 3 sets" in out
    assert "strategy.entry_z 0.2 cannot be run: exit_z < entry_z < stop_z" in out
    assert "2 trials counted" in out and "yes: the fit saw this window" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_window_too_short_for_a_ratio_says_so(hft: Verb, tape: Path, params: Path) -> None:
    window = ("--start", "2024-01-05T00:00:00Z", "--end", "2024-01-05T06:00:00Z")
    axis = ("--sweep", "strategy.entry_z=1.5,2")
    words = ("backtest", "--tape", tape, "--params", params, *window, *axis)
    assert hft(*words, "--json").json["best"] is None
    assert "no set has a Sharpe ratio" in hft(*words).out


@pytest.mark.parametrize(
    "words, said",
    [
        (("--sweep", "entry=1,2"), "--sweep: a sweep must be of a real-valued parameter"),
        (("--sweep", "strategy.entry_z=a"), "was 'a'"),
        (
            ("--sweep", "strategy.entry_z=1", "--sweep", "strategy.entry_z=2"),
            "strategy.entry_z must be swept once",
        ),
        (("--sweep", "strategy.entry_z=0:1999:1", "--sweep", "garch.mean=0,1"), "had 4000"),
        (("--pair", "A/USDT~B/USDT"), "is of pair SYN/USDT:USDT~SYN/USDT"),
        (("--start", "2030-01-01"), "--start must not be after the tape's end"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    hft: Verb, tape: Path, params: Path, words: tuple[str, ...], said: str
) -> None:
    answer = hft("backtest", "--tape", tape, "--params", params, *words)
    assert answer.code == 2 and said in answer.sentence


def test_it_asks_for_a_parameter_file(tape: Path) -> None:
    assert run_command(["backtest", "--tape", str(tape)]) == 2
