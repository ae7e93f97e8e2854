"""Six processes and a real broker: the figures on their pages are those of what they wrote."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.runtime.meter import ORDER
from tests.integration.six import NAMES, Played, SixProcesses, recorded
from tests.integration.test_six_services import is_through

pytestmark = pytest.mark.slow
Samples = dict[str, dict[tuple[str, ...], float]]


def samples(six: SixProcesses, name: str) -> Samples:
    """A service's figures by metric and the values of its labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(six.page(name, "/metrics")[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_pages_count_what_the_line_wrote_and_records_name_the_tick(
    six: SixProcesses, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    six.start()
    six.await_ready()
    six.wait_for("through", lambda: is_through(six, played), 300.0)
    told = recorded(six.servers)
    shown = {name: samples(six, name) for name in NAMES}
    assert sum(shown["execution"]["hft_orders_total"].values()) == told.orders > 0
    assert sum(shown["execution"]["hft_fills_total"].values()) == told.fills > 0
    for name in NAMES:
        counts = shown[name]["hft_tick_latency_seconds_count"]
        assert counts[(name,)] > 0.0, f"{name} has timed what it read"
    assert shown["execution"]["hft_tick_latency_seconds_count"][(ORDER,)] == told.orders
    for name in ("kalman_filter", "garch_model"):
        assert shown[name]["hft_innovation_mean_square"]
    assert shown["execution"]["hft_position_base"] and shown["execution"]["hft_pnl_quote"]
    six.wait_for(
        "in the ledger",
        lambda: samples(six, "orchestrator").get("hft_ledger_lag") == {(): 0.0},
    )
    orders = [line for line in six.log("execution").splitlines() if "client_order_id" in line]
    assert len(orders) == shown["execution"]["hft_orders_total"][("capital",)] > 0
    assert all("trace" in line and "feed-" in line for line in orders)
    (tmp_path / "execution.prom").write_text(six.page("execution", "/metrics")[1])
