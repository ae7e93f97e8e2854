"""Look through every layer of a saved image for secrets; exit code 1 where one is.

    docker save IMAGE > build/image.tar && python scripts/ci/image_secrets.py build/image.tar

Names, contents, the configuration and its history are looked at, in every layer: what a later one
removes is still sent. What cannot be read is a failure. Of a secret its place is said, never its
value.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scripts.ci.image_layers import Archive, Image, Unreadable
else:
    from image_layers import Archive, Image, Unreadable

# Folders and files that are there for nothing but what nobody else may have, or may show it.
FOLDERS = {".git", ".ssh", ".aws", ".gnupg", ".kube", ".docker", ".hg", ".svn"}
NAMES = {
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".htpasswd",
    ".npmrc",
    "kubeconfig",
}
ENDINGS = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
# Settings of installers, which may name a registry and who one is there.
INSTALLERS = {"pip.conf", "pip.ini", "uv.toml", ".condarc", "sources.list", "auth.conf"}
REGISTRY = re.compile(
    rb"^\s*(?:(?:extra[-_])?index[-_]url|find[-_]links|trusted[-_]host)\s*=", re.MULTILINE
)
# An address with a password in it. Libraries' own texts hold made-up ones, so it is looked for
# where settings are.
LOGIN = re.compile(rb"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>{}$]+:[^\s/@'\"<>{}$]{3,}@[\w.-]+")
SETTINGS = (".conf", ".cfg", ".ini", ".env", ".toml", ".yaml", ".yml", ".json", ".sh", ".list")
PACKAGES = ("site-packages/", "dist-packages/")

# Kind, a text that it always holds (found fast), and the whole of it.
CONTENTS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = (
    (
        "private key",
        b"PRIVATE KEY-----",
        re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(?:[\w-]+: .*\s+)*[A-Za-z0-9+/=]{40}"),
    ),
    ("AWS key", b"AKIA", re.compile(rb"\bAKIA[0-9A-Z]{16}\b")),
    ("GitHub token", b"gh", re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}\b")),
    ("GitHub token", b"github_pat_", re.compile(rb"\bgithub_pat_[A-Za-z0-9_]{60,}")),
    ("Slack token", b"xox", re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z]{8,}-[0-9A-Za-z-]{8,}")),
    (
        "Slack webhook",
        b"hooks.slack.com",
        re.compile(rb"hooks\.slack\.com/services/T\w{7,}/B\w{7,}/\w{16,}"),
    ),
    ("PyPI token", b"pypi-AgE", re.compile(rb"\bpypi-AgE[\w-]{40,}")),
    ("Google key", b"AIza", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("Docker Hub token", b"dckr_pat_", re.compile(rb"\bdckr_pat_[\w-]{20,}")),
    (
        "exchange key",
        b"BINANCE_API_",
        re.compile(rb"BINANCE_API_(?:KEY|SECRET)['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9]{32,}"),
    ),
)
# The keys of two libraries' own self-tests, the same in every copy: published, so nobody's.
SELF_TESTS = re.compile(
    r"^/usr/lib/[\w-]+/libgnutls\.so\.[\d.]+$"
    r"|/confluent_kafka\.libs/librdkafka-[0-9a-f]{8}\.so\.\d$"
)
# A variable of an image, or an argument of its build, that would hold a secret.
VARIABLE = re.compile(
    r"\b(\w*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|PRIVATE_KEY|CREDENTIALS?)\w*)=[^\s\"'$]+",
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """A secret: what kind of, and where."""

    kind: str
    place: str


def by_name(path: PurePosixPath) -> str | None:
    """What a path's name alone says, None where it is an ordinary one."""
    if FOLDERS & set(path.parts):
        return "private folder"
    name = path.name
    if name in NAMES or name.endswith(ENDINGS):
        return "private file"
    if (name == ".env" or name.startswith(".env.")) and not name.endswith(".example"):
        return "settings"
    return None


def by_content(path: PurePosixPath, content: bytes) -> Iterator[str]:
    """What kinds of secret a file holds."""
    for kind, mark, whole in CONTENTS:
        known = kind == "private key" and SELF_TESTS.search(path.as_posix())
        if mark in content and not known and whole.search(content):
            yield kind
    if path.name in INSTALLERS and REGISTRY.search(content):
        yield "registry of an installer"
    own = not any(folder in path.as_posix() for folder in PACKAGES)
    is_settings = path.suffix in SETTINGS or path.name in INSTALLERS
    if own and is_settings and b"://" in content and LOGIN.search(content):
        yield "address with a password"


def by_config(image: Image) -> Iterator[Finding]:
    """What an image's variables, its labels and the commands that made it say."""
    said: list[tuple[str, str]] = [
        ("variables", line) for line in image.config.get("config", {}).get("Env") or ()
    ]
    labels = image.config.get("config", {}).get("Labels") or {}
    said += [("labels", f"{name}={value}") for name, value in labels.items()]
    said += [("history", one.get("created_by", "")) for one in image.config.get("history") or ()]
    for where, text in said:
        if VARIABLE.search(text):
            yield Finding("variable", f"{where}: {VARIABLE.findall(text)[0]}")
        for kind in by_content(PurePosixPath(f"{where}.conf"), text.encode()):
            yield Finding(kind, where)


def secrets(archive: Archive) -> tuple[list[Finding], int]:
    """Every secret of an archive, each once, and how many files were looked at."""
    found: dict[Finding, None] = {}
    seen: set[str] = set()
    files = 0
    for image in archive.images():
        found |= dict.fromkeys(by_config(image))
        for layer in image.layers:
            if layer.name in seen:  # platforms and images share layers
                continue
            seen.add(layer.name)
            for entry, content in archive.files(layer):
                path = PurePosixPath("/", entry.name)
                files += 1
                name = by_name(path)
                kinds = ([name] if name else []) + list(by_content(path, content))
                found |= dict.fromkeys(Finding(kind, str(path)) for kind in kinds)
    return list(found), files


def main() -> int:
    """Say what was found, and refuse it."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        with Archive(Path(sys.argv[1])) as archive:
            found, files = secrets(archive)
            if not files:
                raise Unreadable(f"{sys.argv[1]} must hold files, held none")
    except Unreadable as error:
        sys.stderr.write(f"image-secrets: {error}\n")
        return 1
    for finding in found:
        sys.stderr.write(f"image-secrets: {finding.kind} at {finding.place}\n")
    sys.stdout.write(f"image-secrets: {len(found)} secrets in {files} files\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
