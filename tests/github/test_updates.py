"""What is pinned is raised: everything that is, every week, and not before it is a week old."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.github.test_workflows import checked

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github" / "dependabot.yml"
UPDATES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["updates"]
LOCKS = ROOT / ".github" / "workflows" / "locks.yml"


def test_the_schema_of_dependabot_holds() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.dependabot", str(FILE))


def test_packages_actions_and_images_are_raised_in_groups_every_week() -> None:
    assert [u["package-ecosystem"] for u in UPDATES] == ["pip", "github-actions", "docker"]
    for update in UPDATES:
        assert update["schedule"]["interval"] == "weekly"
        assert update["cooldown"]["default-days"] >= 7
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_every_dockerfile_that_a_hand_wrote_is_looked_at() -> None:
    (docker,) = (u for u in UPDATES if u["package-ecosystem"] == "docker")
    found = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("docker/*/Dockerfile")}
    assert found and set(docker["directories"]) == found


def test_what_resolves_cannot_write_and_what_writes_resolves_nothing() -> None:
    jobs = yaml.safe_load(LOCKS.read_text(encoding="utf-8"))["jobs"]
    assert jobs["resolve"]["permissions"] == {"contents": "read"}
    runs = [step["run"] for step in jobs["propose"]["steps"] if "run" in step]
    assert runs == ["scripts/ci/propose-locks.sh"]


def test_locks_are_resolved_on_the_branches_where_pins_are_raised() -> None:
    on = yaml.safe_load(LOCKS.read_text(encoding="utf-8"))[True]
    assert on["push"]["branches"] == ["dependabot/pip/**"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", on["schedule"][0]["cron"])


def test_main_is_built_and_scanned_each_week_before_an_image_counts_as_unscanned() -> None:
    weekly = yaml.safe_load((LOCKS.parent / "weekly.yml").read_text(encoding="utf-8"))
    (when,) = weekly[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", when["cron"]), "weekly; the alert is after eight days"
    (job,) = weekly["jobs"].values()
    assert job["permissions"] == {"actions": "write"}
    (step,) = job["steps"]
    assert step["run"] == "gh workflow run ci-cd.yml --ref main"
    rules = (ROOT / "monitoring/prometheus/rules/deployment.yml").read_text(encoding="utf-8")
    assert "> 8 * 86400" in rules
