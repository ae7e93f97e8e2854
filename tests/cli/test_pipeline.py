"""`hft pipeline`: the same bytes, one run here end to end, what a cluster is sent."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.pipeline_local import Watch
from components.image import IMAGE
from hft_lib.market import synthetic
from tests.cli.conftest import ROOT, Answer, Verb
from tests.cli.kubeflow import Kubeflow, kubeflow
from tests.hft_lib.workflow.made import broken_copy

NAMES = ("calibration", "evop_design", "research_report")
PAIR = "SYN/USDT:USDT~SYN/USDT"


@pytest.fixture
def cluster() -> Iterator[Kubeflow]:
    """A stand-in of the Kubeflow API."""
    with kubeflow() as known:
        yield known


# --- compile ---


@pytest.mark.parametrize("name", NAMES)
def test_compiling_again_gives_the_bytes_that_are_kept(hft: Verb, name: str) -> None:
    known = hft("pipeline", "compile", name, "--out", "again.yaml", "--json").json
    kept = ROOT / "pipelines" / "compiled" / f"{name}.yaml"
    assert known["changed"] is True and Path("again.yaml").read_bytes() == kept.read_bytes()
    assert hft("pipeline", "compile", name, "--out", "again.yaml", "--json").json == {
        **known,
        "changed": False,
    }


def executors(content: bytes | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps' containers, and what a cluster adds to them."""
    spec, platform = yaml.safe_load_all(content)
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return spec["deploymentSpec"]["executors"], kubernetes


@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_the_projects_image_a_size_and_no_install(name: str) -> None:
    content = (ROOT / "pipelines" / "compiled" / f"{name}.yaml").read_text()
    steps, _ = executors(content)
    for step in steps.values():
        assert step["container"]["image"] == IMAGE
        assert {"resourceCpuRequest", "resourceMemoryLimit"} <= set(step["container"]["resources"])
    assert "pip install" not in content


def test_tapes_are_a_volume_and_the_registrys_password_is_a_secret() -> None:
    content = (ROOT / "pipelines" / "compiled" / "calibration.yaml").read_text()
    steps, kubernetes = executors(content)
    mounted = {name for name, step in kubernetes.items() if step.get("pvcMount")}
    assert mounted == set(steps) - {"exec-gate", "exec-register"}
    secret = kubernetes["exec-register"]["secretAsEnv"][0]
    variables = {one["envVar"] for one in secret["keyToEnv"]}
    assert variables == {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}


def test_what_refuses_is_not_retried_and_what_looks_at_the_world_is_not_cached() -> None:
    spec = next(yaml.safe_load_all(Path(ROOT, "pipelines/compiled/calibration.yaml").read_text()))
    tasks = dict(spec["root"]["dag"]["tasks"])
    tasks |= spec["components"]["comp-for-loop-1"]["dag"]["tasks"]
    retried = {name for name, task in tasks.items() if task.get("retryPolicy")}
    assert retried == {"fit-kalman", "fit-garch", "fit-bocd", "walk-forward", "register"}
    fits = ("fit-kalman", "fit-garch", "fit-bocd")
    assert not [name for name in fits if set(tasks[name].get("dependentTasks", ())) & set(tasks)]
    kept = {
        name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")
    }
    assert {"check-tape", "register"}.isdisjoint(kept) and "walk-forward" in kept


# --- run ---


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty days of a synthetic market, a quote of each leg every five minutes."""
    market = synthetic.SyntheticMarket(days=40.0, step_s=300.0)
    return synthetic.write(5, tmp_path_factory.mktemp("market") / "tape", market).path


@pytest.mark.slow
def test_calibration_runs_here_registers_once_and_designs_from_its_champion(
    hft: Verb, days: Path
) -> None:
    base = ("pipeline", "run", "calibration", "--tape", days, "--set", "folds=1", "--json")
    first = hft(*base, "--out", "first")
    assert first.code == 0, first.err
    steps = [one["step"] for one in first.json["steps"]]
    assert steps[:2] == ["check-tape", "select-pairs"]
    assert set(steps[2:5]) == {"fit-kalman", "fit-garch", "fit-bocd"}
    assert steps[5:] == ["walk-forward", "gate", "register"]
    made = first.json["registered"]
    assert made[0]["alias"] == "champion" and not any(one["reused"] for one in made)
    assert first.json["gate"]["trials"] == 4
    again = hft(*base).json["registered"]
    assert all(one["reused"] for one in again)
    assert [one["version"] for one in again] == [one["version"] for one in made]
    models = hft("models", "list", "--json").json["models"]
    assert len(models) == len(made)
    designed = hft("pipeline", "run", "evop_design", "--pair", PAIR, "--json").json["registered"]
    assert [one["alias"] for one in designed] == ["challenger-explorer-1", "challenger-explorer-2"]


@pytest.mark.slow
def test_a_gate_that_refuses_says_why_and_registers_nothing(hft: Verb, tape: Path) -> None:
    answer = hft("pipeline", "run", "calibration", "--tape", tape, "--pair", PAIR, "--json")
    assert answer.code == 3
    assert "whole days out of sample must be at least 20" in answer.sentence
    assert hft("models", "list", "--json").json["models"] == []


def test_a_broken_tape_ends_at_the_first_step_with_the_reason(
    hft: Verb, tape: Path, tmp_path: Path
) -> None:
    broken = broken_copy(tape, tmp_path / "broken")
    answer = hft("pipeline", "run", "calibration", "--tape", broken, "--out", "run", "--json")
    assert answer.code == 3 and "the tape is refused: HASH" in answer.sentence
    assert "select-pairs" not in Path("run/pipeline.log").read_text()


@pytest.mark.slow
def test_a_report_is_a_page_a_notebook(hft: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook(folder / "one.ipynb", 'print(f"pair {pair or None}")')
    notebook(folder / "two.ipynb", "1 / 0")
    base = ("pipeline", "run", "research_report", "--set", f"folder={folder}", "--json", "--set")
    (page,) = hft(*base, "notebooks=one").json["pages"]
    assert "pair None" in Path(page).read_text()
    answer = hft(*base, "notebooks=two")
    assert (
        answer.code == 3
        and "notebook two, cell 2 of the executed copy: ZeroDivisionError" in answer.sentence
    )


def notebook(path: Path, source: str) -> None:
    """A notebook of one cell after its parameters."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    known = new_code_cell('quick, tape, pair = True, "", ""', metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [known, new_code_cell(source)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("calibration",), "pipeline calibration needs --tape"),
        (("evop_design",), "which pair?"),
        (("calibration", "--tape", "nowhere"), "nowhere"),
    ],
)
def test_inputs_that_are_missing_cost_no_run(hft: Verb, words: tuple[str], said: str) -> None:
    answer = hft("pipeline", "run", *words)
    assert answer.code == 2 and said in answer.sentence


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("colour=red", "--set must be NAME=VALUE, NAME of tape, pair, folds"),
        ("folds", "was 'folds'"),
        ("folds=many", "--set folds must be of type integer, was 'many'"),
    ],
)
def test_an_input_that_is_none_is_bad_usage(hft: Verb, tape: Path, given: str, said: str) -> None:
    answer = hft("pipeline", "run", "calibration", "--tape", tape, "--set", given)
    assert answer.code == 2 and said in answer.sentence


