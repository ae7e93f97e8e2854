"""Refuse an image with a critical vulnerability, and keep an issue of each.

    python scripts/ci/critical_issues.py SARIF_FILE

The file is Trivy's. Exit code 1 where it holds a finding of severity 9.0 (CVSS's "critical") or
more, or one that Trivy calls critical, or is no report. With GH_TOKEN,
GITHUB_REPOSITORY and RUN_URL in the environment an issue is opened for each, unless one of its
title is open; without the first nothing is written.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

CRITICAL = 9.0
LABEL = "security"


class Finding(NamedTuple):
    """One vulnerability of one image."""

    rule: str
    where: str
    text: str

    @property
    def title(self) -> str:
        """What its issue is called: the same for the same finding."""
        return f"Critical vulnerability {self.rule} in {self.where}"


def findings(report: dict[str, Any]) -> list[Finding]:
    """The critical ones of a SARIF report, each once.

    Raises KeyError or TypeError where it is no report.
    """
    found: dict[tuple[str, str], Finding] = {}
    for run in report["runs"]:
        severities = {rule["id"]: _severity(rule) for rule in run["tool"]["driver"]["rules"]}
        for result in run["results"]:
            if severities[result["ruleId"]] >= CRITICAL:
                place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
                finding = Finding(result["ruleId"], place, result["message"]["text"])
                found.setdefault((finding.rule, finding.where), finding)
    return list(found.values())


def _severity(rule: dict[str, Any]) -> float:
    """Its CVSS score, and never below critical where Trivy itself calls it that."""
    known = rule.get("properties", {})
    score = float(known.get("security-severity", 0.0))
    return max(score, CRITICAL) if "CRITICAL" in known.get("tags", ()) else score


def gh(*arguments: str) -> str:
    """Call GitHub's command, and give back its answer."""
    done = subprocess.run(
        ("gh", *arguments), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def publish(found: list[Finding], repository: str, run_url: str) -> None:
    """Open an issue for each finding that has no open one."""
    gh("label", "create", LABEL, "--repo", repository, "--force")
    listed = ("issue", "list", "--repo", repository, "--label", LABEL, "--state", "open")
    answer = gh(*listed, "--limit", "1000", "--json", "title")
    known = {issue["title"] for issue in json.loads(answer)}
    for finding in found:
        if finding.title not in known:
            body = f"{finding.text}\n\n[The scan]({run_url})"
            made = ("issue", "create", "--repo", repository, "--label", LABEL)
            gh(*made, "--title", finding.title, "--body", body)


def main() -> int:
    """Say what is critical, and refuse it."""
    try:
        found = findings(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"critical: {sys.argv[1]} must be a SARIF report, was none: {error!r}\n")
        return 1
    for finding in found:
        sys.stderr.write(f"critical: {finding.title}\n")
    if found and os.environ.get("GH_TOKEN"):
        publish(found, os.environ["GITHUB_REPOSITORY"], os.environ["RUN_URL"])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
