"""The scan for secrets finds what is planted, waives nothing without a reason, and never sleeps."""

import tomllib
from pathlib import Path

import pytest

from scripts import secret_scan
from scripts.secret_scan import CANARY, WAIVERS, Finding, Waiver, look, main, unwaived, works

# Put together here: this file holds no key.
PLANTED = {
    "AWS Access Key": CANARY,
    "Private Key": "-----BEGIN RSA PRIV" + "ATE KEY-----\n",
    "Secret Keyword": 'binance_api_secret = "' + "Zk3vT" * 6 + '"\n',
    "Basic Auth Credentials": "redis://services:" + "Zk3vT9qLw2" + "@redis:6379/0\n",
    "Slack Token": "url: https://hooks.slack.com/services/"
    + "T1A2B3C4D/B1A2B3C4D/"
    + "x" * 24
    + "\n",
    "GitHub Token": "token = ghp_" + "a1B2c3" * 6 + "\n",
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", ["settings.py", "values.yaml", "notes.md", "some.lock"])
def test_a_secret_that_is_planted_is_found(tmp_path: Path, kind: str, name: str):
    file = tmp_path / name
    file.write_text(f"# A file.\n{PLANTED[kind]}")
    found = look(file)
    assert (2, kind) in [(one.line, one.kind) for one in found]
    assert main([str(file)]) == 1


def test_a_comment_waives_nothing(tmp_path: Path):
    file = tmp_path / "settings.py"
    file.write_text(CANARY.rstrip() + "  # pragma: allow" + "list secret\n")
    assert look(file)


def test_the_value_that_was_found_is_told_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    file = tmp_path / "settings.py"
    file.write_text(CANARY)
    assert main([str(file)]) == 1
    out, err = capfd.readouterr()
    assert "settings.py:1: AWS Access Key" in err
    assert CANARY.split('"')[1] not in out + err


def test_a_file_that_could_not_be_looked_at_is_a_finding(tmp_path: Path):
    (tmp_path / "data.py").write_bytes(b"\xff\xfe\x00key")
    assert "could not be looked at" in look(tmp_path / "data.py")[0].sentence()
    assert main([str(tmp_path / "data.py")]) == 1
    assert main([str(tmp_path / "absent.py")]) == 1


def test_a_scanner_that_finds_nothing_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    assert works(tmp_path)
    assert not works(tmp_path, lambda path: [])
    monkeypatch.setattr(secret_scan, "works", lambda folder: False)
    assert main([]) == 1
    assert "nothing is proved" in capfd.readouterr().err


def test_a_waiver_speaks_of_one_kind_and_of_lines_like_its_own():
    waiver = Waiver("docs/*.md", "Secret Keyword", "^name:", "a name")
    assert waiver.covers(Finding("docs/a.md", 1, "Secret Keyword"), "name: x")
    assert not waiver.covers(Finding("docs/a.md", 1, "Private Key"), "name: x")
    assert not waiver.covers(Finding("docs/a.md", 1, "Secret Keyword"), "key: name:")
    assert not waiver.covers(Finding("cli/a.py", 1, "Secret Keyword"), "name: x")


def test_a_waiver_that_waives_nothing_any_more_is_a_finding():
    stale = Waiver("docs/gone.md", "Secret Keyword", "x", "it was there")
    assert list(unwaived([], [stale], whole=True)) == [
        "docs/gone.md: a waiver of Secret Keyword waives nothing any more"
    ]
    assert list(unwaived([], [stale], whole=False)) == []


@pytest.mark.parametrize(("line", "reason"), [("x", " "), ("", "a name")])
def test_a_waiver_without_a_reason_or_of_every_line_is_none(tmp_path: Path, line: str, reason: str):
    file = tmp_path / "waivers.toml"
    file.write_text(
        f'[[waived]]\npath = "a"\nkind = "Private Key"\nline = "{line}"\nreason = "{reason}"\n'
    )
    with pytest.raises(ValueError, match="must have a line and a reason"):
        secret_scan.waivers(file)


def test_no_waiver_is_of_a_kind_whose_form_alone_tells_a_key():
    kinds = {entry["kind"] for entry in tomllib.loads(WAIVERS.read_text())["waived"]}
    assert kinds <= {
        "Secret Keyword",
        "Basic Auth Credentials",
        "Base64 High Entropy String",
        "Hex High Entropy String",
    }


def test_all_that_git_keeps_is_looked_at():
    names = {path.relative_to(secret_scan.ROOT).as_posix() for path in secret_scan.tracked()}
    assert {
        "requirements/dev.lock",
        "notebooks/06_evop.ipynb",
        "k8s/base/config/users.rules",
    } <= names


@pytest.mark.slow
def test_what_git_keeps_holds_no_secret(capfd: pytest.CaptureFixture[str]):
    assert main([]) == 0, capfd.readouterr()
