"""The health check says what the services' own pages say, here and through kubectl."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.runtime.pages import Pages
from serving.services import SERVICES
from tests.integration.conftest import free_ports

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "health-check.sh"
NAMES = [service.name for service in SERVICES]
# Stands for a cluster: what would run in a pod runs here, on a port of this test's.
KUBECTL = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
while [ "$1" != -- ]; do shift; done
shift
address=$(echo "$4" | sed "s/:8003/:$PORT/")
exec "$1" "$2" "$3" "$address"
"""


@pytest.fixture
def page() -> Iterator[Pages]:
    """The pages of a service that has begun, and waits for its broker."""
    pages = Pages("execution", free_ports(1)[0])
    pages.open()
    yield pages
    pages.close()


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script, with more variables."""
    environ = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [SCRIPT, *words], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def local(pages: Pages, *words: str) -> subprocess.CompletedProcess[str]:
    """The script on this host, where execution is at the port of `pages`."""
    first = pages.port - NAMES.index("execution")
    return run("--local", *words, "execution", PORT_FIRST=str(first))


def test_a_service_that_is_not_ready_fails_with_its_reason(page: Pages) -> None:
    done = local(page)
    assert done.returncode == 1
    assert done.stdout == "execution: waits until the broker\n"


def test_what_a_service_refuses_is_said(page: Pages) -> None:
    page.refuse("another execution runs")
    assert local(page).stdout == "execution: refused: another execution runs\n"


def test_a_service_that_does_not_answer_fails(page: Pages) -> None:
    page.close()
    done = local(page)
    assert done.returncode == 1 and "execution: does not answer: " in done.stdout


def test_it_waits_no_longer_than_it_was_told(page: Pages) -> None:
    done = local(page, "--wait", "1")
    assert done.returncode == 1 and "not every service is ready" in done.stderr


def in_cluster(folder: Path, pages: Pages, *words: str) -> subprocess.CompletedProcess[str]:
    """The script through a stand-in for kubectl."""
    kubectl = folder / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    known = {"KUBECTL": str(kubectl), "CALLS": str(folder / "calls"), "PORT": str(pages.port)}
    return run(*words, "execution", **known)


@pytest.mark.parametrize(
    ("words", "namespace"),
    [((), "hft-staging"), (("-e", "production"), "hft-production")],
)
def test_in_a_cluster_the_pod_is_asked_in_its_namespace(
    tmp_path: Path, page: Pages, words: tuple[str, ...], namespace: str
) -> None:
    done = in_cluster(tmp_path, page, *words)
    assert (done.returncode, done.stdout) == (1, "execution: waits until the broker\n")
    calls = (tmp_path / "calls").read_text()
    assert f"--namespace {namespace} " in calls
    assert " exec deployment/execution-service -- python3 " in calls


def test_a_cluster_that_does_not_answer_is_no_health(tmp_path: Path, page: Pages) -> None:
    kubectl = tmp_path / "broken"
    kubectl.write_text("#!/bin/sh\necho 'error: connection refused' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    done = run("execution", KUBECTL=str(kubectl))
    assert done.returncode == 1
    assert done.stdout == "execution: does not answer: error: connection refused\n"


def test_a_cluster_that_says_nothing_is_waited_for_so_long(tmp_path: Path) -> None:
    kubectl = tmp_path / "hangs"
    kubectl.write_text("#!/bin/sh\nexec sleep 600\n")
    kubectl.chmod(0o755)
    done = run("execution", KUBECTL=str(kubectl), ANSWER_S_MAX="1")
    assert done.returncode == 1
    assert done.stdout == "execution: does not answer: no answer within 1 s\n"


def test_the_cluster_can_be_named(tmp_path: Path, page: Pages) -> None:
    in_cluster(tmp_path, page, "-e", "production", "--context", "eu-prod")
    lines = (tmp_path / "calls").read_text().splitlines()
    calls = [line for line in lines if "--namespace " in line]
    assert calls and all(call.startswith("--context eu-prod --namespace ") for call in calls)


def test_a_dry_run_asks_nothing_and_says_what_it_would(tmp_path: Path) -> None:
    done = run("--dry-run", KUBECTL=str(tmp_path / "none"))
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 * len(SERVICES)
    for service in SERVICES:
        name = f"deployment/{service.name.replace('_', '-')}-service"
        url = f"http://127.0.0.1:{service.port}"
        assert f"in hft-staging, {name}: GET {url}/readyz" in lines


def test_a_service_is_known_by_its_deployments_name_too() -> None:
    lines = run("--dry-run", "kalman-filter-service", "execution").stdout.splitlines()
    assert [line.split(":")[0].rpartition("/")[2] for line in lines] == [
        *["kalman-filter-service"] * 2,
        *["execution-service"] * 2,
    ]


def test_the_ports_after_an_offset_are_those_of_all_in_one_process() -> None:
    lines = run("--local", "--dry-run", PORT_FIRST="9000").stdout.splitlines()
    ready = [line for line in lines if line.endswith("/readyz")]
    assert ready == [f"GET http://127.0.0.1:{9000 + at}/readyz" for at in range(len(NAMES))]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-e", "nowhere"), "-e must be staging or production"),
        (("--address", "http://10.0.0.7:8000"), "--address must be http://HOST"),
        (("--address", "10.0.0.7"), "--address must be http://HOST"),
        (("--wait", "long"), "--wait must be whole seconds"),
        (("nothing",), "a service must be one of ingestion kalman_filter"),
        (("--fast",), "no option is called --fast"),
        (("-e",), "-e must have a value"),
    ],
)
def test_bad_usage_ends_with_2_and_says_the_rule(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.returncode == 2 and said in done.stderr
