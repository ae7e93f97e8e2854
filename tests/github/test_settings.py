"""The repository's settings say what the guide says, of jobs that there are."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / ".github" / "settings"
WORKFLOWS = ROOT / ".github" / "workflows"
GITHUB_ACTIONS = 15368  # the app whose word counts; another's check of the same name does not
MAIN: dict[str, Any] = json.loads((SETTINGS / "branches" / "main.json").read_text())


def workflow(name: str) -> dict[Any, Any]:
    """A workflow by its file."""
    return dict(yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8")))


def combinations(matrix: dict[str, Any]) -> list[dict[str, str]]:
    """A matrix's jobs. What `include` adds here overwrites no other's value, so it is one more."""
    axes = {key: values for key, values in matrix.items() if key != "include"}
    found = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    return found + matrix.get("include", [])


def checks_of(job: dict[str, Any]) -> Iterator[str]:
    """What GitHub calls the checks of a job: its matrix's values behind its name, and the name of
    each job that it calls behind that."""
    called = [""]
    if "uses" in job:
        file = job["uses"].rpartition("/")[2]
        called = [f" / {inner['name']}" for inner in workflow(file)["jobs"].values()]
    matrix = job.get("strategy", {}).get("matrix")
    values = [f" ({', '.join(each.values())})" for each in combinations(matrix)] if matrix else [""]
    for value, inner in itertools.product(values, called):
        yield f"{job['name']}{value}{inner}"


def runs_for_a_pull_request(job: dict[str, Any]) -> bool:
    """Whether a job runs for every pull request to main."""
    condition = str(job.get("if", ""))
    return not any(word in condition for word in ("event_name", "failure()"))


def test_the_required_checks_are_the_jobs_that_a_pull_request_runs() -> None:
    found = [
        check
        for name in ("ci-cd.yml", "feature-test.yml")
        for job in workflow(name)["jobs"].values()
        if runs_for_a_pull_request(job)
        for check in checks_of(job)
    ]
    required = [check["context"] for check in MAIN["required_status_checks"]["checks"]]
    assert sorted(required) == sorted(found)
    assert "Build Docker Images (mlflow, docker) / Build" in required


def test_a_check_counts_only_from_github_actions() -> None:
    apps = {check["app_id"] for check in MAIN["required_status_checks"]["checks"]}
    assert apps == {GITHUB_ACTIONS}


def test_main_is_protected_as_the_guide_says() -> None:
    reviews = MAIN["required_pull_request_reviews"]
    assert MAIN["required_status_checks"]["strict"] is True  # branches must be up to date
    assert reviews["required_approving_review_count"] >= 1
    assert reviews["dismiss_stale_reviews"] is True
    # Nobody is named, so administrators alone may push.
    assert MAIN["restrictions"] == {"users": [], "teams": [], "apps": []}
    assert (MAIN["allow_force_pushes"], MAIN["allow_deletions"]) == (False, False)


@pytest.mark.parametrize(("name", "reviewers"), [("staging", None), ("production", "REVIEWERS")])
def test_staging_is_automatic_and_production_needs_an_approval(
    name: str, reviewers: str | None
) -> None:
    known = json.loads((SETTINGS / "environments" / f"{name}.json").read_text())
    assert known["reviewers"] == reviewers
    assert known.get("prevent_self_review", False) is (reviewers is not None)
    # Only main is protected, so only main's code gets an environment's secrets.
    assert known["deployment_branch_policy"]["protected_branches"] is True
    assert [path.stem for path in (SETTINGS / "branches").iterdir()] == ["main"]


def test_the_environments_are_those_that_jobs_deploy_to() -> None:
    jobs = workflow("ci-cd.yml")["jobs"].values()
    used = {job["environment"]["name"] for job in jobs if "environment" in job}
    assert {path.stem for path in (SETTINGS / "environments").iterdir()} == used


def test_a_workflows_token_reads_unless_a_job_says_otherwise() -> None:
    known = json.loads((SETTINGS / "actions.json").read_text())
    assert known["default_workflow_permissions"] == "read"
