"""The model registry on real MLflow: what a version says, how it is found, how it runs."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hft_lib import lineage
from hft_lib.events import PairTick, Quote, RiskView, SlotAssigned
from hft_lib.line import LineConfig, PairConfig
from hft_lib.lineage.environment import environment_sha256, environment_text
from hft_lib.models.special import log
from hft_lib.parameters import parameter_sha256
from hft_lib.rows import HEDGE, RISK, VOLATILITY
from hft_lib.stages import garch_model, kalman_filter, risk_manager
from tests.conftest import ROOT
from tests.hft_lib.health.made import REFERENCE
from tests.hft_lib.registry_world import (
    PARAMETERS,
    PROVENANCE,
    artifact,
    candidate,
    client,
    entering_at,
    pair_of,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    # A folder's name must not be read as a part of an address.
    return tmp_path_factory.mktemp("registry#1-100%")


@pytest.fixture(scope="module")
def registry(home) -> Any:
    return client(home)


@pytest.fixture(scope="module")
def experiment(registry, home) -> str:
    return lineage.experiment_id(registry, str(home / "mlartifacts"))


@pytest.fixture
def tracking(registry, monkeypatch):
    """The process's own tracking address, as a notebook sets it."""
    import mlflow

    # MLflow sets the variable too, which the processes of later tests would inherit.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry.tracking_uri)
    yield mlflow
    mlflow.set_tracking_uri(before)


def runs_of(registry, experiment: str, pair: str) -> list:
    return registry.search_runs([experiment], filter_string=f"tags.pair = '{pair}'")


# --- names ---


def test_a_models_name_says_the_pair():
    assert lineage.model_name("BTC/USDT:USDT~BTC/USDT") == "BTC-USDT-PERP~BTC-USDT"


def test_two_pairs_never_share_a_name():
    coins = ("A", "PERP", "USD")
    spots = [f"{base}/{quote}" for base in coins for quote in coins]
    symbols = spots + [f"{spot}:{settle}" for spot in spots for settle in coins]
    names = [lineage.model_name(f"{y}~{x}") for y in symbols for x in symbols]
    assert len(set(names)) == len(symbols) ** 2
    assert all(re.fullmatch(r"[A-Z~-]+", name) for name in names)


@pytest.mark.parametrize(
    "pair", ["BTC/USDT", "BTC~ETH", "A/B~C/D~E/F", "btc/usdt~A/B", "A/B~C-D/E"]
)
def test_what_is_no_pair_has_no_name(pair):
    with pytest.raises(ValueError, match=f"must be Y~X.*was {pair}"):
        lineage.model_name(pair)


def test_a_challengers_alias_is_one_that_mlflow_takes():
    assert lineage.challenger_alias("patient-2") == "challenger-patient-2"
    with pytest.raises(ValueError, match="letters, digits"):
        lineage.challenger_alias("entry 1.6")


# --- writing ---


def test_a_run_says_how_the_set_was_found(registry, experiment, tmp_path):
    from matplotlib.figure import Figure

    pair = pair_of("RUN")
    figures = {"garch.svg": b"<svg/>", "kalman.png": Figure()}
    made = lineage.register(registry, experiment, candidate(pair), figures)
    run = registry.get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["kalman.noise_var"] == repr(PARAMETERS.kalman.noise_var)
    assert run.data.params["grid_ms"] == "1000"
    assert run.data.metrics == {"kalman.log_likelihood": -12.5}
    assert run.data.tags["pair"] == pair
    assert run.data.tags["git_commit"] == PROVENANCE.git_commit
    assert run.data.tags["tape_sha256"] == PROVENANCE.tape_sha256
    assert run.data.tags["config_sha256"] == "c1" * 32
    assert len(run.outputs.model_outputs) == 1
    folder = Path(registry.download_artifacts(made.run_id, "", str(tmp_path)))
    told = json.loads((folder / "diagnostics.json").read_text())
    assert told["garch"] == {"converged": True, "standard_errors": {"omega": None}}
    assert (folder / "figures" / "garch.svg").read_bytes() == b"<svg/>"
    assert (folder / "figures" / "kalman.png").read_bytes().startswith(b"\x89PNG")


def test_a_version_can_be_searched_by_where_it_came_from(registry, experiment):
    pair = pair_of("TAG")
    made = lineage.register(registry, experiment, candidate(pair))
    query = f"name='{made.name}' and tags.git_commit='c0ffee' and tags.tape_sha256='{'7a' * 32}'"
    assert [str(row.version) for row in registry.search_model_versions(query)] == [made.version]
    version = lineage.read_version(registry, pair, made.version)
    assert (version.pair, version.run_id) == (pair, made.run_id)
    assert version.parameters_sha256 == parameter_sha256(PARAMETERS)
    assert (version.window_start, version.window_end) == (PROVENANCE.start, PROVENANCE.end)