def test_the_log_is_read_for_steps_and_for_what_was_raised_first() -> None:
    log = io.StringIO()
    watched = Watch(log, quiet=True)
    watched.write("INFO - Executing task \x1b[96m'gate'\x1b[0m\n    hft_lib.workflow.refu")
    watched.write("sal.Refused: no: 1\n    ValueError: later\n")
    watched.write(
        "ERROR - Task \x1b[96m'gate'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"
    )
    assert [(one["step"], one["status"]) for one in watched.steps] == [("gate", "failure")]
    assert watched.raised[0] == ("hft_lib.workflow.refusal.Refused", "no: 1")
    assert "\x1b" not in log.getvalue() and "Executing task 'gate'" in log.getvalue()


# --- submit ---


def submit(hft: Verb, cluster: Kubeflow, *words: str) -> Answer:
    """Submit the calibration of a tape on the volume."""
    base = ("pipeline", "submit", "calibration", "--host", cluster.host, "--tape", "/tapes/btc")
    return hft(*base, *words, "--json")


def test_a_run_is_sent_with_its_inputs_and_the_kept_pipeline(hft: Verb, cluster: Kubeflow) -> None:
    answer = submit(hft, cluster, "--pair", PAIR, "--set", "folds=4", "--token", "word")
    assert answer.code == 0, answer.err
    assert answer.json["run_id"] == "r-1"
    (body,) = cluster.bodies("/runs")
    assert body["experiment_id"] == "e-1"
    given = body["runtime_config"]["parameters"]
    assert given["tape"] == "/tapes/btc" and given["pair"] == PAIR and given["folds"] == 4
    assert given["capital_quote"] == 10_000.0 and len(given["lock_sha256"]) == 64
    kept = Path(ROOT, "pipelines/compiled/calibration.yaml").read_text()
    spec, platform = yaml.safe_load_all(kept)
    assert body["pipeline_spec"]["pipeline_spec"] == spec
    assert body["pipeline_spec"]["platform_spec"] == platform
    posted = [headers for method, path, headers, _ in cluster.sent if path == "/runs"]
    assert posted[0]["authorization"] == "Bearer word"


def test_another_image_and_no_caching_are_of_every_step(hft: Verb, cluster: Kubeflow) -> None:
    image = "registry.example/hft@sha256:" + "0" * 64
    assert submit(hft, cluster, "--image", image, "--no-caching").code == 0
    spec = cluster.bodies("/runs")[0]["pipeline_spec"]["pipeline_spec"]
    images = {one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values()}
    assert images == {image}
    assert "enableCache': True" not in str(spec)


def test_a_schedule_is_made_once(hft: Verb, cluster: Kubeflow) -> None:
    first = submit(hft, cluster, "--cron", "0 6 * * 1")
    assert first.code == 0, first.err
    assert first.json["recurring_run_id"] == "c-1"
    (body,) = cluster.bodies("/recurringruns")
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * 1"
    assert body["max_concurrency"] == 1 and body["no_catchup"] is True
    again = submit(hft, cluster, "--cron", "0 6 * * 1")
    assert again.code == 3 and "is scheduled already as c-1" in again.sentence
    assert len(cluster.schedules) == 1


@pytest.mark.parametrize("cron", ["0 6 * *", "0 0 6 * * *", "a b c d e!"])
def test_a_schedule_of_other_than_five_fields_is_bad_usage(
    hft: Verb, cluster: Kubeflow, cron: str
) -> None:
    answer = submit(hft, cluster, "--cron", cron)
    assert answer.code == 2 and f"was {cron!r}" in answer.sentence and not cluster.sent


def test_an_api_that_refuses_or_does_not_answer_is_one_sentence(
    hft: Verb, cluster: Kubeflow
) -> None:
    cluster.refuses = True
    answer = submit(hft, cluster)
    assert answer.code == 1 and "refused: 403" in answer.sentence
    with socket.create_server(("127.0.0.1", 0)) as free:
        cluster.host = f"http://127.0.0.1:{free.getsockname()[1]}"
    answer = submit(hft, cluster)
    assert answer.code == 1 and "does not answer" in answer.sentence
