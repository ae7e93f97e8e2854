"""The jobs that deploy: what they wait for, what they take, and who may start them."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github" / "workflows" / "ci-cd.yml"
JOBS: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"]
STAGING, PRODUCTION = JOBS["deploy-staging"], JOBS["deploy-production"]


def runs(job: dict[str, Any]) -> list[str]:
    """The commands of a job, in their order."""
    return [step["run"] for step in job["steps"] if "run" in step]


def place(job: dict[str, Any], words: str) -> int:
    """Where the one command with `words` stands among a job's."""
    (found,) = (at for at, run in enumerate(runs(job)) if words in run)
    return found


def test_the_jobs_need_what_the_guide_says() -> None:
    assert JOBS["build-monitoring"]["needs"] == ["lint", "test"]
    assert (STAGING["name"], STAGING["needs"]) == (
        "Deploy to Staging",
        ["build", "build-monitoring"],
    )
    assert (PRODUCTION["name"], PRODUCTION["needs"]) == (
        "Deploy to Production",
        ["deploy-staging", "security-scan"],
    )


def test_production_is_deployed_by_hand_alone() -> None:
    assert "github.event_name == 'workflow_dispatch'" in PRODUCTION["if"]
    assert "inputs.environment == 'production'" in PRODUCTION["if"]
    assert "github.ref == 'refs/heads/main'" in PRODUCTION["if"]


def test_nothing_is_deployed_of_a_pull_request_or_another_branch() -> None:
    assert "github.ref == 'refs/heads/main'" in STAGING["if"]
    assert "github.event_name != 'pull_request'" in STAGING["if"]


def test_each_environment_has_the_guides_name_and_address() -> None:
    hosts = {"staging": "hft-staging", "production": "hft-prod"}
    for name, job in (("staging", STAGING), ("production", PRODUCTION)):
        url = f"https://{hosts[name]}.yourdomain.com"
        assert job["environment"] == {"name": name, "url": url}
        assert job["concurrency"]["cancel-in-progress"] is False


def test_what_is_deployed_was_built_here_and_is_named_by_its_digest() -> None:
    for name, job in (("staging", STAGING), ("production", PRODUCTION)):
        deploy = f"deploy-k8s.sh -e {name} --digests build/digests.txt deploy"
        assert place(job, "digest.sh verify") < place(job, "digest.sh theirs")
        assert place(job, "digest.sh theirs") < place(job, "digest.sh list") < place(job, deploy)
        asked = [place(job, f"{script}.sh -e {name}") for script in ("health-check", "smoke-test")]
        assert [place(job, deploy), *asked] == sorted([place(job, deploy), *asked])
        assert asked[-1] < place(job, "slack")


def test_production_is_backed_up_before_it_is_changed() -> None:
    assert place(PRODUCTION, "production backup") < place(PRODUCTION, "digests.txt deploy")


def test_each_environment_is_reached_by_its_own_key() -> None:
    for name, job in (("STAGING", STAGING), ("PRODUCTION", PRODUCTION)):
        keys = [step.get("env", {}).get("KUBE_CONFIG") for step in job["steps"]]
        assert [key for key in keys if key] == [f"${{{{ secrets.KUBE_CONFIG_{name} }}}}"]


def test_who_deploys_shows_its_own_identity_where_registry_and_cluster_know_it() -> None:
    for job in (STAGING, PRODUCTION):
        assert job["permissions"]["id-token"] == "write"
        (cluster,) = (step["env"] for step in job["steps"] if "kubeconfig" in step.get("run", ""))
        # Variables of the environment: neither is a secret.
        assert cluster["KUBE_SERVER"] == "${{ vars.KUBE_SERVER }}"
        assert cluster["KUBE_CA"] == "${{ vars.KUBE_CA }}"
    image = yaml.safe_load(FILE.with_name("image.yml").read_text(encoding="utf-8"))["jobs"]["image"]
    scan = JOBS["security-scan"]
    assert scan["permissions"]["id-token"] == "write"
    logins = [
        step
        for job in (STAGING, PRODUCTION, image, scan)
        for step in job["steps"]
        if "docker/login-action" in step.get("uses", "")
    ]
    identity = "vars.DOCKERHUB_OIDC_CONNECTIONID"
    assert len(logins) == 4
    for login in logins:
        assert login["env"]["DOCKERHUB_OIDC_CONNECTIONID"] == f"${{{{ {identity} }}}}"
        # The action asks for a token only where it gets no password.
        password = f"{identity} == '' && secrets.DOCKER_PASSWORD || ''"
        assert login["with"]["password"] == f"${{{{ {password} }}}}"


def test_every_run_that_is_no_pull_requests_is_recorded_however_it_ended() -> None:
    record = JOBS["record"]
    assert record["needs"] == JOBS["failed"]["needs"]
    assert record["if"] == "always() && github.event_name != 'pull_request'"
    assert "run_record.py" in runs(record)[-1]
    kept = record["steps"][-1]["with"]
    assert (kept["name"], kept["path"]) == ("pipeline-record", "build/record")


def test_every_image_of_the_manifests_is_built() -> None:
    build = JOBS["build"]["strategy"]["matrix"]
    built = {*build["service"], *(more["service"] for more in build["include"])}
    built |= set(JOBS["build-monitoring"]["strategy"]["matrix"]["image"])
    named = {
        word.partition("hft-crypto-bot-")[2]
        for path in (ROOT / "k8s").rglob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        for word in [line.rpartition("image: ")[2]]
        if "image: hft-crypto-bot-" in line
    }
    assert named and named <= built


def test_production_takes_what_staging_ran_of_others_and_the_record_counts_ours_alone() -> None:
    left = [step["with"].get("name") for step in STAGING["steps"] if "path" in step.get("with", {})]
    assert "others-digests" in left
    taken = [step["with"] for step in PRODUCTION["steps"] if "path" in step.get("with", {})]
    assert {"name": "others-digests", "path": "build/digests"} in taken
    # Those of ours have a bill of materials each; the share that has one is a figure.
    record = [step["with"] for step in JOBS["record"]["steps"] if "path" in step.get("with", {})]
    (counted,) = (given for given in record if given["path"] == "build/digests")
    assert not fnmatch("others-digests", counted["pattern"])


def test_any_job_that_fails_is_told() -> None:
    assert set(JOBS["failed"]["needs"]) == set(JOBS) - {"failed", "record"}
    condition = JOBS["failed"]["if"]
    # `failure()` does not see a job that took too long: that is cancelled.
    assert condition.startswith("always() && github.event_name != 'pull_request'")
    for result in ("failure", "cancelled"):
        assert f"contains(needs.*.result, '{result}')" in condition


def test_a_deploy_that_is_cancelled_hears_of_it() -> None:
    for name, job in (("staging", STAGING), ("production", PRODUCTION)):
        run = runs(job)[place(job, "digests.txt deploy")]
        assert run.startswith(f"exec scripts/deploy-k8s.sh -e {name} ")