def test_a_version_says_environment_and_notebook_and_how_many_were_tried(registry, experiment):
    pair = pair_of("FROM")
    made = lineage.register(registry, experiment, candidate(pair, notebook="07_promote_a_model"))
    version = lineage.read_version(registry, pair, made.version)
    assert (version.notebook, version.pipeline_run) == ("07_promote_a_model", "")
    assert (version.trials, version.origin) == (PROVENANCE.trials, "calibration")
    assert version.environment_sha256 == environment_sha256(environment_text())
    fitted = candidate(pair, entering_at(1.6), environment_sha256="e1" * 32, pipeline_run="run-7")
    other = lineage.register(registry, experiment, fitted)
    known = lineage.read_version(registry, pair, other.version)
    assert (known.environment_sha256, known.pipeline_run) == ("e1" * 32, "run-7")


def test_a_version_says_what_it_was_calibrated_on_and_a_tag_that_a_hand_broke_says_nothing(
    registry, experiment
):
    pair = pair_of("REF")
    known = msgspec.structs.replace(PROVENANCE, reference=REFERENCE)
    made = lineage.register(registry, experiment, candidate(pair, provenance=known))
    assert lineage.read_version(registry, pair, made.version).reference == REFERENCE
    registry.set_model_version_tag(made.name, made.version, "reference", '{"return_y": 1}')
    assert lineage.read_version(registry, pair, made.version).reference is None
    plain = lineage.register(registry, experiment, candidate(pair, entering_at(1.6)))
    assert lineage.read_version(registry, pair, plain.version).reference is None
    assert "reference" not in registry.get_model_version(made.name, plain.version).tags


