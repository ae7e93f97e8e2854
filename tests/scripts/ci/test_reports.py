"""What CI says of dependencies, images and tests is never better than what was looked at."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

CI = Path(__file__).resolve().parents[3] / "scripts" / "ci"
LOCK = "numpy==2.0.0 \\\n    --hash=sha256:00\nruamel-yaml==0.18 \\\n    --hash=sha256:01\n"
WELL = {"scanned_packages": {"numpy": {}, "ruamel.yaml": {}}, "vulnerabilities": []}
FLAW = {
    "package_name": "numpy",
    "analyzed_version": "2.0.0",
    "vulnerability_id": "1",
    "CVE": "CVE-2026-1",
    "fixed_versions": ["2.0.1"],
}
# Stands for GitHub's command: it records how it was called and answers with the issues there are.
GH = """#!/bin/sh
printf '%s\\n' "$*" >> calls
case "$1 $2" in "issue list") cat open ;; esac
"""


def run(script: str, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A script of CI's."""
    command = [sys.executable, CI / script, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def judged(folder: Path, report: str) -> subprocess.CompletedProcess[str]:
    """The verdict on a report of safety's over two packages."""
    (folder / "report").write_text(report)
    (folder / "lock").write_text(LOCK)
    return run("safety_report.py", folder / "report", folder / "lock")


def test_a_report_of_every_package_without_a_flaw_passes(tmp_path: Path) -> None:
    assert judged(tmp_path, json.dumps(WELL)).returncode == 0


def test_a_warning_before_the_report_is_passed_over(tmp_path: Path) -> None:
    assert judged(tmp_path, f"DEPRECATED: use scan\n{json.dumps(WELL)}").returncode == 0


def test_a_known_vulnerability_fails_and_says_the_fix(tmp_path: Path) -> None:
    done = judged(tmp_path, json.dumps({**WELL, "vulnerabilities": [FLAW]}))
    assert done.returncode == 1
    assert done.stderr == "safety: numpy 2.0.0 has CVE-2026-1, fixed in: 2.0.1\n"


@pytest.mark.parametrize("report", ["", "Traceback", "{}", "[]", '{"scanned_packages": 1}'])
def test_what_is_no_report_fails(tmp_path: Path, report: str) -> None:
    done = judged(tmp_path, report)
    assert done.returncode == 1 and "must be one of `safety check" in done.stderr


def test_a_package_that_was_not_looked_up_fails(tmp_path: Path) -> None:
    done = judged(tmp_path, json.dumps({**WELL, "scanned_packages": {"numpy": {}}}))
    assert done.returncode == 1 and "was not: ruamel-yaml" in done.stderr


def sarif(*severities: float) -> str:
    """A scan's report with a finding of each severity, each found twice."""
    rules = [
        {"id": f"CVE-{place}", "properties": {"security-severity": str(severity)}}
        for place, severity in enumerate(severities)
    ]
    place = {"physicalLocation": {"artifactLocation": {"uri": "library/openssl"}}}
    results = [
        {"ruleId": rule["id"], "message": {"text": f"about {rule['id']}"}, "locations": [place]}
        for rule in rules * 2
    ]
    return json.dumps({"runs": [{"tool": {"driver": {"rules": rules}}, "results": results}]})


def refused(folder: Path, report: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The verdict on a scan's report, where GitHub has the issues of the file `open`."""
    gh = folder / "gh"
    gh.write_text(GH)
    gh.chmod(0o755)
    (folder / "scan.sarif").write_text(report)
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    known = {"GITHUB_REPOSITORY": "owner/bot", "RUN_URL": "https://ci/1", **more}
    return run("critical_issues.py", "scan.sarif", cwd=folder, env=environ | known)


def test_a_critical_finding_is_refused_and_gets_one_issue(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("[]")
    done = refused(tmp_path, sarif(9.8, 7.5), GH_TOKEN="token")
    assert done.returncode == 1
    made = [line for line in (tmp_path / "calls").read_text().splitlines() if " create " in line]
    issues = [line for line in made if line.startswith("issue")]
    assert len(issues) == 1
    assert "--title Critical vulnerability CVE-0 in library/openssl" in issues[0]


def test_an_issue_that_is_open_is_not_opened_again(tmp_path: Path) -> None:
    title = "Critical vulnerability CVE-0 in library/openssl"
    (tmp_path / "open").write_text(json.dumps([{"title": title}]))
    assert refused(tmp_path, sarif(9.8), GH_TOKEN="token").returncode == 1
    assert "issue create" not in (tmp_path / "calls").read_text()


def test_without_a_token_it_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    assert refused(tmp_path, sarif(9.8)).returncode == 1
    assert not (tmp_path / "calls").exists()


def test_what_is_not_critical_passes(tmp_path: Path) -> None:
    assert refused(tmp_path, sarif(8.9), GH_TOKEN="token").returncode == 0


def test_what_the_vendor_calls_critical_is_refused_whatever_its_score(tmp_path: Path) -> None:
    report = json.loads(sarif(8.8, 7.5))
    rules = report["runs"][0]["tool"]["driver"]["rules"]
    rules[1]["properties"]["tags"] = ["vulnerability", "security", "HIGH"]
    assert refused(tmp_path, json.dumps(report)).returncode == 0
    rules[0]["properties"]["tags"] = ["vulnerability", "security", "CRITICAL"]
    assert refused(tmp_path, json.dumps(report)).returncode == 1


@pytest.mark.parametrize("report", ["", "{}", '{"runs": [{}]}'])
def test_a_scan_that_left_no_report_is_refused(tmp_path: Path, report: str) -> None:
    done = refused(tmp_path, report)
    assert done.returncode == 1 and "must be a SARIF report" in done.stderr


def test_reports_of_tests_become_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        suite = f'<testsuites><testsuite name="{name}"><testcase/></testsuite></testsuites>'
        (tmp_path / name).write_text(suite)
    done = run("junit.py", tmp_path / "a", tmp_path / "b")
    root = ElementTree.fromstring(done.stdout.encode())
    assert [suite.attrib["name"] for suite in root] == ["a", "b"]
    assert len(root.findall("testsuite/testcase")) == 2


def test_a_report_of_no_test_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("<testsuites/>")
    assert run("junit.py", tmp_path / "a").returncode != 0


def digest(folder: Path, verb: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`scripts/ci/digest.sh` with its files in `folder`."""
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    known = {"PATH": path, "DIGESTS": str(folder / "digests"), "GITHUB_REPOSITORY": "owner/bot"}
    known |= {"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "c0ffee"}
    return subprocess.run(
        [CI / "digest.sh", verb], env=known | environ, capture_output=True, text=True, timeout=60
    )


def test_an_image_is_handed_on_by_its_digest(tmp_path: Path) -> None:
    sha = "sha256:" + "a" * 64
    written = digest(tmp_path, "write", IMAGE="execution", NAME="docker.io/me/x", DIGEST=sha)
    assert written.returncode == 0
    out = tmp_path / "out"
    digest(tmp_path, "target", IMAGE="execution", GITHUB_OUTPUT=str(out))
    assert out.read_text() == f"type=image\nimage=docker.io/me/x@{sha}\n"


def test_a_deployment_gets_every_image_by_its_digest(tmp_path: Path) -> None:
    for name, letter in (("execution", "a"), ("ingestion", "b")):
        sha = "sha256:" + letter * 64
        digest(tmp_path, "write", IMAGE=name, NAME=f"docker.io/me/x-{name}", DIGEST=sha)
    lines = digest(tmp_path, "list").stdout.splitlines()
    assert lines == [f"execution sha256:{'a' * 64}", f"ingestion sha256:{'b' * 64}"]


def test_a_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    done = digest(tmp_path, "write", IMAGE="execution", NAME="x", DIGEST="latest")
    assert done.returncode == 1 and "was 'latest'" in done.stderr


def test_an_image_that_was_sent_nowhere_leaves_the_repository_to_scan(tmp_path: Path) -> None:
    assert digest(tmp_path, "target", IMAGE="execution").stdout == "type=fs\nimage=\n"


@pytest.mark.parametrize("name", ["kafka", "redis", "postgres"])
def test_an_image_of_somebody_elses_is_scanned_as_the_manifests_name_it(
    tmp_path: Path, name: str
) -> None:
    told = digest(tmp_path, "target", IMAGE=name, GITHUB_EVENT_NAME="push").stdout
    kind, image = told.splitlines()
    assert kind == "type=image"
    manifests = (CI.parents[1] / "k8s" / "base" / "infrastructure").glob("*.yaml")
    assert any(f"image: {image.removeprefix('image=')}\n" in path.read_text() for path in manifests)
    # What a pull request changes is in the repository, and it waits for nobody else's.
    told = digest(tmp_path, "target", IMAGE=name, GITHUB_EVENT_NAME="pull_request").stdout
    assert told == "type=fs\nimage=\n"


@pytest.mark.parametrize(("answer", "code"), [("0", 0), ("1", 1)])
def test_an_image_without_an_attestation_is_refused(tmp_path: Path, answer: str, code: int) -> None:
    digest(tmp_path, "write", IMAGE="execution", NAME="x/y", DIGEST="sha256:" + "a" * 64)
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexit {answer}\n')
    gh.chmod(0o755)
    assert digest(tmp_path, "verify").returncode == code
    asked = (tmp_path / "calls").read_text()
    # Of this commit and by the workflow that builds: not by whatever a branch was made to run.
    assert asked == (
        f"attestation verify oci://x/y@sha256:{'a' * 64} --repo owner/bot"
        " --signer-workflow owner/bot/.github/workflows/image.yml"
        " --source-ref refs/heads/main --source-digest c0ffee --deny-self-hosted-runners\n"
    )


def docker(folder: Path, digest: str) -> None:
    """A registry's answer to whoever asks for an image."""
    stand_in = folder / "docker"
    stand_in.write_text(
        f'#!/bin/sh\necho "$4" >> {folder}/asked\nprintf \'{{"digest": "{digest}"}}\'\n'
    )
    stand_in.chmod(0o755)


def test_others_images_are_named_by_what_the_registry_says_and_asked_for_once(
    tmp_path: Path,
) -> None:
    sha = "sha256:" + "c" * 64
    docker(tmp_path, sha)
    assert digest(tmp_path, "theirs").returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "apache/kafka:4.1.0",
        "prom/node-exporter:v1.9.1",
        "postgres:17-bookworm",
        "prom/pushgateway:v1.11.1",
        "redis:7-alpine",
    ]
    assert digest(tmp_path, "list").stdout.splitlines() == [
        f"{name} {sha}" for name in ("kafka", "node-exporter", "postgres", "pushgateway", "redis")
    ]
    assert digest(tmp_path, "theirs").returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == asked


def test_a_registry_that_does_not_say_what_an_image_is_stops_the_deployment(tmp_path: Path) -> None:
    docker(tmp_path, "latest")
    done = digest(tmp_path, "theirs")
    assert done.returncode == 1 and "was 'latest'" in done.stderr


def test_nobody_attests_others_images_and_no_other_passes_under_their_names(tmp_path: Path) -> None:
    docker(tmp_path, "sha256:" + "c" * 64)
    digest(tmp_path, "theirs")
    gh = tmp_path / "gh"
    gh.write_text("#!/bin/sh\nexit 1\n")
    gh.chmod(0o755)
    digest(tmp_path, "write", IMAGE="redis", NAME="evil/redis", DIGEST="sha256:" + "d" * 64)
    done = digest(tmp_path, "verify")
    assert done.returncode == 1 and "redis must be attested" in done.stderr


@pytest.mark.parametrize("verb", ["verify", "list"])
def test_no_image_at_all_is_refused(tmp_path: Path, verb: str) -> None:
    assert digest(tmp_path, verb).returncode == 1


def kubeconfig(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    """`scripts/ci/kubeconfig.sh` on a secret."""
    environ = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(folder), "KUBE_CONFIG": content}
    return subprocess.run(
        [CI / "kubeconfig.sh"], env=environ, capture_output=True, text=True, timeout=60
    )


def test_a_kubeconfig_is_written_for_this_user_alone(tmp_path: Path) -> None:
    content = "apiVersion: v1\nclusters: []\n"
    done = kubeconfig(tmp_path, base64.b64encode(content.encode()).decode())
    file = tmp_path / "kubeconfig"
    assert done.stdout == f"KUBECONFIG={file}\n"
    assert file.read_text() == content and stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "not base64!", base64.b64encode(b"else").decode()])
def test_a_secret_that_is_no_kubeconfig_is_refused_and_not_shown(
    tmp_path: Path, content: str
) -> None:
    done = kubeconfig(tmp_path, content)
    assert done.returncode == 1 and not (tmp_path / "kubeconfig").exists()
    assert not content or content not in done.stderr + done.stdout
