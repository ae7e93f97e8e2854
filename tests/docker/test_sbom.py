"""An image's bill of materials names whatever its lock installs, with versions and hashes."""

import json
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docker.test_images import ROOT, SCRIPTS, run
from tests.test_locks import pins

PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
LOCKS = {"execution": "services", "mlflow": "mlflow"}


def written(image: str) -> bytes:
    """What the script writes of `image`; the tool holds it against CycloneDX's own schema."""
    done = run(SCRIPTS / "docker-build.sh", "--sbom", image, PATH=PATH)
    assert done.returncode == 0, done.stderr
    return (ROOT / "build" / "sbom" / f"{image}.cdx.json").read_bytes()


made = cache(written)


def hashes(component: dict[str, Any]) -> set[str]:
    """The hashes of whatever may be installed as this package."""
    kept = [one.get("hashes", []) for one in component["externalReferences"]]
    return {value["content"] for values in kept for value in values if value["alg"] == "SHA-256"}


def locked(name: str) -> dict[str, set[str]]:
    """The hashes by package of a lock."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {b.partition("==")[0]: set(re.findall(r"sha256:([0-9a-f]{64})", b)) for b in blocks}


@pytest.mark.parametrize("image", LOCKS)
def test_every_package_of_the_lock_is_in_it_with_version_and_hashes(image: str) -> None:
    bill: dict[str, Any] = json.loads(made(image))
    components = {one["name"]: one for one in bill["components"]}
    assert {name: one["version"] for name, one in components.items()} == pins(LOCKS[image])
    assert {name: hashes(one) for name, one in components.items()} == locked(LOCKS[image])
    assert all(one["purl"].startswith("pkg:pypi/") for one in components.values())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "hft-crypto-bot"


def test_it_is_the_same_bytes_again() -> None:
    first = made("execution")
    assert written("execution") == first


def test_an_image_without_a_lock_is_refused() -> None:
    done = run(SCRIPTS / "docker-build.sh", "--sbom", "execution", "grafana", PATH=PATH)
    assert done.returncode == 2
    assert "--sbom is of an image with a lock, was grafana" in done.stderr
