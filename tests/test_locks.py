"""The locks are one: same versions, every file hashed, nothing that names a place."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
SETS = ("services", "runtime", "research", "dev", "bench", "mlflow", "audit")
PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==(\S+) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(set_name: str) -> dict[str, str]:
    """Version by package of one lock."""
    lines = (REQUIREMENTS / f"{set_name}.lock").read_text().splitlines()
    return {found[1]: found[2] for line in lines if (found := PIN.match(line))}


def wanted(set_name: str) -> dict[str, str | None]:
    """Version by package of one `.in` file, None where it leaves the version open."""
    found: dict[str, str | None] = {}
    for line in (REQUIREMENTS / f"{set_name}.in").read_text().splitlines():
        if line and not line.startswith(("#", "-r ")):
            name, _, version = line.partition("==")
            found[name.split("[")[0].lower()] = version or None
    return found


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("services", "runtime"),
        ("runtime", "research"),
        ("research", "dev"),
        ("dev", "bench"),
        ("mlflow", "dev"),
    ],
)
def test_a_larger_set_holds_the_smaller_one_at_the_same_versions(smaller: str, larger: str) -> None:
    assert pins(smaller).items() <= pins(larger).items()


@pytest.mark.parametrize("set_name", SETS)
def test_every_line_is_a_pin_or_its_hash(set_name: str) -> None:
    lines = (REQUIREMENTS / f"{set_name}.lock").read_text().splitlines()
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    # A pin's line ends in a continuation, so a hash follows it; the last line ends none.
    after_pins = [lines[i + 1] for i, line in enumerate(lines) if PIN.match(line)]
    assert len(after_pins) == len(pins(set_name)) > 30
    assert all(HASH.match(line) for line in after_pins)


@pytest.mark.parametrize("set_name", SETS)
def test_the_lock_answers_what_is_asked_for(set_name: str) -> None:
    locked = pins(set_name)
    for name, version in wanted(set_name).items():
        assert name in locked, name
        assert version in (None, locked[name]), name


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.iterdir()), ids=lambda path: path.name)
def test_no_registry_is_named(path: Path) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", path.read_text())


def test_the_source_only_package_finds_its_build_tools_in_the_lock() -> None:
    for set_name in ("research", "dev", "bench"):
        assert {"setuptools", "wheel", "packaging", "kfp-server-api"} <= pins(set_name).keys()
