"""`docs/security.md` is true to the tree: tests that it names are there, and no threat has none."""

import ast
import re
from pathlib import Path

import pytest

from serving.runtime.settings import SECRETS
from tests.k8s import rendered
from tests.k8s.test_manifests import secret_names

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", TEXT)))


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of every table that begins with `head`."""
    found: list[list[str]] = []
    within = False
    for line in text.splitlines():
        within = line.startswith(head) or (within and line.startswith("|"))
        if within and not line.startswith((head, "|---")):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_the_threat_model_names_is_there(named: str):
    path, _, name = named.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not name or name in {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef)
    }


def test_every_threat_has_what_holds_it_and_a_test():
    threats = rows(TEXT, "| Threat |")
    assert len(threats) >= 40
    for cells in threats:
        assert len(cells) == 3 and all(cells), cells
        assert re.fullmatch(r"(`tests/[\w/]+\.py::test_\w+`(, )?)+", cells[2]), cells


def test_every_secret_has_its_way_of_being_changed():
    ways = "\n".join(" | ".join(cells) for cells in rows(TEXT, "| Secret |"))
    wanted = set(SECRETS)
    for item in rendered.workloads("production"):
        wanted |= secret_names(rendered.template(item))
    assert not [name for name in wanted if f"`{name}`" not in ways]


def test_a_vulnerability_can_be_reported():
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "`SECURITY.md`" in TEXT
