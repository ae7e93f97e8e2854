"""Kubernetes itself would take every object: its schemas of three versions, strictly."""

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.k8s import rendered

VERSIONS = ("1.33", "1.35", "1.37")
FOLDERS = ("staging", "production", "access/staging", "access/production")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_one_of_kubernetes(folder: str, version: str) -> None:
    found = list(yaml.safe_load_all(rendered.text(rendered.MANIFESTS / folder)))
    assert len(found) >= 7
    for item in found:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_is_seen(version: str) -> None:
    item = copy.deepcopy(rendered.named("staging", "Deployment", "execution-service"))
    context = rendered.template(item)["spec"]["containers"][0]["securityContext"]
    context["readOnlyRootFileSystem"] = context.pop("readOnlyRootFilesystem")
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        kubernetes_validate.validate(item, version, strict=True)


def test_no_file_of_the_tree_is_left_out_of_what_is_rendered() -> None:
    named: set[Path] = set()
    for file in rendered.MANIFESTS.rglob("kustomization.yaml"):
        named.add(file)
        for item in rendered.walk(yaml.safe_load(file.read_text())):
            for value in item.values():
                words = value if isinstance(value, list) else [value]
                named |= {(file.parent / word).resolve() for word in words if isinstance(word, str)}
    files = {path for path in rendered.MANIFESTS.rglob("*.*") if path.is_file()}
    made = {path for path in files if "__pycache__" in path.parts or path.suffix == ".md"}
    assert sorted(files - made - named) == []
