"""What a log never holds: a value of a variable in a traceback, a secret of the settings."""

import hashlib
import json
import logging
import sys

import pytest
import structlog

from serving.runtime import logs
from serving.runtime.settings import load_settings
from tests.serving.runtime.test_settings import OPERATOR, VIEWER

PASSWORD = hashlib.sha256(b"a password").hexdigest()[:20]
SETTINGS = {
    "BINANCE_API_KEY": VIEWER[:30] + "-key",
    "BINANCE_API_SECRET": VIEWER[:30] + '"\\quoted',
    "REDIS_URL": f"redis://services:{PASSWORD}@redis:6379/0",
    "DATABASE_URL": f"postgresql://ledger:{PASSWORD[:10]}%40x@db/hft?password={PASSWORD[5:]}",
    "MLFLOW_TRACKING_URI": f"http://{PASSWORD[::-1]}@mlflow:5000",
    "HFT_VIEWER_TOKEN": VIEWER,
    "HFT_OPERATOR_TOKEN": OPERATOR,
}


def logged(capsys: pytest.CaptureFixture[str], programs: bool, said: str) -> str:
    """What comes of a failure that is logged with its traceback, and of `said`."""
    settings = load_settings(SETTINGS)
    structlog.configure(
        processors=logs.processors(settings, programs),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    log = structlog.get_logger("test")
    try:
        unrelated_local = "a value of a variable"
        try:
            raise RuntimeError(f"it fails, with {said}")
        except RuntimeError:
            log.error("failed", exc_info=True, length=len(unrelated_local))
        log.info(said, address=said, nested={"of": [said]})
    finally:
        structlog.reset_defaults()
    return capsys.readouterr().err


@pytest.mark.parametrize("programs", [False, True])
def test_a_traceback_is_told_without_the_values_of_variables(
    capsys: pytest.CaptureFixture[str], programs: bool
):
    told = logged(capsys, programs, "nothing")
    assert "RuntimeError" in told and "a value of a variable" not in told


@pytest.mark.parametrize("programs", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_secret_that_something_logs_is_hidden(
    capsys: pytest.CaptureFixture[str], programs: bool, name: str
):
    value = SETTINGS[name]
    told = logged(capsys, programs, value)
    secrets = load_settings(SETTINGS).secrets()
    assert "********" in told
    assert not [one for one in secrets if one in told or json.dumps(one)[1:-1] in told]


def test_the_secrets_are_found_wherever_a_setting_holds_one():
    held = load_settings(SETTINGS).secrets()
    assert held == {
        SETTINGS["BINANCE_API_KEY"],
        SETTINGS["BINANCE_API_SECRET"],
        VIEWER,
        OPERATOR,
        PASSWORD,
        f"{PASSWORD[:10]}%40x",
        f"{PASSWORD[:10]}@x",
        PASSWORD[5:],
        PASSWORD[::-1],
    }
    assert load_settings({}).secrets() == frozenset()
