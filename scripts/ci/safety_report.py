"""Judge a report of `safety check`: python scripts/ci/safety_report.py REPORT LOCK

Exit code 0 where every package of LOCK was looked up and none has a known vulnerability, else 1: a
report that is empty, is none, or leaves packages out says nothing of them.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==", re.MULTILINE)


def faults(report: str, lock: str) -> list[str]:
    """What is wrong, a sentence each; empty where all is well."""
    try:
        found: Any = json.loads(report[report.index("{") :])
        scanned = {_plain(name) for name in found["scanned_packages"]}
        vulnerabilities = found["vulnerabilities"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"the report must be one of `safety check --output json`, was none: {error!r}"]
    missing = sorted(set(PIN.findall(lock)) - scanned)
    wrong = [f"every package must be looked up, was not: {', '.join(missing)}"] if missing else []
    return wrong + [_sentence(item) for item in vulnerabilities]


def _sentence(item: dict[str, Any]) -> str:
    fix = ", ".join(item.get("fixed_versions") or ()) or "none yet"
    what = item.get("CVE") or item["vulnerability_id"]
    return f"{item['package_name']} {item['analyzed_version']} has {what}, fixed in: {fix}"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Say what is wrong, and how it ended."""
    report, lock = (Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])
    wrong = faults(report, lock)
    for sentence in wrong:
        sys.stderr.write(f"safety: {sentence}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
