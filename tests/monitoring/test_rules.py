"""The rules of Prometheus: valid, each alert tested with its fault and without, and explained."""

import re
from pathlib import Path
from typing import Any

import pytest

from serving.services import SERVICES
from tests.monitoring.written import (
    PROMETHEUS,
    ROOT,
    RULE_TESTS,
    RUNBOOKS,
    alerts,
    read,
    run,
)

GUIDE = {
    "deployment_failure",
    "service_startup_time",
    "health_check_failure",
    "image_vulnerability_critical",
}
HEADINGS = [
    "## What it means",
    "## What to look at",
    "## What to do",
    "## How to know that it is over",
]
VERB = re.compile(r"`hft ([a-z-]+)(?: ([a-z-]+))?")


def test_prometheus_takes_the_configuration_and_every_rule():
    config = PROMETHEUS / "prometheus.yml"
    done = run("promtool", "check", "config", config, ENVIRONMENT="staging")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_over_their_faults_and_no_others(path: Path):
    done = run("promtool", "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def expectations() -> dict[bool, set[str]]:
    """The alerts that a test expects, and those that one expects not."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for path in RULE_TESTS:
        for case in read(path)["tests"]:
            for look in case.get("promql_expr_test", []):
                name = re.search(r'alertname="([a-z_]+)"', look["expr"])
                assert name is not None, f"{path.name}: {look['expr']}"
                found[bool(look["exp_samples"])].add(name[1])
    return found


def test_every_alert_is_tested_with_its_fault_and_without():
    names = {rule["alert"] for rule in alerts()}
    found = expectations()
    assert found[True] == names
    assert found[False] == names - {"watchdog"}  # which always fires


def test_the_four_alerts_of_the_guide_are_there():
    assert GUIDE <= {rule["alert"] for rule in alerts()}


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        said = rule["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}, rule["alert"]
        assert said["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_every_alert_has_its_page_and_every_page_its_alert():
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for rule in alerts()}
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == pages


def pages() -> list[Path]:
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.stem != "README")


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_a_page_has_its_four_parts_and_its_links_lead_somewhere(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {path.stem}"
    assert [line for line in lines if line.startswith("## ")] == HEADINGS
    severities = {r["labels"]["severity"] for r in alerts() if r["alert"] == path.stem}
    assert all(severity in lines[2] for severity in severities), lines[2]
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(lines)):
        assert (path.parent / link).is_file(), link


def test_the_verbs_that_the_pages_name_exist():
    from typer.main import get_command

    from cli.verbs import app

    top: Any = get_command(app)
    for path in pages():
        for verb, sub in VERB.findall(" ".join(path.read_text(encoding="utf-8").split())):
            assert verb in top.commands, f"{path.name}: hft {verb}"
            group = getattr(top.commands[verb], "commands", None)
            if group is not None:
                assert sub in group, f"{path.name}: hft {verb} {sub}"


def test_prometheus_scrapes_the_six_services_at_their_ports():
    jobs = {job["job_name"]: job for job in read(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    found = {item["labels"]["service"]: item["targets"] for item in jobs["hft"]["static_configs"]}
    assert found == {
        service.name: [f"{service.name.replace('_', '-')}-service:{service.port}"]
        for service in SERVICES
    }
    assert (ROOT / "monitoring" / "prometheus" / "rules").is_dir()
