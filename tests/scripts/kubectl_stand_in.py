"""A stand-in for kubectl: records what it is asked, keeps what is applied, fails where it is told.

The cluster is a folder: `calls.jsonl` (argv and stdin, a line a call), `objects.json` (what was
applied, by kind and name), `plan.json` (`fail`: numbers of the calls that fail, from 1; `from`: and
all those from one on; `verbs`: words of which every call fails; `broken`: an image that never gets
ready; `hang`: the number of a call that answers nothing for `hang_s` seconds, once what it changes
is changed; `says`: what the answer of a verb begins with). `kustomize` is left to the real kubectl,
and takes no number: it asks no cluster; what it made of one kustomization is kept in the folder
RENDERED.

Every call is a process, and the tests make thousands: it imports only what starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KNOWING = (
    "apply",
    "get",
    "diff",
    "rollout",
    "create",
    "patch",
)  # the verbs that need what was applied
LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of")


def home(name: str) -> str:
    return os.path.join(os.environ["STAND_IN"], name)


def content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def read(name: str, default: Any) -> Any:
    path = home(name)
    return json.loads(content_of(path)) if os.path.isfile(path) else default


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words else ""


def is_selected(item: dict[str, Any], selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        key, _, value = term.partition("!=" if "!=" in term else "=")
        if (labels.get(key) == value) == ("!=" in term):
            return False
    return True


def documents(path: str) -> list[dict[str, Any]]:
    """The objects of a file; what was read once is kept, since every call is a process."""
    content = content_of(path)
    kept = home(f"read-{sha256(content)}.json")
    if not os.path.isfile(kept):
        sys.path.append(os.environ["YAML"])
        import yaml

        found = [item for item in yaml.load_all(content, yaml.CSafeLoader) if item]
        write(kept, json.dumps(found).encode())
    return list(json.loads(content_of(kept)))


def apply(words: list[str], objects: dict[str, Any]) -> None:
    for item in documents(after(words, "--filename")):
        if is_selected(item, after(words, "--selector")):
            objects[f"{item['kind'].lower()}/{item['metadata']['name']}"] = item
    write(home("objects.json"), json.dumps(objects).encode())


def is_ready(item: dict[str, Any], broken: str) -> bool:
    pod = item["spec"]["template"]["spec"]
    return not broken or broken not in pod["containers"][0]["image"]


def get(words: list[str], objects: dict[str, Any], broken: str) -> int:
    output = after(words, "--output")
    if "last-applied-configuration" in output:
        for item in objects.values():
            if is_selected(item, after(words, "--selector")):
                text = json.dumps(item, separators=(",", ":"), sort_keys=True)
                sys.stdout.write(f"---\n{text}\n\n")
    elif "readyReplicas" in output:
        sys.stdout.write("1" if is_ready(objects[f"deployment/{words[2]}"], broken) else "")
    elif "configmap" in words:
        name = words[2]
        kept = objects.get(f"configmap/{name}")
        if kept is None:
            sys.stderr.write(f'Error: configmaps "{name}" not found\n')
            return int("--ignore-not-found" not in words)
        sys.stdout.write(kept["data"]["holder" if "holder" in output else "manifests.yaml"])
    elif output == "name":
        keys = [key for key in objects if key.startswith("deployment/")]
        sys.stdout.write("".join(f"deployment.apps/{key}\n" for key in keys))
    return 0


def diff(words: list[str], objects: dict[str, Any]) -> int:
    found = documents(after(words, "--filename"))
    wanted = {f"{item['kind'].lower()}/{item['metadata']['name']}": item for item in found}
    return int(any(objects.get(key) != item for key, item in wanted.items()))


def rollout(words: list[str], objects: dict[str, Any], broken: str) -> int:
    if words[1] == "undo":
        return 0
    item = objects.get(words[2])
    if item is None or not is_ready(item, broken):
        sys.stderr.write(f"error: {words[2]} exceeded its progress deadline\n")
        return 1
    sys.stdout.write(f"{words[2]} successfully rolled out\n")
    return 0


def create(words: list[str], objects: dict[str, Any]) -> int:
    if words[1] != "configmap":
        return 0
    if literal := after(words, "--from-literal"):
        name = f"configmap/{words[2]}"
        if name in objects:
            sys.stderr.write(f'error: configmaps "{words[2]}" already exists\n')
            return 1
        key, _, value = literal.partition("=")
        made = {"kind": "ConfigMap", "metadata": {"name": words[2]}, "data": {key: value}}
        write(home("objects.json"), json.dumps(objects | {name: made}).encode())
        return 0
    key, _, path = after(words, "--from-file").partition("=")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": words[2]}}
    sys.stdout.write(json.dumps(made | {"data": {key: content_of(path).decode()}}))
    return 0


def patch(words: list[str], objects: dict[str, Any]) -> int:
    item = objects[f"{words[1]}/{words[2]}"]
    tested, replaced = json.loads(after(words, "--patch"))
    if item["data"]["holder"] != tested["value"]:
        sys.stderr.write("The request is invalid: testing value failed\n")
        return 1
    item["data"]["holder"] = replaced["value"]
    write(home("objects.json"), json.dumps(objects).encode())
    return 0


def inside(words: list[str], given: str) -> int:
    if words[words.index("--") + 1] == "pg_dump" or "--create" in words:
        sys.stdout.write(f"the content of {words[-1]}\n")
    return 0 if given or "--extract" not in words and "pg_restore" not in words else 1


def answer(words: list[str], given: str, plan: dict[str, Any]) -> int:
    broken = plan.get("broken", "")
    objects = read("objects.json", {}) if words[0] in KNOWING else {}
    match words:
        case ["config", "current-context"]:
            sys.stdout.write(plan.get("context", "somewhere") + "\n")
        case ["apply", *_] if "--dry-run=server" not in words:
            apply(words, objects)
        case ["get", *_]:
            return get(words, objects, broken)
        case ["diff", *_]:
            return diff(words, objects)
        case ["rollout", *_]:
            return rollout(words, objects, broken)
        case ["create", *_]:
            return create(words, objects)
        case ["patch", *_]:
            return patch(words, objects)
        case ["exec", *_]:
            return inside(words, given)
    return 0


def kustomize(words: list[str]) -> int:
    """What the real one renders, which depends on the kustomization alone while the tests run."""
    asked = content_of(os.path.join(words[-1], "kustomization.yaml"))
    kept = os.path.join(os.environ["RENDERED"], f"{sha256(asked)}.yaml")
    if not os.path.isfile(kept):
        import subprocess

        done = subprocess.run(
            [os.environ["REAL_KUBECTL"], "kustomize", *words], capture_output=True, check=False
        )
        if done.returncode != 0:
            sys.stderr.write(done.stderr.decode())
            return done.returncode
        write(kept, done.stdout)
    sys.stdout.buffer.write(content_of(kept))
    return 0


def main() -> int:
    if sys.argv[1] == "kustomize":
        return kustomize(sys.argv[2:])
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    with open(home("calls.jsonl"), "a+", encoding="utf-8") as calls:
        calls.write(json.dumps({"argv": sys.argv[1:], "stdin": given}) + "\n")
        calls.seek(0)
        number = len(calls.readlines())
    plan = read("plan.json", {})
    verbs = [word for word in plan.get("verbs", []) if word in sys.argv]
    if number in plan.get("fail", []) or number >= plan.get("from", number + 1) or verbs:
        sys.stderr.write(f"stand-in: call {number} fails as told\n")
        return 2
    skipped = {"--namespace", "--context"}
    words, rest = [], iter(sys.argv[1:])
    for word in rest:
        if word in skipped:
            next(rest)
        elif not word.startswith("--request-timeout"):
            words.append(word)
    sys.stdout.write(plan.get("says", {}).get(words[0], ""))
    code = answer(words, given, plan)
    if number == plan.get("hang"):
        sys.stdout.flush()
        import time

        time.sleep(plan["hang_s"])
    return code


if __name__ == "__main__":
    sys.exit(main())
