"""A deploy that is told to end, hears nothing, hears nonsense, or is not alone."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.test_deploy_k8s import (
    REFUSED,
    USAGE,
    Answer,
    Cluster,
    cluster,
    deployed,
    images,
    rendered,
    serving,
    verb,
)

__all__ = ["cluster", "deployed", "rendered", "serving"]
LONG_S, WAIT_S_MAX = 60, 30.0
TURN = "configmap/deploy-under-way"


def number_of(cluster: Cluster, *words: str) -> int:
    """Which call of those that were made holds these words."""
    found = [n for n, call in enumerate(cluster.calls(), 1) if set(words) <= set(call)]
    return found[0]


def calls_of_a_deploy(serving: Cluster) -> list[list[str]]:
    """What a deploy that goes well asks; the cluster is as it was."""
    old = (serving.home / "objects.json").read_text()
    assert serving.run("--tag", "new", "deploy").code == 0
    calls = serving.calls()
    (serving.home / "objects.json").write_text(old)
    serving.plan()
    return calls


def holder(cluster: Cluster) -> str:
    """Who is said to deploy."""
    return str(cluster.objects().get(TURN, {"data": {"holder": ""}})["data"]["holder"])


def hold(cluster: Cluster, by: str) -> None:
    """Say that somebody deploys."""
    known = cluster.objects() | {TURN: {"metadata": {}, "data": {"holder": by}}}
    (cluster.home / "objects.json").write_text(json.dumps(known))


def until(cluster: Cluster, begun: subprocess.Popen[str], calls: int) -> None:
    """Wait for a number of calls."""
    ends = time.monotonic() + WAIT_S_MAX
    while len(cluster.calls()) < calls:
        assert begun.poll() is None and time.monotonic() < ends
        time.sleep(0.02)


def ended(cluster: Cluster, step: int, how: signal.Signals, *words: str) -> Answer:
    """The script, told to end while its call number `step` hangs."""
    cluster.plan(hang=step, hang_s=LONG_S)
    begun = cluster.begin(*words)
    until(cluster, begun, step)
    time.sleep(0.2)  # what the call changes is changed
    os.kill(begun.pid, how)
    out, said = begun.communicate(timeout=WAIT_S_MAX)
    return Answer(begun.returncode, out, said)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_deploy_that_is_told_to_end_leaves_the_old_version_serving(
    serving: Cluster, how: signal.Signals
) -> None:
    calls = calls_of_a_deploy(serving)
    old = (serving.home / "objects.json").read_text()
    first = next(
        n for n, call in enumerate(calls, 1) if "app.kubernetes.io/component!=stage" in call
    )
    # Those whose answer is taken in a subshell are waited for; the last gives the turn back.
    waited = [n for n, call in enumerate(calls, 1) if n > 4 and call[4] not in ("get", "auth")]
    for step in [n for n in waited if n < len(calls)][:: 3 if how == signal.SIGTERM else 9]:
        (serving.home / "objects.json").write_text(old)
        done = ended(serving, step, how, "--tag", "new", "deploy")
        assert done.code == 1, (step, done.said)
        assert set(serving.served().values()) == images("old"), (step, done.said)
        if "--server-side" in calls[step - 1] or step < first:
            assert "nothing was changed" in done.said, (step, done.said)
        else:
            assert "the old version serves" in done.said, (step, done.said)
        assert holder(serving) in ("", "unfinished"), step


def test_a_second_signal_does_not_stop_what_puts_back(serving: Cluster) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if "deployment/risk-manager-service" in call)
    serving.plan(hang=step, hang_s=LONG_S)
    begun = serving.begin("--tag", "new", "deploy")
    until(serving, begun, step)
    for _ in range(3):
        os.kill(begun.pid, signal.SIGINT)
    _, said = begun.communicate(timeout=WAIT_S_MAX)
    assert begun.returncode == 1 and set(serving.served().values()) == images("old")
    assert "the old version serves" in said or "THE OLD VERSION'S MANIFESTS ARE APPLIED" in said


@pytest.mark.parametrize("what", ["diff", "--server-side", "app.kubernetes.io/component!=stage"])
def test_a_cluster_that_does_not_answer_is_not_waited_for_for_ever(
    serving: Cluster, what: str
) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if what in call)
    serving.plan(hang=step, hang_s=LONG_S)
    began = time.monotonic()
    done = serving.run("--tag", "new", "deploy", ANSWER_S_MAX="2")
    assert time.monotonic() - began < LONG_S
    assert done.code == 1 and "no answer within 2 s" in done.said
    assert set(serving.served().values()) == images("old")
    assert "nothing was changed" in done.said or "the old version serves" in done.said


def test_logs_end_when_they_are_told_to(serving: Cluster) -> None:
    done = ended(serving, 1, signal.SIGINT, "logs", "execution")
    assert done.code == 130 and done.said == ""


def test_a_restore_that_is_told_to_end_starts_the_orchestrator(
    serving: Cluster, tmp_path: Path
) -> None:
    place = tmp_path / "a back-up"
    assert serving.run("backup", str(place)).code == 0
    serving.plan()
    assert serving.run("restore", str(place), "--yes").code == 0
    step = number_of(serving, "pg_restore")
    done = ended(serving, step, signal.SIGTERM, "restore", str(place), "--yes")
    assert done.code == 1 and "told to end" in done.said
    assert [verb(call)[0] for call in serving.calls()][-2:] == ["scale", "rollout"]


def test_every_call_goes_to_the_cluster_that_was_asked_first(serving: Cluster) -> None:
    serving.plan(context="eu-1")
    assert serving.run("--tag", "new", "deploy").code == 0
    calls = serving.calls()
    assert calls[0] == ["config", "current-context"]
    assert {tuple(call[:4]) for call in calls[1:]} == {
        ("--context", "eu-1", "--namespace", "hft-staging")
    }


@pytest.mark.parametrize("name", ["prod", "admin@prod-eu1", "hft_prod", "PROD-1", "arn:eks/prod"])
def test_a_cluster_is_known_by_any_word_of_its_name(cluster: Cluster, name: str) -> None:
    cluster.plan(context=name)
    assert cluster.run("--tag", "v1", "deploy").code == REFUSED
    assert cluster.calls() == [["config", "current-context"]]


@pytest.mark.parametrize("name", ["products", "eu-1", "staging-1"])
def test_a_cluster_of_another_word_is_not_refused(serving: Cluster, name: str) -> None:
    serving.plan(context=name)
    assert serving.run("scale", "garch_model", "1").code == 0


@pytest.mark.parametrize("words", [["scale", "execution", "0"], ["status"], ["logs"], ["rollback"]])
def test_a_missing_kubectl_is_named(cluster: Cluster, words: list[str]) -> None:
    done = cluster.run(*words, KUBECTL="no-such-kubectl")
    assert done.code == 1
    assert done.said == (
        "deploy-k8s: no-such-kubectl is needed, and was not found; nothing was changed\n"
    )


@pytest.mark.parametrize(
    "names",
    [
        {"DOCKER_USERNAME": "ada lovelace"},
        {"DOCKER_USERNAME": "Ada"},
        {"DOCKER_USERNAME": 'a"\nnamespace: other'},
        {"REGISTRY": "docker.io/a b"},
        {"IMAGE_PREFIX": "HFT"},
    ],
)
def test_names_that_no_registry_takes_are_refused(cluster: Cluster, names: dict[str, str]) -> None:
    done = cluster.run("--tag", "v1", "deploy", **names)
    assert done.code == USAGE and next(iter(names)) in done.said
    assert cluster.calls() == []


def test_without_a_tag_it_is_the_commit_as_the_images_are_named(serving: Cluster) -> None:
    done = serving.run("deploy")
    assert done.code == USAGE and "--tag must be a tag" in done.said
    words = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    for made in (("init", "--quiet"), (*words, "commit", "--quiet", "--allow-empty", "-m", "1")):
        subprocess.run(("git", *made), cwd=serving.tree, check=True)
    asked = ("git", "rev-parse", "HEAD")
    commit = subprocess.run(asked, cwd=serving.tree, capture_output=True, text=True, check=True)
    assert serving.run("deploy").code == 0
    assert set(serving.served().values()) == images(commit.stdout.strip())


def test_an_answer_that_is_no_manifest_is_not_taken_for_an_empty_cluster(serving: Cluster) -> None:
    serving.plan(says={"get": "Welcome to the cluster\n"})
    done = serving.run("--tag", "new", "deploy")
    assert done.code == REFUSED and "since who knows when" in done.said, done.said
    known = {key: item for key, item in serving.objects().items() if key != TURN}
    (serving.home / "objects.json").write_text(json.dumps(known))
    done = serving.run("--tag", "new", "deploy")
    assert done.code == 1 and "something else than manifests" in done.said, done.said
    assert "nothing was changed" in done.said
    assert set(serving.served().values()) == images("old")


def test_services_that_another_applied_are_not_taken_for_none(serving: Cluster) -> None:
    known = {
        key: item | {"metadata": {**item["metadata"], "labels": {}}}
        for key, item in serving.objects().items()
    }
    (serving.home / "objects.json").write_text(json.dumps(known))
    done = serving.run("--tag", "new", "deploy")
    assert done.code == 1 and "could not be put back; nothing" not in done.said
    assert "nothing was changed" in done.said
    assert set(serving.served().values()) == images("old")


def test_what_fails_ends_with_its_code_where_nobody_hears_it(cluster: Cluster) -> None:
    known: dict[str, Any] = {"PATH": os.environ["PATH"]}
    words = ["bash", "-c", 'exec "$0" "$@" 2>&-', str(cluster.tree / "scripts" / "deploy-k8s.sh")]
    assert subprocess.run([*words, "fly"], env=known, check=False).returncode == USAGE
    refused = [*words, "scale", "execution", "2"]
    assert subprocess.run(refused, env=known, check=False).returncode == REFUSED


def test_a_second_deploy_is_refused_while_one_is_under_way(serving: Cluster) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if "deployment/risk-manager-service" in call)
    serving.plan(hang=step, hang_s=LONG_S)
    begun = serving.begin("--tag", "new", "deploy")
    until(serving, begun, step)
    before = serving.objects()
    for words in (["--tag", "other", "deploy"], ["rollback"], ["rollback", "execution"]):
        done = serving.run(*words)
        assert done.code in (1, REFUSED), done.said
        if words != ["rollback"]:  # which finds nothing kept of before, or is refused as well
            assert done.code == REFUSED and "a deploy is under way, of " in done.said
        assert serving.objects() == before
    os.kill(begun.pid, signal.SIGTERM)
    _, said = begun.communicate(timeout=WAIT_S_MAX)
    assert "the old version serves" in said
    assert set(serving.served().values()) == images("old") and holder(serving) == ""


def test_two_deploys_of_one_tree_do_not_share_their_files(serving: Cluster) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if "deployment/risk-manager-service" in call)
    serving.plan(hang=step, hang_s=3)
    begun = serving.begin("--tag", "new", "deploy")
    until(serving, begun, step)
    assert serving.run("--tag", "other", "--dry-run", "deploy").code == 0
    assert serving.run("--tag", "other", "deploy").code == REFUSED
    _, said = begun.communicate(timeout=WAIT_S_MAX)
    assert begun.returncode == 0, said
    assert set(serving.served().values()) == images("new")


@pytest.mark.slow
def test_a_deploy_that_was_killed_loses_nothing_of_what_served(serving: Cluster) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if "deployment/risk-manager-service" in call)
    serving.plan(hang=step, hang_s=LONG_S)
    begun = serving.begin("--tag", "new", "deploy")
    until(serving, begun, step)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait(WAIT_S_MAX)
    assert set(serving.served().values()) & images("new")
    # Another's word that it is dead is enough, and what is kept is still what served.
    serving.plan(broken="risk_manager:newer")
    assert serving.run("--tag", "newer", "deploy").code == REFUSED
    done = serving.run("--tag", "newer", "--take-over", "deploy")
    assert done.code == 1 and "what served before it stays kept" in done.said
    assert "the old version serves" in done.said
    assert set(serving.served().values()) == images("old") and holder(serving) == ""


@pytest.mark.parametrize(
    ("by", "environ", "code"),
    [
        ("", {}, 0),
        ("unfinished", {}, 0),
        ("{now} ada@desk 7", {}, REFUSED),
        ("{long_ago} ada@desk 7", {}, 0),
        ("{now} workflow 7", {}, REFUSED),
        # GitHub lets one run of the workflow deploy at a time: one that is still named has ended.
        ("{now} workflow 7", {"GITHUB_RUN_ID": "8"}, 0),
        ("{now} ada@desk 7", {"GITHUB_RUN_ID": "8"}, REFUSED),
        ("somebody", {}, REFUSED),
    ],
)
def test_whose_turn_it_is(serving: Cluster, by: str, environ: dict[str, str], code: int) -> None:
    now = int(time.time())
    hold(serving, by.format(now=now, long_ago=now - 11_000))
    said = holder(serving)
    done = serving.run("--tag", "new", "deploy", **environ)
    assert done.code == code, done.said
    assert holder(serving) == (said if code else "")
    assert set(serving.served().values()) == images("old" if code else "new")


def test_what_was_left_half_way_and_now_serves_is_what_is_put_back(serving: Cluster) -> None:
    assert serving.run("--tag", "new", "deploy").code == 0
    hold(serving, "unfinished")
    done = serving.run("--tag", "new", "deploy")
    assert done.code == 0 and "nothing differs" in done.said and holder(serving) == ""
    serving.plan(broken="garch_model:bad")
    assert serving.run("--tag", "bad", "deploy").code == 1
    assert set(serving.served().values()) == images("new")


def test_a_deploy_that_could_not_be_taken_back_keeps_what_served(serving: Cluster) -> None:
    calls = calls_of_a_deploy(serving)
    step = next(n for n, call in enumerate(calls, 1) if "deployment/risk-manager-service" in call)
    serving.plan(fail=[step, step + 1])
    done = serving.run("--tag", "new", "deploy")
    assert "THE OLD VERSION IS NOT BACK" in done.said and holder(serving) == "unfinished"
    serving.plan()
    assert serving.run("rollback").code == 0
    assert set(serving.served().values()) == images("old") and holder(serving) == ""
