"""The guide and its rows: each name that it has is in a row, each block is what the file says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.read import ROOT, Block, blocks, commands, documents, name_of, plain, rows, spans
from tests.docs.read import text as text_of

DOCS = ROOT / "docs"
GUIDE = DOCS / "cicd-pipeline-guide.md"
NAMES = Path(__file__).with_name("guide_names.txt")
ROWS = rows(text_of(DOCS / "operations.md"))
WRITTEN_HERE = (".github", "scripts", "k8s", "docker", "serving", "cli", "monitoring")


def words_of(name: str) -> str:
    """A name in one form: `[run-id]` is `RUN_ID`, `./scripts` is `scripts`, quotes are none."""
    upper = re.sub(r"\[([a-z-]+)\]", lambda found: found[1].upper().replace("-", "_"), name)
    return plain(upper.replace("./scripts/", "scripts/").replace('"', "").replace("'", ""))


def named(cells: list[str]) -> set[str]:
    """The code of some cells."""
    return {words_of(found) for cell in cells for found in spans(cell)}


FIRST = named([cells[0] for cells in ROWS])
KNOWN = named([cell for cells in ROWS for cell in cells])
SAID = " ".join(cells[0] for cells in ROWS).lower()


def guide_names() -> list[str]:
    """The names of the guide that was asked for."""
    lines = NAMES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", guide_names())
def test_each_name_of_the_guide_that_was_asked_for_has_a_row(name: str) -> None:
    if name.startswith("`"):
        assert words_of(name.strip("`")) in FIRST
    else:
        assert name in SAID


def is_named(words: str) -> bool:
    """Whether a name of the guide has a row, is a file, or is a variable that the code reads."""
    name = words_of(words)
    if name in KNOWN or name.partition("=")[0].rstrip("/") in KNOWN:
        return True
    if re.fullmatch(r"[A-Z][A-Z_]{2,}", name):
        return name in variables()
    return "/" in name and any(ROOT.glob(name.rstrip("/")))


def variables() -> set[str]:
    """Every name in capitals, and every setting, of what is run."""
    found: set[str] = set()
    for folder in WRITTEN_HERE:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".sh", ".yml", ".yaml") or path.name == "Dockerfile":
                content = path.read_text(encoding="utf-8")
                found |= set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", content))
    settings = (ROOT / "serving" / "runtime" / "settings.py").read_text(encoding="utf-8")
    return found | {name.upper() for name in re.findall(r"^    (\w+):", settings, re.MULTILINE)}


def test_each_name_of_the_guide_as_it_ships_has_a_row_or_is_there() -> None:
    guide = text_of(GUIDE)
    lost = [name for name in dict.fromkeys(spans(guide) + commands(guide)) if not is_named(name)]
    assert lost == []


def test_a_name_that_has_no_row_is_seen() -> None:
    assert is_named("scripts/deploy-k8s.sh") and is_named("./scripts/deploy-k8s.sh status")
    assert not is_named("scripts/undeploy.sh")
    assert not is_named("UNKNOWN_SECRET")
    assert not is_named("kubectl delete namespace hft-production")


# --- blocks that show a file ---


def shown() -> list[tuple[Path, Block]]:
    """The blocks that say in their first line which file they show a part of."""
    found = [(path, block) for path in documents() for block in blocks(text_of(path))]
    return [item for item in found if re.match(r"# [\w./-]+\.ya?ml$", item[1].lines[0])]


def is_part(part: Any, whole: Any) -> bool:
    """Whether all that `part` says is in `whole`; of a list each item is part of some item."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and is_part(value, whole[key]) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(
            any(is_part(item, other) for other in whole) for item in part
        )
    return bool(part == whole)


@pytest.mark.parametrize("path, block", shown(), ids=lambda item: str(getattr(item, "name", "")))
def test_a_block_is_what_its_file_says(path: Path, block: Block) -> None:
    file = ROOT / block.lines[0].removeprefix("# ")
    assert file.is_file(), f"{name_of(path)}: there must be {block.lines[0]}"
    said = yaml.safe_load("\n".join(block.lines))
    assert said and is_part(said, yaml.safe_load(file.read_text(encoding="utf-8")))


def test_the_guide_shows_each_job_and_each_environment() -> None:
    files = [block.lines[0] for path, block in shown() if path == GUIDE]
    languages = [block.language for block in blocks(text_of(GUIDE))]
    assert len(files) == languages.count("yaml"), "each names its file"
    assert files.count("# .github/workflows/ci-cd.yml") >= 6
    for environment in ("staging", "production"):
        assert f"# k8s/{environment}/resources.yaml" in files
        assert f"# k8s/{environment}/kustomization.yaml" in files


def test_what_is_no_part_is_seen() -> None:
    assert is_part({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}, 3], "d": 4})
    assert not is_part({"a": [{"b": 2}]}, {"a": [{"b": 1, "c": 2}]})
    assert not is_part({"needs": ["lint"]}, {"needs": "lint"})
    assert not is_part({"e": 1}, {"d": 4})


def test_the_tables_of_the_guide_are_the_workflows_and_the_settings() -> None:
    workflow = text_of(ROOT / ".github" / "workflows" / "ci-cd.yml")
    cells = {name.strip("`"): row for row in rows(text_of(GUIDE)) for name in [row[0]]}
    secrets = {name for name in cells if f"secrets.{name}" in workflow}
    assert secrets == set(re.findall(r"secrets\.([A-Z_]+)", workflow))
    rules = "".join(text_of(p) for p in (ROOT / "monitoring/prometheus/rules").glob("*.yml"))
    alerts = {name for name in cells if f"alert: {name}\n" in rules}
    assert len(alerts) == 4
