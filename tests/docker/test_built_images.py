"""Every image is built by `scripts/docker-build.sh`, run as the cluster would, and stopped.

`make containers` asks for them. They need a Docker daemon and the images that ours stand on;
without them they skip and say so, under CI=true too: the machine of the checks has no daemon. At
GitHub `image.yml` runs every image by the same scripts before it sends it. BASE_IMAGE, DOCKER_HOST
and DOCKER_BUILD_ARGUMENTS are taken from the environment:
BASE_IMAGE=debian-with-python:3.11 DOCKER_BUILD_ARGUMENTS=--network=host.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.ci.image_kinds import KINDS, SERVICES
from tests.docker.test_images import ROOT, SCRIPTS
from tests.integration.conftest import free_ports

# The first build compiles every kernel; a later one finds its layers.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TAG = "held-by-tests"
GROUPS = {"services": SERVICES, **{name: (name,) for name in KINDS if name not in SERVICES}}


def called(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder, when it has ended."""
    environ = {**os.environ, "DOCKER_USERNAME": "", "IMAGE_PREFIX": "hft-crypto-bot"}
    return subprocess.run(
        words,
        cwd=ROOT,
        env=environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )


@pytest.fixture(scope="module", autouse=True)
def daemon() -> None:
    """Skips, with the reason, where no daemon answers that these tests may use."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        pytest.skip("image.yml runs every image by the same scripts, each in a job of its own")
    if os.environ.get("BUILD_IMAGES") != "true":
        pytest.skip("all are built, which takes an hour at first: `make containers` asks for it")
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    answer = called("docker", "version", "--format", "{{.Server.Version}}")
    if answer.returncode != 0:
        pytest.skip(f"no Docker daemon answers: {answer.stderr.strip().splitlines()[-1]}")


class Built:
    """The images that were built so far, each once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.commits: dict[str, str] = {}

    def image(self, name: str) -> str:
        """An image's name, once it is built; skips where what it stands on cannot be had."""
        if name not in self.seconds:
            base(name)
            self.commits[name] = called("git", "rev-parse", "HEAD").stdout.strip()
            begun = time.monotonic()
            done = called(SCRIPTS / "docker-build.sh", name, TAG=TAG)
            assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
            self.seconds[name] = round(time.monotonic() - begun, 1)
        return f"hft-crypto-bot-{name}:{TAG}"

    def forget(self) -> None:
        """Take their names away."""
        for name in self.seconds:
            called("docker", "image", "rm", f"hft-crypto-bot-{name}:{TAG}")


def base(name: str) -> None:
    """Have what an image stands on here, or skip."""
    had(stands_on(name))


def stands_on(name: str) -> str:
    """The image that one of ours is made from here."""
    path = ROOT / ("serving" if name in SERVICES else "docker") / name / "Dockerfile"
    (own,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", path.read_text(), re.MULTILINE)
    is_makers = own.partition(":")[0] != "python"
    return own if is_makers else os.environ.get("BASE_IMAGE", own)


def had(wanted: str) -> None:
    """Have an image of somebody else's here, or skip."""
    why = why_absent(wanted)
    if why:
        pytest.skip(why)


def why_absent(wanted: str) -> str:
    """Why an image of somebody else's cannot be had here; empty where it can."""
    if called("docker", "image", "inspect", wanted).returncode == 0:
        return ""
    done = called("docker", "pull", "--quiet", wanted)
    if done.returncode == 0:
        return ""
    return f"{wanted} cannot be had: {done.stderr.strip().splitlines()[-1]}"


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    """The images; what they were called is forgotten at the end, their layers stay for the next."""
    images = Built()
    yield images
    images.forget()


@pytest.mark.parametrize("name", KINDS)
def test_an_image_runs_as_nobody_says_that_it_is_ready_and_ends_with_0(
    built: Built, name: str, record_property: Any
) -> None:
    image = built.image(name)
    (port,) = free_ports(1)
    script = SCRIPTS / "ci" / "image_run.py"
    done = called(sys.executable, script, image, str(port), "--as", name)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["exit_code"] == 0 and set(seen["uids"]) == {str(KINDS[name].uid)}
    for key in ("ready_s", "done_s", "memory", "stopped_s", "bytes"):
        record_property(key, seen.get(key))
    record_property("build_s", built.seconds[name])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_what_it_is_built_of(built: Built, name: str) -> None:
    form = "{{json .Config.Labels}}"
    done = called("docker", "image", "inspect", "--format", form, built.image(name))
    said = json.loads(done.stdout)
    assert said["org.opencontainers.image.title"] == f"hft-crypto-bot-{name}"
    # A plus where files differ from the commit.
    assert said["org.opencontainers.image.revision"].removesuffix("+") == built.commits[name]


@pytest.mark.parametrize("group", GROUPS)
def test_no_layer_holds_a_secret_and_what_is_sent_is_small(
    built: Built, group: str, tmp_path: Path, record_property: Any
) -> None:
    images = [built.image(name) for name in GROUPS[group]]
    path = tmp_path / "images.tar"
    try:
        saved = called("docker", "save", "--output", str(path), *images)
        assert saved.returncode == 0, saved.stderr
        done = called(sys.executable, SCRIPTS / "ci" / "image_secrets.py", path)
        assert done.returncode == 0, done.stderr
        name = GROUPS[group][0]
        done = called(sys.executable, SCRIPTS / "ci" / "image_size.py", path, "--as", name)
        assert done.returncode == 0, done.stderr
        sizes = [int(line.split()[1]) for line in done.stdout.splitlines()]
        assert len(sizes) == len(images)
        record_property("compressed_bytes", sizes)
    finally:
        path.unlink(missing_ok=True)


def test_the_six_services_share_all_layers_but_empty_ones(built: Built) -> None:
    form = "{{json .RootFS.Layers}}"
    words = ("docker", "image", "inspect", "--format", form)
    done = called(*words, *(built.image(name) for name in SERVICES))
    layers = {tuple(json.loads(line)) for line in done.stdout.splitlines()}
    assert len(layers) == 1
