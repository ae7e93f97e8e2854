"""Who hears of what: asked of Alertmanager's own tool."""

import pytest

from tests.monitoring.written import ALERTMANAGER, alerts, read, run


def test_alertmanager_takes_the_configuration_and_its_messages():
    done = run("amtool", "check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("pager-and-slack", ("alertname=latch_pulled", "severity=critical")),
        ("slack", ("alertname=drawdown_near", "severity=warning")),
        ("slack", ("alertname=promotion", "severity=info")),
        ("heartbeat", ("alertname=watchdog", "severity=info")),
    ],
)
def test_in_production_an_alert_goes_to(receiver: str, labels: tuple[str, ...]):
    goes_to(receiver, "environment=production", *labels)


def test_in_staging_nobody_is_woken():
    goes_to("slack", "environment=staging", "alertname=latch_pulled", "severity=critical")


def goes_to(receiver: str, *labels: str) -> None:
    known = ("--config.file", ALERTMANAGER, f"--verify.receivers={receiver}")
    done = run("amtool", "config", "routes", "test", *known, *labels)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_follows_from_another_alert_is_one_that_exists():
    names = {rule["alert"] for rule in alerts()}
    for rule in read(ALERTMANAGER)["inhibit_rules"]:
        for side in ("source_matchers", "target_matchers"):
            for matcher in rule[side]:
                _, _, values = matcher.replace("=~", "=").partition("=")
                assert set(values.strip().strip('"').split("|")) <= names, matcher
        assert "environment" in rule["equal"]


def test_no_secret_is_written_down():
    text = ALERTMANAGER.read_text(encoding="utf-8")
    assert "hooks.slack.com" not in text and "routing_key:" not in text
    assert text.count("/etc/alertmanager/secrets/") == 3
