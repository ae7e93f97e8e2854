"""GitHub's settings as data, and their way to GitHub, which can fail at every step."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "github-settings.sh"
STAND_IN = Path(__file__).with_name("gh_stand_in.py")
SETTINGS = ROOT / ".github" / "settings"
REPO = "acme/bot"
ANSWERS: dict[str, Any] = {
    f"repos/{REPO}": {"permissions": {"admin": True}, "owner": {"type": "Organization"}},
    "users/ada": {"id": 7, "type": "User"},
    "users/acme": {"id": 1, "type": "Organization"},
    "orgs/acme/teams/operators": {"id": 8},
}
REVIEWERS = ("--reviewers", "ada,acme/operators")
PATHS = [
    "actions/permissions/workflow",
    "branches/main/protection",
    "environments/production",
    "environments/staging",
]
QUESTIONS, USAGE = 3, 2


class GitHub:
    """The stand-in's folder, and the script run against it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        program = folder / "gh"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n')
        program.chmod(0o755)
        self.plan()

    def plan(self, *fail: int, **answers: Any) -> None:
        """What is answered and what fails from now on; calls are counted anew."""
        known = {"fail": fail, "answers": ANSWERS | answers}
        (self.home / "plan.json").write_text(json.dumps(known))
        (self.home / "calls.jsonl").unlink(missing_ok=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        known = {"PATH": os.environ["PATH"], "GH": str(self.home / "gh")}
        return subprocess.run(
            [SCRIPT, *words],
            env=known | {"STAND_IN": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def apply(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it on the repository, with two reviewers."""
        return self.run("--repo", REPO, *REVIEWERS, *words)

    def sent(self) -> dict[str, Any]:
        """What was put, by its place in the repository, in the order in which it was."""
        path = self.home / "calls.jsonl"
        calls = [json.loads(line) for line in path.read_text().splitlines()]
        found = {}
        for call in calls:
            if "PUT" in call["argv"]:
                place = next(word for word in call["argv"] if word.startswith("repos/"))
                found[place.removeprefix(f"repos/{REPO}/")] = json.loads(call["stdin"])
        return found

    def count(self) -> int:
        """How often it was called."""
        path = self.home / "calls.jsonl"
        return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    """A repository of an organization, which this token administers."""
    return GitHub(tmp_path)


def test_every_file_is_applied_and_the_branch_before_what_trusts_its_protection(
    github: GitHub,
) -> None:
    done = github.apply()
    assert done.returncode == 0, done.stderr
    assert list(github.sent()) == PATHS
    assert len(PATHS) == len(list(SETTINGS.rglob("*.json")))


def test_what_is_sent_is_what_the_files_hold_with_the_reviewers_numbers(github: GitHub) -> None:
    assert github.apply().returncode == 0
    sent = github.sent()
    assert sent["branches/main/protection"] == read("branches/main.json")
    assert sent["environments/staging"] == read("environments/staging.json")
    production = sent["environments/production"]
    reviewers = [{"type": "User", "id": 7}, {"type": "Team", "id": 8}]
    assert production == read("environments/production.json") | {"reviewers": reviewers}


def test_to_apply_them_again_sends_the_same(github: GitHub) -> None:
    assert github.apply().returncode == 0
    first = github.sent()
    github.plan()
    assert github.apply().returncode == 0 and github.sent() == first


def test_a_dry_run_shows_all_and_asks_nothing(github: GitHub) -> None:
    done = github.apply("--dry-run")
    assert (done.returncode, github.count()) == (0, 0)
    shown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("PUT ")]
    assert shown == [f"repos/{REPO}/{path}" for path in PATHS]
    assert "ada,acme/operators" in done.stdout


@pytest.mark.parametrize("question", range(1, QUESTIONS + 1))
def test_nothing_is_changed_before_all_is_known(github: GitHub, question: int) -> None:
    github.plan(question)
    done = github.apply()
    assert (done.returncode, github.sent()) == (1, {})
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize("step", range(len(PATHS)))
def test_a_step_that_fails_ends_it_and_says_what_was_applied_and_what_was_not(
    github: GitHub, step: int
) -> None:
    github.plan(QUESTIONS + 1 + step)
    done = github.apply()
    assert done.returncode == 1
    assert github.count() == QUESTIONS + 1 + step  # nothing after it was tried
    applied, left = done.stderr.partition("not applied: ")[::2]
    files = [".github/settings/actions.json", ".github/settings/branches/main.json"]
    files += [f".github/settings/environments/{name}.json" for name in ("production", "staging")]
    assert [file for file in files if file in applied] == files[:step]
    assert [file for file in files if file in left] == files[step:]


def test_a_token_that_does_not_administer_the_repository_changes_nothing(github: GitHub) -> None:
    known = {"permissions": {"admin": False}, "owner": {"type": "Organization"}}
    github.plan(**{f"repos/{REPO}": known})
    done = github.apply()
    assert (done.returncode, github.sent()) == (1, {}) and "must be administered" in done.stderr


def test_an_organization_reviews_nothing(github: GitHub) -> None:
    done = github.run("--repo", REPO)
    assert (done.returncode, github.sent()) == (1, {})
    assert "a reviewer must be a user or a team, acme is: Organization" in done.stderr


def test_a_users_repository_has_no_restriction_of_pushes_and_that_is_said(github: GitHub) -> None:
    known = {"permissions": {"admin": True}, "owner": {"type": "User"}}
    github.plan(**{f"repos/{REPO}": known})
    done = github.apply()
    assert done.returncode == 0 and "cannot be restricted" in done.stderr
    protection = github.sent()["branches/main/protection"]
    assert protection == read("branches/main.json") | {"restrictions": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--repo must be OWNER/NAME, was ''"),
        (("--repo", "bot"), "--repo must be OWNER/NAME, was 'bot'"),
        (("--repo", "acme/bot/../other"), "--repo must be OWNER/NAME"),
        (("--repo", REPO, "--reviewers", "a b"), "--reviewers must be names"),
        (("--repo",), "--repo must have a value"),
        (("--fast",), "there is no --fast"),
    ],
)
def test_bad_usage_ends_with_2_and_says_the_rule(
    github: GitHub, words: tuple[str, ...], said: str
) -> None:
    done = github.run(*words)
    assert (done.returncode, github.count()) == (USAGE, 0) and said in done.stderr


def test_help_says_how(github: GitHub) -> None:
    done = github.run("--help")
    assert done.returncode == 0 and "--reviewers" in done.stdout


def read(name: str) -> dict[str, Any]:
    """A file of settings."""
    return dict(json.loads((SETTINGS / name).read_text()))
