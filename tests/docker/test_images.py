"""What the images are made of: one Dockerfile, no package too few, a command that builds."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from components.image import IMAGE
from serving.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
# Imports every module that a service may, where nothing is installed but what the image holds.
IMPORTING = """
import importlib, importlib.metadata, pkgutil, re, sys
from pathlib import Path
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
held = set(re.findall(r"^([a-z0-9][a-z0-9-]*)==", Path(sys.argv[1]).read_text(), re.MULTILINE))
class Absent:
    owners = importlib.metadata.packages_distributions()
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        owners = {plain(owner) for owner in self.owners.get(top, ())} - {"hft-crypto-bot"}
        if owners and not owners & held and top not in sys.modules:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Absent())
for package in ("serving", "hft_lib.stages", "cli"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
import serving.__main__
# And does what an image's build and a first start do with it: a market is made, and read again.
from hft_lib.market import synthetic
from hft_lib.market.merge import feed_events
tape = synthetic.write(1, sys.argv[2], synthetic.SyntheticMarket(days=0.1))
assert sum(1 for _ in feed_events(tape)) > 100
sys.stdout.write("imported")
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder, with more variables."""
    variables = {key: value for key, value in os.environ.items() if key not in ("TAG", "REGISTRY")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_each_service_has_the_one_dockerfile_with_its_name_and_port(service) -> None:
    made = (ROOT / "serving" / service.name / "Dockerfile").read_text().splitlines()
    common = (ROOT / "docker" / "services" / "Dockerfile").read_text().splitlines()
    assert len(made) == len(common)
    differing = {line for line, other in zip(made, common, strict=True) if line != other}
    assert differing <= {f"ARG SERVICE={service.name}", f"ARG PORT={service.port}"}
    assert {f"ARG SERVICE={service.name}", f"ARG PORT={service.port}"} <= set(made)


def test_a_dockerfile_that_was_edited_by_hand_is_seen(tmp_path: Path) -> None:
    for folder in ("scripts", "docker", "serving"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.py[co]"))
    script = tmp_path / "scripts" / "dockerfiles.sh"
    assert run(script, "--check").returncode == 0
    with (tmp_path / "serving" / "execution" / "Dockerfile").open("a") as file:
        file.write("USER root\n")
    seen = run(script, "--check")
    assert seen.returncode == 1 and "serving/execution/Dockerfile" in seen.stderr


def test_hadolint_finds_nothing() -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = run(SCRIPTS / "docker-build.sh", "--check", PATH=path)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (
        0,
        ["docker-build: 11 Dockerfiles are well"],
    ), (
        done.stderr + done.stdout
    )


def test_every_image_runs_as_nobody_and_holds_no_installer() -> None:
    for name in ("services", "pipelines", "mlflow"):
        path = ROOT / "docker" / name / "Dockerfile"
        final = path.read_text().rpartition("\nFROM ")[2]
        users = re.findall(r"^USER (.*)$", final, re.MULTILINE)
        assert users == ["10001:10001"], path
        assert "/usr/local/bin/pip*" in final and "pip install" not in final, path


def test_what_a_service_imports_is_in_its_image(tmp_path: Path) -> None:
    lock = ROOT / "requirements" / "services.lock"
    done = run(sys.executable, "-c", IMPORTING, lock, tmp_path / "tape", PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stdout) == (0, "imported"), done.stderr


def test_the_services_set_is_the_runtime_set() -> None:
    def lines(name: str) -> set[str]:
        found = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
        return {line for line in found if not line.startswith("#")}

    assert lines("services") == lines("runtime") and any(
        "ccxt" in line for line in lines("runtime")
    )


def test_a_build_names_the_image_by_the_environment() -> None:
    named = {"REGISTRY": "registry.example", "DOCKER_USERNAME": "ada", "TAG": "t1"}
    done = run(SCRIPTS / "docker-build.sh", "--dry-run", "--push", "execution", "mlflow", **named)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 4
    image = "registry.example/ada/hft-crypto-bot-execution:t1"
    assert f"--file serving/execution/Dockerfile --tag {image} " in lines[0]
    assert lines[1].split() == ["docker", "push", image]
    assert "--file docker/mlflow/Dockerfile" in lines[2]


def test_a_build_says_where_its_source_is_where_that_is_told() -> None:
    words = (SCRIPTS / "docker-build.sh", "--dry-run", "execution")
    assert "SOURCE" not in run(*words, SOURCE="").stdout
    assert (
        "--build-arg SOURCE=https://a.example/b "
        in run(*words, SOURCE="https://a.example/b").stdout
    )


def test_without_a_name_every_image_is_built_and_none_is_sent() -> None:
    lines = run(SCRIPTS / "docker-build.sh", "--dry-run", DOCKER_USERNAME="").stdout.splitlines()
    assert len(lines) == len(SERVICES) + 5
    assert all(line.startswith("docker build ") and "--push" not in line for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "an image must be one of"),
        (("--fast",), "no option is called --fast"),
        (("--push",), "--push needs DOCKER_USERNAME"),
        (("--platform", "linux/amd64,linux/arm64"), "several platforms need --push"),
    ],
)
def test_bad_usage_ends_with_2_and_says_the_rule(words: tuple[str, ...], said: str) -> None:
    done = run(SCRIPTS / "docker-build.sh", *words, DOCKER_USERNAME="")
    assert done.returncode == 2 and said in done.stderr


def test_the_pipelines_run_in_the_image_that_is_built_for_them() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = {"TAG": version, "DOCKER_USERNAME": ""}
    (line,) = run(
        SCRIPTS / "docker-build.sh", "--dry-run", "pipelines", **named
    ).stdout.splitlines()
    assert f" --tag {IMAGE} " in line


def test_an_image_says_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("services", "pipelines", "mlflow", "prometheus", "alertmanager", "grafana"):
        text = (ROOT / "docker" / name / "Dockerfile").read_text()
        assert re.findall(r"^ARG VERSION=(.*)$", text, re.MULTILINE) == [version], name


def test_a_build_that_fails_ends_with_1_and_the_rest_is_not_built(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$CALLS"\nexit 1\n')
    docker.chmod(0o755)
    calls = tmp_path / "calls"
    done = run(SCRIPTS / "docker-build.sh", DOCKER=str(docker), CALLS=str(calls))
    assert done.returncode == 1
    assert len(calls.read_text().splitlines()) == 1


def test_nothing_goes_into_a_build_but_what_is_named() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule[1:].partition("/")[0] for rule in rules if rule.startswith("!")}
    assert named == {"requirements", "scripts", *("hft_lib serving components".split())} | {
        "pipelines",
        "notebooks",
        "monitoring",
        "cli",
    }
