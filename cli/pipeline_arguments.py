"""The inputs of a pipeline: which there are, of what type, and what a verb gives them."""

import importlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cli.errors import BadInput
from cli.registry import lock_sha256
from serving.runtime.identity import git_commit

# What the verbs fill in by themselves, where a pipeline has it.
_FILLED = ("git_commit", "lock_sha256")


def load(name: str) -> Any:
    """The pipeline as kfp holds it; importing kfp takes a second, so only the verb does."""
    return getattr(importlib.import_module(f"pipelines.{name}"), name)


def arguments_of(name: str, known: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The inputs of a pipeline: `known` where it has them, over them those of NAME=VALUE `given`.

    BadInput for a name that it does not have, a value of another type, or an input without any.
    """
    inputs = load(name).component_spec.inputs or {}
    found = {key: value for key, value in known.items() if key in inputs}
    filled = {"git_commit": git_commit, "lock_sha256": lock_sha256}
    found |= {key: filled[key]() for key in _FILLED if key in inputs}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or key not in inputs:
            raise BadInput(f"--set must be NAME=VALUE, NAME of {', '.join(inputs)}, was {item!r}")
        found[key] = _typed(key, value, inputs[key].type)
    missing = [key for key, one in inputs.items() if not one.optional and key not in found]
    if missing:
        raise BadInput(f"pipeline {name} needs {' and '.join(f'--{key}' for key in missing)}")
    return found


def _typed(key: str, value: str, kind: str) -> Any:
    try:
        if kind == "Integer":
            return int(value)
        if kind == "Float":
            return float(value)
        if kind == "Boolean":
            return {"true": True, "false": False}[value.lower()]
        if "List" in kind:  # typing.List[str]
            return json.loads(value) if value.startswith("[") else value.split(",")
        return value
    except (ValueError, KeyError) as error:
        raise BadInput(f"--set {key} must be of type {kind.lower()}, was {value!r}") from error
