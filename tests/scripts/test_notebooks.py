"""The rules of kept notebooks, and their runner: what is broken is named with its cell."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cli.context import parse_time
from cli.main import run_command
from hft_lib.backtest.replay import replay
from hft_lib.backtest.report import evidence, roles, verdict
from hft_lib.line import LineConfig, PairConfig, registrations
from hft_lib.market import synthetic
from hft_lib.parameters import read_parameter_file

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = 'quick: bool = True\ntape: str = ""\npair: str = ""\nsize: int = 3'


def load_runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["notebooks"] = module
    spec.loader.exec_module(module)
    return module


runner = load_runner()


def made(*cells: Any, metadata: dict[str, Any] | None = None) -> Any:
    """A notebook with a title and parameters before `cells`."""
    first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, execution_count=1)
    shown = new_code_cell("print(size)", outputs=[text_output("3\n")], execution_count=2)
    for number, cell in enumerate(cells, start=3):
        cell.execution_count = cell.execution_count or number
    known = runner.METADATA if metadata is None else metadata
    return new_notebook(cells=[new_markdown_cell("# A"), first, shown, *cells], metadata=known)


def text_output(text: str, name: str = "stdout") -> Any:
    return new_output("stream", name=name, text=text)


def saved(notebook: Any, folder: Path) -> Path:
    path = folder / "made.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_every_kept_notebook_follows_the_rules(path: Path) -> None:
    assert runner.faults(path) == []


def test_there_are_notebooks_to_check() -> None:
    assert [path.stem[:2] for path in KEPT][:5] == ["00", "01", "02", "03", "04"]


def test_a_notebook_that_follows_the_rules_has_no_fault(tmp_path: Path) -> None:
    assert runner.faults(saved(made(), tmp_path)) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n    return size", "cell 3: defines f"),
        ("class A:\n    pass", "cell 3: defines A"),
        ("f = lambda: size", "cell 3: names a lambda"),
        ("from cli.main import main\n\nmain", "cell 3: imports cli"),
        ("%matplotlib inline", "cell 3: is no plain Python"),
        ("x=size", "cell 3: is not in black's format"),
        ("absent", "undefined name 'absent'"),
        ("import os", "'os' imported but unused"),
        ('where = "/Users/someone/tape"', "cell 3: names a path of one machine"),
        ("x = " + " + ".join(["size"] * 30), "cell 3: is not in black's format"),
    ],
)
def test_what_a_cell_must_not_hold_is_named(source: str, fault: str, tmp_path: Path) -> None:
    found = runner.faults(saved(made(new_code_cell(source)), tmp_path))
    assert any(fault in one for one in found), found


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (new_output("error", ename="ValueError", evalue="", traceback=[]), "keeps an error"),
        (text_output("a warning", "stderr"), "written to stderr"),
        (text_output("/tmp/runs/1"), "prints a path"),
        (text_output("1\n" * 100), "more than 40 lines"),
    ],
)
def test_what_an_output_must_not_hold_is_named(output: Any, fault: str, tmp_path: Path) -> None:
    cell = new_code_cell("size", outputs=[output])
    assert any(fault in one for one in runner.faults(saved(made(cell), tmp_path)))


def test_traces_of_an_execution_are_named(tmp_path: Path) -> None:
    counted = new_code_cell("size", execution_count=7)
    timed = new_code_cell("size", metadata={"papermill": {"duration": 1.0}})
    metadata = runner.METADATA | {"papermill": {}}
    found = "\n".join(runner.faults(saved(made(counted, timed, metadata=metadata), tmp_path)))
    for fault in (
        "not executed from top to bottom",
        "cell 4: metadata",
        "has metadata of an exec",
    ):
        assert fault in found


def test_a_notebook_without_parameters_or_outputs_or_of_great_size_is_named(tmp_path: Path) -> None:
    plain = new_notebook(cells=[new_code_cell("1 + 1  # " + "x" * 400_000)])
    found = "\n".join(runner.faults(saved(plain, tmp_path)))
    for fault in ("tagged `parameters`", "keeps no output", "300,000 are kept", "with its title"):
        assert fault in found


def test_cleaning_keeps_outputs_and_drops_the_traces(tmp_path: Path) -> None:
    notebook = made(
        new_code_cell(
            "x=size",
            execution_count=9,
            metadata={"papermill": {}, "tags": ["hide-input", "injected-parameters"]},
            outputs=[new_output("execute_result", {"text/plain": "3"}, execution_count=9)],
        ),
        metadata={"papermill": {}},
    )
    path = saved(runner.cleaned(notebook), tmp_path)
    assert runner.faults(path) == []
    cell = runner.read(path).cells[3]
    assert cell.source == "x = size" and cell.outputs[0].data["text/plain"] == "3"
    assert cell.metadata.tags == ["hide-input"]
    assert cell.execution_count == cell.outputs[0].execution_count == 3


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (("nope", "1"), "made has no parameter nope: it has quick, tape, pair, size"),
        (("size", "many"), "made: size must be int, was 'many'"),
        (("quick", "perhaps"), "made: quick must be bool, was 'perhaps'"),
    ],
)
def test_an_unknown_or_mistyped_parameter_ends_the_run_before_it_begins(
    wanted: tuple[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(made(), tmp_path)
    assert runner.main(["run", str(path), "-p", *wanted, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_parameters_take_the_type_of_their_defaults(tmp_path: Path) -> None:
    known = runner.parameters_of(made())
    assert known == {"quick": True, "tape": "", "pair": "", "size": 3}
    asked = [("quick", "false"), ("size", "5"), ("tape", "7")]
    assert runner.typed(asked, known, "a") == {"quick": False, "size": 5, "tape": "7"}


def test_a_notebook_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["check", "99"]) == 2
    assert "there is no notebook 99; there are 00_start_here" in capsys.readouterr().err


def test_a_fault_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(made(new_code_cell("def f():\n    return 1")), tmp_path)
    assert runner.main(["check", str(path)]) == 1
    assert "made.ipynb: cell 3: defines f" in capsys.readouterr().out


# --- executed: a kernel each ---


@pytest.fixture
def kernel_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel imports this tree."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
def test_a_broken_notebook_fails_with_its_cell_and_traceback(tmp_path: Path) -> None:
    path = saved(made(new_code_cell("wanted = size\n1 / (wanted - 3)")), tmp_path)
    asked = ["run", str(path), "-p", "size", "3", "--out", str(tmp_path / "out"), "--jobs", "1"]
    command = [sys.executable, str(ROOT / "scripts" / "notebooks.py"), *asked]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout
    assert (
        done.returncode == 1 and "made: FAILED" in said and "cell 4" in said
    )  # papermill put the parameters in as a cell
    assert "ZeroDivisionError" in said and "1 / (wanted - 3)" in said
    assert "ZeroDivisionError" in (tmp_path / "out" / "made.html").read_text()


@pytest.mark.slow
def test_a_kept_output_that_no_longer_comes_out_fails(tmp_path: Path, kernel_path: None) -> None:
    path = saved(made(new_code_cell("print(size + 1)", outputs=[text_output("5\n")])), tmp_path)
    said = runner.compare_one(path)
    assert "made.ipynb::Cell 2" in said and "'5\\n' == '4\\n'" in said
    assert "1 failed, 2 passed" in said
    assert runner.write_one(path) == "" and runner.compare_one(path) == ""
    assert runner.faults(path) == []


@pytest.fixture(scope="module")
def other_tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market that no notebook was written on."""
    path = tmp_path_factory.mktemp("market") / "tape"
    market = synthetic.SyntheticMarket(
        days=8.0, y_symbol="ABC/USD:USD", x_symbol="ABC/USD", spread_half_life_s=900.0
    )
    synthetic.write(5, path, market)
    return path


