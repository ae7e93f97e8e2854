"""What monitoring/ holds, read as its tests need it."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.integration.conftest import needs

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "monitoring" / "prometheus"
ALERTMANAGER = ROOT / "monitoring" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
_METRIC = re.compile(r"\b(?:hft|process|prometheus|alertmanager|node_filesystem)_[a-z0-9_]+")


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """Every rule, those that record too."""
    return [rule for path in RULES for group in read(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every rule that alerts."""
    return [rule for rule in rules() if "alert" in rule]


def metrics_in(query: str) -> set[str]:
    """The names of metrics that a query reads; those that rules record are none."""
    return set(_METRIC.findall(query))


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a tool says; the test skips, or in CI fails, where it is not installed."""
    needs(str(words[0]))
    known = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, env=known, timeout=240
    )
