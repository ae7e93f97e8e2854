"""Settings: defaults for a laptop, one sentence for every broken rule, and no secret ever shown."""

import hashlib
import traceback
from pathlib import Path

import pytest

from serving.runtime.settings import OPTIONAL, VARIABLES, Settings, SettingsError, load_settings

SECRET = "s3cr3t-value"
KEYS = {"BINANCE_API_KEY": "key", "BINANCE_API_SECRET": SECRET}
# Made up here, so that no file holds what looks like a secret.
VIEWER, OPERATOR = (hashlib.sha256(role).hexdigest() for role in (b"viewer", b"operator"))
LIVE = {**KEYS, "EXCHANGE": "binance", "BINANCE_TESTNET": "false"}


@pytest.fixture(autouse=True)
def folder_without_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(environ: dict[str, str], dotenv: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, dotenv)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    return str(caught.value)


def test_an_empty_environment_gives_a_laptop_that_needs_no_keys(tmp_path: Path) -> None:
    settings = load_settings({})
    assert (settings.environment, settings.log_level, settings.exchange) == (
        "development",
        "INFO",
        "simulated",
    )
    assert settings.binance_testnet is True
    assert settings.hft_home == tmp_path / "runs"
    assert settings.mlflow_tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert (settings.evop_max_challengers, settings.champion_initial_capital) == (4, 10000.0)
    assert settings.pairs == ()
    assert settings.kafka_bootstrap_servers is None
    assert settings.redis_url is None
    assert settings.database_url is None


def test_every_variable_is_read() -> None:
    environ = {
        "ENVIRONMENT": "production",
        "LOG_LEVEL": "debug",
        "EXCHANGE": "binance",
        "BINANCE_TESTNET": "false",
        **KEYS,
        "BINANCE_REST_URL": "https://rest.example",
        "BINANCE_WS_URL": "wss://stream.example/ws",
        "BINANCE_DATA_URL": "https://data.example",
        "KRAKEN_REST_URL": "https://rest.kraken.example",
        "KRAKEN_WS_URL": "wss://stream.kraken.example",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092,[::1]:9093",
        "REDIS_URL": "redis://redis:6379/0",
        "DATABASE_URL": "postgresql://hft@db:5432/hft",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "EVOP_MAX_CHALLENGERS": "5",
        "CHAMPION_INITIAL_CAPITAL": "500000.0",
        "PAIRS": "BTC/USDT:USDT~BTC/USDT, ETH/USDT:USDT~ETH/USDT",
        "HFT_HOME": "/var/hft",
        "HFT_VIEWER_TOKEN": VIEWER,
        "HFT_OPERATOR_TOKEN": OPERATOR,
    }
    assert set(environ) == set(VARIABLES)
    settings = load_settings(environ)
    defaults = load_settings({})
    for name in Settings.model_fields:
        assert getattr(settings, name) != getattr(defaults, name), name
    assert settings.pairs == ("BTC/USDT:USDT~BTC/USDT", "ETH/USDT:USDT~ETH/USDT")
    assert settings.hft_home == Path("/var/hft")


def test_other_programs_variables_are_left_alone() -> None:
    assert load_settings({"PATH": "/bin", "hft_x": "1", "MLFLOW_X": "1"}) == load_settings({})


@pytest.mark.parametrize("name", ["HFT_HOEM", "EVOP_X", "BINANCE_KEY", "CHAMPION_CAPITAL"])
def test_an_unknown_variable_of_ours_is_refused(name: str) -> None:
    assert repr(name) in refusal({name: SECRET})


