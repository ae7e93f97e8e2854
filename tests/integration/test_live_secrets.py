"""A live run with keys, tokens and passwords set: none is in what it says, shows or writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from hft_lib.market.tape import Tape
from serving.runtime.settings import SECRETS
from tests.integration.memory_line import NAMES, Serving
from tests.integration.test_paper import PAIR, set_file
from tests.integration.test_secrets import asked, guarded, made_up, values
from tests.market.generated import Generated
from tests.market.server import Market

pytestmark = pytest.mark.slow
__all__ = ["guarded"]  # a fixture


@pytest.fixture
def market() -> Iterator[Market]:
    """A market of its own, at its own pace."""
    with Market(Generated(seed=13)) as served:
        yield served


def environment(market: Market, redis_port: int) -> dict[str, str]:
    """Every setting of a live run that may hold a secret, holding one."""
    given = values(redis_port, 1)
    for name, url in (("REST", market.rest_url), ("WS", market.ws_url)):
        known = urlsplit(url)
        secret = made_up(f"BINANCE_{name}_URL")
        given[f"BINANCE_{name}_URL"] = f"{known.scheme}://me:{secret}@{known.netloc}"
    del given["DATABASE_URL"], given["MLFLOW_TRACKING_URI"]
    return given | {"EXCHANGE": "paper", "PAIRS": PAIR, "LOG_LEVEL": "DEBUG"}


def test_no_secret_of_a_live_run_is_in_log_page_tape_journal_or_traceback(
    guarded: int, market: Market, tmp_path: Path, outside_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(market, guarded)
    assert SECRETS <= set(given) and "BINANCE_API_KEY" in given
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "params.json").write_bytes(msgspec.json.encode(set_file()))
    bearer = {"Authorization": f"Bearer {given['HFT_OPERATOR_TOKEN']}"}
    serving, verbs = Serving(tmp_path), outside_of(tmp_path)
    told: dict[str, str] = {}
    try:
        serving.start("all", "--params", str(tmp_path / "params.json"))
        serving.await_ready()
        serving.wait_for("fed", lambda: '"is_open":true' in "".join(asked(serving, bearer)))
        told["well"] = "".join(asked(serving, bearer))
        for fault in ("corrupt", "poison"):
            market.inject(fault, rate=0.5, for_s=2.0)
        market.inject("garbage_body", for_s=2.0)
        market.inject("gap", count=2)
        market.inject("refuse", for_s=3.0)
        serving.wait_for("lost", lambda: "Cannot connect" in serving.log)
        told["ill"] = "".join(asked(serving, bearer))
        recorded = verbs("tape", "record", "--pair", PAIR, "--for", "2s", "--out", "recorded")
        assert recorded.code == 0, recorded.err
        told["record"] = recorded.out + recorded.err
    finally:
        serving.stop()
    told["log"] = serving.log
    assert told["well"].count("/state 200") == len(NAMES)
    assert Tape.open(tmp_path / "recorded").rows > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"journal", "rejected.jsonl"} <= {path.name for path in files}
    secrets = {name: made_up(name) for name in given if made_up(name) in given[name]}
    assert len(secrets) > 5
    shown = [(n, where) for n, s in secrets.items() for where, text in told.items() if s in text]
    contents = {path: path.read_bytes() for path in files}
    written = [
        (name, str(path.relative_to(tmp_path)))
        for path, content in contents.items()
        for name, secret in secrets.items()
        if secret.encode() in content
    ]
    assert (shown, written) == ([], [])