def test_equal_content_is_reused_and_another_is_a_new_version(registry, experiment):
    pair = pair_of("SAME")
    first = lineage.register(registry, experiment, candidate(pair))
    again = lineage.register(registry, experiment, candidate(pair, name="other", metrics={}))
    other = lineage.register(registry, experiment, candidate(pair, entering_at(1.6)))
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert (again.version, again.run_id) == (first.version, first.run_id)
    assert other.version != first.version
    assert len(runs_of(registry, experiment, pair)) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": {"loss": float("nan")}}, "metric loss must be finite, was nan"),
        ({"metrics": {"loss": float("-inf")}}, "metric loss must be finite, was -inf"),
        ({"parameters": entering_at(9.0)}, "exit_z < entry_z < stop_z must hold"),
        ({"name": "a b"}, "letters, digits"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_logged(
    registry, experiment, changes, sentence
):
    pair = pair_of("REFUSED")
    with pytest.raises(ValueError, match=sentence):
        lineage.register(registry, experiment, candidate(pair, **changes))
    assert runs_of(registry, experiment, pair) == []
    assert lineage.read_aliases(registry, pair) == {}


def test_a_figure_stays_in_its_folder(registry, experiment):
    with pytest.raises(ValueError, match="a figure's name must be a file name"):
        lineage.register(registry, experiment, candidate(pair_of("FIG")), {"../x.svg": b""})


def test_a_run_that_breaks_off_has_failed_and_registers_nothing(registry, experiment):
    pair = pair_of("BROKEN")
    with pytest.raises(AttributeError):
        lineage.register(registry, experiment, candidate(pair), {"x.png": object()})
    assert [run.info.status for run in runs_of(registry, experiment, pair)] == ["FAILED"]
    assert lineage.find(registry, pair, parameter_sha256(PARAMETERS)) is None


def test_a_deleted_experiment_says_how_to_restore_it(registry, experiment):
    registry.delete_experiment(experiment)
    try:
        with pytest.raises(lineage.RegistryError, match=f"restore --experiment-id {experiment}"):
            lineage.experiment_id(registry)
    finally:
        registry.restore_experiment(experiment)


# --- reading ---


def test_an_alias_moves_from_version_to_version(registry, experiment):
    pair = pair_of("ALIAS")
    first = lineage.register(registry, experiment, candidate(pair))
    other = lineage.register(registry, experiment, candidate(pair, entering_at(1.6)))
    assert lineage.set_alias(registry, pair, lineage.CHAMPION, first.version)
    assert not lineage.set_alias(registry, pair, lineage.CHAMPION, first.version)
    assert lineage.load_parameters(registry, pair, lineage.CHAMPION)[0] == PARAMETERS
    assert lineage.set_alias(registry, pair, lineage.CHAMPION, other.version)
    parameters, version = lineage.load_parameters(registry, pair, lineage.CHAMPION)
    assert parameters == entering_at(1.6)
    assert version.aliases == (lineage.CHAMPION,)
    assert lineage.read_version(registry, pair, first.version).aliases == ()
    assert lineage.delete_alias(registry, pair, lineage.CHAMPION)
    assert not lineage.delete_alias(registry, pair, lineage.CHAMPION)


def test_a_version_says_what_was_decided_about_it(registry, experiment):
    pair = pair_of("DECIDED")
    made = lineage.register(registry, experiment, candidate(pair))
    for decision, said in (("evop-3", "drop 2024-08-04: e fell"), ("evop-7", "test 2024-09-01")):
        lineage.note_decision(registry, pair, made.version, decision, said)
    tags = registry.get_model_version(lineage.model_name(pair), made.version).tags
    assert tags["decision.evop-3"] == "drop 2024-08-04: e fell"
    assert tags["decision.evop-7"] == "test 2024-09-01"


def test_every_version_is_listed_with_its_aliases_and_no_models_of_others(registry, experiment):
    pair = pair_of("LIST")
    made = lineage.register(registry, experiment, candidate(pair))
    lineage.set_alias(registry, pair, lineage.CHAMPION, made.version)
    lineage.set_alias(registry, pair, lineage.challenger_alias("patient"), made.version)
    registry.create_registered_model("somebody-elses")
    listed = lineage.read_versions(registry)
    found = [version for version in listed if version.pair == pair]
    assert [version.aliases for version in found] == [("challenger-patient", "champion")]
    assert all(version.name != "somebody-elses" for version in listed)


def test_what_is_not_registered_is_said_to_be_so(registry, experiment):
    pair = pair_of("NONE")
    with pytest.raises(lineage.NotRegistered, match="has no version or alias champion"):
        lineage.load_parameters(registry, pair, lineage.CHAMPION)
    lineage.register(registry, experiment, candidate(pair))
    with pytest.raises(lineage.NotRegistered, match="has no version or alias 99"):
        lineage.load_parameters(registry, pair, "99")


def test_a_lost_set_is_an_error_and_is_registered_anew(registry, experiment, home):
    pair = pair_of("LOST")
    made = lineage.register(registry, experiment, candidate(pair))
    artifact(home, "parameters.json").unlink()
    with pytest.raises(lineage.ContentLost, match=f"version {made.version}: .* is not in the"):
        lineage.load_parameters(registry, pair, made.version)
    again = lineage.register(registry, experiment, candidate(pair))
    assert not again.reused
    assert lineage.load_parameters(registry, pair, again.version)[0] == PARAMETERS


def test_a_changed_set_is_not_loaded(registry, experiment, home):
    pair = pair_of("CHANGED")
    made = lineage.register(registry, experiment, candidate(pair))
    file = artifact(home, "parameters.json")
    file.write_bytes(file.read_bytes().replace(b'"entry_z":2.0', b'"entry_z":3.0'))
    with pytest.raises(lineage.ContentLost, match="must have SHA-256"):
        lineage.load_parameters(registry, pair, made.version)


def test_many_readers_get_a_whole_set_while_the_alias_moves(registry, experiment, home):
    pair = pair_of("MANY")
    sets = (PARAMETERS, entering_at(1.6))
    made = [lineage.register(registry, experiment, candidate(pair, each)) for each in sets]
    lineage.set_alias(registry, pair, lineage.CHAMPION, made[0].version)

    def read(_: int) -> bool:
        own = client(home)
        return all(
            lineage.load_parameters(own, pair, lineage.CHAMPION)[0] in sets for _ in range(5)
        )

    with ThreadPoolExecutor(4) as pool:
        reads = pool.map(read, range(4))
        for turn in range(10):
            lineage.set_alias(registry, pair, lineage.CHAMPION, made[turn % 2].version)
        assert all(reads)


# --- the model ---


def test_a_models_folder_names_no_path_of_this_machine(registry, experiment, home):
    lineage.register(registry, experiment, candidate(pair_of("PATH")))
    folder = artifact(home, "MLmodel").parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"registered_model.py", "parameters.json"}
    for path in files:
        content = path.read_text()
        assert str(ROOT) not in content and str(home) not in content and "/tmp" not in content


