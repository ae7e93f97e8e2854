"""Write the record of a workflow's run, from which `scripts/pipeline_metrics.py` makes figures.

    python3 scripts/ci/run_record.py FOLDER FILE

FOLDER holds `jobs.jsonl` of scripts/ci/jobs.sh, and where there were any: `reports/coverage.xml`,
`digests/IMAGE` of what was built, and `boms/sbom-IMAGE.spdx.json`. The commit and the times when
the locks were updated are git's; GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT and GITHUB_REF_NAME say the
rest.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

LOCKS_SINCE = "90 days ago"
ENDED = ("success", "failure", "cancelled", "timed_out")
CUT_OFF = ("cancelled", "timed_out")
DEPLOYING = "Deploy,"  # what the step that changes a cluster begins with


def stage_of(name: str) -> str:
    """A job's name without its matrix's values and without the job that it calls."""
    return re.sub(r" \(.*| / .*", "", name)


def result_of(job: dict[str, Any]) -> str:
    """How a job ended; a deployment that was cut off half-way failed."""
    begun = [step["name"] for step in job["steps"] if step["conclusion"] in ENDED]
    if job["conclusion"] in CUT_OFF and any(name.startswith(DEPLOYING) for name in begun):
        return "failure"
    return str(job["conclusion"])


def jobs(path: Path) -> Iterator[dict[str, str]]:
    """What ran and ended; the job that writes this has not."""
    for line in path.read_text(encoding="utf-8").splitlines():
        job: dict[str, Any] = json.loads(line)
        if job["conclusion"] in ENDED and job["started_at"] and job["completed_at"]:
            known = {"stage": stage_of(job["name"]), "result": result_of(job)}
            yield known | {"began": job["started_at"], "ended": job["completed_at"]}


def coverage(path: Path) -> float | None:
    """The share of lines that the tests reached; None where they made no report."""
    if not path.is_file():
        return None
    return float(ElementTree.parse(path).getroot().attrib["line-rate"])


def names(folder: Path, pattern: str) -> list[str]:
    """The first group of `pattern` in the names of a folder's files."""
    found = (re.fullmatch(pattern, path.name) for path in sorted(folder.glob("*")))
    return [match[1] for match in found if match]


def git(*words: str) -> list[str]:
    """The lines of git's answer."""
    done = subprocess.run(("git", *words), capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def record(folder: Path) -> dict[str, Any]:
    """All that is known of the run."""
    updated = ("log", f"--since={LOCKS_SINCE}", "--format=%cI", "--", "requirements/*.lock")
    commit, committed = git("log", "-1", "--format=%H %cI")
    return {
        "run": int(os.environ["GITHUB_RUN_ID"]),
        "attempt": int(os.environ["GITHUB_RUN_ATTEMPT"]),
        "branch": os.environ["GITHUB_REF_NAME"],
        "commit": commit,
        "committed": committed,
        "jobs": list(jobs(folder / "jobs.jsonl")),
        "coverage": coverage(folder / "reports" / "coverage.xml"),
        "images": names(folder / "digests", r"(\w+)"),
        "boms": names(folder / "boms", r"sbom-(\w+)\.spdx\.json"),
        "locks_updated": git(*updated),
    }


def main() -> None:
    """Write the file."""
    folder, file = map(Path, sys.argv[1:3])
    made = record(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
