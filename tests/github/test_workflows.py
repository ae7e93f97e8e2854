"""The workflows: three checkers find nothing, and what the guide and the house ask for is there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ci.image_kinds import KINDS
from tests.k8s import rendered

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FILES}
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(t) for name, t in TEXTS.items()}
MAIN = WORKFLOWS["ci-cd.yml"]
ON = True  # what YAML makes of the key `on`
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
SECRETS = {
    "DOCKER_USERNAME",
    "DOCKER_PASSWORD",
    "KUBE_CONFIG_STAGING",
    "KUBE_CONFIG_PRODUCTION",
    "SLACK_WEBHOOK",
}
# What a step may call beside the project's own scripts: each a line that a person can type too.
VERBS = re.compile(
    r"(exec )?(make|date|gh workflow run|python3 scripts/|scripts/|\.venv/bin/hft) ?\S"
)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job, with its file and name."""
    for name, workflow in WORKFLOWS.items():
        for job, body in workflow["jobs"].items():
            yield f"{name}: {job}", body


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, with its job."""
    for job, body in jobs():
        for step in body.get("steps", ()):
            yield job, step


def checked(*command: str) -> None:
    """A checker of workflows that ends with 0."""
    program = shutil.which(command[0], path=PATH)
    assert program, f"{command[0]} is missing: scripts/setup.sh dev"
    done = subprocess.run(
        (program, *command[1:]),
        cwd=ROOT,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    checked("actionlint", *map(str, FILES))


def test_zizmor_finds_nothing() -> None:
    checked("zizmor", "--offline", "--quiet", ".github")


def test_the_schema_of_workflows_holds() -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    checked("check-jsonschema", *schema, *map(str, FILES))


def test_the_checkers_see_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = TEXTS["ci-cd.yml"].replace("needs: [lint, test]", "needs: [lint, nothing]", 1)
    (folder / "ci-cd.yml").write_text(text)
    with pytest.raises(AssertionError, match="nothing"):
        checked("actionlint", str(folder / "ci-cd.yml"))
    (folder / "ci-cd.yml").write_text(TEXTS["ci-cd.yml"].replace("persist-credentials", "clean"))
    with pytest.raises(AssertionError, match="artipacked"):
        checked("zizmor", "--offline", "--quiet", str(tmp_path))


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    checked("shellcheck", *map(str, sorted((ROOT / "scripts").rglob("*.sh"))), ".ci/run")


def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it() -> None:
    used = [line for text in TEXTS.values() for line in text.splitlines() if "uses:" in line]
    outside = [line for line in used if "$/.github/" not in line]
    pinned = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    assert outside and [line for line in outside if not pinned.search(line)] == []


def test_an_action_is_at_one_commit_everywhere() -> None:
    found = re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", "".join(TEXTS.values()))
    assert len(set(found)) == len({name for name, _ in found})


def test_a_token_has_no_permission_that_a_job_does_not_name() -> None:
    assert {name: workflow["permissions"] for name, workflow in WORKFLOWS.items()} == {
        name: {} for name in WORKFLOWS
    }
    assert [job for job, body in jobs() if not body.get("permissions")] == []


def test_every_job_ends() -> None:
    # A call of another workflow takes that one's time.
    assert [job for job, b in jobs() if "uses" not in b and "timeout-minutes" not in b] == []


def test_a_later_push_and_an_earlier_one_do_not_run_over_one_another() -> None:
    called = {name for name, workflow in WORKFLOWS.items() if "workflow_call" in workflow[ON]}
    assert {name for name, workflow in WORKFLOWS.items() if "concurrency" not in workflow} == called


def test_no_workflow_runs_a_strangers_code_with_a_token_that_writes() -> None:
    assert [name for name, w in WORKFLOWS.items() if "pull_request_target" in w[ON]] == []


def test_a_step_is_one_line_that_a_person_can_run() -> None:
    runs = [(job, step["run"].strip()) for job, step in steps() if "run" in step]
    assert [run for run in runs if "\n" in run[1] or not VERBS.match(run[1])] == []


def test_every_script_that_a_step_calls_is_there() -> None:
    called = {word for text in TEXTS.values() for word in re.findall(r"scripts/[\w./-]+", text)}
    files = [ROOT / word for word in called if not word.endswith("/")]
    assert files and [path for path in files if not path.is_file()] == []
    shells = [path for path in files if path.suffix == ".sh"]
    assert [path for path in shells if not os.access(path, os.X_OK)] == []


def test_every_verb_of_make_that_a_step_calls_is_there() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = [step["run"] for _, step in steps() if "make " in step.get("run", "")]
    called = {word for run in runs for word in run.partition("make ")[2].split()}
    assert {word for word in called if not word.startswith("-")} <= verbs


def test_every_dockerfile_that_is_built_is_there() -> None:
    for name, job in MAIN["jobs"].items():
        if "uses" in job:
            matrix = job["strategy"]["matrix"]
            for image in matrix.get("service", matrix.get("image")):
                folder = matrix.get("folder", ["docker"])[0]
                assert (ROOT / folder / image / "Dockerfile").is_file(), (name, image)


def test_the_secrets_are_those_of_the_guide() -> None:
    named = {s for text in TEXTS.values() for s in re.findall(r"\bsecrets\.(\w+)", text)}
    assert named <= SECRETS
    # None is in a command's line, where a log may show it.
    runs = [step.get("run", "") for _, step in steps()]
    assert [run for run in runs if re.search(r"\bsecrets\.", run)] == []


def test_the_variables_are_those_of_the_guide() -> None:
    assert MAIN["env"] == {
        "REGISTRY": "docker.io",
        "IMAGE_PREFIX": "hft-crypto-bot",
        "PYTHON_VERSION": "3.11",
        "NODE_VERSION": "18",
    }
    given = MAIN["jobs"]["build"]["with"]
    assert (given["registry"], given["prefix"]) == ("docker.io", "hft-crypto-bot")


def test_the_main_workflow_runs_when_the_guide_says() -> None:
    assert set(MAIN[ON]) == {"push", "pull_request", "workflow_dispatch"}
    assert MAIN[ON]["push"]["branches"] == ["main", "develop"]
    assert MAIN[ON]["pull_request"]["branches"] == ["main"]
    feature = WORKFLOWS["feature-test.yml"][ON]
    assert feature["push"]["branches-ignore"] == ["main", "develop"]


@pytest.mark.parametrize(
    ("job", "name", "needs"),
    [
        ("lint", "Code Quality & Linting", None),
        ("test", "Unit & Integration Tests", "lint"),
        ("build", "Build Docker Images", ["lint", "test"]),
        ("security-scan", "Security Scanning", ["build", "build-monitoring"]),
    ],
)
def test_a_job_has_the_guides_name_and_needs(job: str, name: str, needs: object) -> None:
    assert (MAIN["jobs"][job]["name"], MAIN["jobs"][job].get("needs")) == (name, needs)


def test_what_the_guide_names_is_built_and_all_of_it_is_scanned() -> None:
    services = ["ingestion", "kalman_filter", "garch_model", "execution", "risk_manager"]
    services.append("orchestrator")
    build = MAIN["jobs"]["build"]["strategy"]["matrix"]
    scan = MAIN["jobs"]["security-scan"]["strategy"]["matrix"]
    assert build["service"] == services
    monitoring = MAIN["jobs"]["build-monitoring"]["strategy"]["matrix"]["image"]
    more = [more["service"] for more in build["include"]]
    others = ["kafka", "redis", "postgres", "node-exporter", "pushgateway"]
    assert scan["service"] == services + more + monitoring + others
    # Others' images are all that the manifests name, and no digest of theirs was kept here.
    named = {c["image"].partition(":")[0].rpartition("/")[2] for c in _containers()}
    assert {name for name in named if not name.startswith("hft-crypto-bot-")} == set(others)
    (kept,) = (s for s in MAIN["jobs"]["security-scan"]["steps"] if "download" in s.get("uses", ""))
    assert f"!contains(fromJSON('{json.dumps(others)}'), matrix.service)" in kept["if"]


def test_the_scan_may_take_a_private_image_and_shows_a_pull_request_no_password() -> None:
    scan = MAIN["jobs"]["security-scan"]["steps"]
    uses = [step.get("uses", "").partition("@")[0] for step in scan]
    login = scan[uses.index("docker/login-action")]
    assert login["if"] == "github.event_name != 'pull_request'"
    assert login["with"]["registry"] == "${{ env.REGISTRY }}"
    assert uses.index("docker/login-action") < uses.index("aquasecurity/trivy-action")
    # What is looked at is handed to no one who could send another in its place.
    named = [step for step in scan if "secrets." in str(step)]
    assert named == [login]
    assert MAIN["jobs"]["security-scan"]["permissions"] == {
        "contents": "read",
        "actions": "read",
        "id-token": "write",
        "security-events": "write",
        "issues": "write",
    }


def test_an_image_is_looked_through_for_secrets_before_it_is_sent() -> None:
    built = WORKFLOWS["image.yml"]["jobs"]["image"]["steps"]
    uses = [step.get("uses", "").partition("@")[0] for step in built]
    kept, _, sent = (n for n, name in enumerate(uses) if name == "docker/build-push-action")
    (looked,) = (n for n, step in enumerate(built) if "image_secrets.py" in step.get("run", ""))
    assert kept < looked < sent
    file = built[looked]["run"].split()[-1]
    assert f"dest={file}," in built[kept]["with"]["outputs"]
    assert (
        "push=" not in built[kept]["with"]["outputs"] and "push=" in built[sent]["with"]["outputs"]
    )
    # What is looked at is what is sent.
    for key in ("context", "file", "platforms", "labels", "build-args"):
        assert built[kept]["with"][key] == built[sent]["with"][key]
    assert built[kept]["env"] == built[sent]["env"]
    assert not any("if" in built[n] for n in (kept, looked, sent))


def test_an_image_is_measured_and_run_before_it_is_sent() -> None:
    built = WORKFLOWS["image.yml"]["jobs"]["image"]["steps"]
    uses = [step.get("uses", "").partition("@")[0] for step in built]
    kept, loaded, sent = (n for n, name in enumerate(uses) if name == "docker/build-push-action")
    runs = {Path(words[1]).name: n for n, words in enumerate(_commands(built)) if len(words) > 1}
    measured, run = runs["image_size.py"], runs["image_run.py"]
    assert kept < measured < loaded < run < sent
    # What runs is built of what is sent, and Docker has it under the name that is started.
    for key in ("context", "file", "labels", "build-args"):
        assert built[loaded]["with"][key] == built[sent]["with"][key]
    assert built[loaded]["env"] == built[sent]["env"] and built[loaded]["with"]["load"] is True
    assert built[loaded]["with"]["tags"] in _commands(built)[run]
    for n in (measured, run):
        assert _commands(built)[n][-2:] == ["--as", "$IMAGE"] and "if" not in built[n]
        assert built[n]["env"] == {"IMAGE": "${{ inputs.image }}"}
    called = [job for job in MAIN["jobs"].values() if str(job.get("uses")).endswith("/image.yml")]
    matrices = [job["strategy"]["matrix"] for job in called]
    names = {name for one in matrices for name in one.get("service", one.get("image"))}
    names |= {more["service"] for one in matrices for more in one.get("include", ())}
    assert names == set(KINDS)


def _containers() -> Iterator[dict[str, Any]]:
    for environment in rendered.ENVIRONMENTS:
        for item in rendered.workloads(environment):
            yield from rendered.containers(item)


def _commands(job: list[dict[str, Any]]) -> list[list[str]]:
    return [shlex.split(step.get("run", "")) for step in job]


def test_notebooks_and_pipelines_are_jobs_that_the_images_do_not_wait_for() -> None:
    commands = {"notebooks": "make notebooks", "pipelines": "scripts/ci/pipelines.sh"}
    for name, command in commands.items():
        job = MAIN["jobs"][name]
        assert job["needs"] == "lint" and job["steps"][-1]["run"] == command
        assert name not in MAIN["jobs"]["build"]["needs"]


def test_the_artifacts_have_the_guides_names() -> None:
    kept = "".join(step.get("with", {}).get("path", "") for _, step in steps())
    for name in ("bandit-report.json", "safety-report.json", "coverage.xml", "htmlcov/"):
        assert name in kept
    assert "pytest-report.xml" in kept


def test_redis_is_the_guides_with_its_health_command() -> None:
    job = MAIN["jobs"]["test"]
    redis = job["services"]["redis"]
    assert (redis["image"], redis["ports"]) == ("redis:7-alpine", ["6379:6379"])
    assert '--health-cmd "redis-cli ping"' in redis["options"]
    assert job["env"]["REDIS_URL"] == "redis://localhost:6379"
    assert (job["env"]["DATABASE_URL"], job["env"]["LOG_LEVEL"]) == ("sqlite:///test.db", "DEBUG")