def test_a_models_requirements_are_pinned(registry, experiment, home):
    lineage.register(registry, experiment, candidate(pair_of("PIN")))
    lines = artifact(home, "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} == {"mlflow", "msgspec", "numba", "numpy"}
    assert all(re.fullmatch(r"\w+==[\d.]+", line) for line in lines)


def test_the_loaded_model_says_what_the_stages_say(registry, experiment, tracking):
    import pandas as pd

    pair = pair_of("LOAD")
    made = lineage.register(registry, experiment, candidate(pair))
    lineage.set_alias(registry, pair, lineage.CHAMPION, made.version)
    model = tracking.pyfunc.load_model(f"models:/{made.name}@{lineage.CHAMPION}")
    assert model.unwrap_python_model().parameters == PARAMETERS
    moments = pd.DataFrame(market(300))
    pd.testing.assert_frame_equal(
        model.predict(moments), pd.DataFrame(staged(pair, moments)), check_exact=True
    )


def test_the_loaded_model_refuses_what_no_line_would_carry(registry, experiment, tracking):
    import pandas as pd

    made = lineage.register(registry, experiment, candidate(pair_of("BAD")))
    model = tracking.pyfunc.load_model(f"models:/{made.name}/{made.version}")
    moments = pd.DataFrame(market(10))
    with pytest.raises(ValueError, match="time_ns must reach a new grid point"):
        model.predict(moments.assign(time_ns=moments["time_ns"].to_numpy()[0]))
    with pytest.raises(ValueError, match="y_mid must be positive, was -1.0 at 0"):
        model.predict(moments.assign(y_mid=-1.0))
    with pytest.raises(tracking.exceptions.MlflowException, match="x_mid"):
        model.predict(moments.drop(columns="x_mid"))


def market(moments: int) -> dict[str, np.ndarray]:
    """Mids at grid moments, with gaps of up to four intervals and a break of the relation."""
    random = np.random.default_rng(5)
    index = 1_700_000_000 + np.cumsum(random.integers(1, 5, moments))
    x = np.log(60_000.0) + np.cumsum(random.normal(0.0, 1e-4, moments))
    spread = random.normal(0.0, 2e-4, moments) + np.where(np.arange(moments) > 200, 3e-3, 0.0)
    return {
        "time_ns": index * 1_000_000_000 + random.integers(0, 900_000_000, moments),
        "y_mid": np.exp(x + spread),
        "x_mid": np.exp(x),
    }


def staged(pair: str, moments: Any) -> list[dict[str, float]]:
    """What the three model stages say of the same moments, through their facts."""
    config = LineConfig(pairs=(PairConfig(pair=pair, capital_quote=1e4),), grid_ms=1000)
    stages = [stage.STAGE for stage in (kalman_filter, garch_model, risk_manager)]
    states = [stage.start(config) for stage in stages]
    rows, index = [], 0
    for event in (assignment(pair), *ticks(pair, moments)):
        facts: tuple = (event,)
        for stage, state in zip(stages, states, strict=True):
            facts = tuple(made for fact in facts for made in stage.step(state, fact))
        if isinstance(facts[0], RiskView):
            rows.append(row_of(facts[0]))
            index += 1
    assert index == len(moments)
    return rows


def row_of(view: RiskView) -> dict[str, float]:
    hedge = np.frombuffer(view.hedges, HEDGE)[0]
    volatility = np.frombuffer(view.volatilities, VOLATILITY)[0]
    y, x = log(view.tick.y_bid), log(view.tick.x_bid)
    spread = y - hedge["intercept"] - hedge["hedge_ratio"] * x
    return {
        "hedge_ratio": hedge["hedge_ratio"],
        "intercept": hedge["intercept"],
        "innovation": hedge["innovation"],
        "spread_sd": volatility["spread_sd"],
        "z": spread / volatility["spread_sd"],
        "run_length": np.frombuffer(view.risks, RISK)[0]["run_length"],
    }


def assignment(pair: str) -> SlotAssigned:
    return SlotAssigned(
        time_ns=0,
        effective_ns=0,
        pair=pair,
        slot=0,
        generation=1,
        role="champion",
        parameters=PARAMETERS,
        parameters_sha256=parameter_sha256(PARAMETERS),
        model_version="1",
        run_id="",
        copy_from=-1,
        warmup_s=0.0,
        slots_version=1,
    )


def ticks(pair: str, moments: Any) -> list[PairTick]:
    """A tick for each moment; both tops are at the mid."""
    made, before = [], 0
    for time_ns, y, x in moments.itertuples(index=False):
        index = time_ns // 1_000_000_000
        quote = Quote(time_ns, time_ns, pair.split("~")[0], y, 1.0, y, 1.0)
        made.append(
            PairTick(
                time_ns=time_ns,
                pair=pair,
                leg="y",
                event=quote,
                y_bid=y,
                y_bid_size=1.0,
                y_ask=y,
                y_ask_size=1.0,
                x_bid=x,
                x_bid_size=1.0,
                x_ask=x,
                x_ask_size=1.0,
                y_time_ns=time_ns,
                x_time_ns=time_ns,
                grid_steps=index - before if before else 1,
                slots_version=1,
                stale=False,
                more=False,
            )
        )
        before = index
    return made
