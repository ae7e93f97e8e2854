"""Tell Slack how a deployment went, in the guide's words.

    python scripts/ci/slack.py success|failure ENVIRONMENT [NAME=VALUE...]

A success says coverage, duration and version, a failure stage, details and logs; what is not known
is left out. SLACK_WEBHOOK is the address; where it is unset nothing is sent, and that is said. The
rest comes from the environment of a workflow's run: GITHUB_REF_NAME, GITHUB_SHA, RUN_URL, STARTED
(seconds since 1970), COVERAGE_FILE, a coverage.xml, NEEDS, the jobs before this with results, and
JOBS_FILE of scripts/ci/jobs.sh, which knows their names, and the steps that failed.
"""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

ANSWER_S_MAX = 20.0
# What took longer than it may is cancelled, to GitHub.
FAILED = ("failure", "cancelled", "timed_out")
USAGE = "slack: usage: scripts/ci/slack.py success|failure ENVIRONMENT [NAME=VALUE...]\n"


def message(outcome: str, environment: str, known: Mapping[str, str]) -> str:
    """The text of a deployment's outcome; `known` holds the fields by name, in small letters."""
    if outcome == "success":
        head = f"✅ HFT Crypto Bot successfully deployed to {environment}!"
        fields = {"coverage": "📊 Coverage", "duration": "🕐 Duration", "version": "🏷️ Version"}
    else:
        head = f"❌ HFT Crypto Bot {environment} deployment failed!"
        fields = {"stage": "🔍 Stage", "details": "📋 Details", "logs": "🔗 Logs"}
    lines = [f"{label}: {known[name]}" for name, label in fields.items() if known.get(name)]
    return "\n".join([head, *lines])


def of_run(environ: Mapping[str, str], now_s: float) -> dict[str, str]:
    """The fields that a run's environment tells."""
    known = {}
    if sha := environ.get("GITHUB_SHA"):
        known["version"] = f"{environ.get('GITHUB_REF_NAME', '')}-{sha[:7]}".lstrip("-")
    if started := environ.get("STARTED"):
        minutes, seconds = divmod(max(round(now_s - float(started)), 0), 60)
        known["duration"] = f"{minutes}m {seconds}s"
    if url := environ.get("RUN_URL"):
        known["logs"] = f"<{url}|View Details>"
    needs = json.loads(environ.get("NEEDS") or "{}")
    known["stage"] = ", ".join(job for job in needs if needs[job]["result"] in FAILED)
    known |= of_jobs(Path(environ.get("JOBS_FILE", "")))
    file = Path(environ.get("COVERAGE_FILE", ""))
    if file.is_file():
        rate = float(ElementTree.parse(file).getroot().attrib["line-rate"])
        known["coverage"] = f"{100.0 * rate:.0f}%"
    return known


def of_jobs(file: Path) -> dict[str, str]:
    """Stage and details: the jobs that failed, and of each the step; nothing where none is told."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    failed = [job for line in lines if (job := json.loads(line))["conclusion"] in FAILED]
    steps = [step["name"] for job in failed for step in job["steps"] if _failed(step)]
    told = {"stage": [job["name"] for job in failed], "details": steps}
    return {name: ", ".join(dict.fromkeys(words)) for name, words in told.items() if words}


def _failed(step: Mapping[str, str]) -> bool:
    return step["conclusion"] in FAILED


def send(webhook: str, text: str) -> None:
    """Post the text; raises OSError where Slack does not take it."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(webhook, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=ANSWER_S_MAX):
        pass


def main() -> int:
    """Send what the words and the environment say; 1 where Slack did not take it."""
    outcome, environment, *pairs = [*sys.argv[1:], "", ""]
    given = [pair.partition("=") for pair in pairs if pair]
    if outcome not in ("success", "failure") or not environment or not all(g[1] for g in given):
        sys.stderr.write(USAGE)
        return 2
    known = of_run(os.environ, time.time()) | {name: value for name, _, value in given}
    text = message(outcome, environment, known)
    webhook = os.environ.get("SLACK_WEBHOOK", "")
    if not webhook:
        sys.stderr.write(f"slack: SLACK_WEBHOOK is unset, nothing is sent:\n{text}\n")
        return 0
    try:
        send(webhook, text)
    except OSError as error:
        # The address is a secret, and an error's own text may hold it.
        sys.stderr.write(f"slack: the message was not taken: {type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
