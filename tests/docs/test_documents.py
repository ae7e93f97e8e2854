"""What the documents name is there: paths, links, scripts and their options, verbs."""

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.read import ROOT, commands, documents, links, name_of, rows, spans, text

DOCUMENTS = documents()
# A changelog tells of what was: what it names may be gone.
TRUE_NOW = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
# Folders that only a run or a check makes.
MADE = {"build", "runs", "htmlcov"}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - MADE - {".git", ".venv"}
PATH = re.compile(r"(?<![\w./$@:~-])(?:\./)?([\w.-]+/[\w./*…-]*)")
SCRIPT = re.compile(r"(?<![\w/])(?:\./)?(scripts/[\w./-]+\.sh)")
OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
WORD = re.compile(r"[a-z][a-z-]*")
HEADINGS = ["What it means", "What to look at", "What to do", "How to know that it is over"]
ROWS = ROOT / "docs" / "operations.md"
PROCEDURES = ROOT / "docs" / "runbooks" / "procedures"
GUIDES_PROCEDURES = {"rollback", "stop", "hotfix", "scaling", "upgrade"}


def current(path: Path) -> str:
    """A document, without the names of another layout: those that the first column of rows has."""
    return re.sub(r"^\|[^|]*", "", text(path), flags=re.MULTILINE) if path == ROWS else text(path)


def code(path: Path) -> list[str]:
    """What a document has in code font, and what it tells to type."""
    return spans(current(path)) + commands(current(path))


def is_placeholder(part: str) -> bool:
    """Whether a part of a path stands for any: `ENV`, `NAME`; a file's own name may be capital."""
    return part.isupper() and part not in ("README", "LICENSE")


def paths(path: Path) -> set[str]:
    """The paths below the project's folder that a document names, placeholders as patterns."""
    found: set[str] = set()
    for words in code(path):
        for named in PATH.findall(words):
            parts = named.rstrip("/.").replace("…", "*").split("/")
            if parts[0] in FOLDERS:
                found.add("/".join("*" if is_placeholder(part) else part for part in parts))
    return found


