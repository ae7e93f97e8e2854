"""Six processes and a real broker: the figures on their pages are those of what they wrote."""

from html import escape
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hft_lib.plots.words import money
from serving.orchestrator.decisions import LATEST_MAX
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
    the_models_are_judged(six)
    assert shown["execution"]["hft_position_base"] and shown["execution"]["hft_pnl_quote"]
    six.wait_for(
        "in the ledger",
        lambda: samples(six, "orchestrator").get("hft_ledger_lag") == {(): 0.0},
    )
    orders = [line for line in six.log("execution").splitlines() if "client_order_id" in line]
    assert len(orders) == shown["execution"]["hft_orders_total"][("capital",)] > 0
    assert all("trace" in line and "feed-" in line for line in orders)
    (tmp_path / "execution.prom").write_text(six.page("execution", "/metrics")[1])
    the_page_shows_what_the_line_says(six)
    (tmp_path / "page.html").write_text(six.page("orchestrator", "/")[1])
    a_listener_does_not_hold_up_the_end(six)


def the_models_are_judged(six: SixProcesses) -> None:
    """The figures of garch_model, `hft status` and the page say the same of every slot."""
    slots = {str(row["slot"]) for row in six.state("execution")["holdings"] if row["slot"] >= 0}

    def judged() -> set[str]:
        return {slot for _, slot in samples(six, "garch_model").get("hft_model_observations", {})}

    six.wait_for("every slot judged", lambda: judged() == slots)
    rows = six.verb("status", "--json").json["models"]
    assert {str(row["slot"]) for row in rows} == slots
    six.wait_for("on the page", lambda: ", champion</th>" in six.page("orchestrator", "/")[1])


def the_page_shows_what_the_line_says(six: SixProcesses) -> None:
    """Positions and PnL of execution, decisions of the ledger, services of their heartbeats."""
    six.wait_for("on the page", lambda: "TRADING" in six.page("orchestrator", "/")[1])
    status, page = six.page("orchestrator", "/")
    assert status == 200 and "6 of 6" in page and '<p class="word">RUNNING</p>' in page
    held = six.state("execution")["holdings"]
    assert len(held) > 1
    for row in held:
        pnl = money(row["equity_quote"], "USDT")
        assert f'{row["account"]}</th><td class="number">{pnl}</td>' in page, row
    told = six.verb("evop", "history", "--json").json["decisions"]
    assert {"start", "test", "promote"} <= {line["kind"] for line in told}
    for line in told[-LATEST_MAX:]:
        assert f"hft evop explain {line['number']}</code>" in page
        assert escape(line["reason"]) in page
    assert page.count("hft evop explain") == min(len(told), LATEST_MAX)
    assert six.verb("evop", "explain", told[-1]["number"], "--json").json["equal"]
    # Decisions from before a restart come from the ledger.
    six.kill("orchestrator")
    six.start("orchestrator")
    six.await_ready("orchestrator")
    six.wait_for(
        "decisions on the page again",
        lambda: six.page("orchestrator", "/")[1].count("hft evop explain")
        == min(len(told), LATEST_MAX),
    )


def a_listener_does_not_hold_up_the_end(six: SixProcesses) -> None:
    """A kill is on the page of who listens, and an open stream ends with the services."""
    url = f"{six.url('orchestrator')}/events"
    with httpx.stream("GET", url, timeout=30.0) as stream:
        lines = stream.iter_lines()
        next(line for line in lines if line.startswith("data: "))
        assert six.verb("kill", "--operator", "ada", "--reason", "a <drill>", "--json").code == 0
        next(line for line in lines if "HALTED" in line and "a &lt;drill&gt;" in line)
        assert set(six.stop().values()) == {0}
        assert all("HALTED" not in line for line in lines if line.startswith("event"))