def recorded(folder: Path, *bars: Path) -> Path:
    """A tape of recorded bars."""
    asked = ["tape", "import", "--format", "bars", *map(str, bars), "--out", str(folder / "tape")]
    assert run_command(asked) == 0
    return folder / "tape"


def named(number: str) -> Path:
    """The kept notebook of this number."""
    return next(path for path in KEPT if path.stem.startswith(number))


def printed(executed: Path) -> str:
    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join("".join(output.get("text", ())) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["03", "06"])
def test_the_file_that_a_notebook_writes_on_another_tape_runs(
    number: str,
    other_tape: Path,
    tmp_path: Path,
    kernel_path: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = named(number), tmp_path / "params.json"
    assert runner.run_one(path, {"tape": str(other_tape), "out": str(out)}, tmp_path) == ""
    start = printed(tmp_path / path.name).split("--start ")[1].split()[0]
    monkeypatch.setenv("HFT_HOME", str(tmp_path / "home"))
    capsys.readouterr()
    asked = ["replay", "--tape", str(other_tape), "--params", str(out), "--start", start, "--json"]
    assert run_command(asked) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["events"] > 1000 and document["in_sample"] is False


@pytest.mark.slow
def test_what_a_notebook_promoted_is_promoted_by_the_replay_of_its_file(
    tmp_path: Path, kernel_path: None
) -> None:
    market = synthetic.SyntheticMarket(days=200.0, step_s=600.0, break_at_fraction=0.97)
    tape, out = synthetic.write(11, tmp_path / "tape", market), tmp_path / "params.json"
    path, given = named("07"), {"tape": str(tape.path), "out": str(out), "borrow": -1.0}
    assert runner.run_one(path, given, tmp_path) == ""
    said = printed(tmp_path / path.name)
    assert "registered twice: reused" in said
    assert "recomputed from its record: the same to the last bit" in said
    assert "took capital on" in said and "threshold 120" in said
    file = read_parameter_file(out.read_bytes())
    start_ns = parse_time(said.split("--start ")[1].split()[0])
    assert start_ns is not None
    pairs = (PairConfig(pair=file.pair, capital_quote=10_000.0, evop=file.evop),)
    config = LineConfig(pairs=pairs, grid_ms=file.params.grid_ms)
    record = replay(tape, config, registrations(file, start_ns), start_ns)
    sentence = verdict.sentence(record, roles.tenures(record), evidence.begun_tests(record))
    assert sentence.replace("`", "") in said


@pytest.mark.slow
def test_a_recorded_wrapper_passes_no_gate_and_nothing_is_registered(
    market_data: Path, tmp_path: Path, kernel_path: None
) -> None:
    folder = market_data / "binance_spot_5m_202501_202506_pegged"
    tape = recorded(tmp_path, folder / "WBETHUSDT.parquet", folder / "ETHUSDT.parquet")
    path, out = named("07"), tmp_path / "params.json"
    given = {"tape": str(tape), "pair": "WBETH/USDT~ETH/USDT", "out": str(out)}
    assert runner.run_one(path, given, tmp_path) == ""
    said = printed(tmp_path / path.name)
    assert "trials counted: 4" in said and "Nothing new passes" in said
    assert "registered as" not in said and not out.exists()


@pytest.mark.slow
def test_a_recorded_perpetual_and_its_spot_are_fitted(
    market_data: Path, tmp_path: Path, kernel_path: None
) -> None:
    perpetual = market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet"
    spot = market_data / "binance_spot_5m_202501_202506_pegged" / "BTCUSDT.parquet"
    tape, out = recorded(tmp_path, perpetual, spot), tmp_path / "params.json"
    path = named("02")
    assert runner.run_one(path, {"tape": str(tape), "out": str(out)}, tmp_path) == ""
    said = printed(tmp_path / path.name)
    assert "The legs hold together in the fitting window (hedge ratio 1.001, p < 0.0001)" in said
    assert "volatility clusters: yes" in said and out.is_file()


@pytest.mark.slow
def test_recorded_strangers_are_said_not_to_hold_together(
    market_data: Path, tmp_path: Path, kernel_path: None
) -> None:
    folder = market_data / "binance_usdm_perp_1m_202505_202506"
    tape = recorded(tmp_path, folder / "ETHUSDT_PERP.parquet", folder / "BTCUSDT_PERP.parquet")
    path, out = named("01"), tmp_path / "params.json"
    assert runner.run_one(path, {"tape": str(tape), "out": str(out)}, tmp_path) == ""
    said = printed(tmp_path / path.name)
    assert "The legs do NOT hold together" in said
    assert "No file is written: the fit did not converge" in said and not out.exists()


@pytest.mark.slow
def test_a_tape_that_is_too_short_is_said_in_words(tmp_path: Path, kernel_path: None) -> None:
    synthetic.write(5, tmp_path / "short", synthetic.SyntheticMarket(days=0.03))
    given = {"tape": str(tmp_path / "short")}
    assert runner.run_one(KEPT[0], given, tmp_path / "out") == ""
    said = printed(tmp_path / "out" / KEPT[0].name)
    assert "There is too little here to study: too few complete moments, was 4" in said
