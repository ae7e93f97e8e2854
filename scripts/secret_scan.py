"""Looks for secrets in every file that git keeps, and tells of a look that failed.

    python scripts/secret_scan.py [FILE...]

By detect-secrets. Without files: all that git tracks, or would with `git add`. What is no
secret is waived in scripts/secret_waivers.toml, each with its reason; one that waives nothing any
more is a finding too. No comment in a file waives anything, and no key is tried at its service.

Exit codes: 0 nothing found, 1 something found or not looked at, 2 wrong usage.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import configure_settings_from_baseline

ROOT = Path(__file__).resolve().parents[1]
WAIVERS = ROOT / "scripts" / "secret_waivers.toml"
WORKERS = 2  # what a small machine has
# What looks random and is none: names, counters, references. Left out are those that let a comment
# waive, skip whole files, or ask the network whether a key works.
FILTERS = (
    "is_indirect_reference",
    "is_likely_id_string",
    "is_not_alphanumeric_string",
    "is_potential_uuid",
    "is_prefixed_with_dollar_sign",
    "is_sequential_string",
    "is_templated_secret",
)
# A key of nobody's, put together here so that this file holds none: what misses it finds nothing.
CANARY = 'aws_key = "' + "AKIA" + "QYLPMN5HFIQR7BBB" + '"\n'


@dataclass(frozen=True)
class Finding:
    """What was found, where; the value itself is told nobody."""

    path: str
    line: int
    kind: str

    def sentence(self) -> str:
        """As an editor opens it."""
        return f"{self.path}:{self.line}: {self.kind}"


@dataclass(frozen=True)
class Waiver:
    """Which findings are no secrets: by file, by kind, by what the line looks like; and why."""

    path: str
    kind: str
    line: str
    reason: str

    def covers(self, finding: Finding, text: str) -> bool:
        """Whether it speaks of this finding, whose line reads `text`."""
        if self.kind != finding.kind or not fnmatch(finding.path, self.path):
            return False
        return re.search(self.line, text) is not None


def waivers(path: Path) -> list[Waiver]:
    """What is waived; raises ValueError where one has no reason or is no waiver."""
    found = [Waiver(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["waived"]]
    for waiver in found:
        if not waiver.reason.strip() or not waiver.line.strip():
            raise ValueError(f"a waiver must have a line and a reason: {waiver.path}")
    return found


def tracked() -> list[Path]:
    """Every file that git keeps, or would."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    names = sorted({name for name in done.stdout.decode().split("\0") if name})
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def look(path: Path) -> list[Finding]:
    """What one file holds; one that is no text was not looked at, which is a finding."""
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    try:
        path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [Finding(name, 0, f"could not be looked at: {type(error).__name__}")]
    _configure()
    found = {(secret.line_number, secret.type) for secret in scan_file(str(path))}
    return [Finding(name, line, kind) for line, kind in sorted(found)]


@cache
def _configure() -> None:
    """Tell the scanner, once a process, to look for every kind that it knows."""
    kinds: Any = get_mapping_from_secret_type_to_class().values()
    settings = configure_settings_from_baseline(
        {
            "plugins_used": [{"name": kind.__name__} for kind in kinds],
            "filters_used": [{"path": f"detect_secrets.filters.heuristic.{f}"} for f in FILTERS],
        }
    )
    # It passes files over in silence by their names, .lock among them: `look` says what is no text.
    settings.disable_filters("detect_secrets.filters.heuristic.is_non_text_file")


def works(folder: Path, looks: Callable[[Path], list[Finding]] = look) -> bool:
    """Whether a key that is there is found: a scanner that finds nothing says nothing."""
    planted = folder / "canary.py"
    planted.write_text(CANARY, encoding="utf-8")
    return any(finding.kind == "AWS Access Key" for finding in looks(planted))


def unwaived(findings: Sequence[Finding], allowed: Sequence[Waiver], whole: bool) -> Iterator[str]:
    """What is to be said: findings that nobody waived, and where all was looked at, waivers of
    nothing.
    """
    used: set[Waiver] = set()
    for finding in findings:
        matching = [one for one in allowed if one.covers(finding, _line(finding))]
        used.update(matching)
        if not matching:
            yield finding.sentence()
    if whole:
        for waiver in allowed:
            if waiver not in used:
                yield f"{waiver.path}: a waiver of {waiver.kind} waives nothing any more"


def _line(finding: Finding) -> str:
    path = ROOT / finding.path
    lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
    return lines[finding.line - 1] if 0 < finding.line <= len(lines) else ""


def main(arguments: Sequence[str]) -> int:
    """Look, and say what was found."""
    if any(word.startswith("-") for word in arguments):
        sys.stderr.write(__doc__ or "")
        return 2
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        if not works(Path(folder)):
            sys.stderr.write(
                "secret-scan: a key that was planted is not found: nothing is proved\n"
            )
            return 1
    paths = [Path(word).resolve() for word in arguments] or tracked()
    with ProcessPoolExecutor(WORKERS) as pool:
        found = [one for each in pool.map(look, paths, chunksize=8) for one in each]
    said = list(unwaived(found, waivers(WAIVERS), whole=not arguments))
    for sentence in said:
        sys.stderr.write(f"secret-scan: {sentence}\n")
    sys.stdout.write(f"secret-scan: {len(paths)} files, {len(said)} findings\n")
    return 1 if said or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
