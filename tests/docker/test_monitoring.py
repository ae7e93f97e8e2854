"""The images of the monitoring hold what `monitoring/` says, where each program looks for it."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.test_images import ROOT
from tests.k8s import rendered
from tests.monitoring.written import run

NAMES = ("prometheus", "alertmanager", "grafana")
MONITORING = ROOT / "monitoring"
# Beside what a program reads: the rules' own tests.
NOT_INSIDE = {"prometheus": {MONITORING / "prometheus" / "tests"}}
USERS = {"prometheus": "65534", "alertmanager": "65534", "grafana": "472"}


def lines(name: str, word: str) -> list[list[str]]:
    """The arguments of each line of a Dockerfile that begins with `word`."""
    text = _text(name).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"{word} ")]


def inside(name: str) -> dict[str, Path]:
    """Path in the image by file of the tree, as COPY takes them."""
    found: dict[str, Path] = {}
    for source, target in lines(name, "COPY"):
        path = ROOT / source
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                below = file.relative_to(path).as_posix()
                found[f"{target}/{below}" if path.is_dir() else target] = file
    return found


def laid_out(name: str, folder: Path) -> Path:
    """The image's files below `folder`."""
    for target, file in inside(name).items():
        path = folder / target.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_written_for_a_program_is_in_its_image(name: str) -> None:
    apart = NOT_INSIDE.get(name, set())
    written = {path for path in (MONITORING / name).rglob("*") if path.is_file()}
    kept = {path for path in written if not apart & set(path.parents)}
    assert kept and set(inside(name).values()) == kept


def test_prometheus_finds_its_rules_in_the_image(tmp_path: Path) -> None:
    config = laid_out("prometheus", tmp_path) / "etc" / "prometheus" / "prometheus.yml"
    rules = {path for path in inside("prometheus") if "/rules/" in path}
    done = run("promtool", "check", "config", config, ENVIRONMENT="staging")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"SUCCESS: \d+ rules found", done.stdout)) == len(rules) > 0


def test_alertmanager_finds_its_templates_in_the_image(tmp_path: Path) -> None:
    config = laid_out("alertmanager", tmp_path) / "etc" / "alertmanager" / "alertmanager.yml"
    done = run("amtool", "check-config", config)
    assert done.returncode == 0, done.stderr
    assert "1 templates" in done.stdout and "SUCCESS" in done.stdout


def test_grafana_finds_its_dashboards_in_the_image() -> None:
    (told,) = [
        yaml.safe_load(file.read_text())["providers"]
        for path, file in inside("grafana").items()
        if path.startswith("/etc/grafana/provisioning/dashboards/")
    ]
    folders = {provider["options"]["path"] for provider in told}
    found = {path for path in inside("grafana") if path.endswith(".json")}
    assert {path.rpartition("/")[0] for path in found} == folders
    assert len(found) == len(list((MONITORING / "grafana" / "dashboards").glob("*.json")))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_runs_as_nobody_says_what_it_is_and_asks_itself(name: str) -> None:
    assert [user.partition(":")[0] for (user,) in lines(name, "USER")] == [USERS[name]]
    labels = " ".join(word for line in lines(name, "LABEL") for word in line)
    for key in ("title", "description", "licenses", "source", "version", "revision"):
        assert f"org.opencontainers.image.{key}=" in labels
    asked = " ".join(word for line in lines(name, "HEALTHCHECK") for word in line)
    (pod,) = rendered.servers(rendered.named("staging", "StatefulSet", name))
    (port,) = pod["ports"]
    path = pod["livenessProbe"]["httpGet"]["path"]
    assert f"http://127.0.0.1:{port['containerPort']}{path}" in asked
    assert lines(name, "EXPOSE") == [[str(port["containerPort"])]]


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_an_image_started_alone_is_started_as_in_the_cluster(name: str) -> None:
    (pod,) = rendered.servers(rendered.named("staging", "StatefulSet", name))
    more = {word for word in pod["args"] if "retention" in word}
    text = _text(name).replace("\\\n", " ")
    # The last CMD at a line's begin: another is part of HEALTHCHECK.
    command: list[Any] = yaml.safe_load(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[-1])
    assert set(command) == set(pod["args"]) - more


def test_the_makers_images_are_at_a_version() -> None:
    for name in NAMES:
        (base,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", _text(name), re.MULTILINE)
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", base), base


def _text(name: str) -> str:
    return (ROOT / "docker" / name / "Dockerfile").read_text()
