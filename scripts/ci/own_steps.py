"""Print a workflow of some of another's jobs, with the steps alone that are commands, and checkout.

    python scripts/ci/own_steps.py WORKFLOW JOB...

act does the checkout by itself, as a copy of the folder that it is in, where nothing else is asked
of it. What a job waits for and the services beside it are left out too: it is for running it alone.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

LEFT_OUT = ("needs", "services", "environment", "concurrency")


def _kept(step: dict[str, Any]) -> dict[str, Any] | None:
    """A step as it is kept, or None."""
    if str(step.get("uses", "")).startswith("actions/checkout@"):
        return {"uses": step["uses"]}
    return step if "run" in step else None


def own_steps(workflow: dict[Any, Any], names: list[str]) -> dict[str, Any]:
    """The jobs of these names; raises KeyError where there is none of a name."""
    jobs = {}
    for name in names:
        job = {key: value for key, value in workflow["jobs"][name].items() if key not in LEFT_OUT}
        jobs[name] = job | {"steps": [kept for step in job["steps"] if (kept := _kept(step))]}
    return {"name": "Own steps", "on": ["push"], "env": workflow.get("env", {}), "jobs": jobs}


def main() -> None:
    """Print it."""
    workflow = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(yaml.safe_dump(own_steps(workflow, sys.argv[2:]), sort_keys=False))


if __name__ == "__main__":
    main()
