"""A secret in any layer of an image is found, whatever its kind, and what cannot be read is not
passed for clean."""

import gzip
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.scripts.ci import saved_images as made

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "ci" / "image_secrets.py"
# Joined here, so that no scanner of this file takes them for real ones.
BEGIN, END = "-----BEGIN RSA PRIVATE " + "KEY-----\n", "-----END RSA PRIVATE " + "KEY-----\n"
KEY = (BEGIN + "MIIE" + "a1B2" * 15 + "\n" + END).encode()
LOCKED = (BEGIN + "DEK-Info: AES-128-CBC,00\n\n" + "a1B2" * 16 + "\n" + END).encode()
CLEAN = {
    "app/serving/__main__.py": b"import os\nPASSWORD = os.environ['X']\n",
    "app/.env.example": b"REDIS_URL=redis://localhost:6379/0\n",
    "etc/pip.conf": b"[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n",
    "etc/ssl/certs/ca.pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "opt/venv/lib/python3.11/site-packages/urls/made_up.json": b'"http://user:password@host/"',
    "opt/venv/lib/python3.11/site-packages/keys/pem.py": BEGIN.encode() + b'" + body + "',
    "app/environment.py": b"docs at https://github.com/ and ghp_short",
}
PLANTED = {
    "env file": ("app/.env", b"A=1\n", "settings"),
    "env of a stage": ("app/.env.production", b"A=1\n", "settings"),
    "history of the code": ("app/.git/config", b"[core]\n", "private folder"),
    "ssh key by name": ("root/keys/id_rsa", b"x", "private file"),
    "ssh folder": ("home/hft/.ssh/known_hosts", b"x", "private folder"),
    "netrc": ("etc/skel/.netrc", b"machine x login y\n", "private file"),
    "pypirc": (".pypirc", b"[pypi]\n", "private file"),
    "store of keys": ("app/client.p12", b"\x30\x82", "private file"),
    "private key": ("app/deep/inside.txt", b"text\n" + KEY, "private key"),
    "locked private key": ("app/locked.txt", LOCKED, "private key"),
    "cloud key": ("app/a.py", b"key = 'AKIA" + b"ABCDEFGH" * 2 + b"'", "AWS key"),
    "GitHub token": ("app/b.txt", b"gh" + b"p_" + b"a1B2" * 9, "GitHub token"),
    "fine GitHub token": ("app/b.txt", b"github_" + b"pat_" + b"a1B2" * 16, "GitHub token"),
    "Slack token": ("app/c.txt", b"xox" + b"b-123456789012-abcdefABCDEF", "Slack token"),
    "Slack webhook": (
        "app/c.txt",
        b"https://hooks.slack.com/" + b"services/T12345678/B12345678/" + b"a1B2c3D4" * 3,
        "Slack webhook",
    ),
    "PyPI token": ("app/d.txt", b"pypi-" + b"AgE" + b"a1B2" * 12, "PyPI token"),
    "Google key": ("app/e.txt", b"AI" + b"za" + b"a1B2c" * 7, "Google key"),
    "registry's token": ("app/f.txt", b"dckr" + b"_pat_" + b"a1B2" * 6, "Docker Hub token"),
    "exchange key": ("app/run.sh", b"BINANCE_API_SECRET=" + b"a1B2" * 16, "exchange key"),
    "registry's address": (
        "etc/pip.conf",
        b"[global]\nindex-url = https://packages.example/simple\n",
        "registry of an installer",
    ),
    "password in an address": (
        "app/settings.toml",
        b"url = 'postgresql://ledger:hunter22@db:5432/ledger'",
        "address with a password",
    ),
}


