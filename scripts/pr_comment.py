"""Say on a pull request how its quick validation went, in one comment that is kept up to date.

    python scripts/pr_comment.py STEPS_FILE

STEPS_FILE is what `scripts/step.sh` wrote: name, verdict and seconds of each step, tabs between.
The environment names the rest: GITHUB_REPOSITORY, PR_NUMBER, RUN_URL, RESULT (the job's own
word, which holds even where it ended before its first step) and, for the `gh` command, GH_TOKEN.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

MARKER = "<!-- quick-validation -->"


def comment(steps: list[tuple[str, str, str]], result: str, run_url: str) -> str:
    """The comment's text, a Markdown table of the steps under the job's result."""
    mark = "✅" if result == "success" else "❌"
    seconds = sum(int(row[2]) for row in steps)
    lines = [
        MARKER,
        f"{mark} **Quick validation: {result}** in {seconds} s ([log]({run_url}))",
        "",
        "| Step | Result | Seconds |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {verdict} | {duration} |" for name, verdict, duration in steps]
    return "\n".join(lines if steps else [*lines[:2], "", "It ended before its first step."])


def read_steps(path: Path) -> list[tuple[str, str, str]]:
    """The rows of a steps file; none where the job never wrote one."""
    if not path.exists():
        return []
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(name, verdict, seconds) for name, verdict, seconds in rows]


def gh(*arguments: str, body: str | None = None) -> str:
    """Call GitHub's API through its command, and give back its answer."""
    command = ["gh", "api", *arguments]
    if body is not None:
        command += ["--input", "-"]
    sent = None if body is None else json.dumps({"body": body})
    done = subprocess.run(
        command, input=sent, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def publish(text: str, repository: str, number: str) -> None:
    """Write `text` over our earlier comment, or as the first one."""
    listed = gh(
        f"repos/{repository}/issues/{number}/comments?per_page=100",
        "--paginate",
        "--jq",
        f'.[] | select(.body | startswith("{MARKER}")) | .id',
    )
    ours = listed.split()
    if ours:
        gh(f"repos/{repository}/issues/comments/{ours[0]}", "--method", "PATCH", body=text)
    else:
        gh(f"repos/{repository}/issues/{number}/comments", "--method", "POST", body=text)


def main() -> None:
    """Publish the steps file named on the command line."""
    steps = read_steps(Path(sys.argv[1]))
    text = comment(steps, os.environ["RESULT"], os.environ["RUN_URL"])
    publish(text, os.environ["GITHUB_REPOSITORY"], os.environ["PR_NUMBER"])


if __name__ == "__main__":
    main()