def test_a_misspelt_variable_is_answered_with_the_right_one() -> None:
    assert refusal({"HFT_HOEM": "x"}).endswith("did you mean HFT_HOME")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "laptop"),
        ("LOG_LEVEL", "LOUD"),
        ("EXCHANGE", "kraken"),
        ("BINANCE_TESTNET", "perhaps"),
        ("BINANCE_REST_URL", "wss://stream.example"),
        ("BINANCE_REST_URL", "https://"),
        ("BINANCE_REST_URL", "https://host:99999"),
        ("BINANCE_WS_URL", "https://stream.example"),
        ("BINANCE_DATA_URL", "data.example"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,services:word@kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "services@kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "services:@kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "services:word@"),
        ("REDIS_URL", "http://redis:6379"),
        ("REDIS_URL", "redis://re dis"),
        ("DATABASE_URL", "mysql://db/hft"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite://file.db"),
        ("MLFLOW_TRACKING_URI", "./mlruns"),
        ("MLFLOW_TRACKING_URI", "file:///tmp/mlruns"),
        ("EVOP_MAX_CHALLENGERS", "0"),
        ("EVOP_MAX_CHALLENGERS", "33"),
        ("EVOP_MAX_CHALLENGERS", "2.5"),
        ("CHAMPION_INITIAL_CAPITAL", "nan"),
        ("CHAMPION_INITIAL_CAPITAL", "inf"),
        ("CHAMPION_INITIAL_CAPITAL", "-1.0"),
        ("CHAMPION_INITIAL_CAPITAL", "0"),
        ("CHAMPION_INITIAL_CAPITAL", "1e13"),
        ("CHAMPION_INITIAL_CAPITAL", "much"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name: str, value: str) -> None:
    sentence = refusal({name: value})
    assert sentence.startswith(f"{name} must ")
    assert "was '" in sentence


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - OPTIONAL))
@pytest.mark.parametrize("value", ["", " "])
def test_what_always_has_a_value_is_never_empty(name: str, value: str) -> None:
    assert refusal({name: value}) == f"{name} must not be empty, was {value!r}"


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_an_empty_optional_variable_is_an_unset_one(name: str) -> None:
    assert load_settings({name: ""}) == load_settings({})


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    assert refusal({"HFT_HOME": "taken"}) == "HFT_HOME must be a folder, was 'taken'"


@pytest.mark.parametrize(
    "pair",
    [
        "BTC/USDT",
        "BTC/USDT~",
        "BTC/USDT~BTC/USDT",
        "btc/usdt:usdt~btc/usdt",
        "BTCUSDT~ETHUSDT",
        "BTC/USDT:USDT~BTC/USDT~ETH/USDT",
        "BTC/USDT:~ETH/USDT",
        "A/B~C/D,A/B~C/D",
        "A/B~C/D,",
    ],
)
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    assert refusal({"PAIRS": pair}).startswith("PAIRS must ")


def test_trading_needs_both_keys() -> None:
    assert "needs BINANCE_API_KEY" in refusal({"EXCHANGE": "binance"})
    assert "together" in refusal({"BINANCE_API_SECRET": SECRET})


def test_a_malformed_key_is_refused_and_not_shown() -> None:
    assert "white space" in refusal({**KEYS, "BINANCE_API_SECRET": f"{SECRET} {SECRET}"})


@pytest.mark.parametrize(
    "token",
    [
        VIEWER[:31],
        "operator",
        "ab" * 24,
        VIEWER[:16] * 3,
        "aaaabbbbccccddddeeeeffffgggg" + "aaab",
        f"{VIEWER[:20]} {VIEWER[:20]}",
        f"{VIEWER}é",
    ],
)
@pytest.mark.parametrize("name", ["HFT_VIEWER_TOKEN", "HFT_OPERATOR_TOKEN"])
def test_a_token_that_can_be_guessed_is_refused_with_the_rule_and_not_shown(
    name: str, token: str
) -> None:
    sentence = refusal({name: token})
    assert sentence.startswith(f"{name} must be at least 32 ASCII characters")
    assert token not in sentence


def test_two_roles_with_one_token_are_refused() -> None:
    assert "must differ" in refusal({"HFT_VIEWER_TOKEN": VIEWER, "HFT_OPERATOR_TOKEN": VIEWER})


def test_real_money_is_never_a_default() -> None:
    assert "needs ENVIRONMENT=production" in refusal(LIVE)
    assert not load_settings({**LIVE, "ENVIRONMENT": "production"}).binance_testnet
    unsaid = {**KEYS, "EXCHANGE": "binance", "ENVIRONMENT": "production"}
    assert "must say BINANCE_TESTNET" in refusal(unsaid)


def test_a_stand_in_for_the_exchange_needs_no_production() -> None:
    settings = load_settings({**LIVE, "BINANCE_REST_URL": "http://127.0.0.1:9000"})
    assert settings.exchange == "binance"


