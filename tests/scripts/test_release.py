"""A release: one commit and its tag, or nothing at all, in a repository of the test's own."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "release.sh"
USAGE, REFUSED = 2, 3
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n"
FILES = {
    "CHANGELOG.md": CHANGELOG + "\n## 0.1.0 - 2026-01-01\n\n- The first.\n",
    "pyproject.toml": '[project]\nname = "hft-crypto-bot"\nversion = "0.1.0"\nother = "0.1.0"\n',
    "docker/services/Dockerfile": "ARG VERSION=0.1.0\nARG OTHER=0.1.0\n",
    "serving/execution/Dockerfile": "ARG VERSION=0.1.0\n",
    "components/image.py": 'IMAGE = "hft-crypto-bot:0.1.0"\n',
    "pipelines/compiled/calibration.yaml": "image: hft-crypto-bot:0.1.0\nnumpy: 0.1.0\n",
    "docs/pipelines.md": "`hft-crypto-bot:0.1.0`, not hft-crypto-bot:0.1.01\n",
}


class Repository:
    """A repository with a main that can be released, and the script in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        home = folder.parent / "home"
        home.mkdir()
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), **IDENTITY}
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "scripts").mkdir()
        copied = folder / "scripts" / SCRIPT.name
        copied.write_bytes(SCRIPT.read_bytes())
        copied.chmod(0o755)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.useConfigOnly", "true")
        self.commit("The first")
        self.git("tag", "-a", "v0.1.0", "-m", "Version 0.1.0")

    def git(self, *words: str) -> str:
        """What git says."""
        done = subprocess.run(
            ("git", *words),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def release(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The script."""
        return subprocess.run(
            (self.folder / "scripts" / SCRIPT.name, *words),
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.folder / name).read_text()

    def state(self) -> tuple[str, ...]:
        """All that a release may change: branches and tags, files, worktrees."""
        shown = ("for-each-ref", "--format=%(refname) %(objectname)")
        return (
            self.git(*shown),
            self.git("symbolic-ref", "--quiet", "HEAD") if self.is_on_branch() else "detached",
            self.git("status", "--porcelain"),
            self.git("worktree", "list").replace(str(self.folder), ""),
            *(self.read(name) for name in FILES),
        )

    def is_on_branch(self) -> bool:
        """Whether HEAD is a branch."""
        return self.git("rev-parse", "--abbrev-ref", "HEAD") != "HEAD"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


def test_a_release_is_one_commit_with_an_annotated_tag(repository: Repository) -> None:
    before = repository.git("rev-parse", "main")
    done = repository.release("0.2.0")
    assert done.returncode == 0, done.stderr
    assert "git push --atomic origin main v0.2.0" in done.stderr
    assert repository.git("rev-parse", "main~1") == before
    assert repository.git("log", "-1", "--format=%s") == "Release 0.2.0"
    assert repository.git("cat-file", "-t", "v0.2.0") == "tag"
    assert repository.git("rev-parse", "v0.2.0^{commit}") == repository.git("rev-parse", "main")
    notes = repository.git("tag", "--list", "v0.2.0", "--format=%(contents)")
    assert "- A thing." in notes and "The first" not in notes
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("worktree", "list").count("\n") == 0
    repository.git("fsck", "--strict")


def test_the_lines_get_number_and_date_and_what_comes_next_its_place(
    repository: Repository,
) -> None:
    assert repository.release("0.2.0").returncode == 0
    headings = [h for h in repository.read("CHANGELOG.md").splitlines() if h.startswith("## ")]
    date = repository.git("log", "-1", "--date=format:%Y-%m-%d", "--format=%cd")
    assert headings == ["## Unreleased", f"## 0.2.0 - {date}", "## 0.1.0 - 2026-01-01"]
    # Nothing is under Unreleased now, so a second release has nothing to say.
    assert repository.release("0.3.0").returncode == REFUSED


def test_what_names_the_version_names_the_new_one_and_nothing_else_moves(
    repository: Repository,
) -> None:
    assert repository.release("1.0.0").returncode == 0
    read = repository.read
    assert 'version = "1.0.0"\nother = "0.1.0"' in read("pyproject.toml")
    assert read("docker/services/Dockerfile") == "ARG VERSION=1.0.0\nARG OTHER=0.1.0\n"
    assert read("serving/execution/Dockerfile") == "ARG VERSION=1.0.0\n"
    assert read("components/image.py") == 'IMAGE = "hft-crypto-bot:1.0.0"\n'
    compiled = read("pipelines/compiled/calibration.yaml")
    assert compiled == "image: hft-crypto-bot:1.0.0\nnumpy: 0.1.0\n"
    assert read("docs/pipelines.md") == "`hft-crypto-bot:1.0.0`, not hft-crypto-bot:0.1.01\n"


def test_the_first_release_may_be_the_version_that_the_sources_name(
    repository: Repository,
) -> None:
    repository.git("tag", "--delete", "v0.1.0")
    done = repository.release("0.1.0")
    assert done.returncode == 0, done.stderr
    assert repository.git("cat-file", "-t", "v0.1.0") == "tag"


def test_a_dry_run_shows_the_change_and_makes_nothing(repository: Repository) -> None:
    before = repository.state()
    done = repository.release("--dry-run", "0.2.0")
    assert done.returncode == 0 and repository.state() == before
    assert '+version = "0.2.0"' in done.stdout and "+## 0.2.0 - " in done.stdout


def refused(repository: Repository, version: str, rule: str) -> None:
    """The script refuses for that rule, and leaves everything."""
    before = repository.state()
    done = repository.release(version)
    assert (done.returncode, repository.state()) == (REFUSED, before)
    assert rule in done.stderr


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new"])
def test_a_tree_with_changes_is_refused(repository: Repository, name: str) -> None:
    with (repository.folder / name).open("a") as file:
        file.write("more\n")
    refused(repository, "0.2.0", "the tree must have no changes")


def test_another_branch_is_refused(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "develop")
    refused(repository, "0.2.0", "the branch must be main, was develop")


def test_no_branch_is_refused(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--detach")
    refused(repository, "0.2.0", "the branch must be main, was none")


def test_a_main_behind_its_origin_is_refused(repository: Repository) -> None:
    (repository.folder / "new").write_text("more\n")
    repository.commit("More")
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    refused(repository, "0.2.0", "main must hold what origin/main holds")


@pytest.mark.parametrize(
    "text",
    ["# Changelog\n\n## 0.1.0\n\n- Old.\n", "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- x\n"],
)
def test_nothing_under_unreleased_is_refused(repository: Repository, text: str) -> None:
    (repository.folder / "CHANGELOG.md").write_text(text)
    repository.commit("Nothing to say")
    refused(repository, "0.2.0", "Unreleased")


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("0.1.0", "the tag v0.1.0 must be new"),
        ("0.0.9", "the version must be after 0.1.0"),
        ("0.10.0", "the version must be after 0.11.0"),
    ],
)
def test_a_version_that_is_not_after_the_last_is_refused(
    repository: Repository, version: str, rule: str
) -> None:
    if version == "0.10.0":
        repository.git("tag", "-a", "v0.11.0", "-m", "Numbers, not letters, are compared")
        repository.git("tag", "-a", "v0.9.0", "-m", "Older")
    refused(repository, version, rule)


def test_a_version_before_that_of_the_sources_is_refused(repository: Repository) -> None:
    repository.git("tag", "--delete", "v0.1.0")
    refused(repository, "0.0.9", "must not be before 0.1.0 of pyproject.toml")


@pytest.mark.parametrize("words", [(), ("1.0",), ("v1.0.0",), ("01.0.0",), ("1.0.0", "2.0.0")])
def test_bad_usage_ends_with_2(repository: Repository, words: tuple[str, ...]) -> None:
    before = repository.state()
    assert repository.release(*words).returncode == USAGE
    assert repository.release("--fast", "1.0.0").returncode == USAGE
    assert repository.state() == before


def test_a_commit_that_cannot_be_made_leaves_everything(repository: Repository) -> None:
    before = repository.state()
    done = repository.release("0.2.0", GIT_AUTHOR_NAME="", GIT_COMMITTER_NAME="")
    assert (done.returncode, repository.state()) == (1, before)
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/tags/v0.2.0"])
def test_a_branch_or_a_tag_that_cannot_be_written_leaves_everything(
    repository: Repository, ref: str
) -> None:
    before = repository.state()
    hook = repository.folder / ".git" / "hooks" / "reference-transaction"
    hook.write_text(f'#!/bin/sh\n[ "$1" != prepared ] || ! grep -q " {ref}$"\n')
    hook.chmod(0o755)
    done = repository.release("0.2.0")
    hook.unlink()
    assert (done.returncode, repository.state()) == (1, before)
    assert "nothing was changed" in done.stderr


def test_this_repository_names_its_version_where_the_script_looks() -> None:
    version = next(
        line.split('"')[1]
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    )
    files = [*ROOT.glob("docker/*/Dockerfile"), *ROOT.glob("serving/*/Dockerfile")]
    named = [p for p in files if "ARG VERSION=" in p.read_text()]
    assert len(named) > 6
    assert [p for p in named if f"\nARG VERSION={version}\n" not in p.read_text()] == []