def look(path: Path) -> subprocess.CompletedProcess[str]:
    """The script on a file, as a workflow calls it."""
    words = (sys.executable, str(SCRIPT), str(path))
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_a_clean_image_passes(tmp_path: Path) -> None:
    done = look(made.saved(tmp_path / "image.tar", [made.layer(CLEAN)]))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"image-secrets: 0 secrets in {len(CLEAN)} files\n"


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found_and_not_shown(tmp_path: Path, kind: str) -> None:
    name, content, called = PLANTED[kind]
    done = look(made.saved(tmp_path / "image.tar", [made.layer({**CLEAN, name: content})]))
    assert done.returncode == 1
    assert done.stderr == f"image-secrets: {called} at /{name}\n"


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3", True),
        ("opt/venv/site-packages/confluent_kafka.libs/librdkafka-0cb94173.so.1", True),
        ("app/libgnutls.so.30.34.3", False),
        ("opt/venv/site-packages/confluent_kafka.libs/notes.txt", False),
    ],
)
def test_the_published_keys_of_two_self_tests_are_known_there_alone(
    tmp_path: Path, name: str, passes: bool
) -> None:
    done = look(made.saved(tmp_path / "image.tar", [made.layer({name: b"\0" + KEY})]))
    assert (done.returncode == 0) is passes
    # Of anything else these are as any file.
    token = b"gh" + b"p_" + b"a1B2" * 9
    assert look(made.saved(tmp_path / "other.tar", [made.layer({name: token})])).returncode == 1


def test_what_a_later_layer_removes_is_found(tmp_path: Path) -> None:
    layers = [made.layer({"app/notes.txt": KEY}), made.layer({"app/.wh.notes.txt": b""})]
    done = look(made.saved(tmp_path / "image.tar", layers))
    assert (done.returncode, done.stderr) == (1, "image-secrets: private key at /app/notes.txt\n")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"config": {"Env": ["PATH=/bin", "REDIS_PASSWORD=hunter22"]}}, "REDIS_PASSWORD"),
        ({"history": [{"created_by": "RUN |1 PIP_TOKEN=abc /bin/sh -c pip"}]}, "PIP_TOKEN"),
        ({"history": [{"created_by": "RUN pip -i https://me:hunter22@host/"}]}, "history"),
        ({"config": {"Labels": {"note": "gh" + "p_" + "a1B2" * 9}}}, "labels"),
    ],
)
def test_variables_labels_and_history_are_looked_at(
    tmp_path: Path, config: dict[str, object], said: str
) -> None:
    done = look(made.saved(tmp_path / "image.tar", [made.layer(CLEAN)], config))
    assert done.returncode == 1 and said in done.stderr
    assert "hunter22" not in done.stderr + done.stdout


def test_every_platform_of_a_layout_is_looked_at(tmp_path: Path) -> None:
    clean, other = made.layer(CLEAN), made.layer({"app/key.txt": KEY})
    assert look(made.layout(tmp_path / "clean.tar", [[clean], [clean]])).returncode == 0
    path = made.layout(tmp_path / "image.tar", [[clean], [clean, other]])
    done = look(path)
    assert (done.returncode, done.stderr) == (1, "image-secrets: private key at /app/key.txt\n")
    folder = tmp_path / "folder"
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    assert look(folder).stderr == done.stderr


def cut_layer(path: Path) -> None:
    made.saved(path, [gzip.compress(made.layer({"a": b"x" * 100_000}))[:-200]])


def zstd_layer(path: Path) -> None:
    made.saved(path, [b"\x28\xb5\x2f\xfd rest"])


def no_layer(path: Path) -> None:
    made.saved(path, [])


def empty_layer(path: Path) -> None:
    made.saved(path, [made.layer({})])


def layer_that_is_missing(path: Path) -> None:
    manifest = [{"Config": "config.json", "Layers": ["gone/layer.tar"]}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": b"{}"}
    made.archive(path, files)


def some_tar(path: Path) -> None:
    made.archive(path, {"readme": b"no image"})


def text(path: Path) -> None:
    path.write_text("no image")


@pytest.mark.parametrize(
    "broken",
    [cut_layer, zstd_layer, no_layer, empty_layer, layer_that_is_missing, some_tar, text],
)
def test_what_cannot_be_read_is_a_failure(tmp_path: Path, broken) -> None:
    broken(tmp_path / "image.tar")
    done = look(tmp_path / "image.tar")
    assert done.returncode == 1 and done.stderr.startswith("image-secrets: "), done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    assert look(tmp_path / "image.tar").returncode == 1
