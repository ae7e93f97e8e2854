"""Slack is told the guide's fields, at an address that is never shown."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "ci" / "slack.py"
RUN = {"GITHUB_REF_NAME": "main", "GITHUB_SHA": "a1b2c3d" + "0" * 33, "RUN_URL": "https://ci/1"}


class Webhook(HTTPServer):
    """Takes messages in Slack's place."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.texts: list[str] = []
        self.status = 200

    @property
    def address(self) -> str:
        """Where to post, with a part that nobody may see."""
        return f"http://127.0.0.1:{self.server_port}/secret-part"


class Taking(BaseHTTPRequestHandler):
    """Keeps the text of a message."""

    server: Webhook

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.texts.append(json.loads(body)["text"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in an environment of its own."""
    environ = {"PATH": os.environ["PATH"], **environment}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_a_success_says_coverage_duration_and_version(webhook: Webhook, tmp_path: Path) -> None:
    coverage = tmp_path / "coverage.xml"
    coverage.write_text('<coverage line-rate="0.853"></coverage>')
    told = {"SLACK_WEBHOOK": webhook.address, "COVERAGE_FILE": str(coverage), **RUN}
    assert run("success", "staging", "duration=12m 34s", **told).returncode == 0
    assert webhook.texts == [
        "✅ HFT Crypto Bot successfully deployed to staging!\n"
        "📊 Coverage: 85%\n🕐 Duration: 12m 34s\n🏷️ Version: main-a1b2c3d"
    ]


def test_a_failure_says_stage_details_and_logs(webhook: Webhook) -> None:
    words = ("stage=Security Scanning", "details=Critical vulnerability in base image")
    done = run("failure", "staging", *words, SLACK_WEBHOOK=webhook.address, **RUN)
    assert done.returncode == 0
    assert webhook.texts == [
        "❌ HFT Crypto Bot staging deployment failed!\n🔍 Stage: Security Scanning\n"
        "📋 Details: Critical vulnerability in base image\n🔗 Logs: <https://ci/1|View Details>"
    ]


def test_the_stage_is_the_job_that_failed(webhook: Webhook) -> None:
    needs = {"test": {"result": "success"}, "security-scan": {"result": "failure"}}
    needs["deploy-staging"] = {"result": "skipped"}
    run("failure", "staging", SLACK_WEBHOOK=webhook.address, NEEDS=json.dumps(needs))
    assert "🔍 Stage: security-scan" in webhook.texts[0].splitlines()


def test_stage_and_details_are_the_jobs_and_steps_that_failed(
    webhook: Webhook, tmp_path: Path
) -> None:
    jobs = tmp_path / "jobs.jsonl"
    scan = {"name": "Security Scanning (execution)", "conclusion": "failure"}
    steps = [{"name": "Scan", "conclusion": "success"}, {"name": "Refuse", "conclusion": "failure"}]
    passed = {"name": "Notebooks", "conclusion": "success", "steps": []}
    jobs.write_text("\n".join(json.dumps(job) for job in (passed, scan | {"steps": steps})))
    needs = json.dumps({"security-scan": {"result": "failure"}})
    told = {"SLACK_WEBHOOK": webhook.address, "NEEDS": needs, "JOBS_FILE": str(jobs), **RUN}
    assert run("failure", "staging", **told).returncode == 0
    assert webhook.texts == [
        "❌ HFT Crypto Bot staging deployment failed!\n"
        "🔍 Stage: Security Scanning (execution)\n📋 Details: Refuse\n"
        "🔗 Logs: <https://ci/1|View Details>"
    ]


@pytest.mark.parametrize("cut_off", ["cancelled", "timed_out"])
def test_what_was_cut_off_is_told_as_what_failed_is(
    webhook: Webhook, tmp_path: Path, cut_off: str
) -> None:
    jobs = tmp_path / "jobs.jsonl"
    steps = [{"name": "Deploy, service by service", "conclusion": cut_off}]
    job = {"name": "Deploy to Production", "conclusion": cut_off, "steps": steps}
    jobs.write_text(json.dumps(job))
    needs = json.dumps({"deploy-production": {"result": "cancelled"}})
    told = {"SLACK_WEBHOOK": webhook.address, "NEEDS": needs}
    assert run("failure", "production", **told).returncode == 0
    assert run("failure", "production", JOBS_FILE=str(jobs), **told).returncode == 0
    assert "🔍 Stage: deploy-production" in webhook.texts[0]
    assert "🔍 Stage: Deploy to Production\n📋 Details: Deploy, service" in webhook.texts[1]


def test_the_duration_is_counted_from_the_start_of_the_run(webhook: Webhook) -> None:
    run("success", "production", SLACK_WEBHOOK=webhook.address, STARTED="0")
    assert "🕐 Duration: " in webhook.texts[0] and "m " in webhook.texts[0]


def test_a_refusal_is_a_failure_that_does_not_show_the_address(webhook: Webhook) -> None:
    webhook.status = 403
    done = run("success", "staging", SLACK_WEBHOOK=webhook.address)
    assert done.returncode == 1
    assert "HTTPError" in done.stderr and "secret-part" not in done.stderr


def test_without_an_address_nothing_is_sent_and_that_is_said() -> None:
    done = run("success", "staging", **RUN)
    assert done.returncode == 0 and "SLACK_WEBHOOK is unset" in done.stderr


@pytest.mark.parametrize("words", [(), ("success",), ("maybe", "staging"), ("success", "s", "x")])
def test_bad_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).returncode == 2