@pytest.mark.parametrize("path", TRUE_NOW, ids=name_of)
def test_every_path_that_a_document_names_is_there(path: Path) -> None:
    assert [named for named in sorted(paths(path)) if not any(ROOT.glob(named))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    inside = [link for link in links(text(path)) if not re.match(r"\w+:|#", link)]
    lost = [link for link in inside if not (path.parent / link.partition("#")[0]).exists()]
    assert lost == []


def test_paths_are_seen_in_spans_and_in_commands(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        "`k8s/ENV/gone.yaml`, `./scripts/no.sh --help`, `docs/decisions/0012-…`, `build/x`,\n"
        "[a](b.md), `https://x.org/docs/y`, `a/b`\n\n```bash\npytest tests/none/test_a.py -v\n```\n"
    )
    assert paths(document) == {
        "k8s/*/gone.yaml",
        "scripts/no.sh",
        "docs/decisions/0012-*",
        "tests/none/test_a.py",
    }
    assert links(document.read_text()) == ["b.md"]


# --- scripts ---


def named_scripts() -> list[str]:
    """The shell scripts that a document names."""
    found = {name for path in TRUE_NOW for name in SCRIPT.findall(text(path))}
    return sorted(name for name in found if (ROOT / name).is_file())


@cache
def help_of(script: str) -> subprocess.CompletedProcess[str]:
    """What a script says at --help."""
    return subprocess.run(
        [ROOT / script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("script", named_scripts())
def test_a_script_that_a_document_names_says_what_it_does(script: str) -> None:
    done = help_of(script)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 5
    assert (ROOT / script).stat().st_mode & 0o111


def test_the_scripts_of_the_guide_are_among_them() -> None:
    wanted = {f"scripts/{name}.sh" for name in ("docker-build", "deploy-k8s", "health-check")}
    assert wanted <= set(named_scripts())


def calls(path: Path) -> list[tuple[str, list[str]]]:
    """Each call of a script in a document, with the words after it."""
    found = []
    for words in code(path):
        for part in re.split(r"&&|\|\||;", words):
            if (named := SCRIPT.search(part)) and (ROOT / named[1]).is_file():
                found.append((named[1], shlex.split(part[named.end() :].replace("'", ""))))
    return found


def strange(script: str, words: list[str]) -> list[str]:
    """The words that a script does not know: an option that its help does not name, a verb."""
    told = help_of(script).stdout
    lost = [word for word in words if OPTION.fullmatch(word) and word not in told]
    if script == "scripts/deploy-k8s.sh":
        verbs = set(re.findall(r"^  ([a-z]+)\b", told, re.MULTILINE))
        said = [word for word in words if WORD.fullmatch(word) and word not in ("staging",)]
        taken = {"production"} | {word for word in words if "_" in word or "/" in word}
        first = next((word for word in said if word not in taken), None)
        lost += [first] if first is not None and first not in verbs else []
    return lost


@pytest.mark.parametrize("path", TRUE_NOW, ids=name_of)
def test_a_script_is_called_with_words_that_it_knows(path: Path) -> None:
    # What comes after a step's name is another command's.
    known = [call for call in calls(path) if call[0] != "scripts/step.sh"]
    assert [(script, lost) for script, words in known if (lost := strange(script, words))] == []


def test_words_that_a_script_does_not_know_are_seen() -> None:
    assert strange("scripts/deploy-k8s.sh", ["-e", "staging", "undeploy"]) == ["undeploy"]
    assert strange("scripts/deploy-k8s.sh", ["--force", "deploy"]) == ["--force"]
    assert strange("scripts/deploy-k8s.sh", ["-e", "production", "scale", "execution", "0"]) == []


@pytest.mark.parametrize("path", TRUE_NOW, ids=name_of)
def test_a_python_script_is_not_called_as_if_it_could_be_executed(path: Path) -> None:
    typed = [words for words in code(path) if re.match(r"(\./)?[\w/]+\.py ", words)]
    called = [words for words in typed if (ROOT / words.split()[0]).is_file()]
    assert [w for w in called if not (ROOT / w.split()[0]).stat().st_mode & 0o111] == []


# --- verbs ---


@cache
def top() -> Any:
    """The command `hft`."""
    from typer.main import get_command

    from cli.verbs import app

    return get_command(app)


def unknown(words: list[str]) -> str:
    """What of a call of `hft` is no verb or option of it; '' where all is known."""
    command = top()
    for word in words:
        below = getattr(command, "commands", None)
        if word.startswith("-"):
            options = {"--help", *(name for item in command.params for name in item.opts)}
            options |= {name for item in command.params for name in item.secondary_opts}
            if word not in options:
                return word
        elif below is not None:
            if not WORD.fullmatch(word):
                return ""
            if word not in below:
                return word
            command = below[word]
    return ""


@pytest.mark.parametrize("path", TRUE_NOW, ids=name_of)
def test_every_verb_that_a_document_names_is_one_of_hft(path: Path) -> None:
    calls = [words.removeprefix(".venv/bin/") for words in code(path)]
    typed = [re.split(r"[|;&<]", call.split("[")[0])[0].split() for call in calls]
    found = [words for words in typed if words and words[0] == "hft"]
    assert [words for words in found if unknown(words[1:])] == []


def test_a_verb_that_is_none_is_seen() -> None:
    assert unknown(["kill", "--flatten", "--reason", "WHY"]) == ""
    assert unknown(["models", "promote", "VERSION"]) == ""
    assert unknown(["stop"]) == "stop"
    assert unknown(["models", "demote"]) == "demote"
    assert unknown(["kill", "--now"]) == "--now"


@pytest.mark.parametrize("path", TRUE_NOW, ids=name_of)
def test_every_target_that_a_document_names_is_one_of_make(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    typed = [words.split()[1:] for words in code(path) if words.startswith("make ")]
    named = {word for words in typed for word in words if WORD.fullmatch(word)}
    assert named - targets == set()


# --- runbooks ---


def test_each_emergency_procedure_of_the_guide_has_its_page() -> None:
    pages = {path.stem for path in PROCEDURES.glob("*.md")}
    assert GUIDES_PROCEDURES <= pages
    index = text(ROOT / "docs" / "runbooks" / "README.md")
    assert set(re.findall(r"\]\(procedures/(\w+)\.md\)", index)) == pages


@pytest.mark.parametrize("path", sorted(PROCEDURES.glob("*.md")), ids=lambda path: path.stem)
def test_a_procedure_has_the_four_parts_of_a_runbook(path: Path) -> None:
    found = [line.removeprefix("## ") for line in text(path).splitlines() if line[:3] == "## "]
    assert found == HEADINGS
    for part in re.split(r"^## .*$", text(path), flags=re.MULTILINE)[1:]:
        assert len(part.split()) > 10
    assert commands(text(path)) or spans(text(path))


# --- rows ---


def test_what_a_row_is_shown_by_is_there() -> None:
    names = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    lost = []
    for cells in rows(text(ROWS)):
        assert len(cells) == 3 and all(cells), cells
        for found in re.findall(r"[\w/]*test_\w+\.py", cells[2]):
            if not ((ROOT / found).is_file() if "/" in found else found in names):
                lost.append(found)
    assert lost == []