def test_production_sends_no_key_in_the_clear() -> None:
    production = {**LIVE, "ENVIRONMENT": "production"}
    sentence = refusal({**production, "BINANCE_REST_URL": "http://rest.example"})
    assert sentence.startswith("BINANCE_REST_URL must be https")
    local = {**production, "BINANCE_REST_URL": "http://localhost:9000"}
    assert load_settings(local).binance_rest_url == "http://localhost:9000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://hft:{SECRET}@db/hft"),
        ("DATABASE_URL", f"hft:{SECRET}@db"),
        ("KAFKA_BOOTSTRAP_SERVERS", f"kafka:9092,services:{SECRET}@kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", f"services:{SECRET}:{SECRET}@kafka:9092"),
        ("REDIS_URL", f"redis://:{SECRET}@re dis"),
        ("REDIS_URL", f"redis://:{SECRET}@host:99999/0?password={SECRET}"),
        ("MLFLOW_TRACKING_URI", f"ftp://{SECRET}@mlflow"),
    ],
)
def test_a_refused_address_keeps_its_password_to_itself(name: str, value: str) -> None:
    assert "********" in refusal({name: value})


def test_what_is_printed_masks_every_secret() -> None:
    settings = load_settings(
        {
            **KEYS,
            "DATABASE_URL": f"postgresql://hft:{SECRET}@db:5432/hft",
            "KAFKA_BOOTSTRAP_SERVERS": f"services:{SECRET}@kafka:9092,kafka2:9092",
            "REDIS_URL": f"redis://:{SECRET}@redis:6379/0?password={SECRET}",
        }
    )
    printed = settings.printable()
    assert tuple(printed) == VARIABLES
    assert printed["BINANCE_API_SECRET"] == "********"
    assert printed["DATABASE_URL"] == "postgresql://hft:********@db:5432/hft"
    assert printed["BINANCE_TESTNET"] == "true"
    assert printed["KAFKA_BOOTSTRAP_SERVERS"] == "services:********@kafka:9092,kafka2:9092"
    assert printed["KRAKEN_WS_URL"] == ""
    for told in (repr(settings), str(settings), str(printed)):
        assert SECRET not in told
    assert settings.binance_api_secret is not None
    assert settings.binance_api_secret.get_secret_value() == SECRET


def test_the_environment_wins_over_the_dotenv_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('EXCHANGE=paper\nexport LOG_LEVEL="ERROR" # quiet\n\n')
    settings = load_settings({"LOG_LEVEL": "DEBUG"})
    assert (settings.exchange, settings.log_level) == ("paper", "DEBUG")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("OTHER=1\n", "'OTHER'"),
        ("exchange=paper\n", "'exchange'"),
        ("EXCHANGE=paper\nEXCHANGE=simulated\n", "EXCHANGE twice"),
        (f"EXCHANGE=paper\n{SECRET}\n", "line 2"),
        (f"EXCHANGE=paper\nREDIS_URL='{SECRET}\n", "line 2"),
    ],
)
def test_a_dotenv_with_anything_else_in_it_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / ".env").write_text(text)
    assert told in refusal({})


def test_a_dotenv_may_hold_what_compose_reads_of_it_and_no_slip(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STACK_REDIS_PASSWORD=abc\nLOG_LEVEL=ERROR\n")
    assert load_settings({}, tmp_path / ".env").log_level == "ERROR"
    (tmp_path / ".env").write_text("STAK_REDIS_PASSWORD=abc\n")
    assert "STAK_REDIS_PASSWORD" in refusal({}, tmp_path / ".env")


def test_a_dotenv_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "readable" in refusal({}, tmp_path / "absent.env")
    (tmp_path / "latin.env").write_bytes(b"EXCHANGE=\xff\n")
    assert "readable" in refusal({}, tmp_path / "latin.env")


def test_dotenv_values_are_taken_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "paper")
    (tmp_path / ".env").write_text("EXCHANGE=${SECRET_OF_THE_SHELL}\n")
    assert "was '${SECRET_OF_THE_SHELL}'" in refusal({})


def test_settings_do_not_change_after_the_start() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load_settings({}), "exchange", "binance")
