"""Stands for GitHub's command: it notes each call, answers from a plan, and fails where told.

The folder STAND_IN holds `plan.json`, of which every key may be absent: `answers`, by the path of a
question; `fail`, the numbers of calls that fail, from 1; and `calls.jsonl`, argv and stdin of each.
"""

import json
import os
import sys
from pathlib import Path


def main() -> int:
    """One call."""
    home = Path(os.environ["STAND_IN"])
    given = sys.stdin.read() if "--input" in sys.argv or "--body-file" in sys.argv else ""
    with (home / "calls.jsonl").open("a+") as calls:
        calls.write(json.dumps({"argv": sys.argv[1:], "stdin": given}) + "\n")
        calls.seek(0)
        number = len(calls.readlines())
    plan = json.loads((home / "plan.json").read_text())
    if number in plan.get("fail", []):
        sys.stderr.write(f"gh: call {number} fails as told (HTTP 500)\n")
        return 1
    for path, answer in plan.get("answers", {}).items():
        if path in sys.argv:
            sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))
            return 0
    if "--method" in sys.argv or sys.argv[1] != "api":
        return 0
    sys.stderr.write("gh: Not Found (HTTP 404)\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
